// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package cloud

import (
	"fmt"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/help"
)

// Error is a failed call, or a resource that came to nothing, in one line. What
// it means is its adapter's to say.
type Error struct {
	Op        string // "launch instance"
	Subject   string // what it was about: an OCID, a name; may be empty
	Status    int    // HTTP status; 0 if no reply came or none was involved
	Code      string // the service's error code
	Message   string
	RequestID string
	Cause     error
	Page      help.Page // what helps; empty if that is not known
}

// Error is what was done to what, and then Reason.
func (e *Error) Error() string {
	return strings.TrimSpace(e.Op+" "+e.Subject) + ": " + e.Reason()
}

// Reason is the service's message, with its code and the request's id behind it:
// "Out of host capacity. (500 InternalError, request ...)".
func (e *Error) Reason() string {
	status := ""
	if e.Status != 0 {
		status = fmt.Sprint(e.Status)
	}
	var raw []string
	if answer := strings.TrimSpace(status + " " + e.Code); answer != "" {
		raw = append(raw, answer)
	}
	if e.RequestID != "" {
		raw = append(raw, "request "+e.RequestID)
	}
	s := strings.TrimSpace(e.Message)
	if len(raw) > 0 {
		s += " (" + strings.Join(raw, ", ") + ")"
	}
	return s
}

// HelpPage is the page about it.
func (e *Error) HelpPage() help.Page { return e.Page }

// Unwrap returns the error of the SDK, or what else led to this one.
func (e *Error) Unwrap() error { return e.Cause }

// Pages follows the token of the next page to the end.
func Pages(fetch func(token *string) (next *string, err error)) error {
	var token *string
	for {
		next, err := fetch(token)
		if err != nil || next == nil || *next == "" {
			return err
		}
		token = next
	}
}
