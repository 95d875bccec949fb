// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// A finished copy of the same source is the result if it came in the form that is asked for.
func TestFormOfAFinishedCopy(t *testing.T) {
	for name, tt := range map[string]struct {
		has, form Form
		given     bool
		same      bool // it is of the very same copy
		conflict  Conflict
		fails     string
		made      bool // another one
	}{
		"by default, of old":         {},
		"by default, noted":          {has: Archive},
		"by default, another":        {has: VMDK, fails: `by image_format = "vmdk", and not by "oci"`},
		"asked for":                  {has: VMDK, form: VMDK, given: true},
		"asked for, another":         {has: Archive, form: VMDK, given: true, fails: `by image_format = "oci", and not by "vmdk"`},
		"asked for, of old":          {form: VMDK, given: true, fails: `without a note of its image_format, and not by "vmdk"`},
		"asked for, of old, archive": {form: Archive, given: true, fails: "without a note"},
		"of the same copy":           {form: VMDK, given: true, same: true},
		"another, to be replaced":    {has: Archive, form: VMDK, given: true, conflict: Replace, made: true},
		"another, and none may be":   {has: Archive, form: VMDK, given: true, conflict: Fail, fails: `image_name_conflict is "fail"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			results, said, err := runWith(t.Context(), w, func(c *Copy) {
				c.Form, c.FormGiven, c.RemoveSource = tt.form, tt.given, true
				if tt.conflict != "" {
					c.Conflict = tt.conflict
				}
				f := cloud.Found{ID: "old@a", Name: "debian", Ready: true, Mark: "another's", Source: "i", Form: string(tt.has)}
				if tt.same {
					f.Mark = c.mark(c.Targets[0])
				}
				w.images[f.ID] = f
			}, "a")
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) || !strings.Contains(err.Error(), "old@a") || !w.source || w.index("note") >= 0 {
					t.Errorf("%v; steps %q\n%s", err, w.steps, said)
				}
				mustLeave(t, w, "image old@a")
				return
			}
			want := map[bool]string{false: "old@a", true: "debian@a"}[tt.made]
			if err != nil || results[0].Image != want || w.source {
				t.Fatalf("%+v, %v\n%s", results, err, said)
			}
			mustLeave(t, w, "image "+want)
		})
	}
	// Where one of several came in the right form, that is the result.
	w := newWorld()
	results, said, err := runWith(t.Context(), w, func(c *Copy) {
		c.Form, c.FormGiven = VMDK, true
		for id, form := range map[string]Form{"one@a": Archive, "two@a": VMDK, "three@a": ""} {
			w.images[id] = cloud.Found{ID: id, Name: "debian", Ready: true, Mark: "another's", Source: "i", Form: string(form)}
		}
	}, "a")
	if err != nil || results[0].Image != "two@a" {
		t.Errorf("%+v, %v\n%s", results, err, said)
	}
}
