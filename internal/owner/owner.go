// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package owner names what we create, so that it can be found again.
//
// Every resource carries who made it (this plugin), for which build, in which
// role and until when. Whatever a lost reply or a killed process leaves behind
// is looked up by this tag; nothing without it is ever touched. The same facts
// travel as a freeform tag where a service has tags and inside the name where it
// has none (pre-authenticated requests).
package owner

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Key is the key of our tag. All that we have to say is in one tag: OCI allows
// ten freeform tags on a resource, and they are the user's.
const Key = "armfree"

// Tag is what our tag says of a resource.
type Tag struct {
	Build   string    // which build made it
	Role    string    // what for
	Expires time.Time // when it is a leftover; zero for what is to stay
	Attempt string    // the retry token of the request that made it, if that matters
	// Unfinished means that not everything about it has been verified yet. A
	// finished image is never a leftover.
	Unfinished bool
	// Failed means that it was started and did not pass.
	Failed bool
	// Verified names what an image was verified by when it was started, if it was.
	Verified string
	// Series is that of the images that follow one another, if there is one.
	Series string
	// Source is the id of the image that this one is a copy of, and Origin the
	// build that made that one, if they are known.
	Source, Origin string
	// Form is what that image travelled as ("oci", "vmdk"), where it might have been more
	// than one thing; empty where it could not, or if an earlier version made the copy.
	Form string
}

// maxValue is how many characters OCI allows in a tag's value.
const maxValue = 256

// String is the tag's value: "build=... role=...", at most 256 characters, which
// is what OCI allows.
func (t Tag) String() string {
	s := "build=" + t.Build + " role=" + t.Role
	if !t.Expires.IsZero() {
		s += " expires=" + t.Expires.UTC().Format(time.RFC3339)
	}
	if t.Attempt != "" {
		s += " attempt=" + t.Attempt
	}
	if t.Unfinished {
		s += " state=unfinished"
	}
	if t.Failed {
		s += " check=failed"
	}
	if t.Verified != "" {
		s += " verified=" + t.Verified
	}
	if t.Series != "" {
		s += " series=" + t.Series
	}
	for _, more := range []struct{ key, value string }{{"source", shortened(t.Source)}, {"form", t.Form}, {"origin", t.Origin}} {
		// What is only good to know gives way to what things are found by.
		if word := " " + more.key + "=" + more.value; more.value != "" && len(s)+len(word) <= maxValue {
			s += word
		}
	}
	return s
}

// A file is known by its digest, which as SHA-512 in hexadecimal leaves no room for what
// follows: in a tag it is "sha512-" and base64, 42 characters less.
const longDigest, shortDigest = "sha512:", "sha512-"

// shortened is a source as a tag names it.
func shortened(source string) string {
	digits, is := strings.CutPrefix(source, longDigest)
	sum, err := hex.DecodeString(digits)
	if !is || err != nil || len(sum) != sha512.Size || digits != strings.ToLower(digits) {
		return source
	}
	return shortDigest + base64.RawURLEncoding.EncodeToString(sum)
}

// lengthened undoes shortened. What was written before there was that stays as it is.
func lengthened(source string) string {
	digits, is := strings.CutPrefix(source, shortDigest)
	sum, err := base64.RawURLEncoding.Strict().DecodeString(digits)
	if !is || err != nil || len(sum) != sha512.Size {
		return source
	}
	return longDigest + hex.EncodeToString(sum)
}

// ParseTag undoes String. Words that it does not know are for a later version
// and are passed over.
func ParseTag(value string) (t Tag, err error) {
	for _, word := range strings.Fields(value) {
		k, v, _ := strings.Cut(word, "=")
		switch k {
		case "build":
			t.Build = v
		case "role":
			t.Role = v
		case "attempt":
			t.Attempt = v
		case "state":
			t.Unfinished = v == "unfinished"
		case "check":
			t.Failed = v == "failed"
		case "verified":
			t.Verified = v
		case "series":
			t.Series = v
		case "source":
			t.Source = lengthened(v)
		case "origin":
			t.Origin = v
		case "form":
			t.Form = v
		case "expires":
			if t.Expires, err = time.Parse(time.RFC3339, v); err != nil {
				return Tag{}, ErrNotOurs
			}
		}
	}
	if t.Build == "" || t.Role == "" {
		return Tag{}, ErrNotOurs
	}
	return t, nil
}

// With returns the user's tags and ours.
func (t Tag) With(user map[string]string) map[string]string {
	all := map[string]string{Key: t.String()}
	for k, v := range user {
		if k != Key { // CheckTags refuses it before
			all[k] = v
		}
	}
	return all
}

// maxTags is how many freeform tags OCI allows on a resource.
const maxTags = 10

// CheckTags says why a user's tags cannot be used beside ours. option is how
// the template calls them.
func CheckTags(option string, user map[string]string) error {
	var errs []error
	if _, taken := user[Key]; taken {
		errs = append(errs, fmt.Errorf("%s: the key %q is what this plugin finds its own things by; use another", option, Key))
	}
	if len(user) >= maxTags {
		errs = append(errs, fmt.Errorf("%s: OCI allows %d freeform tags, of which this plugin needs one; there are %d", option, maxTags, len(user)))
	}
	return errors.Join(append(errs, checkPairs(option, user))...)
}

// CheckOthersTags says why a user's tags cannot be used on a resource that has
// none of ours.
func CheckOthersTags(option string, user map[string]string) error {
	var errs []error
	if len(user) > maxTags {
		errs = append(errs, fmt.Errorf("%s: OCI allows %d freeform tags, there are %d", option, maxTags, len(user)))
	}
	return errors.Join(append(errs, checkPairs(option, user))...)
}

// checkPairs checks keys and values.
func checkPairs(option string, user map[string]string) error {
	var errs []error
	for k, v := range user {
		if len(k) == 0 || len(k) > 100 || len(v) > 256 {
			errs = append(errs, fmt.Errorf("%s: a key may have 1 to 100 characters and a value up to 256: %q", option, k))
		}
	}
	return errors.Join(errs...)
}

// What a resource is for.
const (
	RoleInstance = "instance"
	RoleImage    = "image"
	RoleExport   = "export"
	RoleImport   = "import"
	RoleCopy     = "copy"
	RoleCapture  = "capture" // a captured disk: finished once it has no expiry
	RoleBastion  = "bastion"
	RoleVolume   = "volume"
	RoleNetwork  = "network-interface"
	RoleSpot     = "spot-request"
	RoleGroup    = "security-group"
	RoleKeyPair  = "key-pair"
	RoleProfile  = "instance-profile"
	RoleSchema   = "schema" // of an image: goes if the image goes
)

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

// Derive makes the identity of something that is to be recognised when it is done
// again: equal parts give equal ids.
func Derive(now time.Time, life time.Duration, parts ...string) Build {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	id := strings.ToLower(base32.StdEncoding.EncodeToString(h.Sum(nil)[:10]))
	return Build{ID: id, Expires: now.Add(life).UTC().Truncate(time.Second)}
}

// Lasting is the same build with a later expiry.
func (b Build) Lasting(longer time.Duration) Build {
	b.Expires = b.Expires.Add(longer)
	return b
}

// Tag is the tag of a resource in a role, which expires with the build.
func (b Build) Tag(role string) Tag { return Tag{Build: b.ID, Role: role, Expires: b.Expires} }

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
