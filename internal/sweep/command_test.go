// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweep

import (
	"slices"
	"testing"
)

type scoped struct {
	Cloud
	place string
	in    []string
}

func (s scoped) Place() string { return s.place }
func (s scoped) In() []string  { return s.in }

func TestCommands(t *testing.T) {
	got := Commands("/some one/it's", "aaaa", []Cloud{
		scoped{place: "oci a-1", in: []string{"c1"}}, &cloud{place: "aws e"}, scoped{place: "oci b-1", in: []string{"c1", "c2"}}, &cloud{place: "aws e"},
	}, "--env-prefix", "PROD_")
	want := []string{
		`'/some one/it'\''s' sweep --build aaaa --cloud oci --env-prefix PROD_ --region a-1,b-1 --compartment c1,c2`,
		`'/some one/it'\''s' sweep --build aaaa --cloud aws --env-prefix PROD_ --region e`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := Commands("/bin/x-1.0_y", "b", nil); len(got) != 0 {
		t.Errorf("nowhere: %q", got)
	}
	if got := Commands("/bin/x-1.0_y", "b", []Cloud{&cloud{place: "aws e"}}); !slices.Equal(got, []string{"/bin/x-1.0_y sweep --build b --cloud aws --region e"}) {
		t.Errorf("%q", got)
	}
}
