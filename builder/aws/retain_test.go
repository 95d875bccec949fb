// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The last images of a series are kept with their snapshots, in each region, and only a
// build that made one deletes any.
func TestRetain(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	named := func(name string, change set) set {
		all := set{"ami_name": name, "image_series": "mine", "ami_regions": []string{"eu-west-1"}}
		for k, v := range change {
			all[k] = v
		}
		return all
	}
	foreign, _ := built(t, s, set{"ami_name": "foreign"}, nil)
	other, _ := built(t, s, set{"ami_name": "other", "image_series": "other"}, nil)
	first, _ := built(t, s, named("first", nil), nil) // it counts although it was made without retain
	second, _ := built(t, s, named("second", set{"retain": 2}), nil)
	nothingLeft(t, s, foreign, other, first, second)

	// A build that fails takes nothing away.
	if _, _, err := build(t.Context(), t, s, named("failed", set{"retain": 1}), func(context.Context, packersdk.Ui, packersdk.Communicator) error { return errors.New("no") }); err == nil {
		t.Error("it went well")
	}
	nothingLeft(t, s, foreign, other, first, second)
	for region, id := range imagesOf(first) {
		imageIn(t, s, region, id)
	}

	third, said := built(t, s, named("third", set{"retain": 2}), nil)
	for region, id := range imagesOf(first) {
		if !strings.Contains(said, "Deleting the older image "+id+` ("first") in `+region) {
			t.Errorf("%s is not said\n%s", id, said)
		}
	}
	nothingLeft(t, s, foreign, other, second, third) // neither images nor snapshots

	// What is protected stays, and so does that of which there is a machine: this build's.
	guarded, _ := built(t, s, named("guarded", set{"retain": 2, "deregistration_protection": set{"enabled": true}}), nil)
	nothingLeft(t, s, foreign, other, third, guarded)
	base := imagesOf(third)[stage.AWSRegion]
	last, said := built(t, s, named("last", set{"retain": 1, "source_ami": base}), nil)
	for _, want := range []string{
		"The older image " + base + ` ("third") in ` + stage.AWSRegion + " stays although retain = 1: machine i-",
		"The older image " + imagesOf(guarded)["eu-west-1"] + ` ("guarded") in eu-west-1 stays although retain = 1: it is protected from being deregistered`,
		"Deleting the older image " + imagesOf(third)["eu-west-1"],
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said\n%s", want, said)
		}
	}
	imageIn(t, s, stage.AWSRegion, base)

	// Packer does not discard what is left.
	if err := last.Destroy(); err != nil {
		t.Error(err)
	}
	for region, id := range imagesOf(last) {
		imageIn(t, s, region, id)
	}
}

// What cannot be found out keeps everything, and fails nothing.
func TestRetainBlind(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"DeregisterImage", "DeleteSnapshot"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			change := func(prefix string) set {
				return set{"ami_name": nil, "ami_name_prefix": prefix, "image_series": "mine", "retain": 1}
			}
			first, _ := built(t, s, change("first"), nil)
			second, said := built(t, s, change("second"), func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
				return errors.Join(touch(ctx, ui, comm), s.AWS.Cloud.AddFaults(denied(op)))
			})
			if !strings.Contains(said, "older images of its series in "+stage.AWSRegion+" could not all be deleted (retain)") || !strings.Contains(said, "not authorized") {
				t.Errorf("it is not said\n%s", said)
			}
			if op != "DeleteSnapshot" {
				imageIn(t, s, stage.AWSRegion, imagesOf(first)[stage.AWSRegion])
			}
			imageIn(t, s, stage.AWSRegion, imagesOf(second)[stage.AWSRegion])
		})
	}
}
