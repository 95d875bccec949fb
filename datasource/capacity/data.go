// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package capacity is the data source armfree-capacity: what is free for Ampere machines
// on OCI right now, and where. It is the command capacity, for templates.
//
// Packer runs data sources before every build. One has no context and no Ui, and
// Packer's own handling of Ctrl-C does not reach it, so it has a short limit and
// listens for signals itself.
package capacity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"

	search "github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/outlook"
	"github.com/armfree/packer-plugin-armfree/version"
)

// limit is how long everything may take: nothing is said meanwhile.
const limit = 30 * time.Second

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
	d.Mask.Add(d.config.question.Credentials.Secrets()...)
	return err
}

// Execute implements packersdk.Datasource.
func (d *Datasource) Execute() (cty.Value, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	found, err := d.look(ctx)
	if err == nil {
		var out DatasourceOutput
		if out, err = d.config.output(found); err == nil {
			return gocty.ToCtyValue(out, hcldec.ImpliedType(d.OutputSpec()))
		}
	}
	// A value without a type would look like a crash of Packer.
	return cty.NullVal(cty.EmptyObject), d.Mask.Error(help.With(err))
}

func (d *Datasource) look(ctx context.Context) ([]outlook.Found, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	clients, err := d.config.question.Clients(limited, oci.Options{UserAgent: version.UserAgent(), HTTP: d.HTTP, Secret: d.Mask.Add})
	var found []outlook.Found
	if err == nil {
		found = outlook.Look(limited, clients, d.config.sizes)
	}
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("interrupted while capacity was looked at")
	case limited.Err() != nil:
		return nil, fmt.Errorf("what is free is not known after %s: the cloud does not answer in time", limit)
	case err != nil:
		return nil, fmt.Errorf("what is free is not known: %w", err)
	}
	return found, nil
}

// output is what the template sees. That no region could be asked is an error; that one
// could not, while others could, is a note.
func (c *Config) output(found []outlook.Found) (out DatasourceOutput, err error) {
	out = DatasourceOutput{FreeRegions: []string{}, Places: []Place{}, Notes: []string{}}
	var failed []error
	for _, f := range found {
		if f.Err != nil {
			failed = append(failed, fmt.Errorf("%s could not be asked: %w", f.Region, f.Err))
			out.Notes = append(out.Notes, failed[len(failed)-1].Error())
			continue
		}
		for _, n := range f.Notes {
			out.Notes = append(out.Notes, f.Region+": "+strings.Join(strings.Fields(n), " "))
		}
		for _, p := range f.Places {
			out.Places = append(out.Places, placeOf(p, f.First))
		}
		if f.First != nil {
			out.Free = true
			out.FreeRegions = append(out.FreeRegions, f.Region)
		}
	}
	switch {
	case len(failed) == len(found):
		return out, fmt.Errorf("what is free is not known:\n%w", errors.Join(failed...))
	case c.RequireFree && !out.Free:
		return out, fmt.Errorf("nothing is free that the limits allow, and require_free is set, so nothing is built: %s", summary(out.Places))
	}
	return out, nil
}

// placeOf is a place as a template sees it.
func placeOf(p oci.OutlookPlace, first *search.Offer) Place {
	return Place{
		Region: p.Region, AvailabilityDomain: p.Zone, FaultDomain: p.FaultDomain, Shape: p.Shape, OCPUs: p.OCPUs, MemoryInGBs: p.MemoryGB,
		Status: outlook.Status(p.Hint), Allowed: len(p.OverLimit) == 0, OverLimit: append([]string{}, p.OverLimit...),
		LimitCores: p.Cores, UsedCores: p.Used, FreeCores: outlook.Left(p),
		First: first != nil && *first == p.Offer,
	}
}

// summary counts the places by what stands in the way of each.
func summary(places []Place) string {
	var order []string
	count := map[string]int{}
	for _, p := range places {
		why := p.Status
		if !p.Allowed {
			why = "over the limit"
		}
		if count[why]++; count[why] == 1 {
			order = append(order, why)
		}
	}
	var parts []string
	for _, why := range order {
		parts = append(parts, fmt.Sprintf("%d %s", count[why], why))
	}
	return fmt.Sprintf("of %d places %s", len(places), strings.Join(parts, ", "))
}
