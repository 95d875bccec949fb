// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweepcmd

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/flags"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// options are what the command line says.
type options struct {
	clouds, regions, compartments, builds, prefixes flags.List
	olderThan, grace, timeout                       time.Duration
	dryRun, asJSON                                  bool

	oci *oci.Credentials
	aws *ec2.Credentials
}

const (
	onOCI = "oci"
	onAWS = "aws"
	// everywhere is every compartment that the user may see.
	everywhere = "all"
)

const usage = `Usage: packer-plugin-armfree sweep [options]

Removes what dead builds and copies of this plugin have left behind: what carries
its mark and has expired, by the cloud's clock. What is finished, an image or a
captured disk, is never removed, nor is anything of others. Who signs in is taken
from the environment and the profiles of OCI and AWS, as the builders do it.

Options:
`

const codes = `
Exit codes:
  0  nothing is left that should be gone (with --dry-run: the places were looked at)
  1  the command line is wrong, nobody could sign in, or a place could not be looked at
  2  something should be gone and is not; it is named
`

// buildID is what the id of a build looks like.
var buildID = regexp.MustCompile(`^[a-z2-7]{16}$`)

// parse reads the command line and the environment. All mistakes are reported at
// once.
func parse(args []string, help io.Writer) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("sweep", flag.ContinueOnError)
	f.Var(&o.clouds, "cloud", "`name` of a cloud: oci or aws; may be repeated. Default: all that somebody can sign in to")
	f.Var(&o.regions, "region", "`name` of a region; may be repeated. Default: that of the environment or profile")
	f.Var(&o.compartments, "compartment", "`OCID` of a compartment on OCI, or \"all\"; may be repeated. Default: OCI_COMPARTMENT_OCID, else all that the user may see")
	f.Var(&o.builds, "build", "`id` of a build that is over: only what it made goes, expired or not; may be repeated")
	f.DurationVar(&o.olderThan, "older-than", 0, "what was made longer ago than this `duration` (3h) goes even if its build may need it")
	f.DurationVar(&o.grace, "grace", sweep.DefaultGrace, "how long after its expiry something stays")
	f.DurationVar(&o.timeout, "timeout", 30*time.Minute, "limit for all of it")
	f.Var(&o.prefixes, "env-prefix", "`prefix` of the variables that say who signs in to OCI, such as PROD_ for PROD_OCI_TENANCY_OCID; may be repeated, the first counts")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say what would go")
	f.BoolVar(&o.asJSON, "json", false, "say it in JSON")
	if err := flags.Parse(f, args, help, usage, codes); err != nil {
		return nil, err
	}
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if f.NArg() > 0 {
		bad("%q is no option; see --help", f.Arg(0))
	}
	for _, c := range o.clouds {
		if c != onOCI && c != onAWS {
			bad("--cloud: there is oci and aws, not %q", c)
		}
	}
	for _, c := range o.compartments {
		if err := ocicfg.Compartment("--compartment", c); c != everywhere && err != nil {
			errs = append(errs, err)
		}
	}
	for _, b := range o.builds {
		if !buildID.MatchString(b) {
			bad("--build: %q is not a build's id; a build says its own in its first line, and it is in the tag \"armfree\"", b)
		}
	}
	for name, d := range map[string]time.Duration{"--older-than": o.olderThan, "--grace": o.grace, "--timeout": o.timeout} {
		if d < 0 || name == "--timeout" && d == 0 {
			bad("%s must be a duration such as 30m, and not %s", name, d)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, o.credentials()...)
	}
	return o, errors.Join(errs...)
}

func (o *options) wants(cloud string) bool {
	return len(o.clouds) == 0 || slices.Contains(o.clouds, cloud)
}

// credentials finds out who signs in. Without --cloud a cloud that nobody can sign in
// to is left out, as long as there is another.
func (o *options) credentials() []error {
	region := ""
	if len(o.regions) > 0 {
		region = o.regions[0]
	}
	var errs []error
	if o.wants(onOCI) {
		a := ocicfg.Access{Region: region}
		c, bad := a.Prepare("", o.prefixes.Or("")...)
		if len(bad) == 0 {
			o.oci = &c
		}
		for _, err := range bad {
			errs = append(errs, fmt.Errorf("oci: %w", err))
		}
	}
	if o.wants(onAWS) {
		a := awscfg.Access{Region: region}
		c, _, bad := a.Prepare("")
		if len(bad) == 0 {
			o.aws = &c
		}
		for _, err := range bad {
			errs = append(errs, fmt.Errorf("aws: %w", err))
		}
	}
	if len(o.clouds) == 0 && (o.oci != nil || o.aws != nil) {
		errs = nil
	}
	if o.oci != nil && o.aws != nil && region != "" {
		errs = append(errs, errors.New("--region: there are credentials for both clouds; say by --cloud which one the region belongs to"))
	}
	return errs
}

// where are the compartments that are looked into; none means all.
func (o *options) where() []string {
	if slices.Contains(o.compartments, everywhere) {
		return nil
	}
	if len(o.compartments) > 0 {
		return o.compartments
	}
	for _, p := range o.prefixes.Or("") {
		if c := cmp.Or(os.Getenv(p+"OCI_COMPARTMENT_OCID"), ""); c != "" {
			return []string{c}
		}
	}
	return nil
}
