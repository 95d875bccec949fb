// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// makeImage runs a machine and makes an image of it.
func makeImage(ctx context.Context, t *testing.T, s *sim, b *Build) (string, error) {
	t.Helper()
	machine := s.run(t, s.build.CompartmentID, "AD-1", Size{Shape: a1, OCPUs: 1, MemoryGB: 6})
	if err := b.AwaitMachine(ctx, machine); err != nil {
		t.Fatal(err)
	}
	id, err := b.StartImage(ctx, machine, b.owner.Token("image", time.Now().String()))
	if err != nil {
		return id, err
	}
	return b.FinishImage(ctx, id)
}

// A state in which no image can be made may pass, and may never do: a machine
// that costs money is not kept for an hour to find out.
func TestStateThatDoesNotPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		b := s.newBuild(t, nil)
		if err := s.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 409, Code: "IncorrectState", Message: "The machine is in no state for it."}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := makeImage(t.Context(), t, s, b); err == nil || !strings.Contains(err.Error(), "IncorrectState") {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d < repeatFor || d > 2*repeatFor {
			t.Errorf("it took %s", d)
		}
	})
}

// What templates ask of an image, on the simulated cloud.
func TestImageOptions(t *testing.T) {
	status := func(op string) ocisim.Fault {
		return ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."}
	}
	schema := func(t *testing.T, b *Build, image string) map[string]core.ImageCapabilitySchemaDescriptor {
		t.Helper()
		r, err := b.compute.ListComputeImageCapabilitySchemas(t.Context(), core.ListComputeImageCapabilitySchemasRequest{CompartmentId: &b.cfg.Image.Compartment, ImageId: &image})
		if err != nil || len(r.Items) > 1 {
			t.Fatalf("%d schemas, %v", len(r.Items), err)
		}
		if len(r.Items) == 0 {
			return nil
		}
		return r.Items[0].SchemaData
	}
	is := func(data map[string]core.ImageCapabilitySchemaDescriptor, name, value string) bool {
		d, ok := data[name].(core.EnumStringImageCapabilitySchemaDescriptor)
		return ok && text(d.DefaultValue) == value && d.Source == core.ImageCapabilitySchemaDescriptorSourceImage && slices.Contains(d.Values, value)
	}
	for _, tt := range []struct {
		name   string
		build  func(*ocisim.Tenancy)
		faults []ocisim.Fault
		change func(*BuildConfig)
		check  func(t *testing.T, b *Build, image string, said string)
	}{
		{
			name: "shapes that it could not start on go",
			check: func(t *testing.T, b *Build, image, _ string) {
				has, err := b.imageShapes(t.Context(), image)
				if err != nil || !slices.Contains(has, a1) || slices.ContainsFunc(has, func(s string) bool { return !Ampere(s) }) {
					t.Errorf("shapes %q, %v", has, err)
				}
				if s := schema(t, b, image); s != nil {
					t.Errorf("there is a schema that nobody asked for: %v", s)
				}
			},
		},
		{
			name: "they stay where the template says so", change: func(c *BuildConfig) { c.Image.KeepOtherShapes = true },
			check: func(t *testing.T, b *Build, image, _ string) {
				has, err := b.imageShapes(t.Context(), image)
				if err != nil || !slices.ContainsFunc(has, func(s string) bool { return !Ampere(s) }) {
					t.Errorf("shapes %q, %v: the simulator gives x86 ones to every image, or this proves nothing", has, err)
				}
			},
		},
		{
			name: "they cannot be removed", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "RemoveImageShapeCompatibilityEntry", Status: 400, Code: "InvalidParameter", Message: "no"}},
			check: func(t *testing.T, _ *Build, _, said string) {
				if want := "The image is finished, but the shapes on which it cannot start could not all be removed from it: remove shape VM."; !strings.Contains(said, want) {
					t.Errorf("%q is not said: %s", want, said)
				}
			},
		},
		{
			name: "launch mode and network", change: func(c *BuildConfig) { c.Image.LaunchMode, c.Image.NICAttachment = "PARAVIRTUALIZED", "VFIO" },
			check: func(t *testing.T, b *Build, image, _ string) {
				if s := schema(t, b, image); !is(s, launchModeCapability, "PARAVIRTUALIZED") || !is(s, nicCapability, "VFIO") {
					t.Errorf("schema %v", s)
				}
				// Once more: there is a schema now.
				if err := b.setCapabilities(t.Context(), image, map[string]string{nicCapability: "E1000"}); err != nil {
					t.Error(err)
				}
				if s := schema(t, b, image); !is(s, launchModeCapability, "PARAVIRTUALIZED") || !is(s, nicCapability, "E1000") {
					t.Errorf("schema %v", s)
				}
			},
		},
		{
			name: "a schema that may not be written", change: func(c *BuildConfig) { c.Image.NICAttachment = "VFIO" }, faults: []ocisim.Fault{status("CreateComputeImageCapabilitySchema")},
			check: func(t *testing.T, _ *Build, _, said string) {
				if want := "The image is finished, but its capability schema could not be written (this user needs to manage compute-image-capability-schema in the tenancy)"; !strings.Contains(said, want) {
					t.Errorf("%q is not said: %s", want, said)
				}
			},
		},
		{
			name: "a value that the service does not have", change: func(c *BuildConfig) { c.Image.NICAttachment = "TOKENRING" },
			check: func(t *testing.T, _ *Build, _, said string) {
				if !strings.Contains(said, "the service allows no TOKENRING for Network.AttachmentType, only [VFIO ") {
					t.Errorf("said %q", said)
				}
			},
		},
		{
			name:   "another image operation is under way for long",
			faults: []ocisim.Fault{{Kind: ocisim.FaultImageConflict, Until: ocisim.Duration(25 * time.Minute)}},
			check: func(t *testing.T, _ *Build, _, said string) {
				if !regexp.MustCompile(`Still refused for the moment, and asked again: create image \S* ?\(2[0-4]m`).MatchString(said) {
					t.Errorf("said %q", said)
				}
			},
		},
		{
			name: "defined tags", build: func(b *ocisim.Tenancy) { b.TagNamespaces = map[string][]string{"ns": {"key"}} },
			change: func(c *BuildConfig) { c.Image.DefinedTags = DefinedTags{"ns": {"key": "value"}} },
			check: func(t *testing.T, b *Build, image, _ string) {
				r, err := b.compute.GetImage(t.Context(), core.GetImageRequest{ImageId: &image})
				if err != nil || fmt.Sprint(r.DefinedTags) != "map[ns:map[key:value]]" {
					t.Errorf("tags %v, %v", r.DefinedTags, err)
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// OCI gives x86 shapes to images that come from elsewhere.
				mixed := func(i *ocisim.BaseImage) { i.Shapes = []string{a1, "VM.Standard.E4.Flex", "VM.Standard2.1"} }
				s := newSim(t, simOptions{build: tt.build, base: mixed})
				b := s.newBuild(t, tt.change)
				var said []string
				b.say = func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) }
				if err := s.AddFaults(tt.faults...); err != nil {
					t.Fatal(err)
				}
				image, err := makeImage(t.Context(), t, s, b)
				if err != nil {
					t.Fatal(err)
				}
				tt.check(t, b, image, strings.Join(said, "\n"))
			})
		})
	}
}

// Images of one name: by default there may be several, a template may forbid it,
// and -force leaves only the new one. Another compartment's are nobody's business.
func TestImageNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		make := func(change func(*BuildConfig)) (string, error) {
			b := s.newBuild(t, func(c *BuildConfig) {
				c.FreeTier = FreeIgnore
				if change != nil {
					change(c)
				}
			})
			if _, err := b.Plan(t.Context()); err != nil {
				return "", err
			}
			return makeImage(t.Context(), t, s, b)
		}
		images := func() (ids []string) {
			for _, i := range s.Inventory().Tenancies[0].Regions[0].Images {
				if i.Name == "built" {
					ids = append(ids, i.ID)
				}
			}
			slices.Sort(ids)
			return ids
		}
		elsewhere, err := make(func(c *BuildConfig) { c.Image.Compartment = s.build.ChildCompartmentID })
		if err != nil {
			t.Fatal(err)
		}
		first, err := make(func(c *BuildConfig) { c.Image.NameMustBeFree = true })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := make(func(c *BuildConfig) { c.Image.NameMustBeFree = true }); err == nil || !strings.Contains(err.Error(), `image_name: there is an image "built" already (`+first+")") {
			t.Errorf("a name that is taken: %v", err)
		}
		second, err := make(nil)
		if err != nil || len(images()) != 3 {
			t.Errorf("%v; images %q", err, images())
		}
		third, err := make(func(c *BuildConfig) { c.Image.Replace = true })
		want := []string{elsewhere, third}
		slices.Sort(want)
		if err != nil || !slices.Equal(images(), want) {
			t.Errorf("%v; images %q, want %q (were %s, %s)", err, images(), want, first, second)
		}
	})
}
