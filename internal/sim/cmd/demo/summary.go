// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// summary says what was built, where it is, how long each phase took and what
// is left; anything left but the two images is an error.
func (d *demo) summary(s *stage.Stage, image string, start, built time.Time) error {
	end := time.Now()
	source := ""
	for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
		if i.ID != s.BaseImage {
			source = i.ID
		}
	}
	d.say("Summary")
	w := tabwriter.NewWriter(d.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "built\t%s\ttenancy build, %s\n", source, stage.BuildRegion)
	fmt.Fprintf(w, "copied to\t%s\ttenancy production, %s\n", image, stage.ProductionRegion)
	checked := validated(s, image)
	fmt.Fprintf(w, "checked\t%s\n", checked)
	w.Flush()
	if !strings.HasPrefix(checked, "true ") {
		return fmt.Errorf("the image is not the machine that was checked: its tag says %q", checked)
	}

	log := s.Cloud.Requests()
	at := func(tenancy, op string, last bool) time.Time {
		var t time.Time
		for _, r := range log {
			if r.Op == op && r.Tenancy == tenancy && r.Status < 300 && (t.IsZero() || last) && r.Time.Before(built) {
				t = r.Time
			}
		}
		return t
	}
	attempts, reports := 0, 0
	for _, r := range log {
		switch {
		case r.Tenancy != "build":
		case r.Op == "LaunchInstance":
			attempts++
		case r.Op == "CreateComputeCapacityReport":
			reports++
		}
	}
	launched := at("build", "LaunchInstance", true)
	imaging := at("build", "CreateImage", false)
	imaged := at("build", "UpdateImage", true)
	exporting := at("build", "ExportImage", false)
	importing := at("production", "CreateImage", false)
	imported := at("production", "UpdateImage", true)
	fmt.Fprintln(d.out)
	for _, p := range []struct {
		name     string
		from, to time.Time
	}{
		{fmt.Sprintf("find capacity (%d reports, %d launch)", reports, attempts), start, launched},
		{"boot, harden and check", launched, imaging},
		{"make the image", imaging, imaged},
		{"terminate the machine", imaged, exporting},
		{"export", exporting, importing},
		{"import and verify", importing, imported},
		{"tidy up", imported, built},
		{"start the copy and check it again", built, end},
		{"in all", start, end},
	} {
		fmt.Fprintf(w, "%s\t%s\n", p.name, p.to.Sub(p.from).Round(100*time.Millisecond))
	}
	w.Flush()

	left := s.Left(source, image)
	if len(left) > 0 {
		return fmt.Errorf("%w:\n%s", errLeft, strings.Join(left, "\n"))
	}
	if refused := s.Net.Refused(); len(refused) > 0 {
		return fmt.Errorf("something outside the simulated clouds was asked for: %v", refused)
	}
	fmt.Fprintf(d.out, "\nNothing else is left: no machine, no volume, no object, no pre-authenticated request, in either tenancy.\n")
	return nil
}

// validated is what an image says of its check.
func validated(s *stage.Stage, image string) string {
	for _, t := range s.Cloud.Inventory().Tenancies {
		for _, r := range t.Regions {
			for _, i := range r.Images {
				if i.ID == image {
					return i.FreeformTags["armfree-validated"]
				}
			}
		}
	}
	return ""
}
