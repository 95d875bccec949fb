// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// FaultKind names a way to fail.
type FaultKind string

// The ways in which the cloud can be told to fail.
const (
	// FaultCapacity answers matching launches with 500
	// InsufficientInstanceCapacity. The message lists the zones that have
	// capacity, unless NoHint is set.
	FaultCapacity FaultKind = "capacity"
	// FaultVolumeCapacity answers matching launches with 500
	// InsufficientVolumeCapacity.
	FaultVolumeCapacity FaultKind = "volume-capacity"
	// FaultUnsupported takes a type out of a zone: launches get 400
	// Unsupported, and the offerings leave it out.
	FaultUnsupported FaultKind = "unsupported"
	// FaultQuota sets the quota whose code is Quota to Value.
	FaultQuota FaultKind = "quota"
	// FaultFreePlan refuses launches as of an account of the free plan, with
	// 400 InvalidParameterCombination.
	FaultFreePlan FaultKind = "free-plan"
	// FaultLaunchFails accepts a launch, then lets the instance go from
	// pending to terminated with the state reason Code and Message (default
	// Server.InsufficientInstanceCapacity).
	FaultLaunchFails FaultKind = "launch-fails"
	// FaultSpotInterrupt takes a spot instance away, Delay after it runs.
	FaultSpotInterrupt FaultKind = "spot-interrupt"
	// FaultStatus answers operation Op with Status, Code and Message instead
	// of doing it. An empty Code makes it an HTML page, as gateways send.
	FaultStatus FaultKind = "status"
	// FaultStatusAfterEffect does what was asked and answers as FaultStatus.
	FaultStatusAfterEffect FaultKind = "status-after-effect"
	// FaultCutAfterEffect does what was asked and closes the connection.
	FaultCutAfterEffect FaultKind = "cut-after-effect"
	// FaultThrottle gives each account a bucket of Burst tokens in each
	// region, which gets one more token Every so often. A request that finds
	// none gets RequestLimitExceeded and has no effect. It is about the
	// operation Op, or without one about all of EC2.
	FaultThrottle FaultKind = "throttle"
	// FaultInvisible hides what operation Op makes for Delay: its id is not
	// found, and lists leave it out.
	FaultInvisible FaultKind = "invisible"
	// FaultImageFails lets an image end failed with the state reason Code and
	// Message.
	FaultImageFails FaultKind = "image-fails"
	// FaultSnapshotFails lets a snapshot end in error.
	FaultSnapshotFails FaultKind = "snapshot-fails"
	// FaultExportFails lets the export of an image end deleted with Message.
	FaultExportFails FaultKind = "export-fails"
	// FaultSlow adds Delay to a state that operation Op leads to; see
	// [SlowStates].
	FaultSlow FaultKind = "slow"
	// FaultSSHClosed keeps matching machines from being reached, whatever
	// their security groups say.
	FaultSSHClosed FaultKind = "ssh-closed"
	// FaultBadChecksum sends a block of a snapshot with a byte that is not as
	// its checksum says.
	FaultBadChecksum FaultKind = "bad-checksum"
	// FaultShortBody sends a block without its second half.
	FaultShortBody FaultKind = "short-body"
	// FaultCutBody closes the connection in the middle of a block.
	FaultCutBody FaultKind = "cut-body"
	// FaultBlockToken refuses a block token as one that has expired.
	FaultBlockToken FaultKind = "block-token"
	// FaultEmptyPage answers a list of blocks with an empty page that is not
	// the last one.
	FaultEmptyPage FaultKind = "empty-page"
)

// Fault is one thing that goes wrong: what, to whom, and when. Empty selectors
// match everything.
type Fault struct {
	Kind FaultKind `json:"kind"`

	// Whom.
	Op      string `json:"op,omitempty"`      // operation, such as RunInstances
	Account string `json:"account,omitempty"` // name of the account
	Region  string `json:"region,omitempty"`
	AZ      string `json:"az,omitempty"`     // availability zone, by name or id
	Type    string `json:"type,omitempty"`   // instance type, may have wildcards: "t4g.*"
	Market  string `json:"market,omitempty"` // spot or on-demand
	State   string `json:"state,omitempty"`  // FaultSlow: the state, such as stopping

	// When.
	Skip  int      `json:"skip,omitempty"`  // matches that pass first
	Times int      `json:"times,omitempty"` // matches that are hit; 0: all
	From  Duration `json:"from,omitempty"`  // counted from when the fault was added
	Until Duration `json:"until,omitempty"` // 0: no end

	// What exactly.
	Status  int      `json:"status,omitempty"`
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Delay   Duration `json:"delay,omitempty"`
	NoHint  bool     `json:"noHint,omitempty"` // FaultCapacity
	Quota   string   `json:"quota,omitempty"`  // FaultQuota: a code such as L-1216C47A
	Value   float64  `json:"value,omitempty"`  // FaultQuota
	Every   Duration `json:"every,omitempty"`  // FaultThrottle
	Burst   int      `json:"burst,omitempty"`  // FaultThrottle
}

// Duration is a time.Duration that is written as in "1m30s" in JSON.
type Duration = schedule.Duration

// schedule is when the fault is due.
func (f Fault) schedule() schedule.Schedule {
	return schedule.Schedule{Skip: f.Skip, Times: f.Times, From: f.From, Until: f.Until}
}

// activeFault is a fault that was added, and how often it has matched.
type activeFault struct {
	Fault
	added   time.Time
	matched int
	buckets schedule.Buckets // FaultThrottle
}

func (f *activeFault) due() bool    { return f.schedule().Due(f.added, f.matched) }
func (f *activeFault) inTime() bool { return f.schedule().InTime(f.added) }

// faultList is all faults that were added. The cloud's lock guards it.
type faultList []*activeFault

// hit counts a match for every fault of the given kinds and returns the first
// that is due, or nil.
func (l faultList) hit(t target, kinds ...FaultKind) *Fault {
	var first *Fault
	for _, f := range l {
		if !slices.Contains(kinds, f.Kind) || !f.matches(t) || !f.inTime() {
			continue
		}
		if f.due() && first == nil {
			first = &f.Fault
		}
		f.matched++
	}
	return first
}

// peek is hit without counting.
func (l faultList) peek(t target, kinds ...FaultKind) *Fault {
	for _, f := range l {
		if slices.Contains(kinds, f.Kind) && f.matches(t) && f.due() {
			return &f.Fault
		}
	}
	return nil
}

// beforeEffect finds what keeps a request from being looked at.
func (l faultList) beforeEffect(q *call, t target) *Fault {
	if throttle := l.throttled(q, t); throttle != nil {
		return throttle
	}
	return l.hit(t, FaultStatus)
}

// afterEffect finds what is to happen to a reply. A lost reply is interesting
// only when the request had an effect.
func (l faultList) afterEffect(t target, succeeded bool) *Fault {
	if !succeeded {
		return nil
	}
	return l.hit(t, FaultStatusAfterEffect, FaultCutAfterEffect)
}

// throttled takes a token for a request from every bucket that concerns it. If
// one of them is empty it takes none, and returns that fault.
func (l faultList) throttled(q *call, t target) *Fault {
	var concerned []*activeFault
	for _, f := range l {
		if f.Kind == FaultThrottle && (f.Op != "" || q.api.name == "ec2") && f.matches(t) && f.inTime() {
			f.matched++
			concerned = append(concerned, f)
		}
	}
	owner := q.region.name + " " + q.who.Account.ID
	for _, f := range concerned {
		if !f.buckets.Has(owner, f.Every, f.Burst) {
			return &f.Fault
		}
	}
	for _, f := range concerned {
		f.buckets.Take(owner, f.Every)
	}
	return nil
}

// error is the answer of a FaultStatus, FaultStatusAfterEffect or
// FaultThrottle.
func (f *Fault) error(q *call) *apiError {
	if f.Kind == FaultThrottle {
		return q.api.problem(throttled)
	}
	message := f.Message
	if message == "" {
		message = http.StatusText(f.Status)
		if f.Code == "" {
			message = fmt.Sprintf("<html><head><title>%d %s</title></head><body></body></html>", f.Status, message)
		}
	}
	return &apiError{status: f.Status, code: f.Code, message: message}
}

// AddFaults makes things go wrong from now on. It refuses a fault that could
// never have an effect; then none is added.
func (c *Cloud) AddFaults(faults ...Fault) error {
	for _, f := range faults {
		if err := c.checkFault(f); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, f := range faults {
		c.faults = append(c.faults, &activeFault{Fault: f, added: now, buckets: schedule.Buckets{}})
		if f.Kind == FaultSpotInterrupt {
			c.interruptRunning(f)
		}
	}
	c.moveGates()
	return nil
}

// ResetFaults removes all faults. Resources that a fault has broken stay so.
func (c *Cloud) ResetFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
	c.moveGates()
}

// FaultReport is a fault and how often it has matched since it was added,
// passes of Skip and after Times included.
type FaultReport struct {
	Fault
	Matched int `json:"matched"`
}

// Faults lists the faults that were added and not reset.
func (c *Cloud) Faults() []FaultReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	reports := []FaultReport{}
	for _, f := range c.faults {
		reports = append(reports, FaultReport{f.Fault, f.matched})
	}
	return reports
}
