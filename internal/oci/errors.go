// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// Error is a failed call, or a resource that came to nothing, in OCI's words.
type Error = cloud.Error

// noCode is the SDK's code for an error reply that is not in OCI's form: a
// gateway's page, or no body at all, as after a HEAD.
const noCode = "BadErrorResponse"

// errNoAnswer says that a request was accepted with a reply that lacks what it
// must tell.
var errNoAnswer = errors.New("the answer cannot be understood")

// wrap turns an error of the SDK into an *Error.
func wrap(op, subject string, err error) error {
	if err == nil {
		return nil
	}
	if own, ok := err.(*Error); ok { //nolint:errorlint // one that is wrapped in something else is not ours to unwrap
		return own
	}
	e := &Error{Op: op, Subject: subject, Message: err.Error(), Cause: err}
	defer func() { e.Page = page(e) }()
	var se common.ServiceError
	if errors.As(err, &se) {
		e.Status, e.Code, e.Message, e.RequestID = se.GetHTTPStatusCode(), se.GetCode(), se.GetMessage(), requestID(op, subject, se.GetOpcRequestID())
		if e.Code == noCode {
			// The SDK's message would be a whole page.
			e.Code, e.Message = "", cmp.Or(http.StatusText(e.Status), "the answer is not OCI's")
		}
		return e
	}
	// The SDK and net/http put the URL into their texts; it may be a secret.
	var ue *url.Error
	switch {
	case errors.As(err, &ue):
		e.Message = "no reply: " + ue.Err.Error()
	case garbled(err):
		e.Message = errNoAnswer.Error()
	}
	return e
}

// requestID is the part of an opc-request-id that tells a request from others. The two
// parts behind it say through which services it went: they are for the log, where
// Oracle's support finds the id as a whole.
func requestID(op, subject, id string) string {
	short, _, more := strings.Cut(id, "/")
	if more {
		log.Printf("[DEBUG] %s failed: opc-request-id %s", strings.TrimSpace(op+" "+subject), id)
	}
	return short
}

// page is the page about an error.
func page(e *Error) help.Page {
	var signIn *signInError
	switch {
	case full(e.Message):
		return help.Capacity
	case e.Code == "LimitExceeded", e.Code == "QuotaExceeded":
		return help.Limits
	case e.Status == http.StatusUnauthorized, errors.As(e.Cause, &signIn) && !signIn.passing:
		return help.SignIn
	case e.Status == http.StatusForbidden, e.Code == "NotAuthorizedOrNotFound":
		return help.Permissions
	}
	return ""
}

// missing says that the thing does not exist, or that we may not see it.
func missing(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// code says whether err carries one of OCI's error codes.
func code(err error, codes ...string) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// passing says that the same call may succeed a little later.
func passing(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return false
	}
	var dns *net.DNSError
	switch {
	case e.Status == http.StatusNotImplemented, code(err, usedToken):
		return false
	case errors.As(e.Cause, &dns) && dns.IsNotFound:
		return false // a region that does not exist has no host
	case lost(err), unsent(e.Cause), e.Status == http.StatusTooManyRequests, e.Status >= 500:
		return true
	// "Conflict with another image operation, try again later" has the code
	// Conflict, which the SDK does not count among what passes.
	case e.Status == http.StatusConflict:
		return code(err, "Conflict", "IncorrectState", "LockConflict", "ExternalServerIncorrectState")
	}
	return false
}

// usedToken is the code that a repeated request gets when what the first one
// made has changed since.
const usedToken = "InvalidatedRetryToken"

// lost says that the request may have taken effect although it was not
// confirmed: no reply came from the service, or the service itself does not
// know. A full cloud knows that it made nothing.
func lost(err error) bool {
	var e *Error
	if !errors.As(err, &e) || full(e.Message) {
		return false
	}
	switch {
	case e.Status >= 500:
		return e.Status != http.StatusNotImplemented
	case e.Status == 0 && e.Code == "":
		return garbled(e.Cause) || network(e.Cause) && !unsent(e.Cause)
	}
	return e.Code == usedToken
}

// full recognises that there is no capacity. The reply is an ordinary 500
// InternalError: only the text tells it from a failure of the service.
func full(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "out of host capacity") || strings.Contains(m, "out of capacity")
}

// garbled says that there was a reply of success which makes no sense.
func garbled(err error) bool {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var date *time.ParseError
	return errors.Is(err, errNoAnswer) || errors.As(err, &syntax) || errors.As(err, &kind) || errors.As(err, &date)
}

// unsent says that there never was a connection to send the request over, or
// nothing to sign it with yet. A
// request that is sent again after a malformed reply was sent once already.
func unsent(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var signIn *signInError
	if errors.As(err, &signIn) {
		return signIn.passing
	}
	if errors.As(err, &dns) || errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		return !malformed(err)
	}
	return false
}

// network says that err is about the connection and not about the request.
func network(err error) bool {
	var ne net.Error // *url.Error is one, too
	var cert *tls.CertificateVerificationError
	switch {
	case err == nil, errors.As(err, &cert):
		return false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne):
		return true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return malformed(err)
}

// aboutShape says that a shape was not found.
func aboutShape(e *Error) bool {
	return e.Status == http.StatusNotFound && strings.Contains(strings.ToLower(e.Message), "shape")
}

// Classify implements cloud.Launcher: it is the one table that turns what OCI
// says about a launch into what the search understands. The texts are OCI's;
// where they come from is listed in docs/architecture.md.
func (*Client) Classify(err error) cloud.Verdict {
	v := cloud.Verdict{Result: capacity.Result{Outcome: capacity.Rejected, Reason: err.Error()}}
	var e *Error
	if !errors.As(err, &e) {
		return v
	}
	v.Reason, v.Page = e.Reason(), e.Page
	msg := strings.ToLower(e.Message)
	switch {
	case full(e.Message), code(err, stuckCode):
		v.Outcome = capacity.NoCapacity
	case code(err, "LimitExceeded", "QuotaExceeded", yieldCode), strings.Contains(msg, "service limit reached"):
		v.Outcome = capacity.LimitReached
	case e.Status == http.StatusTooManyRequests:
		v.Outcome = capacity.Throttled
	// Some availability domains answer so for a shape that they do not have.
	case aboutShape(e):
		v.Outcome = capacity.Unavailable
	case lost(err):
		v.Outcome, v.Ambiguous = capacity.Transient, true
	// A parameter may be wrong for one shape or size only.
	case code(err, "InvalidParameter", "CannotParseRequest"):
		v.Outcome = capacity.RejectedForm
	case unsent(e.Cause), passing(err):
		v.Outcome = capacity.Transient
	// A machine that died after it was accepted, for a reason not known to be
	// for good, may live elsewhere.
	case e.Op == opStart:
		v.Outcome = capacity.Transient
	}
	return v
}

// Lost implements cloud.Imager.
func (*Client) Lost(err error) bool { return lost(err) }
