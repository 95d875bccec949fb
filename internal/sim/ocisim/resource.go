// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// place is where a resource exists: in one tenancy and one region. Nobody else
// can see it.
type place struct {
	tenancy *Tenancy // nil for what Oracle provides to all, such as platform images
	region  region
}

// seenBy tells whether the caller of a request can see what is at the place.
func (p place) seenBy(q *call) bool {
	return (p.tenancy == nil || p.tenancy == q.tenancy()) && p.region.name == q.region().name
}

// ownedBy is seenBy without what belongs to everybody.
func (p place) ownedBy(q *call) bool { return p.tenancy != nil && p.seenBy(q) }

// here is the place that a request is about.
func (q *call) here() place { return place{q.tenancy(), q.region()} }

// revision is a resource's etag. It changes with every change that a client
// asks for.
type revision struct{ etag string }

func (v *revision) touch() { v.etag = randomHex(16) }

// ifMatch refuses a change to a resource that is no longer what the client
// thinks it is.
func (v *revision) ifMatch(q *call) error {
	if want := q.Header.Get("If-Match"); want != "" && want != v.etag && want != "*" {
		return errTagMismatch()
	}
	return nil
}

// checkName applies OCI's bound on display names.
func checkName(name *string) error {
	if name != nil && (*name == "" || utf8.RuneCountInString(*name) > 255) {
		return errInvalid("displayName must be between 1 and 255 characters long")
	}
	return nil
}

// nameOr is the display name that was asked for, or else one of the form that
// OCI makes up, such as instance20260102030405.
func nameOr(name *string, kind string) string {
	if name != nil {
		return *name
	}
	return kind + time.Now().UTC().Format("20060102150405")
}

// compartment checks that a compartment is the caller's own and open to it.
func (q *call) compartment(id string) error {
	if !q.tenancy().may(id) {
		return errNotFound()
	}
	return nil
}

// withEtag is a 200 with the resource's etag.
func withEtag(body any, v revision) *reply {
	return (&reply{status: http.StatusOK, body: body}).with("Etag", v.etag)
}

// plainText is a reply of text.
func plainText(text []byte) *reply {
	return &reply{stream: io.NopCloser(bytes.NewReader(text)), length: int64(len(text)), contentType: "text/plain"}
}

// sortResources sorts a list as sortBy and sortOrder say, in place: by default
// by age, the newest first, and names ascending. key gives a resource's name
// and age.
func sortResources[T any](q *call, items []T, key func(T) (string, wireTime)) {
	byName := q.param("sortBy") == "DISPLAYNAME"
	descending := q.param("sortOrder") == "DESC" || (q.param("sortOrder") == "" && !byName)
	slices.SortStableFunc(items, func(a, b T) int {
		aName, aTime := key(a)
		bName, bTime := key(b)
		order := aTime.Compare(bTime.Time)
		if byName {
			order = strings.Compare(strings.ToLower(aName), strings.ToLower(bName))
		}
		if descending {
			return -order
		}
		return order
	})
}
