// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package preflight is the data source armfree-preflight: whether images could be
// copied to where they are needed, before anything is built.
//
// Packer runs data sources before every build. One has no context and no Ui, and
// Packer's own handling of Ctrl-C does not reach it, so it has a short limit and
// listens for signals itself.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	"github.com/zclconf/go-cty/cty"

	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/version"
)

// limit is how long everything may take: nothing is said meanwhile.
const limit = 15 * time.Second

// Datasource implements packersdk.Datasource. Mask must be set.
type Datasource struct {
	Mask *mask.Masker
	// HTTP replaces the client that the environment describes; tests set it.
	HTTP   *http.Client
	config Config
}

// ConfigSpec implements packersdk.Datasource.
func (d *Datasource) ConfigSpec() hcldec.ObjectSpec { return d.config.FlatMapstructure().HCL2Spec() }

// OutputSpec implements packersdk.Datasource.
func (*Datasource) OutputSpec() hcldec.ObjectSpec {
	return (&DatasourceOutput{}).FlatMapstructure().HCL2Spec()
}

// Configure implements packersdk.Datasource. It makes no request.
func (d *Datasource) Configure(raws ...interface{}) error {
	err := d.config.Prepare(raws...)
	d.Mask.AddVariables(d.config.PackerSensitiveVars, d.config.PackerUserVars)
	for i := range d.config.Source {
		d.Mask.Add(d.config.Source[i].Credentials().Secrets()...)
	}
	for i := range d.config.Destinations {
		d.Mask.Add(d.config.Destinations[i].Credentials().Secrets()...)
	}
	return err
}

// Execute implements packersdk.Datasource.
func (d *Datasource) Execute() (cty.Value, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	names, err := d.look(ctx)
	if err != nil {
		// A value without a type would look like a crash of Packer.
		return cty.NullVal(cty.EmptyObject), d.Mask.Error(help.With(err))
	}
	out := DatasourceOutput{Destinations: names}
	return hcl2helper.HCL2ValueFromConfig(out, d.OutputSpec()), nil
}

// look looks at source and destinations at the same time.
func (d *Datasource) look(ctx context.Context) ([]string, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o := oci.Options{UserAgent: version.UserAgent(), HTTP: d.HTTP, Secret: d.Mask.Add}
	source := make(chan error, 1)
	go func() {
		var err error
		for i := range d.config.Source {
			err = d.config.Source[i].Check(limited, o)
		}
		source <- err
	}()
	names, err := preflight.Check(limited, d.config.Destinations, o)
	err = errors.Join(<-source, err)
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("interrupted while the destinations of images were looked at")
	case limited.Err() != nil && err != nil:
		return nil, fmt.Errorf("whether images could be copied is not known after %s: %w", limit, err)
	case err != nil:
		return nil, fmt.Errorf("images could not be copied, so nothing is built:\n%w", err)
	}
	return names, nil
}
