// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// prover starts machines from the copies in one destination; it implements
// imagecopy.Verifier.
type prover struct {
	p           *PostProcessor
	v           *Verify
	goss        packersdk.Provisioner // may be nil
	client      *oci.Client
	compartment string // of the machine and the image
	// key tells destinations apart. owner is whose the machine is: the same in each
	// run of the same copy, so that the next run finds what a killed one left. It is
	// known once the copy has its identity.
	key   string
	owner owner.Build
	ui    packersdk.Ui
}

// prepareCheckers prepares what is run on the machines.
func (p *PostProcessor) prepareCheckers() (bad []error) {
	c := &p.config
	p.checkers = make([]packersdk.Provisioner, len(c.Destinations))
	for i := range c.Destinations {
		if v := c.Destinations[i].Verify; v != nil {
			var errs []error
			p.checkers[i], errs = v.checker(c.block(i)+"verify.", p.Goss, &c.PackerConfig)
			bad = append(bad, errs...)
		}
	}
	return bad
}

// prover is that of a destination.
func (p *PostProcessor) prover(i int, m *oci.Importer, key string, ui packersdk.Ui) *prover {
	return &prover{
		p: p, v: p.config.Destinations[i].Verify, goss: p.checkers[i], client: m.Client, compartment: m.Compartment,
		key: key, ui: labelled{ui, m.Label},
	}
}

// longest is how long the verifications may take, which go on at the same time.
func longest(all []*prover) (d time.Duration) {
	for _, p := range all {
		d = max(d, p.v.life()+p.p.config.CleanupTimeout)
	}
	return d
}

// identify settles whose the machines are.
func (p *prover) identify(copied owner.Build, now time.Time) {
	p.owner = owner.Derive(now, p.v.life()+p.p.config.CleanupTimeout+machineMargin, "verify", copied.ID, p.key)
}

// machineMargin is how much longer a machine is nobody's leftover than it may be
// needed.
const machineMargin = time.Hour

// By implements imagecopy.Verifier.
func (p *prover) By() string { return p.v.by() }

// build is what is launched; image is empty as long as there is none.
func (p *prover) build(image, public string) (oci.BuildConfig, error) {
	o := p.v.options(image)
	o.Search.Check() // fills in the allowance
	o.CompartmentOCID = p.compartment
	limits := &buildcfg.Limits{CapacityOrder: "place", InstanceTimeout: p.v.InstanceTimeout}
	all, err := o.Builds(ocibuild.Given{Tenancy: p.client.Tenancy, Region: p.client.Region, Limits: limits}, ocibuild.Keys{Public: public}, p.v.Bastion)
	if err != nil {
		return oci.BuildConfig{}, err
	}
	c := all[0]
	c.FirstDomain, c.SizesNamed = "", p.v.named() // the environment speaks of the build's tenancy
	if image == "" {
		c.ImageFilter = nil
	}
	return c, nil
}

// Check implements imagecopy.Verifier. What a run of the same copy left that was
// killed goes first: it may be in the way.
func (p *prover) Check(ctx context.Context) error {
	c, err := p.build("", "")
	if err != nil {
		return err
	}
	b := oci.NewBuild(p.client, c, p.owner, p.ui.Sayf)
	for _, place := range machines(b.Leftovers()) {
		r, err := sweep.Sweep{Cloud: place, Rules: sweep.Rules{Builds: []string{p.owner.ID}}}.Run(ctx)
		if err != nil {
			return fmt.Errorf("whether an earlier run left a machine cannot be seen: %w", err)
		}
		if line := r.Line(); line != "" {
			p.ui.Say(line)
		}
	}
	return b.Check(ctx)
}

// Verify implements imagecopy.Verifier.
func (p *prover) Verify(ctx context.Context, image string) (cloud.Verified, error) {
	start := time.Now()
	c := &p.p.config
	comm, errs := p.v.communicator()
	if len(errs) > 0 {
		return cloud.Verified{}, errors.Join(errs...)
	}
	done, err := buildcfg.UseKey(&c.PackerConfig, &comm, "verify_"+p.owner.ID, p.p.Mask.Add, p.ui)
	if err != nil {
		return cloud.Verified{}, err
	}
	defer done()
	comm.SSHTemporaryKeyPairName = "" // the key goes with the machine
	if p.p.unreachable {
		comm.Type = "none"
	}
	cfg, err := p.build(image, string(comm.SSHPublicKey))
	if err != nil {
		return cloud.Verified{}, err
	}
	p.ui.Sayf("Verifying %s: looking for a machine to start from it", image)
	run := owner.NewBuild(start, p.v.life())
	limits := buildcfg.Limits{CapacityOrder: "place", CapacityInterval: p.v.CapacityInterval}
	at := &site{Fleet: fleet.New(fleet.Place{Cloud: "oci", Region: p.client.Region, Site: oci.NewBuild(p.client, cfg, p.owner, p.ui.Sayf)})}
	build := phase.Build{
		UI: p.ui, Hook: hook{p.goss, p.v.TestTimeout}, Site: at, Token: run.Token, ID: p.owner.ID,
		Policy: limits.Policy(), Timeout: p.v.CapacityTimeout, CleanupTimeout: c.CleanupTimeout, Comm: &comm,
		More: func(m *phase.FindMachine) map[string]interface{} {
			return ocibuild.Generated(m.ID, p.owner.ID, m.Offer, image)
		},
		NoImage: "the machine was there to verify one", SweepOptions: prefixed("PROD_", p.client.Tenancy),
	}
	if b := p.v.Bastion; b != nil {
		build.Tunnel = &phase.Tunnel{
			UI: p.ui, Config: &comm, Bastion: &phase.Bastion{UI: p.ui, Cloud: at, Token: run.Token}, Port: comm.SSHPort,
			Dial: oci.Options{HTTP: p.p.HTTP}.DialJumpHost, Timeout: b.Timeout, Option: "verify: oci_bastion: timeout",
		}
	}
	if _, err := build.Run(ctx); err != nil {
		return cloud.Verified{}, err
	}
	v := cloud.Verified{Time: time.Now(), Tests: at.tests, Digest: at.digest}
	what := "boots and lets " + comm.SSHUsername + " in"
	if p.goss != nil {
		what += " and passes " + count(v.Tests, "test")
	}
	p.ui.Sayf("Image %s %s, which took %s", image, what, time.Since(start).Round(time.Second))
	return v, nil
}

// site is where a machine is launched to verify an image.
type site struct {
	*fleet.Fleet
	// What goss found on the machine.
	tests  int
	digest string
}

// Plan implements phase.Site, without the words for a build.
func (s *site) Plan(ctx context.Context) (cloud.Plan, error) {
	plan, err := s.Fleet.Plan(ctx)
	if why := oci.Reasons(err); why != err { //nolint:errorlint // whether it is another
		err = fmt.Errorf("no machine can be launched: %w", why)
	}
	return plan, err
}

// TagImage implements phase.Site: it learns what goss found on the machine.
func (s *site) TagImage(_ string, tags map[string]string) error {
	of, err := proof.ParseValue(tags[proof.Tag])
	s.tests, s.digest = of.Tests, of.Digest
	return err
}

// Leftovers implements phase.Site. Only machines, and the ways to them, are removed
// here: the image that is being verified is unfinished itself.
func (s *site) Leftovers() []sweep.Cloud { return machines(s.Fleet.Leftovers()) }

func machines(all []sweep.Cloud) (some []sweep.Cloud) {
	for _, c := range all {
		some = append(some, onlyMachines{c})
	}
	return some
}

// onlyMachines is a place of which nothing but machines and bastions is swept.
type onlyMachines struct{ sweep.Cloud }

// List implements sweep.Cloud.
func (m onlyMachines) List(ctx context.Context) (sweep.Listing, error) {
	l, err := m.Cloud.List(ctx)
	var things []sweep.Thing
	for _, t := range l.Things {
		if t.Kind == sweep.Instance || t.Kind == sweep.Bastion {
			things = append(things, t)
		}
	}
	l.Things = things
	return l, err
}

// labelled is a Ui on which several destinations speak at the same time.
type labelled struct {
	packersdk.Ui
	label string
}

func (u labelled) text(s string) string {
	return u.label + ": " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n"+u.label+": ")
}
func (u labelled) Say(s string)              { u.Ui.Say(u.text(s)) }
func (u labelled) Sayf(f string, a ...any)   { u.Say(fmt.Sprintf(f, a...)) }
func (u labelled) Message(s string)          { u.Ui.Message(u.text(s)) } //nolint:staticcheck // part of the interface
func (u labelled) Error(s string)            { u.Ui.Error(u.text(s)) }
func (u labelled) Errorf(f string, a ...any) { u.Error(fmt.Sprintf(f, a...)) }
