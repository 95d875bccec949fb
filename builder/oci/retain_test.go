// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The last images of a series are kept, whatever else there is, and only a build that
// made one deletes any.
func TestRetain(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	before := len(s.Cloud.Inventory().Tenancies[0].Regions[0].Images)
	make := func(change options) string {
		t.Helper()
		a, said, err := build(t.Context(), t, s, change, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		return a.Id()
	}
	there := func() (ids []string) {
		for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images[before:] {
			ids = append(ids, i.ID)
		}
		return ids
	}
	foreign, other := make(nil), make(options{"image_series": "other"}) // of the same name
	series := options{"image_series": "mine", "retain": 2}
	first := make(options{"image_series": "mine"}) // it counts although it was made without retain
	second := make(series)
	if got := there(); !slices.Equal(got, []string{foreign, other, first, second}) {
		t.Errorf("after two: %q", got)
	}

	// A build that fails takes nothing away, nor does one that makes no image.
	if _, _, err := build(t.Context(), t, s, options{"image_series": "mine", "retain": 1}, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return errors.New("no") }); err == nil {
		t.Error("it went well")
	}
	if _, said, err := build(t.Context(), t, s, options{"image_series": "mine", "retain": 1, "skip_create_image": true}, nil); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
	if got := there(); !slices.Equal(got, []string{foreign, other, first, second}) {
		t.Errorf("after a failure: %q", got)
	}

	// The machine of this build was made of the first image.
	a, said, err := build(t.Context(), t, s, options{"image_series": "mine", "retain": 2, "base_image_ocid": first}, nil)
	if err != nil || !strings.Contains(said, "The older image "+first+` ("built") stays although retain = 2: machine ocid1.instance.`) {
		t.Fatalf("%v\n%s", err, said)
	}
	third := a.Id()
	if got := there(); !slices.Equal(got, []string{foreign, other, first, second, third}) {
		t.Errorf("after the third: %q", got)
	}

	// One that somebody else has deleted meanwhile is no mistake.
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "DeleteImage", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "no", Times: 1}); err != nil {
		t.Fatal(err)
	}
	a, said, err = build(t.Context(), t, s, series, nil)
	if err != nil || !strings.Contains(said, "Deleting the older image "+second) {
		t.Fatalf("%v\n%s", err, said)
	}
	fourth := a.Id()
	got := there()
	if slices.Contains(got, second) || !slices.Contains(got, third) || !slices.Contains(got, fourth) || !slices.Contains(got, foreign) || !slices.Contains(got, other) {
		t.Errorf("after the fourth: %q\n%s", got, said)
	}

	// Packer does not discard what is left.
	if err := a.Destroy(); err != nil || !slices.Contains(there(), fourth) {
		t.Errorf("%v: %q", err, there())
	}
	fifth := make(options{"image_series": "mine", "retain": 1})
	if got := there(); !slices.Equal(got, []string{foreign, other, fifth}) {
		t.Errorf("in the end: %q", got)
	}
}

// What cannot be found out keeps everything, and fails nothing.
func TestRetainBlind(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"ListImages", "ListInstances", "DeleteImage"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			change := options{"image_name": "", "image_name_prefix": "built", "packer_build_name": "x", "retain": 1}
			first, said, err := build(t.Context(), t, s, change, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			denied := ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 403, Code: "NotAuthorized", Message: "not allowed"}
			second, said, err := build(t.Context(), t, s, change, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
				return errors.Join(touch(ctx, ui, comm), s.Cloud.AddFaults(denied))
			})
			if err != nil || !strings.Contains(said, "older images of its series could not all be deleted (retain)") || !strings.Contains(said, "not allowed") {
				t.Fatalf("%v\n%s", err, said)
			}
			if left := s.Left(first.Id(), second.Id()); len(left) > 0 || !exists(s, first.Id()) || !exists(s, second.Id()) {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func exists(s *stage.Stage, image string) bool {
	return slices.ContainsFunc(s.Cloud.Inventory().Tenancies[0].Regions[0].Images, func(r ocisim.Resource) bool { return r.ID == image })
}
