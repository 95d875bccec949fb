// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package goss is the provisioner that checks a machine before an image is made
// of it.
//
// It brings goss and its gossfiles to the machine, runs goss there, brings the
// result back and lets internal/goss judge it. The build goes on only if the
// machine passed; everything else, from a failing test to a result that got
// lost, ends it.
//
// The machine needs no network and keeps no trace. Everything happens in one
// private folder, in memory where the machine allows it, which is removed at
// the end in every case: after success, after failure, and after Ctrl-C, when
// goss and whatever its tests have started are ended first. That the folder is
// gone is checked, because what stays would be part of the image.
//
// The machine is not trusted to say more than it can prove. Each transfer is
// compared by its digest, a script counts as finished only when its last line
// arrived, and what the machine prints is shown in a form that cannot steer a
// terminal. Variables travel in a file, never on a command line, and are never
// printed.
package goss

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Provisioner is the Packer component armfree-goss. The zero value is ready for
// Prepare.
type Provisioner struct {
	config Config
}

var _ packersdk.Provisioner = (*Provisioner)(nil)

// ConfigSpec tells Packer which options there are.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the options. It looks at files on this host and
// reports all problems at once.
func (p *Provisioner) Prepare(raws ...any) error { return p.config.decode(raws...) }

// Provision checks the machine. It returns nil only if goss ran, its whole
// result came back, the machine passed, and nothing of ours is left on it.
func (p *Provisioner) Provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, _ map[string]any) error {
	var secrets mask.Masker
	for _, name := range p.config.PackerSensitiveVars {
		secrets.Add(p.config.PackerUserVars[name])
	}
	err := p.check(ctx, secrets.Ui(ui), &guest{comm: comm})
	if err == nil {
		return nil
	}
	if text := secrets.Text(err.Error()); text != err.Error() {
		return errors.New(text)
	}
	return err
}

// check is the way from a machine to a verdict.
func (p *Provisioner) check(ctx context.Context, ui packersdk.Ui, g *guest) (err error) {
	in, err := p.config.inputs()
	if err != nil {
		return err
	}
	machine, err := look(ctx, g, !p.config.UseSudo.False())
	if err != nil {
		return err
	}
	exe, err := p.binary(machine.arch)
	if err != nil {
		return err
	}
	user := "the login user"
	if machine.sudo || machine.uid == "0" {
		user = "root"
	}
	ui.Sayf("Checking the machine with %s (linux/%s) as %s: %s", exe.Origin, exe.Arch, user, in.gossfile)

	w := newWorkspace(g, machine, p.config.RemoteFolder)
	defer func() { err = errors.Join(err, w.remove(ctx)) }()
	if err := w.open(ctx); err != nil {
		return err
	}
	if err := p.bring(ctx, w, exe, in); err != nil {
		return err
	}
	return p.untilPassed(ctx, ui, w)
}

// binary finds the goss for the machine.
func (p *Provisioner) binary(arch string) (*goss.Executable, error) {
	if p.config.GossBinary == "" {
		return goss.Binary(arch)
	}
	exe, err := goss.BinaryFromFile(p.config.GossBinary, p.config.GossSHA256)
	if err != nil {
		return nil, fmt.Errorf("goss_binary: %w", err)
	}
	if exe.Arch != arch {
		return nil, fmt.Errorf("goss_binary: %s is for %s but the machine is %s", p.config.GossBinary, exe.Arch, arch)
	}
	return exe, nil
}

// bring uploads goss and what it reads, and makes sure that all of it arrived.
func (p *Provisioner) bring(ctx context.Context, w *workspace, exe *goss.Executable, in *inputs) error {
	inline, err := p.config.inlineJSON()
	if err != nil {
		return err
	}
	archive, layout, err := in.archive(runScript(w.dir, in.gossfile, in.varsfile, inline, p.config.VarsEnv))
	if err != nil {
		return fmt.Errorf("pack the test files: %w", err)
	}
	if err := w.guest.upload(ctx, w.path("goss.gz"), exe.Gzip); err != nil {
		return err
	}
	if err := w.guest.upload(ctx, w.path("inputs.gz"), archive); err != nil {
		return err
	}
	sum := sha256.Sum256(archive)
	said, err := w.guest.sh(ctx, "unpack goss on the machine", unpackScript(w.dir, exe.SHA256, hex.EncodeToString(sum[:]), layout))
	if err != nil {
		return err
	}
	if bad := said.one("bad"); bad != "" {
		return fmt.Errorf("the upload failed: %.300s", bad)
	}
	return nil
}

// untilPassed runs goss, again and again within retry_timeout while tests fail.
// The last run is shown in full, those before it in one line each.
func (p *Provisioner) untilPassed(ctx context.Context, ui packersdk.Ui, w *workspace) error {
	var report *goss.Report
	var warnings []byte
	n, start := 0, time.Now()
	attempt := func(ctx context.Context) (bool, error) {
		n++
		run, err := w.attempt(ctx, n)
		if err != nil {
			report = nil
			return false, err
		}
		warnings = run.Warnings
		report, err = goss.Judge(run, goss.Rules{MinTests: *p.config.MinTests})
		if left := p.config.RetryTimeout - time.Since(start); again(err) && left > 0 {
			ui.Sayf("Attempt %d: %v; the next one in %s, %s left", n, err,
				min(p.config.Sleep, left.Round(time.Second)), left.Round(time.Second))
		}
		return err == nil, err
	}
	var err error
	if p.config.RetryTimeout == 0 {
		_, err = attempt(ctx)
	} else {
		err = wait.Loop{
			What:     "the tests of goss to pass",
			Timeout:  p.config.RetryTimeout,
			Option:   "retry_timeout",
			Pace:     wait.Pace{First: p.config.Sleep, Max: p.config.Sleep, Factor: 1},
			Tolerate: again,
		}.Until(ctx, attempt)
	}
	show(ui, report, err, warnings)
	return err
}

// again reports whether a verdict may be another one a little later.
func again(err error) bool {
	var verdict *goss.Error
	return errors.As(err, &verdict) && verdict.Again()
}

// attempt runs goss once and brings back what it printed.
func (w *workspace) attempt(ctx context.Context, n int) (goss.Run, error) {
	said, err := w.guest.sh(ctx, "run goss on the machine", attemptScript(w.dir, n, w.sudo))
	if err != nil {
		return goss.Run{}, err
	}
	var run goss.Run
	if run.ExitCode, err = strconv.Atoi(said.one("code")); err != nil {
		return goss.Run{}, errors.New("the machine did not say how goss ended")
	}
	if said.one("warned") == "yes" {
		// Warnings explain and never decide, so that they may get lost.
		if run.Warnings, err = w.guest.download(ctx, w.path(fmt.Sprintf("warnings.%d", n))); err != nil && ctx.Err() != nil {
			return goss.Run{}, err
		}
	}
	result, err := w.guest.download(ctx, w.path(fmt.Sprintf("result.%d", n)))
	if err != nil {
		return goss.Run{}, fmt.Errorf("goss ended with exit code %d but its result is missing: %w", run.ExitCode, err)
	}
	sum := sha256.Sum256(result)
	if said.one("sum") != hex.EncodeToString(sum[:]) {
		return goss.Run{}, fmt.Errorf("goss ended with exit code %d but its result did not come back whole", run.ExitCode)
	}
	run.Output = result
	return run, nil
}

// show prints a report for people. What goss warned about comes first: a key
// that is given twice explains a test that seems to be missing.
func show(ui packersdk.Ui, report *goss.Report, verdict error, warnings []byte) {
	say := ui.Say
	if verdict != nil {
		say = ui.Error
	}
	for _, line := range goss.Warnings(warnings) {
		say("  goss warns: " + line)
	}
	if report == nil {
		return
	}
	for _, line := range report.Text() {
		say("  " + line)
	}
}
