// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package owner

import (
	"testing"
	"time"
)

// A tag that anybody may have written decides what is deleted: what is taken for ours
// says a build and a role, and says the same again when it is written and read.
func FuzzParseTag(f *testing.F) {
	b := NewBuild(time.Unix(1800000000, 0), time.Hour)
	f.Add(b.Tag(RoleInstance).String())
	f.Add(Tag{Build: "b", Role: RoleImage, Unfinished: true, Source: "x", Origin: "y", Attempt: "t"}.String())
	f.Add("build=x role=y expires=0000-01-01T00:00:00Z")
	f.Add("build=x role=y expires=9999-12-31T23:59:59+23:59 build=")
	f.Fuzz(func(t *testing.T, text string) {
		tag, err := ParseTag(text)
		if err != nil {
			if tag != (Tag{}) {
				t.Errorf("%q is refused, and gives %+v", text, tag)
			}
			return
		}
		if tag.Build == "" || tag.Role == "" {
			t.Fatalf("%q is taken for ours", text)
		}
		if len(text) > 200 || tag.Expires.UTC().Year() < 1 || tag.Expires.UTC().Year() > 9999 {
			return // more than a tag may have
		}
		again, err := ParseTag(tag.String())
		if err != nil || again.Build != tag.Build || again.Role != tag.Role || again.Unfinished != tag.Unfinished || !again.Expires.Equal(tag.Expires) {
			t.Errorf("%q: %+v, and again %+v, %v", text, tag, again, err)
		}
	})
}

// The same for names.
func FuzzParseName(f *testing.F) {
	b := NewBuild(time.Unix(1800000000, 0), time.Hour)
	for _, s := range []string{b.Name(RoleExport), "armfree-abc-image-tomorrow", "armfree--image-5", "armfree-a-b-c-9223372036854775807", "armfree-a-b--5", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		b, role, err := ParseName(name)
		if err != nil {
			return
		}
		if b.ID == "" || role == "" {
			t.Fatalf("%q is taken for ours: %+v, %q", name, b, role)
		}
		again, r, err := ParseName(b.Name(role))
		if err != nil || again != b || r != role {
			t.Errorf("%q: %+v %q, and again %+v %q, %v", name, b, role, again, r, err)
		}
	})
}
