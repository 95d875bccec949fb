// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"net/http"
)

// apiError is an answer that is not a success: what clients see as
// {"code": …, "message": …} with a status.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.status, e.code, e.message)
}

func fail(status int, code, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// errNotFound is what OCI says about everything that is absent, somebody
// else's, in another region or forbidden. It does not tell which.
func errNotFound() *apiError {
	return fail(http.StatusNotFound, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
}

// errUnauthenticated hides the reason too; see apierrors.htm.
func errUnauthenticated() *apiError {
	return fail(http.StatusUnauthorized, "NotAuthenticated",
		"The required information to complete authentication was not provided or was incorrect.")
}

// errUnparsable is the answer to a body that is not what the API defines.
func errUnparsable() *apiError {
	return fail(http.StatusBadRequest, "CannotParseRequest", "Incorrectly formatted request.")
}

func errInvalid(format string, args ...any) *apiError {
	return fail(http.StatusBadRequest, "InvalidParameter", format, args...)
}

func errMissing(name string) *apiError {
	return fail(http.StatusBadRequest, "MissingParameter", "Missing required parameter: %s", name)
}

func errState(format string, args ...any) *apiError {
	return fail(http.StatusConflict, "IncorrectState", format, args...)
}

// errCapacity is the answer that this product exists for.
func errCapacity() *apiError {
	return fail(http.StatusInternalServerError, "InternalError", "Out of host capacity.")
}

func errTagMismatch() *apiError {
	return fail(http.StatusPreconditionFailed, "NoEtagMatch", "The if-match header does not match the resource's current etag.")
}

// errNotSimulated must not be taken for a fault of the client.
func errNotSimulated(what string) *apiError {
	return fail(http.StatusNotImplemented, "NotImplemented", "The simulator does not have %s", what)
}
