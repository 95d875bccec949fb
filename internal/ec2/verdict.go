// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// rule is one line of the table of errors.
type rule struct {
	codes   []string // any of these, without the "Server." or "Client." of a state reason
	text    string   // in lower case, and in the message; empty is any
	outcome capacity.Outcome
	region  bool   // a limit of the whole region, whatever the type
	help    string // what would help, for people
}

// lacks is said of a refusal that does not name the permission.
const lacks = "the user lacks a permission"

// rules are the table of errors: what EC2 says about a launch, and what the search
// makes of it. The first that fits counts. Where they come from is listed in
// docs/architecture.md.
func rules() []rule {
	return []rule{
		{codes: []string{"InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientVolumeCapacity", "InsufficientCapacity", "InsufficientAddressCapacity",
			"InsufficientReservedInstanceCapacity", "UnfulfillableCapacity", "ReservationCapacityExceeded", "SpotInstanceTermination", "SpotInstanceShutdown", slowCode}, outcome: capacity.NoCapacity},
		{codes: []string{"InsufficientFreeAddressesInSubnet"}, outcome: capacity.NoCapacity},
		{codes: []string{"SpotMaxPriceTooLow"}, outcome: capacity.NoCapacity, help: "spot_price is below what such a machine costs now"},
		{codes: []string{"Unsupported", "InvalidSubnetID.NotFound", "InvalidSubnet"}, outcome: capacity.Unavailable},
		{codes: []string{"VcpuLimitExceeded"}, outcome: capacity.LimitReached, region: true,
			help: "ask for a higher quota L-1216C47A (vCPUs of on-demand standard instances), or terminate what is not needed"},
		{codes: []string{"MaxSpotInstanceCountExceeded"}, outcome: capacity.LimitReached, region: true,
			help: "ask for a higher quota L-34B43A08 (vCPUs of standard spot instances)"},
		{codes: []string{"InstanceLimitExceeded", "MaxFleetCountExceeded"}, outcome: capacity.LimitReached, region: true},
		{codes: []string{"VolumeLimitExceeded", "MaxIOPSLimitExceeded"}, outcome: capacity.Rejected, help: "delete volumes that are not needed, or ask for a higher quota"},
		{codes: []string{"AuthFailure.ServiceLinkedRoleCreationNotPermitted"}, outcome: capacity.LimitReached, region: true,
			help: "spot machines need the service-linked role AWSServiceRoleForEC2Spot: let an administrator run aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"},
		{codes: []string{"InvalidParameterCombination"}, text: "instance type is not eligible for free tier", outcome: capacity.RejectedForm,
			help: "the account is on the free plan; t4g.micro and t4g.small are the ARM64 types that it may have in most regions"},
		{codes: []string{"InvalidParameterCombination"}, text: "not eligible for free tier", outcome: capacity.Rejected, help: "the account is on the free plan; choose another source image"},
		{codes: []string{"PendingVerification"}, outcome: capacity.LimitDoubtful, region: true, help: "AWS checks new accounts, mostly for a few minutes and up to four hours"},
		{codes: []string{"OptInRequired"}, outcome: capacity.Rejected, help: "the account has not enabled this region, or not accepted the terms of the image"},
		{codes: []string{"Blocked"}, outcome: capacity.Rejected, help: "the account is blocked; AWS's support knows why"},
		{codes: []string{"UnauthorizedOperation"}, outcome: capacity.Rejected, help: lacks},
		{codes: []string{"InvalidParameterValue"}, text: "iam instance profile", outcome: capacity.Transient},
		{codes: []string{"InvalidGroup.NotFound", "InvalidInstanceID.NotFound"}, outcome: capacity.Transient},
		{codes: []string{"RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled", "RequestThrottledException", "EC2ThrottledException", "SlowDown"}, outcome: capacity.Throttled},
		{codes: []string{"InvalidAMIID.*", "InvalidKeyPair.NotFound", "InvalidSnapshot.NotFound", "InvalidSecurityGroupID.*"}, outcome: capacity.Rejected},
		{codes: []string{"InvalidParameterValue", "InvalidParameterCombination", "InvalidParameter", "InvalidBlockDeviceMapping", "UnsupportedOperation", "InvalidInstanceType", "MissingParameter", "UnknownParameter"}, outcome: capacity.RejectedForm},
	}
}

// Classify implements cloud.Launcher.
func (c *Client) Classify(err error) cloud.Verdict {
	v := cloud.Verdict{Result: capacity.Result{Outcome: capacity.Rejected, Reason: err.Error()}}
	var e *Error
	if !errors.As(err, &e) {
		return v
	}
	v.Reason, v.Page = e.Reason(), e.Page
	name := e.Code
	if e.Op == opStart {
		_, after, found := strings.Cut(name, ".")
		if found && (strings.HasPrefix(name, "Server.") || strings.HasPrefix(name, "Client.")) {
			name = after
		}
		// Encryption: the machine was accepted and could not have its volume.
		if e.Code == "Client.InternalError" {
			v.Reason += "; EC2 says so of volumes whose KMS key cannot be used: check the key, and its policy"
			return v
		}
	}
	for _, r := range rules() {
		if !r.fits(name, strings.ToLower(e.Message)) {
			continue
		}
		v.Outcome, v.AnyShape = r.outcome, r.region
		if r.outcome == capacity.NoCapacity {
			v.Elsewhere = elsewhere(e.Message)
		}
		if r.help != "" && (r.help != lacks || !strings.Contains(v.Reason, needs)) {
			v.Reason += "; " + r.help
		}
		return v
	}
	switch {
	case errors.Is(err, errCrowded):
		v.Outcome = capacity.NoCapacity
	case e.Op == opRun && refused(err):
		v.Reason = c.whyNot(err) + ": " + v.Reason
	case e.Op == opRun && lost(err):
		v.Outcome, v.Ambiguous = capacity.Transient, true
	case passing(err), unsent(e.Cause):
		v.Outcome = capacity.Transient
	// A machine that died after it was accepted, for a reason not known to be for
	// good, may live elsewhere.
	case e.Op == opStart:
		v.Outcome = capacity.Transient
	}
	return v
}

var (
	// choosing is how EC2 says where there is room: "You can currently get t4g.micro
	// capacity by not specifying an Availability Zone in your request or choosing
	// eu-central-1a, eu-central-1c."
	choosing = regexp.MustCompile(`You can currently get \S+ capacity by .*? choosing ([a-z0-9, -]+)`)
	zoneName = regexp.MustCompile(`[a-z]+(?:-[a-z0-9]+)*-[0-9]+[a-z]`)
)

// elsewhere are the zones that a message says have room.
func elsewhere(message string) []string {
	m := choosing.FindStringSubmatch(message)
	if m == nil {
		return nil
	}
	return zoneName.FindAllString(m[1], -1)
}

// Classify implements cloud.Launcher. A profile or a key pair that is not found is
// one that we have just made, or one that does not exist.
func (b *Build) Classify(err error) cloud.Verdict {
	v := b.Client.Classify(err)
	if b.cfg.ImportKey != "" && code(err, "InvalidKeyPair.NotFound") {
		v.Outcome = capacity.Transient
	}
	if v.Outcome == capacity.Transient && b.cfg.Policy == "" && code(err, "InvalidParameterValue") {
		v.Outcome = capacity.Rejected
	}
	return v
}

// vcpuLimit is how EC2 says what a quota is: "You have requested more vCPU capacity
// than your current vCPU limit of 32 allows for ...".
var vcpuLimit = regexp.MustCompile(`vCPU limit of ([0-9]+) allows`)

// Examine implements cloud.Launcher. A quota that would do for the machine is used
// up by what runs now, and that may end: to the search it is room that is not there
// at the moment.
func (b *Build) Examine(_ context.Context, o capacity.Offer, v cloud.Verdict) cloud.Verdict {
	if v.Outcome != capacity.LimitReached || !strings.Contains(v.Reason, " VcpuLimitExceeded") && !strings.Contains(v.Reason, " MaxSpotInstanceCountExceeded") {
		return v
	}
	l, known := b.found.limits[marketOf(o)]
	if m := vcpuLimit.FindStringSubmatch(v.Reason); m != nil {
		l.quota, _ = strconv.ParseFloat(m[1], 64)
		known = true
	}
	if !known || l.quota < float64(o.OCPUs) {
		return v
	}
	v.Outcome, v.AnyShape = capacity.NoCapacity, false
	v.Reason = fmt.Sprintf("the quota of %g vCPUs is used up for the moment: %s", l.quota, v.Reason)
	return v
}

func (r rule) fits(code, message string) bool {
	if !strings.Contains(message, r.text) {
		return false
	}
	for _, c := range r.codes {
		if matchCode(c, code) {
			return true
		}
	}
	return false
}
