// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacitycmd

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/flags"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/outlook"
)

// options are what the command line says.
type options struct {
	regions, sizesText, prefixes  flags.List
	shape                         string
	watch                         time.Duration
	allRegions, untilFree, asJSON bool

	sizes    []oci.Size
	question outlook.Question
}

// leastWatch keeps a look that repeats from costing the builds their requests.
const leastWatch = 10 * time.Second

const usage = `Usage: packer-plugin-armfree capacity [options]

Says what is free for Ampere machines on OCI: one row for each region, availability
domain, fault domain and size, with the limit, and what a build would try first. It
starts nothing. Who signs in is taken from the environment and the profiles of OCI, as
the builder armfree-oci does it. AWS has no such report: there is only trying.

Options:
`

const codes = `
Exit codes:
  0  something is free that the limits allow
  1  the command line is wrong, nobody could sign in, or no region could be asked
  2  nothing is
`

var size = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)/([0-9]+(?:\.[0-9]+)?)$`)

// parse reads the command line and the environment. All mistakes are reported at once.
func parse(args []string, help io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("capacity", flag.ContinueOnError)
	f.Var(&o.regions, "region", "`name` of a region; may be repeated. Default: that of the environment or profile")
	f.BoolVar(&o.allRegions, "all-regions", false, "all regions to which the tenancy is subscribed")
	f.StringVar(&o.shape, "shape", "VM.Standard.A1.Flex", "`name` of the shape")
	f.Var(&o.sizesText, "size", "`OCPUS/GB` of a flexible shape; may be repeated. Default: 2/12 and 1/6, as the builder")
	f.DurationVar(&o.watch, "watch", 0, "look again after this `duration` (30s), until Ctrl-C")
	f.BoolVar(&o.untilFree, "until-free", false, "with --watch: end as soon as something is free")
	f.BoolVar(&o.asJSON, "json", false, "say it in JSON, one document for each look")
	f.Var(&o.prefixes, "env-prefix", "`prefix` of the variables that say who signs in, such as BUILD_ for BUILD_OCI_TENANCY_OCID; may be repeated, the first counts")
	if err := flags.Parse(f, args, help, usage, codes); err != nil {
		return nil, err
	}
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if f.NArg() > 0 {
		bad("%q is no option; see --help", f.Arg(0))
	}
	if o.allRegions && len(o.regions) > 0 {
		bad("--region and --all-regions exclude each other")
	}
	if o.watch != 0 && o.watch < leastWatch {
		bad("--watch must be %s or more, and not %s", leastWatch, o.watch)
	}
	if o.untilFree && o.watch == 0 {
		bad("--until-free needs --watch")
	}
	flexible := strings.HasSuffix(o.shape, ".Flex")
	switch {
	case o.shape == "":
		bad("--shape must not be empty")
	case !flexible && len(o.sizesText) > 0:
		bad("--size: %s has one size only", o.shape)
	case !flexible:
		o.sizes = []oci.Size{{Shape: o.shape}}
	case len(o.sizesText) == 0 && oci.Ampere(o.shape):
		o.sizesText = flags.List{"2/12", "1/6"}
	case len(o.sizesText) == 0:
		bad("--size must be set for %s", o.shape)
	}
	for _, text := range o.sizesText {
		m := size.FindStringSubmatch(text)
		if m == nil {
			bad("--size must be OCPUs and gigabytes, such as 2/12, and not %q", text)
			continue
		}
		ocpus, _ := strconv.ParseFloat(m[1], 32)
		memory, _ := strconv.ParseFloat(m[2], 32)
		if ocpus <= 0 || memory <= 0 {
			bad("--size must be more than nothing, and not %q", text)
			continue
		}
		if flexible {
			o.sizes = append(o.sizes, oci.Size{Shape: o.shape, OCPUs: float32(ocpus), MemoryGB: float32(memory)})
		}
	}
	a := ocicfg.Access{Region: o.regions.Or("")[0]}
	c, wrong := a.Prepare("", o.prefixes.Or("")...)
	o.question = outlook.Question{Credentials: c, Regions: o.regions, AllRegions: o.allRegions}
	return o, errors.Join(append(errs, wrong...)...)
}
