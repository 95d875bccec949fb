// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"errors"
	"maps"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// imageOptions are the options that say something of an image and of nothing else, each
// with a value and the one of the post-processor that says the same.
func imageOptions(s *stage.Stage) map[string]struct {
	value interface{}
	there string
} {
	return map[string]struct {
		value interface{}
		there string
	}{
		"image_compartment_ocid":    {s.Build.CompartmentID, "destination.compartment_ocid"},
		"image_name_conflict":       {"fail", "image_name_conflict"},
		"tags":                      {map[string]string{"a": "b"}, "destination.tags"},
		"defined_tags_json":         {`{"n": {"k": "v"}}`, "destination.defined_tags_json"},
		"defined_tags":              {map[string]map[string]string{"n": {"k": "v"}}, "destination.defined_tags_json"},
		"image_shapes":              {[]string{"VM.Standard.A1.Flex"}, "destination.image_shapes"},
		"image_remove_other_shapes": {true, ""},
		"image_launch_mode":         {"PARAVIRTUALIZED", ""},
		"nic_attachment_type":       {"PARAVIRTUALIZED", ""},
		"image_firmware":            {"UEFI_64", ""},
		"retain":                    {2, "retain"},
		"image_series":              {"x", "image_series"},
	}
}

// What is said of an image would have no effect where a disk is always captured, so it is a
// mistake; what is also said of the machine, or of the object, is none, and nothing is one
// where an image may be made, or is not to be captured.
func TestCaptureMistakes(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	prepare := func(method string, change map[string]interface{}) error {
		in := settings(s)
		if in["image_method"] = method; method != "custom-image" {
			in["capture_bucket"] = "b"
		}
		maps.Copy(in, change)
		maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
		_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
		return err
	}
	only := func(t *testing.T, err error) string {
		t.Helper()
		var list *packersdk.MultiError
		if !errors.As(err, &list) || len(list.Errors) != 1 {
			t.Fatalf("not one mistake: %v", err)
		}
		return list.Errors[0].Error()
	}
	for name, o := range imageOptions(s) {
		t.Run(name, func(t *testing.T) {
			change := map[string]interface{}{name: o.value}
			if name == "retain" {
				change["image_name"], change["image_name_prefix"] = nil, "p" // it needs a series
			}
			want := `image_method = "capture" makes no image, so that ` + name + " would have no effect: remove what is for images only"
			if o.there != "" {
				want += "; the post-processor armfree-oci-cross-tenancy-copy, which makes the image, has " + o.there
			}
			if got := only(t, prepare("capture", change)); got != want {
				t.Errorf("%s", got)
			}
			for _, method := range []string{"auto", "custom-image"} {
				if err := prepare(method, change); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
		})
	}
	all := only(t, prepare("capture", map[string]interface{}{"retain": 1, "image_series": "x", "tags": map[string]string{"a": "b"}, "image_firmware": "UEFI_64"}))
	for _, want := range []string{"so that tags, image_firmware, retain, image_series would", "has destination.tags, retain, image_series"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not said: %s", want, all)
		}
	}
	for name, change := range map[string]map[string]interface{}{
		"what describes the machine": {"instance_tags": map[string]string{"a": "b"}, "instance_defined_tags_json": `{"n": {"k": "v"}}`, "shape": "VM.Standard.A1.Flex"},
		"a prefix":                   {"image_name": nil, "image_name_prefix": "p"},
		"what is so anyhow":          {"image_name_conflict": "allow", "tags": map[string]string{}, "image_shapes": []string{}, "image_compartment_ocid": "", "retain": 0},
	} {
		if err := prepare("capture", change); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// With "auto" it is said which options have no effect, once it is known that the disk is
// captured, and only then; with "capture" that of a flag, which may be for other builds.
func TestCaptureSaysWhatHasNoEffect(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		room   bool
		change map[string]interface{}
		force  bool
		says   string
	}{
		{name: "one", method: "auto", change: map[string]interface{}{"image_firmware": "UEFI_64"}, says: "No image is made in eu-frankfurt-1, so image_firmware has no effect\n"},
		{
			name: "many", method: "auto", change: map[string]interface{}{"tags": map[string]string{"a": "b"}, "retain": 1, "image_series": "x", "image_name_conflict": "fail"}, force: true,
			says: "so image_name_conflict, tags, retain, image_series, packer build -force have no effect; the post-processor armfree-oci-cross-tenancy-copy, which makes the image, has image_name_conflict, destination.tags, retain, image_series\n",
		},
		{name: "none", method: "auto"},
		{name: "an image", method: "auto", room: true, change: map[string]interface{}{"tags": map[string]string{"a": "b"}}, force: true},
		{name: "a flag", method: "capture", force: true, says: "No image is made in eu-frankfurt-1, so packer build -force has no effect; the post-processor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := stage.Options{Driver: withHelper(nil), Adjust: noImages}
			if tt.room {
				o.Adjust = nil
			}
			s := stage.ForTest(t, o)
			change := map[string]interface{}{"image_method": tt.method, "packer_force": tt.force}
			maps.Copy(change, tt.change)
			a, said, err := captureBuild(t.Context(), t, s, change, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if _, is := a.(*ocibuild.Captured); is == tt.room {
				t.Errorf("%+v", a)
			}
			if tt.says == "" && strings.Contains(said, "no effect") || strings.Count(said, tt.says) != 1 && tt.says != "" {
				t.Errorf("%q is not said once\n%s", tt.says, said)
			}
		})
	}
}
