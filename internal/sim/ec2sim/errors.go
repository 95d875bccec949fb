// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"net/http"
)

// apiError is an answer that is not a success.
type apiError struct {
	status  int
	code    string
	message string
	fields  map[string]any // beyond code and message, in services that speak JSON
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message) }

func fail(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// refuse is an answer with status 400, which most have.
func refuse(code, format string, args ...any) *apiError {
	return fail(http.StatusBadRequest, code, format, args...)
}

func errValue(format string, args ...any) *apiError {
	return refuse("InvalidParameterValue", format, args...)
}

func errCombination(format string, args ...any) *apiError {
	return refuse("InvalidParameterCombination", format, args...)
}

func errMissing(name string) *apiError {
	return refuse("MissingParameter", "The request must contain the parameter %s", name)
}

// errNotSimulated must not be taken for a fault of the client.
func errNotSimulated(what string) *apiError {
	return fail(http.StatusNotImplemented, "NotImplemented", "The simulator does not have %s", what)
}

// problem is something that each service says in its own words.
type problem int

const (
	unsigned      problem = iota // no signature
	malformed                    // a signature that cannot be read
	unknownKey                   // an access key that does not exist, or not in this region
	wrongSecret                  // a signature that another key made
	wrongScope                   // signed for another region or service
	outdated                     // signed too long ago or in the future
	expired                      // a session that is over
	notAllowed                   // IAM says no: Principal, action, error
	throttled                    // too many requests
	unknownAction                // name of the action
	unavailable
)

// problem words a problem as the service does.
func (a *api) problem(p problem, args ...any) *apiError {
	return a.problems(p, args...)
}

// ec2Problems are EC2's words.
func ec2Problems(p problem, args ...any) *apiError {
	switch p {
	case unsigned:
		return fail(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	case malformed:
		return refuse("IncompleteSignature", "%v", fmt.Sprint(args...))
	case unknownKey, wrongSecret, wrongScope:
		return fail(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
	case outdated, expired:
		return refuse("RequestExpired", "Request has expired.")
	case notAllowed:
		return fail(http.StatusForbidden, "UnauthorizedOperation",
			"You are not authorized to perform this operation. %s. Encoded authorization failure message: %s",
			notAllowedText(args...), encodeMessage(args...))
	case throttled:
		return fail(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded.")
	case unknownAction:
		return refuse("InvalidAction", "The action %s is not valid for this web service.", args...)
	case unavailable:
		return fail(http.StatusServiceUnavailable, "Unavailable", "The service is unavailable. Please try again shortly.")
	}
	return fail(http.StatusInternalServerError, "InternalError", "An internal error has occurred")
}

// queryProblems are the words of the other services with forms and XML: STS
// and IAM.
func queryProblems(p problem, args ...any) *apiError {
	switch p {
	case unknownKey:
		return fail(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	case wrongSecret:
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature "+
			"you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	case wrongScope:
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
	case outdated:
		return fail(http.StatusForbidden, "SignatureDoesNotMatch", "Signature expired")
	case expired:
		return fail(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	case notAllowed:
		return fail(http.StatusForbidden, "AccessDenied", "%s", notAllowedText(args...))
	case throttled:
		return refuse("Throttling", "Rate exceeded")
	}
	return ec2Problems(p, args...)
}

// jsonProblems are the words of services that speak JSON.
func jsonProblems(p problem, args ...any) *apiError {
	switch p {
	case unsigned:
		return refuse("MissingAuthenticationTokenException", "Missing Authentication Token")
	case unknownKey:
		return refuse("UnrecognizedClientException", "The security token included in the request is invalid.")
	case wrongSecret, wrongScope, outdated:
		return refuse("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.")
	case expired:
		return refuse("ExpiredTokenException", "The security token included in the request is expired")
	case notAllowed:
		return refuse("AccessDeniedException", "%s", notAllowedText(args...))
	case throttled:
		return refuse("ThrottlingException", "Rate exceeded")
	case unknownAction:
		return refuse("UnknownOperationException", "%v", fmt.Sprint(args...))
	}
	return ec2Problems(p, args...)
}
