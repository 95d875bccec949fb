// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

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
	// FaultCapacity answers matching launches with 500 "Out of host
	// capacity." and says so in capacity reports.
	FaultCapacity FaultKind = "capacity"
	// FaultLimit answers matching launches with a LimitExceeded that own use
	// does not explain: the phantom that follows failed launches. The counters
	// of A1 lie with it. With Limit it is about that one alone; the phantom
	// custom-image-count concerns CreateImage.
	FaultLimit FaultKind = "limit"
	// FaultLimitValue sets the service limit named Limit to Value.
	FaultLimitValue FaultKind = "limit-value"
	// FaultShapeAbsent takes a shape out of an availability domain: launches
	// get 404, ListShapes leaves it out.
	FaultShapeAbsent FaultKind = "shape-absent"
	// FaultStatus answers operation Op with Status, Code and Message instead
	// of doing it. An empty Code makes it an HTML page, as gateways send.
	FaultStatus FaultKind = "status"
	// FaultStatusAfterEffect does what was asked and answers as FaultStatus.
	FaultStatusAfterEffect FaultKind = "status-after-effect"
	// FaultCutAfterEffect does what was asked and closes the connection.
	FaultCutAfterEffect FaultKind = "cut-after-effect"
	// FaultMalformedHeader does what was asked and adds the header line
	// "application/json: application/json", which Go's client refuses.
	FaultMalformedHeader FaultKind = "malformed-header"
	// FaultLaunchFails accepts a launch, then lets the instance go from
	// PROVISIONING to TERMINATED and its work request fail with Message
	// (default: out of host capacity).
	FaultLaunchFails FaultKind = "launch-fails"
	// FaultLaunchStuck leaves an instance PROVISIONING without a boot volume
	// attachment until it is terminated.
	FaultLaunchStuck FaultKind = "launch-stuck"
	// FaultImageConflict answers CreateImage with 409 Conflict.
	FaultImageConflict FaultKind = "image-conflict"
	// FaultExportLost lets an export end AVAILABLE without an object.
	FaultExportLost FaultKind = "export-lost"
	// FaultImportFails lets an import end DELETED.
	FaultImportFails FaultKind = "import-fails"
	// FaultNoShapes leaves a new image without any shape entry.
	FaultNoShapes FaultKind = "no-shapes"
	// FaultCapacityReport makes matching rows of capacity reports say Availability,
	// whatever the truth. A row that names no fault domain matches only a
	// fault without one.
	FaultCapacityReport FaultKind = "report"
	// FaultThrottle gives each user a bucket of Burst tokens in each region,
	// which gets one more token Every so often. A request that finds none is
	// answered with 429 TooManyRequests and has no effect. It is about the
	// operation Op or, without one, about all operations at Compute's host.
	FaultThrottle FaultKind = "throttle"
	// FaultSlow adds Delay to a lifecycle state that operation Op leads to.
	FaultSlow FaultKind = "slow"
	// FaultLate takes a part (Op UploadPart) in, closes the connection without an answer,
	// and does what was asked Delay later. That a part which is on its way at the service
	// takes the place of one that came after it and was done before it, is how the last
	// writer wins everywhere there; unverified against the real service.
	FaultLate FaultKind = "late"
)

// faultKinds lists every kind, for checking what is asked for.
func faultKinds() []FaultKind {
	return []FaultKind{FaultCapacity, FaultLimit, FaultLimitValue, FaultShapeAbsent, FaultStatus,
		FaultStatusAfterEffect, FaultCutAfterEffect, FaultMalformedHeader, FaultLaunchFails, FaultLaunchStuck,
		FaultImageConflict, FaultExportLost, FaultImportFails, FaultNoShapes, FaultCapacityReport, FaultThrottle, FaultSlow, FaultLate}
}

// Fault is one thing that goes wrong: what, to whom, and when. Empty selectors
// match everything.
type Fault struct {
	Kind FaultKind `json:"kind"`

	// Whom.
	Op          string  `json:"op,omitempty"`      // operation, such as CreateImage
	Tenancy     string  `json:"tenancy,omitempty"` // name of the tenancy
	Region      string  `json:"region,omitempty"`
	AD          string  `json:"ad,omitempty"` // availability domain, whole or its end ("AD-2")
	FaultDomain string  `json:"faultDomain,omitempty"`
	Shape       string  `json:"shape,omitempty"`
	MinOCPUs    float64 `json:"minOcpus,omitempty"`
	MaxOCPUs    float64 `json:"maxOcpus,omitempty"` // 0: no upper end
	MinMemory   float64 `json:"minMemoryInGBs,omitempty"`
	MaxMemory   float64 `json:"maxMemoryInGBs,omitempty"` // 0: no upper end
	State       string  `json:"state,omitempty"`          // FaultSlow: lifecycle state, such as EXPORTING

	// When.
	Skip  int      `json:"skip,omitempty"`  // matches that pass first
	Times int      `json:"times,omitempty"` // matches that are hit; 0: all
	From  Duration `json:"from,omitempty"`  // counted from when the fault was added
	Until Duration `json:"until,omitempty"` // 0: no end

	// What exactly.
	Status  int      `json:"status,omitempty"`
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Limit   string   `json:"limit,omitempty"`
	Value   int64    `json:"value,omitempty"`
	Delay   Duration `json:"delay,omitempty"`

	Availability string   `json:"availability,omitempty"` // FaultCapacityReport: any text, known to the API or not
	Every        Duration `json:"every,omitempty"`        // FaultThrottle
	Burst        int      `json:"burst,omitempty"`        // FaultThrottle
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

// due tells whether the next match is to be hit.
func (f *activeFault) due() bool { return f.schedule().Due(f.added, f.matched) }

// inTime tells whether the fault's time has come, whatever its count.
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

// freeFaultDomains tells which of the fault domains have room for a launch.
// With count, it is an attempt: each fault that concerns any of the domains
// counts it once.
func (l faultList) freeFaultDomains(t target, candidates []string, count bool) []string {
	var free []string
	for _, fd := range candidates {
		t.faultDomain = fd
		if l.peek(t, FaultCapacity) == nil {
			free = append(free, fd)
		}
	}
	if count {
		for _, f := range l {
			concerned := slices.ContainsFunc(candidates, func(fd string) bool {
				t.faultDomain = fd
				return f.matches(t)
			})
			if f.Kind == FaultCapacity && concerned && f.inTime() {
				f.matched++
			}
		}
	}
	return free
}

// beforeEffect finds what keeps a request from being looked at.
func (l faultList) beforeEffect(q *call) *Fault {
	t := q.requestTarget()
	if throttle := l.throttled(q, t); throttle != nil {
		return throttle
	}
	return l.hit(t, FaultStatus)
}

// afterEffect finds what is to happen to a reply. A lost reply is interesting
// only when the request had an effect.
func (l faultList) afterEffect(q *call, succeeded bool) *Fault {
	if q.op == "" {
		return nil
	}
	if succeeded {
		return l.hit(q.requestTarget(), FaultStatusAfterEffect, FaultCutAfterEffect, FaultMalformedHeader)
	}
	return l.hit(q.requestTarget(), FaultMalformedHeader)
}

// error is the answer of a FaultStatus, FaultStatusAfterEffect or
// FaultThrottle.
func (f *Fault) error() *apiError {
	if f.Kind == FaultThrottle {
		return fail(http.StatusTooManyRequests, "TooManyRequests", "Too many requests for the user")
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
