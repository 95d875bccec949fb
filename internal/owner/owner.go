// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package owner names what we create, so that it can be found again.
//
// Every resource carries who made it (this plugin), for which build, in which
// role and until when. Whatever a lost reply or a killed process leaves behind
// is looked up by these tags; nothing without them is ever touched. The same
// facts travel as freeform tags where a service has tags and inside the name
// where it has none (pre-authenticated requests).
package owner

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The keys of our tags. They are valid freeform tag keys on OCI and tag keys
// on EC2.
const (
	KeyBuild   = "armfree-build"
	KeyRole    = "armfree-role"
	KeyExpires = "armfree-expires"
	KeyState   = "armfree-state"
	KeyAttempt = "armfree-attempt"
)

// What a resource is for.
const (
	RoleInstance = "instance"
	RoleImage    = "image"
	RoleExport   = "export"
	RoleImport   = "import"
)

// Unfinished is the value of KeyState of an image about which not everything
// has been verified yet. Past its expiry such an image is a leftover. A finished
// image carries neither KeyState nor KeyExpires, and never is one.
const Unfinished = "unfinished"

// Build identifies one run of one component.
type Build struct {
	ID      string
	Expires time.Time
}

// NewBuild makes an identity that is valid for life from now on.
func NewBuild(now time.Time, life time.Duration) Build {
	var b [10]byte
	rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	id := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	return Build{ID: id, Expires: now.Add(life).UTC().Truncate(time.Second)}
}

// Tags returns our tags for a resource in a role, on top of user's. A tag of
// the user's own is never replaced: where the keys collide, the user's wins.
func (b Build) Tags(role string, user map[string]string) map[string]string {
	t := map[string]string{
		KeyBuild:   b.ID,
		KeyRole:    role,
		KeyExpires: b.Expires.Format(time.RFC3339),
	}
	for k, v := range user {
		t[k] = v
	}
	return t
}

// Name is the name of a resource that cannot carry tags.
func (b Build) Name(role string) string {
	return fmt.Sprintf("armfree-%s-%s-%d", b.ID, role, b.Expires.Unix())
}

// ErrNotOurs says that a name was not made by Name.
var ErrNotOurs = errors.New("not a name of ours")

// ParseName undoes Name.
func ParseName(name string) (b Build, role string, err error) {
	rest, ok := strings.CutPrefix(name, "armfree-")
	if !ok {
		return Build{}, "", ErrNotOurs
	}
	id, rest, ok := strings.Cut(rest, "-")
	i := strings.LastIndexByte(rest, '-')
	if !ok || i <= 0 || id == "" {
		return Build{}, "", ErrNotOurs
	}
	unix, err := strconv.ParseInt(rest[i+1:], 10, 64)
	if err != nil {
		return Build{}, "", ErrNotOurs
	}
	return Build{ID: id, Expires: time.Unix(unix, 0).UTC()}, rest[:i], nil
}

// Token derives a retry token from what makes a request unique. Equal parts
// give equal tokens, so a request may be sent again after an ambiguous
// failure; OCI allows 64 characters, EC2's ClientToken as many.
func (b Build) Token(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{b.ID}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return fmt.Sprintf("armfree-%x", h.Sum(nil)[:20])
}
