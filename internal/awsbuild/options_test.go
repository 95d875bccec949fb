// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
)

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"debian-12": "debian-12", "a:b*c": "a-b-c", "2026-01-31T12:00:00Z": "2026-01-31T12-00-00Z", "(x)[y] z./-'@_": "(x)[y] z./-'@_", "ärger": "-rger", "a+b=c": "a-b-c",
	} {
		if got := cleanName(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	for in, want := range map[string][]string{
		"a": {"a"}, "a,b": {"a", "b"}, "a, b": {"a", "b"}, `"a,b",c`: {"a,b", "c"}, `a"b`: {`a"b`}, "": {""},
	} {
		if got := split(in); !slices.Equal(got, want) {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

// given is what a builder has beside these options.
func given() Given {
	l := new(buildcfg.Limits)
	l.Defaults(time.Second)
	return Given{Region: "eu-central-1", Comm: &communicator.Config{Type: "ssh", SSH: communicator.SSH{SSHPort: 22, SSHUsername: "admin"}}, Limits: l, Block: "aws: "}
}

// In a block of a builder for several clouds every problem names the block.
func TestBlock(t *testing.T) {
	t.Setenv("AWS_SOURCE_AMI", "")
	t.Setenv("AWS_SUBNET_ID", "")
	o := Options{
		Search:    Search{InstanceType: "x", Markets: []string{"x"}, FreeTier: "x", AdditionalRegions: []AdditionalRegion{{Region: "x", AvailabilityZone: "x", SubnetID: "x"}}},
		Network:   Network{SubnetID: "x", TemporarySecurityGroupSourceCIDRs: []string{"x"}},
		Machine:   Machine{RootVolumeType: "x", LaunchBlockDeviceMappings: []BlockDevice{{}}, SSHInterface: "x", MachineLifetime: 1, UserDataFile: "/no/such/file"},
		Image:     Image{AMIName: "x", AMIRegions: []string{"x"}, DeprecateAt: "x", AMIDescription: "{{ .X }}"},
		Tags:      Tags{RunTags: map[string]string{"armfree": "x"}, ImageTags: map[string]string{"aws:x": "x"}},
		Ignored:   Ignored{NoEphemeral: true},
		Refused:   Refused{NitroEnclave: true},
		Misnomers: Misnomers{AMI: "x"},
	}
	warnings, errs := o.Prepare(given())
	if len(warnings) != 1 || len(errs) < 15 {
		t.Errorf("%q, %d problems", warnings, len(errs))
	}
	for _, w := range warnings {
		errs = append(errs, warning(w))
	}
	for _, err := range errs {
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, "aws: ") {
				t.Errorf("%q does not name the block", line)
			}
		}
	}
}

type warning string

func (w warning) Error() string { return string(w) }

// Each build speaks of its own region.
func TestRenderInEachRegion(t *testing.T) {
	t.Setenv("AWS_SUBNET_ID", "")
	o := Options{
		Search:  Search{AdditionalRegions: []AdditionalRegion{{Region: "us-east-1"}}},
		Machine: Machine{SourceAMISSMParameter: "/a"},
		Image:   Image{AMIName: "abc", AMIDescription: "{{ .BuildRegion }} {{ .SourceAMI | clean_resource_name }}"},
	}
	if _, errs := o.Prepare(given()); len(errs) > 0 {
		t.Fatal(errs)
	}
	all, err := o.Builds(given(), Keys{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"eu-central-1 ami-1", "us-east-1 ami-1"} {
		w, err := all[i].Render(ec2.SourceImage{ID: "ami-1"})
		if err != nil || w.Description != want {
			t.Errorf("%q, %v", w.Description, err)
		}
	}
	// What others wrote is no template.
	o.ImageTags = map[string]string{"a": "{{ .SourceAMITags.x }}", "b": "{{ .SourceAMIName }}"}
	w, err := o.Render("eu-central-1", ec2.SourceImage{Name: "{{ user `x` }}", Tags: map[string]string{"x": "{{ .SourceAMIName }}"}})
	if err != nil || w.ImageTags["a"] != "{{ .SourceAMIName }}" || w.ImageTags["b"] != "{{ user `x` }}" {
		t.Errorf("%q, %v", w.ImageTags, err)
	}
	// A text may only turn out to be too long once the source image is known.
	_, err = all[0].Render(ec2.SourceImage{ID: strings.Repeat("x", 300)})
	if err == nil || !strings.Contains(err.Error(), "ami_description has 313 characters") {
		t.Errorf("%v", err)
	}
}
