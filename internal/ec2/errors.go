// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// filler are sentences of EC2 that say nothing, or what we say better.
var filler = regexp.MustCompile(`\s*(?:Our system will be working on provisioning additional capacity|Please visit https?://aws\.amazon\.com/contact-us/ec2-request to request an adjustment to this limit)\.`)

// Error is a failed call, or a resource that came to nothing, in AWS's words.
type Error = cloud.Error

// errNoAnswer says that a request was accepted with a reply that lacks what it
// must tell.
var errNoAnswer = errors.New("the answer cannot be understood")

// encoded is the long blob that says in detail why IAM refused.
var encoded = regexp.MustCompile(`\s*Encoded authorization failure message: ([A-Za-z0-9_+/=-]+)\.?`)

// wrap turns an error of the SDK into an *Error.
func wrap(op, subject string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	e := &Error{Op: op, Subject: subject, Message: err.Error(), Cause: err}
	defer func() { e.Page = page(e) }()
	var signIn *signInError
	if errors.As(err, &signIn) { // not EC2's answer, though an API's maybe
		e.Message = signIn.Error()
		return e
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		e.Status, e.RequestID = answer.HTTPStatusCode(), answer.ServiceRequestID()
	}
	var api smithy.APIError
	var u *url.Error
	var broken *smithy.DeserializationError
	switch {
	case errors.As(err, &api) && api.ErrorCode() != "" && api.ErrorCode() != unknownCode:
		e.Code = api.ErrorCode()
		e.Message = filler.ReplaceAllString(encoded.ReplaceAllString(api.ErrorMessage(), ""), "")
		if action := actionOf(err); action != "" && forbidden(e) && !strings.Contains(e.Message, "perform: ") {
			e.Message = strings.TrimSuffix(e.Message, ".") + needs + action
		}
	case e.Status >= 300: // a gateway's page; the SDK's message would be all of it
		e.Message = http.StatusText(e.Status)
		if e.Message == "" {
			e.Message = "the answer is not AWS's"
		}
	case errors.As(err, &u): // the URL may be a secret
		e.Message = "no reply: " + u.Err.Error()
	case errors.As(err, &broken), errors.Is(err, errNoAnswer):
		e.Message = errNoAnswer.Error()
	default:
		e.Message = bare(err)
	}
	return e
}

// bare is what an error says without what the SDK puts before it: the operation, which
// our own name for it says already, and the status of a reply that never came.
func bare(err error) string {
	var o *smithy.OperationError
	if errors.As(err, &o) {
		err = o.Err
	}
	var canceled *aws.RequestCanceledError
	if errors.As(err, &canceled) {
		err = canceled.Err
	}
	return err.Error()
}

// needs comes before the permission that was missing.
const needs = ": the user needs the permission "

// page is the page about an error.
func page(e *Error) help.Page {
	var signIn *signInError
	switch {
	case full(e.Code):
		return help.Capacity
	case throttled(e):
		return ""
	case strings.HasSuffix(e.Code, "LimitExceeded"), e.Code == "MaxSpotInstanceCountExceeded":
		return help.Limits
	case errors.As(e.Cause, &signIn) && !signIn.passing, code(e, "AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "RequestExpired"):
		return help.SignIn
	case forbidden(e):
		return help.Permissions
	}
	return ""
}

// actionOf is what policies of IAM call an operation of the SDK. Some answers do not
// name it. An operation may need others beside it.
func actionOf(err error) string {
	var o *smithy.OperationError
	if !errors.As(err, &o) {
		return ""
	}
	return strings.ToLower(strings.ReplaceAll(o.Service(), " ", "")) + ":" + o.Operation()
}

// unknownCode is the SDK's code for an error reply that has none.
const unknownCode = "UnknownError"

// blob is the encoded authorization message of a refusal, if it has one.
func blob(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		if m := encoded.FindStringSubmatch(api.ErrorMessage()); m != nil {
			return m[1]
		}
	}
	return ""
}

// code says whether err carries one of the codes. One that ends with a dot and a
// star covers all that go on after the dot.
func code(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) || e.Code == "" {
		return false
	}
	return slices.ContainsFunc(codes, func(c string) bool { return matchCode(c, e.Code) })
}

func matchCode(pattern, code string) bool {
	if head, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(code, head)
	}
	return pattern == code
}

// missing says that the thing does not exist, or that we may not see it.
func missing(err error) bool {
	var e *Error
	return errors.As(err, &e) && (strings.HasSuffix(e.Code, ".NotFound") || code(err, "InvalidAMIID.Unavailable", "NoSuchEntity", "ParameterNotFound", "InvalidSnapshot.NotFound"))
}

// forbidden says that the user may not do it.
func forbidden(err error) bool {
	return code(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
}

// throttled are the codes of too many requests.
func throttled(err error) bool {
	return code(err, "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
		"EC2ThrottledException", "TooManyRequestsException", "SlowDown", "PriorRequestNotComplete")
}

// passing says that the same call may succeed a little later.
func passing(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return false
	}
	var signIn *signInError
	switch {
	case errors.As(err, &signIn):
		return signIn.passing
	case full(e.Code), e.Status == http.StatusNotImplemented:
		return false
	case noHost(e.Cause):
		return false // a region that does not exist has no host
	case throttled(err), e.Status == http.StatusTooManyRequests, e.Status >= 500, unsent(e.Cause):
		return true
	}
	return e.Code == "" && e.Status < 300 && (garbled(e.Cause) || network(e.Cause))
}

// lost says that the request may have taken effect although it was not confirmed:
// no reply came from the service, or the service itself does not know. A full
// cloud knows that it made nothing, and so does one that turns requests away.
func lost(err error) bool {
	var e *Error
	if !errors.As(err, &e) || full(e.Code) || throttled(err) {
		return false
	}
	var signIn *signInError
	switch {
	case errors.As(err, &signIn):
		return false
	case e.Status >= 500:
		return e.Status != http.StatusNotImplemented
	}
	return e.Code == "" && e.Status < 300 && (garbled(e.Cause) || network(e.Cause) && !unsent(e.Cause))
}

// full are the codes that say that there is no capacity. They come with HTTP
// status 500 like failures of the service.
func full(code string) bool {
	return strings.HasPrefix(code, "Insufficient") && code != "InsufficientFreeAddressesInSubnet" || code == "UnfulfillableCapacity"
}

// garbled says that there was a reply of success which makes no sense.
func garbled(err error) bool {
	var broken *smithy.DeserializationError
	return errors.Is(err, errNoAnswer) || errors.As(err, &broken)
}

// unsent says that there never was a connection to send the request over.
func unsent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// noHost says that a name does not exist: that of a region, mostly.
func noHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

// network says that err is about the connection and not about the request.
func network(err error) bool {
	var ne net.Error // *url.Error is one, too
	var cert *tls.CertificateVerificationError
	switch {
	case err == nil, errors.As(err, &cert):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // callLimit, or a grace
		return true
	}
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
