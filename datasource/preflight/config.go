// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,DatasourceOutput

package preflight

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Config is the configuration of the data source.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// The tenancy in which images are built, and the bucket through which they
	// travel. Only one. Without it the bucket is not looked at.
	Source []preflight.Origin `mapstructure:"source" required:"false"`
	// Where images go; may be given several times. All are looked at at the same
	// time. May be left out if the environment says it all.
	Destinations []preflight.CheckedPlace `mapstructure:"destination" required:"false"`

	ctx interpolate.Context
}

// DatasourceOutput is what a template can read of the data source. It is there only
// if nothing is in the way of a copy.
type DatasourceOutput struct {
	// The destinations, each as region and end of the tenancy's OCID.
	Destinations []string `mapstructure:"destinations"`
}

// Prepare decodes the template and checks all that can be checked without a
// request.
func (c *Config) Prepare(raws ...interface{}) error {
	*c = Config{} // Packer may prepare a component more than once
	err := config.Decode(c, &config.DecodeOpts{
		PluginType: "armfree-preflight", Interpolate: true, InterpolateContext: &c.ctx,
		DecodeHooks: slices.Insert(slices.Clone(config.DefaultDecodeHookFuncs), 0, any(tmpl.EmptyAsUnset)),
	}, raws...)
	if err != nil {
		return buildcfg.PlainAll(err)
	}
	var mistakes buildcfg.Mistakes
	if len(c.Source) > 1 {
		mistakes.Note(errors.New("source is there twice"))
	}
	for i := range c.Source {
		mistakes.Note(c.Source[i].Prepare("source.")...)
	}
	if len(c.Destinations) == 0 {
		c.Destinations = []preflight.CheckedPlace{{}}
	}
	for i := range c.Destinations {
		block := "destination."
		if len(c.Destinations) > 1 {
			block = fmt.Sprintf("destination[%d].", i)
		}
		mistakes.Note(c.Destinations[i].Prepare(block)...)
	}
	return mistakes.Err()
}
