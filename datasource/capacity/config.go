// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,DatasourceOutput,Place

package capacity

import (
	"errors"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/outlook"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Config is the configuration of the data source.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`
	ocicfg.Access       `mapstructure:",squash"`

	// The regions to look in, such as `["eu-frankfurt-1", "eu-amsterdam-1"]`.
	// Defaults to `region`.
	Regions []string `mapstructure:"regions" required:"false"`
	// Look in every region to which the tenancy is subscribed. Defaults to
	// `false`.
	AllRegions bool `mapstructure:"all_regions" required:"false"`
	// The shape of the machine. Defaults to `VM.Standard.A1.Flex`.
	Shape string `mapstructure:"shape" required:"false"`
	// The size of the machine, as in the builder; several blocks are in the order
	// of preference. Defaults to 2 OCPUs with 12 GB, then 1 OCPU with 6 GB.
	ShapeConfig []ocibuild.ShapeConfig `mapstructure:"shape_config" required:"false"`
	// End the run if nothing is free that the limits allow, so that a job ends at
	// once where a builder would wait. Defaults to `false`.
	RequireFree bool `mapstructure:"require_free" required:"false"`

	question outlook.Question
	sizes    []oci.Size
	ctx      interpolate.Context
}

// Place is one size of machine in one fault domain of an availability domain.
type Place struct {
	// The region, such as `eu-frankfurt-1`.
	Region string `mapstructure:"region" cty:"region"`
	// The availability domain, such as `Uocm:EU-FRANKFURT-1-AD-1`.
	AvailabilityDomain string `mapstructure:"availability_domain" cty:"availability_domain"`
	// The fault domain, or `""` for wherever OCI likes in the availability domain.
	FaultDomain string `mapstructure:"fault_domain" cty:"fault_domain"`
	// The shape, such as `VM.Standard.A1.Flex`.
	Shape string `mapstructure:"shape" cty:"shape"`
	// OCPUs of the machine; `0` for a shape that has one size.
	OCPUs float32 `mapstructure:"ocpus" cty:"ocpus"`
	// Its memory in gigabytes; `0` for a shape that has one size.
	MemoryInGBs float32 `mapstructure:"memory_in_gbs" cty:"memory_in_gbs"`
	// What the capacity report says: `free`, `full`, `missing` (the shape does not
	// exist there), or `unknown` (there is no report, or this user may not ask).
	Status string `mapstructure:"status" cty:"status"`
	// Whether the limits of the tenancy allow such a machine beside what runs.
	Allowed bool `mapstructure:"allowed" cty:"allowed"`
	// The limits that do not allow it, by name.
	OverLimit []string `mapstructure:"over_limit" cty:"over_limit"`
	// The limit of cores that leaves least room there; `null` if it is not known.
	LimitCores *int64 `mapstructure:"limit_cores" cty:"limit_cores"`
	// How many cores run, as far as this user sees.
	UsedCores float32 `mapstructure:"used_cores" cty:"used_cores"`
	// How many cores the limit leaves; `null` if the limit is not known.
	FreeCores *float64 `mapstructure:"free_cores" cty:"free_cores"`
	// Whether a build in this region would ask here first.
	First bool `mapstructure:"first" cty:"first"`
}

// DatasourceOutput is what a template can read of the data source.
type DatasourceOutput struct {
	// Whether anything is free that the limits allow.
	Free bool `mapstructure:"free" cty:"free"`
	// The regions in which something is free that the limits allow, in the order
	// in which they were named.
	FreeRegions []string `mapstructure:"free_regions" cty:"free_regions"`
	// Every place that was asked about, region by region, in each in the order in
	// which a build tries them.
	Places []Place `mapstructure:"places" cty:"places"`
	// What could not be learned, each in a sentence.
	Notes []string `mapstructure:"notes" cty:"notes"`
}

// Prepare decodes the template and checks all that can be checked without a request.
func (c *Config) Prepare(raws ...interface{}) error {
	*c = Config{} // Packer may prepare a component more than once
	err := config.Decode(c, &config.DecodeOpts{
		PluginType: "armfree-capacity", Interpolate: true, InterpolateContext: &c.ctx,
		DecodeHooks: slices.Insert(slices.Clone(config.DefaultDecodeHookFuncs), 0, any(tmpl.EmptyAsUnset)),
	}, raws...)
	if err != nil {
		return buildcfg.PlainAll(err)
	}
	var mistakes buildcfg.Mistakes
	if c.AllRegions && len(c.Regions) > 0 {
		mistakes.Note(errors.New("regions and all_regions exclude each other"))
	}
	if slices.Contains(c.Regions, "") {
		mistakes.Note(errors.New("regions must not hold an empty name"))
	}
	if c.Region == "" && len(c.Regions) > 0 {
		c.Region = c.Regions[0]
	}
	credentials, wrong := c.Access.Prepare("", "")
	mistakes.Note(wrong...)
	search := ocibuild.Search{Shape: c.Shape, ShapeConfig: c.ShapeConfig}
	mistakes.Note(search.Check()...)
	c.sizes = search.Sizes()
	c.question = outlook.Question{Credentials: credentials, Regions: c.Regions, AllRegions: c.AllRegions}
	return mistakes.Err()
}
