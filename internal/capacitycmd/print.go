// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacitycmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/outlook"
)

// print says what was found and returns the exit code.
func (o *options) print(out io.Writer, all []outlook.Found) int {
	if o.asJSON {
		o.printJSON(out, all)
	} else {
		printTables(out, all)
	}
	code := Failed
	for _, f := range all {
		switch {
		case f.Err != nil:
		case f.First != nil:
			return Free
		default:
			code = Full
		}
	}
	return code
}

// words are what the states of a place are called.
func words(p oci.OutlookPlace) string {
	s := outlook.Status(p.Hint)
	if s == "missing" {
		s = "not there"
	}
	if len(p.OverLimit) > 0 {
		s += ", over the limit"
	}
	return s
}

func printTables(out io.Writer, all []outlook.Found) {
	now := time.Now().UTC().Format(time.DateTime)
	for i, f := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s, %s UTC\n", f.Region, now)
		if f.Err != nil {
			fmt.Fprintf(out, "  could not be asked: %v\n", f.Err)
			continue
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  availability domain\tfault domain\tsize\tstatus\tlimit of cores\tused\tleft")
		for _, p := range f.Places {
			fd, limit, left := p.FaultDomain, "?", "?"
			if fd == "" {
				fd = "any"
			}
			if p.Cores != nil {
				limit = fmt.Sprint(*p.Cores)
				left = fmt.Sprintf("%g", *outlook.Left(p))
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%g\t%s\n", p.Zone, fd, p.Size(), words(p), limit, p.Used, left)
		}
		_ = w.Flush()
		for _, n := range f.Notes {
			fmt.Fprintf(out, "  Note: %s\n", strings.Join(strings.Fields(n), " "))
		}
		if f.First != nil {
			fmt.Fprintf(out, "  A build would try %s first.\n", *f.First)
		} else {
			fmt.Fprintln(out, "  A build would wait: nothing that the limits allow is free.")
		}
	}
}

// The report in JSON. Its names are kept from one version to the next.
type (
	report struct {
		Time    time.Time `json:"time"`
		Free    bool      `json:"free"`
		Regions []region  `json:"regions"`
	}
	region struct {
		Region string   `json:"region"`
		Places []place  `json:"places"`
		First  *place   `json:"first"`
		Notes  []string `json:"notes"`
		Error  string   `json:"error,omitempty"`
	}
	place struct {
		AvailabilityDomain string  `json:"availability_domain"`
		FaultDomain        string  `json:"fault_domain,omitempty"`
		Shape              string  `json:"shape"`
		OCPUs              float32 `json:"ocpus,omitempty"`
		MemoryInGBs        float32 `json:"memory_in_gbs,omitempty"`
		Status             string  `json:"status,omitempty"`
		// LimitCores is null where the limit is not known.
		LimitCores *int64   `json:"limit_cores"`
		UsedCores  float32  `json:"used_cores"`
		OverLimit  []string `json:"over_limit,omitempty"`
	}
)

func placeOf(p oci.OutlookPlace) place {
	return place{
		AvailabilityDomain: p.Zone, FaultDomain: p.FaultDomain, Shape: p.Shape, OCPUs: p.OCPUs, MemoryInGBs: p.MemoryGB,
		Status:     outlook.Status(p.Hint),
		LimitCores: p.Cores, UsedCores: p.Used, OverLimit: p.OverLimit,
	}
}

func (o *options) printJSON(out io.Writer, all []outlook.Found) {
	r := report{Time: time.Now().UTC().Truncate(time.Second), Regions: []region{}}
	for _, f := range all {
		x := region{Region: f.Region, Places: []place{}, Notes: append([]string{}, f.Notes...)}
		for _, p := range f.Places {
			x.Places = append(x.Places, placeOf(p))
			if f.First != nil && p.Offer == *f.First {
				first := placeOf(p)
				x.First = &first
			}
		}
		if f.Err != nil {
			x.Error = f.Err.Error()
		}
		r.Free = r.Free || f.First != nil
		r.Regions = append(r.Regions, x)
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	_ = e.Encode(r) // nobody reads it any more
}
