// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocibuild

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/config"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// ShapeConfig is one form of the machine. Several blocks are several forms, in
// the order of preference.
type ShapeConfig struct {
	// How many OCPUs. On `VM.Standard.A1.Flex` one OCPU is one Ampere core.
	Ocpus float32 `mapstructure:"ocpus" required:"false"`
	// How many gigabytes of memory. Defaults to 6 for each OCPU on Ampere shapes,
	// which is the ratio of the Always Free allowance, and to what OCI gives by
	// default on other shapes.
	MemoryInGBs float32 `mapstructure:"memory_in_gbs" required:"false"`
	// The baseline of a burstable machine: `BASELINE_1_8`, `BASELINE_1_2` or
	// `BASELINE_1_1`. Ampere shapes have none of the first two.
	BaselineOcpuUtilization string `mapstructure:"baseline_ocpu_utilization" required:"false"`
	// The shape of this form, such as `VM.Standard.A2.Flex`. Defaults to `shape`.
	Shape string `mapstructure:"shape" required:"false"`
}

// AdditionalRegion is another subscribed region in which a machine may be found.
// The image is then made there.
type AdditionalRegion struct {
	// The region, such as `eu-amsterdam-1`.
	Region string `mapstructure:"region" required:"true"`
	// The subnet in that region.
	SubnetOCID string `mapstructure:"subnet_ocid" required:"true"`
	// The image from which the machine starts; an image belongs to one region.
	// Is not needed if there is a `base_image_filter`.
	BaseImageOCID string `mapstructure:"base_image_ocid" required:"false"`
	// Network security groups of the machine there.
	NsgIDs []string `mapstructure:"nsg_ids" required:"false"`
	// The one availability domain of that region to look in. Defaults to all.
	AvailabilityDomain string `mapstructure:"availability_domain" required:"false"`
}

// FreeAllowance is what costs nothing. No API tells it, and Oracle changes it:
// the defaults are those since 15 June 2026, halved from 4 OCPUs and 24 GB.
type FreeAllowance struct {
	// OCPUs of `VM.Standard.A1.Flex` that run all the time. Defaults to `2`.
	Ocpus float32 `mapstructure:"ocpus" required:"false"`
	// Their memory in gigabytes. Defaults to `12`.
	MemoryInGBs float32 `mapstructure:"memory_in_gbs" required:"false"`
	// Boot and block volumes together, in gigabytes. Defaults to `200`.
	StorageInGBs int64 `mapstructure:"storage_in_gbs" required:"false"`
}

// Search says where and how a machine is looked for.
type Search struct {
	// The one availability domain to look for a machine in, such as
	// `Uocm:PHX-AD-1`. By default every availability domain of the region is
	// searched. The environment variable `OCI_AVAILABILITY_DOMAIN` does not pin
	// the search: the domain it names is tried first, if it exists.
	AvailabilityDomain string `mapstructure:"availability_domain" required:"false"`
	// Further regions to look in, in the order of preference, after `region`.
	// See [Additional regions](#additional-regions).
	AdditionalRegions []AdditionalRegion `mapstructure:"additional_region" required:"false"`
	// The shape of the machine. Defaults to `VM.Standard.A1.Flex`. Other shapes
	// are only used when they are named.
	Shape string `mapstructure:"shape" required:"false"`
	// The size of the machine, for shapes whose name ends in `Flex`. Several
	// blocks are tried in their order. By default the sizes that fit the Always
	// Free allowance are tried: 2 OCPUs with 12 GB, then 1 OCPU with 6 GB.
	ShapeConfig []ShapeConfig `mapstructure:"shape_config" required:"false"`

	// Ask OCI's capacity reports what is free, and launch where something is.
	// One report covers every size and fault domain of an availability domain.
	// Where the user may not ask, the search finds out and launches instead.
	// Defaults to `true`.
	CapacityReports config.Trilean `mapstructure:"capacity_reports" required:"false"`
	// A capacity reservation. The machine is launched in it or not at all: in
	// its availability domain, in a size that it holds. Accounts without
	// payment cannot have any. Unverified against the real service.
	CapacityReservationOCID string `mapstructure:"capacity_reservation_ocid" required:"false"`
	// Launch a preemptible machine: about half the price, and OCI may take it
	// away at any time, which fails the build. Preemptible machines cannot be
	// stopped, and making an image stops the machine, so that it may be refused:
	// unverified against the real service. Defaults to `false`.
	Preemptible bool `mapstructure:"preemptible" required:"false"`

	// How much the build cares about what is free: `prefer` (the default) never
	// adds by its own choice what costs money, and says so in a line where the
	// template asks for it; `require` launches nothing that costs money;
	// `ignore` checks nothing. See [Free tier](#free-tier).
	FreeTier string `mapstructure:"free_tier" required:"false"`
	// What is free. The defaults are Oracle's since June 2026.
	FreeAllowance FreeAllowance `mapstructure:"free_allowance" required:"false"`
}

const defaultShape = "VM.Standard.A1.Flex"

func (s *Search) defaults() {
	if s.Shape == "" {
		s.Shape = defaultShape
	}
	if s.FreeTier == "" {
		s.FreeTier = string(oci.FreePrefer)
	}
	a := &s.FreeAllowance
	if a.Ocpus == 0 && a.MemoryInGBs == 0 {
		a.Ocpus, a.MemoryInGBs = 2, 12
	}
	if a.StorageInGBs == 0 {
		a.StorageInGBs = 200
	}
}

// Check fills in what is left out and lists what is wrong, for whoever launches a
// machine for something else than a build.
func (s *Search) Check() []error {
	s.defaults()
	_, errs := s.problems("", true)
	return errs
}

// Sizes is the ladder of machine sizes to try, for whoever launches nothing. Check comes
// first.
func (s *Search) Sizes() []oci.Size { return s.sizes() }

// problems lists what is wrong, in the words of the template. main is the
// region of the template's own options; filtered means that there is a filter
// for base images.
func (s *Search) problems(main string, filtered bool) (warnings []string, list []error) {
	bad := func(format string, a ...any) { list = append(list, fmt.Errorf(format, a...)) }
	if len(s.ShapeConfig) == 0 && flexible(s.Shape) && s.Shape != defaultShape {
		bad("shape_config: ocpus must be set for %s", s.Shape)
	}
	seen := map[oci.Size]bool{}
	for _, c := range s.ShapeConfig {
		size := s.sizeOf(c)
		shape := size.Shape
		switch {
		case c.Ocpus < 0 || c.MemoryInGBs < 0:
			bad("shape_config: ocpus and memory_in_gbs must be positive")
		case !flexible(shape) && !tmpl.Unknown(shape):
			// oracle-oci's templates have it, as a leftover of another shape.
			if c.Ocpus > 0 || c.MemoryInGBs > 0 || c.BaselineOcpuUtilization != "" {
				warnings = append(warnings, fmt.Sprintf("shape_config is for flexible shapes, and %s is not one: its size is left as it is", shape))
			}
			continue
		case (c.MemoryInGBs > 0 || c.BaselineOcpuUtilization != "") && c.Ocpus == 0:
			bad("shape_config: memory_in_gbs and baseline_ocpu_utilization need ocpus as well")
		case !slices.Contains([]string{"", "BASELINE_1_8", "BASELINE_1_2", "BASELINE_1_1"}, c.BaselineOcpuUtilization):
			bad("shape_config: baseline_ocpu_utilization must be BASELINE_1_8, BASELINE_1_2 or BASELINE_1_1, it is %q", c.BaselineOcpuUtilization)
		case oci.Ampere(shape) && c.BaselineOcpuUtilization != "" && c.BaselineOcpuUtilization != "BASELINE_1_1":
			bad("shape_config: baseline_ocpu_utilization = %q is for burstable machines, and %s is never one", c.BaselineOcpuUtilization, shape)
		case c.Ocpus == 0 && flexible(shape):
			bad("shape_config: ocpus must be set for %s", shape)
		case seen[size]:
			bad("shape_config: %s is there twice", size)
		}
		seen[size] = true
	}
	switch oci.FreeTier(s.FreeTier) {
	case oci.FreePrefer, oci.FreeIgnore:
	case oci.FreeRequire:
		if s.Preemptible {
			bad("preemptible machines are not part of the Always Free allowance, which free_tier = \"require\" asks for")
		}
		if s.CapacityReservationOCID != "" {
			bad("capacity_reservation_ocid: reserved capacity is not part of the Always Free allowance, which free_tier = \"require\" asks for")
		}
	default:
		bad("free_tier must be \"prefer\", \"require\" or \"ignore\", it is %q", s.FreeTier)
	}
	if a := s.FreeAllowance; a.Ocpus < 0 || a.MemoryInGBs < 0 || a.StorageInGBs < 0 || (a.Ocpus == 0) != (a.MemoryInGBs == 0) {
		bad("free_allowance: ocpus and memory_in_gbs must be set together, and nothing may be negative")
	}
	list = append(list, ocicfg.OCID("capacity_reservation_ocid", "capacityreservation", s.CapacityReservationOCID))
	if s.CapacityReservationOCID != "" {
		if s.Preemptible {
			bad("preemptible and capacity_reservation_ocid exclude each other")
		}
		if len(s.AdditionalRegions) > 0 {
			bad("additional_region and capacity_reservation_ocid exclude each other: a reservation belongs to one region")
		}
	}
	regions := []string{oci.FullRegion(main)}
	for _, r := range s.AdditionalRegions {
		switch {
		case r.Region == "":
			bad("additional_region: region must be set")
		case slices.Contains(regions, oci.FullRegion(r.Region)) && !tmpl.Unknown(r.Region):
			bad("additional_region: %s is there twice", r.Region)
		}
		regions = append(regions, oci.FullRegion(r.Region))
		for _, o := range []struct{ name, kind, value string }{{"subnet_ocid", "subnet", r.SubnetOCID}, {"base_image_ocid", "image", r.BaseImageOCID}} {
			if o.value == "" && (!filtered || o.kind == "subnet") {
				bad("additional_region: %s must be set for %s", o.name, r.Region)
			}
			list = append(list, ocicfg.OCID("additional_region: "+o.name, o.kind, o.value))
		}
	}
	return warnings, slices.DeleteFunc(list, func(err error) bool { return err == nil })
}

func flexible(shape string) bool { return strings.HasSuffix(shape, ".Flex") }

// sizeOf is the size of a block.
func (s *Search) sizeOf(c ShapeConfig) oci.Size {
	size := oci.Size{Shape: cmp.Or(c.Shape, s.Shape), OCPUs: c.Ocpus, MemoryGB: c.MemoryInGBs, Baseline: c.BaselineOcpuUtilization}
	switch {
	case !flexible(size.Shape):
		return oci.Size{Shape: size.Shape} // there is one only
	case size.MemoryGB == 0 && oci.Ampere(size.Shape):
		size.MemoryGB = 6 * size.OCPUs
	}
	return size
}

// sizes is the ladder of machine sizes to try.
func (s *Search) sizes() (list []oci.Size) {
	for _, c := range s.ShapeConfig {
		if size := s.sizeOf(c); flexible(size.Shape) || !slices.Contains(list, size) {
			list = append(list, size)
		}
	}
	switch {
	case len(list) > 0:
		return list
	case s.Shape == defaultShape:
		return []oci.Size{{Shape: s.Shape, OCPUs: 2, MemoryGB: 12}, {Shape: s.Shape, OCPUs: 1, MemoryGB: 6}}
	}
	return []oci.Size{{Shape: s.Shape}}
}
