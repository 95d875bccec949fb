// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		op, code, message string
		status            int
		cause             error
		outcome           capacity.Outcome
		anyShape, open    bool
		says              string
	}{
		{code: "InsufficientInstanceCapacity", status: 500, message: "You can currently get t4g.micro capacity by not specifying an Availability Zone in your request or choosing eu-central-1b.", outcome: capacity.NoCapacity, says: "choosing eu-central-1b. (500 InsufficientInstanceCapacity)"},
		{code: "InsufficientHostCapacity", status: 500, outcome: capacity.NoCapacity},
		{code: "InsufficientVolumeCapacity", status: 500, outcome: capacity.NoCapacity},
		{code: "InsufficientCapacity", status: 500, outcome: capacity.NoCapacity},
		{code: "InsufficientAddressCapacity", status: 500, outcome: capacity.NoCapacity},
		{code: "InsufficientFreeAddressesInSubnet", status: 400, outcome: capacity.NoCapacity},
		{code: "UnfulfillableCapacity", status: 500, outcome: capacity.NoCapacity},
		{code: "ReservationCapacityExceeded", status: 400, outcome: capacity.NoCapacity},
		{code: "SpotMaxPriceTooLow", status: 400, outcome: capacity.NoCapacity, says: "spot_price"},
		{code: "Unsupported", status: 400, message: "Your requested instance type (t4g.micro) is not supported in your requested Availability Zone (us-east-1e).", outcome: capacity.Unavailable},
		{code: "VcpuLimitExceeded", status: 400, outcome: capacity.LimitReached, anyShape: true, says: "L-1216C47A"},
		{code: "MaxSpotInstanceCountExceeded", status: 400, outcome: capacity.LimitReached, anyShape: true, says: "L-34B43A08"},
		{code: "InstanceLimitExceeded", status: 400, outcome: capacity.LimitReached, anyShape: true},
		{code: "MaxFleetCountExceeded", status: 400, outcome: capacity.LimitReached, anyShape: true},
		{code: "AuthFailure.ServiceLinkedRoleCreationNotPermitted", status: 403, outcome: capacity.LimitReached, anyShape: true, says: "create-service-linked-role"},
		{code: "InvalidParameterCombination", status: 400, message: "The specified instance type is not eligible for Free Tier. For a list of ...", outcome: capacity.RejectedForm, says: "free plan"},
		{code: "InvalidParameterCombination", status: 400, message: "The specified image is not eligible for Free Tier.", outcome: capacity.Rejected, says: "another source image"},
		{code: "InvalidParameterCombination", status: 400, message: "something else", outcome: capacity.RejectedForm},
		{code: "PendingVerification", status: 400, outcome: capacity.LimitDoubtful, anyShape: true},
		{code: "OptInRequired", status: 401, outcome: capacity.Rejected},
		{code: "Blocked", status: 400, outcome: capacity.Rejected},
		{code: "UnauthorizedOperation", status: 403, message: "You are not authorized", outcome: capacity.Rejected, says: "permission"},
		{code: "InvalidAMIID.NotFound", status: 400, outcome: capacity.Rejected},
		{code: "InvalidAMIID.Malformed", status: 400, outcome: capacity.Rejected},
		{code: "InvalidParameterValue", status: 400, message: "The architecture 'x86_64' of the specified instance type does not match", outcome: capacity.RejectedForm},
		{code: "InvalidParameterValue", status: 400, message: "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", outcome: capacity.Transient},
		{code: "InvalidGroup.NotFound", status: 400, outcome: capacity.Transient},
		{code: "RequestLimitExceeded", status: 503, outcome: capacity.Throttled},
		{code: "InternalError", status: 500, outcome: capacity.Transient, open: true},
		{code: "Unavailable", status: 503, outcome: capacity.Transient, open: true},
		{code: "ServiceUnavailable", status: 503, outcome: capacity.Transient, open: true},
		{status: 502, message: "Bad Gateway", outcome: capacity.Transient, open: true},
		{code: "IdempotentParameterMismatch", status: 400, outcome: capacity.Rejected},
		{cause: &net.OpError{Op: "read", Err: errors.New("reset")}, outcome: capacity.Transient, open: true},
		{cause: &net.OpError{Op: "dial", Err: errors.New("refused")}, outcome: capacity.Transient},
		{cause: &net.DNSError{IsNotFound: true}, outcome: capacity.Transient},
		{cause: errNoAnswer, status: 200, outcome: capacity.Transient, open: true},

		{op: opStart, code: "Server.InsufficientInstanceCapacity", outcome: capacity.NoCapacity},
		{op: opStart, code: "Server.InsufficientVolumeCapacity", outcome: capacity.NoCapacity},
		{op: opStart, code: "Server.SpotInstanceTermination", outcome: capacity.NoCapacity},
		{op: opStart, code: slowCode, outcome: capacity.NoCapacity},
		{op: opStart, code: "Server.InternalError", outcome: capacity.Transient},
		{op: opStart, code: "Client.InternalError", outcome: capacity.Rejected, says: "KMS"},
		{op: opStart, code: "Client.VolumeLimitExceeded", outcome: capacity.Rejected},
		{op: opStart, code: "Client.InvalidSnapshot.NotFound", outcome: capacity.Rejected},
		{op: opStart, code: "Client.InstanceInitiatedShutdown", outcome: capacity.Transient},
	} {
		op := tt.op
		if op == "" {
			op = opRun
		}
		v := (&Client{by: &principal{}}).Classify(&Error{Op: op, Status: tt.status, Code: tt.code, Message: tt.message, Cause: tt.cause})
		if v.Outcome != tt.outcome || v.AnyShape != tt.anyShape || v.Ambiguous != tt.open {
			t.Errorf("%s %q: %s, any shape %t, open %t", tt.code, tt.message, v.Outcome, v.AnyShape, v.Ambiguous)
		}
		checkText(t, v.Reason, []string{tt.says}, nil)
	}
	if v := (&Client{}).Classify(errors.New("x")); v.Outcome != capacity.Rejected || v.Ambiguous {
		t.Errorf("%+v", v)
	}
	// A name in capacity's family that is not known yet must not be taken for a
	// lost reply: nothing was made.
	if lost(&Error{Op: opRun, Status: 500, Code: "InsufficientSomethingCapacity"}) {
		t.Error("a full cloud counts as a lost reply")
	}
}

// An error has the operation once, in our words, and nothing of what the SDK puts
// around it.
func TestWrapIsBare(t *testing.T) {
	in := func(err error) error {
		return &smithy.OperationError{ServiceID: "EC2", OperationName: "RunInstances", Err: err}
	}
	answer := func(status int, err error) error {
		return &awshttp.ResponseError{RequestID: "r-1", ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: err}}
	}
	api := func(code, message string) error { return &smithy.GenericAPIError{Code: code, Message: message} }
	for _, tt := range []struct {
		err  error
		want string
	}{
		{in(answer(500, api("InsufficientInstanceCapacity", "We do not have sufficient t4g.micro capacity. Our system will be working on provisioning additional capacity. You can get it elsewhere."))),
			"launch instance: We do not have sufficient t4g.micro capacity. You can get it elsewhere. (500 InsufficientInstanceCapacity, request r-1)"},
		{in(answer(400, api("VcpuLimitExceeded", "Your vCPU limit of 0 allows none. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."))),
			"launch instance: Your vCPU limit of 0 allows none. (400 VcpuLimitExceeded, request r-1)"},
		{in(answer(403, api("UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: AAAA"))),
			"launch instance: You are not authorized to perform this operation: the user needs the permission ec2:RunInstances (403 UnauthorizedOperation, request r-1)"},
		{in(answer(502, errors.New("<html>"))), "launch instance: Bad Gateway (502, request r-1)"},
		{in(errors.New("ImageId is missing")), "launch instance: ImageId is missing"},
		{in(&aws.RequestCanceledError{Err: context.DeadlineExceeded}), "launch instance: context deadline exceeded"},
		{in(&url.Error{Op: "Post", URL: "https://secret", Err: io.EOF}), "launch instance: no reply: EOF"},
		{errors.New("x"), "launch instance: x"},
	} {
		if got := wrap("launch instance", "", tt.err).Error(); got != tt.want {
			t.Errorf("got  %q\nwant %q", got, tt.want)
		}
	}
}

// What EC2 says of other zones.
func TestElsewhere(t *testing.T) {
	const get = "Our system will be working on provisioning additional capacity. You can currently get t4g.micro capacity by not specifying an Availability Zone in your request or choosing "
	for message, want := range map[string][]string{
		get + "eu-central-1b.":                                                    {"eu-central-1b"},
		get + "us-gov-west-1a, us-west-2-lax-1a.":                                 {"us-gov-west-1a", "us-west-2-lax-1a"},
		get + "eu-north-1b, or eu-north-1c. Or us-east-1a.":                       {"eu-north-1b", "eu-north-1c"},
		"There is no Spot capacity available.":                                    nil,
		"Please retry your request by not specifying one or choosing us-east-1a.": nil,
		get: nil, "": nil,
	} {
		v := (&Client{by: &principal{}}).Classify(&Error{Op: opRun, Status: 500, Code: "InsufficientInstanceCapacity", Message: message})
		if !slices.Equal(v.Elsewhere, want) {
			t.Errorf("%q: %q", message, v.Elsewhere)
		}
	}
}
