// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
)

// reportFile is what the report says. Its fields are documented; names do not
// change.
type reportFile struct {
	SourceImage  string              `json:"source_image"`
	Started      time.Time           `json:"started"`
	Seconds      float64             `json:"seconds"`
	OK           bool                `json:"ok"`
	Error        string              `json:"error,omitempty"`
	Destinations []reportDestination `json:"destinations"`
}

type reportDestination struct {
	Destination string  `json:"destination"`
	Region      string  `json:"region"`
	Tenancy     string  `json:"tenancy_ocid"`
	Compartment string  `json:"compartment_ocid"`
	Status      string  `json:"status"` // copied, existing, failed, not started
	Image       string  `json:"image_ocid,omitempty"`
	Name        string  `json:"image_name,omitempty"`
	Route       string  `json:"route,omitempty"`
	Seconds     float64 `json:"seconds"`
	Error       string  `json:"error,omitempty"`
	// Verified is there if the copy was started and found good.
	Verified *reportVerified `json:"verified,omitempty"`
	// Unverified is an image that stays although it did not pass.
	Unverified string `json:"unverified_image_ocid,omitempty"`
	// Left is what verifying a good image left behind, such as a machine.
	Left string `json:"left_behind,omitempty"`
}

type reportVerified struct {
	Time   time.Time `json:"time"`
	Tests  int       `json:"tests"`
	SHA256 string    `json:"sha256,omitempty"` // of goss's receipt
}

// report writes the outcome to the file that the template names.
func (p *PostProcessor) report(c *imagecopy.Copy, results []imagecopy.Result, start time.Time, failure error) error {
	if p.config.Report == "" {
		return nil
	}
	f := reportFile{SourceImage: c.Image().ID, Started: start.UTC().Truncate(time.Second), Seconds: seconds(time.Since(start)), OK: failure == nil, Destinations: []reportDestination{}}
	if failure != nil {
		f.Error = p.Mask.Text(failure.Error())
	}
	for i, at := range p.places(c) {
		d := reportDestination{Destination: c.Targets[i].Name(), Region: at.region, Tenancy: at.tenancy, Compartment: at.compartment, Status: "not started"}
		if i < len(results) {
			r := results[i]
			d.Image, d.Name, d.Route, d.Seconds = r.Image, r.Name, r.Route, seconds(r.Took)
			if v := r.Verified; v != nil && r.Err == nil {
				d.Verified = &reportVerified{v.Time.UTC().Truncate(time.Second), v.Tests, v.Digest}
			}
			d.Unverified = r.Unverified
			if r.Left != nil {
				d.Left = p.Mask.Text(r.Left.Error())
			}
			switch {
			case r.Err != nil:
				d.Status, d.Error = "failed", p.Mask.Text(r.Err.Error())
			case r.Route == "" && r.Image != "":
				d.Status = "existing"
			case r.Image != "":
				d.Status = "copied"
			}
		}
		f.Destinations = append(f.Destinations, d)
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err == nil {
		err = os.WriteFile(p.config.Report, append(b, '\n'), 0o644) //nolint:gosec // there is no secret in it
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*10) / 10 }
