// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package help leads from an error to the page about it. What knows an error best, an
// adapter or a phase, says which page that is; what shows it to people puts the link
// below it. The pages are in docs/errors.
package help

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Repository is where the plugin is at home. It has the name of the organisation once.
const Repository = "https://github.com/armfree/packer-plugin-armfree"

// Page is a page of docs/errors, by its name.
type Page string

// The pages.
const (
	Capacity    Page = "capacity"    // there is no machine to be had
	Limits      Page = "limits"      // the account may not have more
	Permissions Page = "permissions" // this user may not, or it is not there
	SignIn      Page = "sign-in"     // nobody is signed in
	Connection  Page = "connection"  // the machine runs and cannot be reached
	Links       Page = "links"       // pre-authenticated requests
	Boot        Page = "boot"        // an image does not start, or not well
	Check       Page = "check"       // goss has found something
)

// Pages are all of them.
func Pages() []Page {
	return []Page{Capacity, Limits, Permissions, SignIn, Connection, Links, Boot, Check}
}

// URL is where people find the page.
func (p Page) URL() string { return Repository + "/blob/main/docs/errors/" + string(p) + ".md" }

// Error is an error with a page.
type Error struct {
	Err  error
	Page Page
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *Error) Unwrap() error { return e.Err }

// HelpPage is the page.
func (e *Error) HelpPage() Page { return e.Page }

// About says which page an error is about. The text stays what it is.
func About(p Page, err error) error {
	if err == nil {
		return nil
	}
	return &Error{err, p}
}

// most is how many links an error gets: who has many problems begins with one.
const most = 3

// With puts the links to the pages about err, and about what it consists of, below it.
// A cancel needs no help.
func With(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var pages []Page
	find(err, &pages)
	var links strings.Builder
	for _, p := range pages[:min(len(pages), most)] {
		if !strings.Contains(err.Error(), p.URL()) {
			links.WriteString("\nWhat helps: " + p.URL())
		}
	}
	if links.Len() == 0 {
		return err
	}
	return fmt.Errorf("%w%s", err, links.String())
}

// find collects the pages of err and of what it wraps, outer ones first.
func find(err error, pages *[]Page) {
	if e, is := err.(interface{ HelpPage() Page }); is { //nolint:errorlint // what is wrapped comes next
		if p := e.HelpPage(); p != "" && !slices.Contains(*pages, p) {
			*pages = append(*pages, p)
		}
	}
	switch e := err.(type) { //nolint:errorlint // likewise
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			find(inner, pages)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			find(inner, pages)
		}
	}
}
