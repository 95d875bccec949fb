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
	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
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
	p    *PostProcessor
	v    *Verify
	goss packersdk.Provisioner // may be nil
	at   *oci.Importer
	// key tells destinations apart. copied is the identity of the copy, which is known
	// once all destinations are.
	key, copied string
	by          string // what is verified by, as it was when the run began
	// turn has room for one verification at a time in the destination's tenancy.
	turn chan struct{}
	ui   packersdk.Ui
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
func (p *PostProcessor) prover(i int, m *oci.Importer, key string, ui packersdk.Ui) (*prover, error) {
	v := p.config.Destinations[i].Verify
	by, err := v.by(p.checkers[i])
	if err != nil {
		return nil, fmt.Errorf("verify: what goss is to read: %w", err)
	}
	return &prover{
		p: p, v: v, goss: p.checkers[i], at: m, key: key, by: by, ui: labelled{ui, m.Label},
	}, nil
}

// takeTurns lets one verification go on at a time in each tenancy: each of them is
// within the tenancy's limits, and within what is free in it, by itself. It returns how
// long all of them may take.
func takeTurns(all []*prover) (most time.Duration) {
	turns, takes := map[string]chan struct{}{}, map[string]time.Duration{}
	for _, p := range all {
		at := p.at.Tenancy
		if turns[at] == nil {
			turns[at] = make(chan struct{}, 1)
		}
		p.turn = turns[at]
		takes[at] += p.v.life() + p.p.config.CleanupTimeout
		most = max(most, takes[at])
	}
	return most
}

// wait waits until no other verification goes on in the tenancy.
func (p *prover) wait(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	default:
	}
	p.ui.Say("Waiting for another verification in this tenancy: there is one at a time")
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// owned is whose a machine is that is launched from now on. The identity is the same
// in each run of the same copy, so that the next run finds what a killed one left. The
// time counts from now and not from the start of the run, which an export and an import
// may make hours ago: a machine that is somebody's leftover already would be swept away
// by the next build.
func (p *prover) owned() owner.Build {
	return owner.Derive(time.Now(), p.v.life()+p.p.config.CleanupTimeout+machineMargin, "verify", p.copied, p.key)
}

// machineMargin is how much longer a machine is nobody's leftover than it may be
// needed.
const machineMargin = time.Hour

// By implements imagecopy.Verifier.
func (p *prover) By() string { return p.by }

// unchanged says whether goss would read what it would have read when the run began:
// the image is tagged with that.
func (p *prover) unchanged() error {
	by, err := p.v.by(p.goss)
	if err == nil && by != p.by {
		err = errors.New("it was changed since this run began; run it again")
	}
	if err != nil {
		return fmt.Errorf("what goss is to read: %w", err)
	}
	return nil
}

// checked is what is looked at before there is an image; nothing is launched in it.
func (p *prover) checked() (*oci.Build, owner.Build, error) {
	mine := p.owned()
	c, err := p.v.Build(p.at, "", "", p.v.InstanceTimeout)
	if err != nil {
		return nil, mine, err
	}
	return oci.NewBuild(p.at.Client, c, mine, p.ui.Sayf), mine, nil
}

// Tidy implements imagecopy.Verifier: it removes the machines of a run of the same copy
// that was killed, or that could not remove them.
func (p *prover) Tidy(ctx context.Context) error {
	b, mine, err := p.checked()
	if err != nil {
		return err
	}
	for _, place := range machines(b.Leftovers()) {
		r, err := sweep.Sweep{Cloud: place, Rules: sweep.Rules{Builds: []string{mine.ID}}}.Run(ctx)
		if err != nil {
			return fmt.Errorf("whether an earlier run left a machine cannot be seen: %w", err)
		}
		if line := r.Line(); line != "" {
			p.ui.Say(line)
		}
	}
	return nil
}

// Check implements imagecopy.Verifier.
func (p *prover) Check(ctx context.Context) error {
	b, _, err := p.checked()
	if err != nil {
		return err
	}
	return b.Check(ctx)
}

// Verify implements imagecopy.Verifier.
func (p *prover) Verify(ctx context.Context, image string) (cloud.Verified, error) {
	if err := p.wait(ctx); err != nil {
		return cloud.Verified{}, &imagecopy.Untried{Err: err}
	}
	defer func() { <-p.turn }()
	had := false
	var left []error
	v, err := p.start(ctx, image, func() { had = true }, func(err error) { left = append(left, err) })
	switch {
	case err == nil && len(left) > 0:
		return v, &imagecopy.Left{Err: errors.Join(left...)}
	case err != nil:
		err = errors.Join(append([]error{err}, left...)...)
	}
	if err != nil && !had {
		err = &imagecopy.Untried{Err: err}
	}
	return v, err
}

// start starts a machine from an image and looks at it. had is called once there is
// one, and left is told what could not be removed.
func (p *prover) start(ctx context.Context, image string, had func(), left func(error)) (cloud.Verified, error) {
	start, mine := time.Now(), p.owned()
	c := &p.p.config
	if err := p.unchanged(); err != nil {
		return cloud.Verified{}, err
	}
	comm, errs := p.v.communicator()
	if len(errs) > 0 {
		return cloud.Verified{}, errors.Join(errs...)
	}
	done, err := buildcfg.UseKey(&c.PackerConfig, &comm, "verify_"+mine.ID, p.p.Mask.Add, p.ui)
	if err != nil {
		return cloud.Verified{}, err
	}
	defer done()
	comm.SSHTemporaryKeyPairName = "" // the key goes with the machine
	if p.p.unreachable {
		comm.Type = "none"
	}
	cfg, err := p.v.Build(p.at, image, string(comm.SSHPublicKey), p.v.InstanceTimeout)
	if err != nil {
		return cloud.Verified{}, err
	}
	p.ui.Sayf("Verifying %s: looking for a machine to start from it", image)
	run := owner.NewBuild(start, p.v.life())
	limits := buildcfg.Limits{CapacityOrder: "place", CapacityInterval: p.v.CapacityInterval}
	at := &site{Fleet: fleet.New(fleet.Place{Cloud: "oci", Region: p.at.Region, Site: oci.NewBuild(p.at.Client, cfg, mine, p.ui.Sayf)})}
	build := phase.Build{
		UI: p.ui, Hook: hook{p.goss, p.v.TestTimeout}, Site: at, Token: run.Token, ID: mine.ID,
		Policy: limits.Policy(), Timeout: p.v.CapacityTimeout, CleanupTimeout: c.CleanupTimeout, Comm: &comm,
		More: func(m *phase.FindMachine) map[string]interface{} {
			return ocibuild.Generated(m.ID, mine.ID, m.Offer, image)
		},
		Found:   func(*phase.FindMachine) { had() },
		NoImage: "the machine was there to verify one", Left: left,
		SweepOptions: prefixed("PROD_", p.at.Tenancy),
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
	if p.goss != nil && !p.p.unreachable {
		if err := at.passed(); err != nil {
			return cloud.Verified{}, err
		}
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
	state  string // one of goss's, empty without a note
	tests  int
	digest string
}

// passed says whether goss itself said that the machine passed: that the provisioner
// came to a good end is not enough for a tag that others rely on.
func (s *site) passed() error {
	switch s.state {
	case goss.ProofPassed:
		return nil
	case "":
		return errors.New("goss left no note of what it found, so that nothing is proven")
	}
	return fmt.Errorf("goss's note says %q and not that the machine passed", s.state)
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
	s.state, s.tests, s.digest = of.State, of.Tests, of.Digest
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
