// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package goss is the provisioner that checks a machine before an image is made
// of it.
//
// It brings goss and its gossfiles to the machine, runs goss there, brings the
// result back and lets internal/goss judge it. The build goes on only if the
// machine passed; everything else, from a failing test to a result that got
// lost, ends it. What it found is written to reports, and left for the builder
// as a note (internal/proof), so that the image can tell that it was checked.
//
// The machine needs no network and keeps no trace. Everything happens in one
// private folder, in memory where the machine allows it, which is removed at
// the end in every case: after success, after failure, and after Ctrl-C, when
// goss and whatever its tests have started are ended first. That the folder is
// gone is checked, because what stays would be part of the image. A template
// may name a working directory outside of it; that is then as it was before.
//
// The machine is not trusted to say more than it can prove. Each transfer is
// compared by its digest, a script counts as finished only when its last line
// arrived, and what the machine prints is shown in a form that cannot steer a
// terminal. Variables travel in a file, never on a command line, and are never
// printed.
//
// Under the plugin's default name the provisioner takes the place of the
// plugin that people know as "goss": the options are the same for both, and
// where a default of that plugin is another one, it holds there.
package goss

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// Provisioner is the Packer component armfree-goss. The zero value is ready for
// Prepare.
type Provisioner struct {
	// DropIn gives the options the defaults that they have in the plugin whose
	// place the provisioner takes.
	DropIn bool

	config Config
	box    proof.Box // where notes for the builder are left; tests set it
	within limits    // tests set them
}

var _ packersdk.Provisioner = (*Provisioner)(nil)

// ConfigSpec tells Packer which options there are.
func (p *Provisioner) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Prepare reads and checks the options. It looks at files on this host and
// reports all problems at once.
func (p *Provisioner) Prepare(raws ...any) error { return p.config.decode(p.DropIn, raws...) }

// Provision checks the machine. It returns nil only if goss ran, its whole
// result came back, the machine passed, and nothing of ours is left on it.
func (p *Provisioner) Provision(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, data map[string]any) error {
	var secrets mask.Masker
	secrets.AddVariables(p.config.PackerSensitiveVars, p.config.PackerUserVars)
	secrets.Add(p.config.SudoPassword, p.config.Password)
	r := run{
		within: p.within,
		c:      &p.config, secrets: &secrets, ui: secrets.Ui(ui), box: p.box, build: p.config.buildOf(data),
		guest: &guest{comm: comm, mark: newMark(), mask: secrets.Text},
	}
	if r.box.Dir == "" {
		r.box = proof.Default()
	}
	if r.within == (limits{}) {
		r.within = limits{removeWithin, settleWithin}
	}
	return secrets.Error(help.With(r.check(ctx)))
}

// run is one use of the provisioner on one machine.
type run struct {
	c       *Config
	secrets *mask.Masker
	ui      packersdk.Ui
	guest   *guest
	box     proof.Box
	build   build
	within  limits

	// What the machine was found to be, and what ran on it.
	machine facts
	used    goss.GossUsed
	user    string
	in      *inputs
	vars    variables
	linted  map[string]goss.Linted
	// sent are the files as they were read to be brought.
	sent []goss.Source
	// finishing is the script of the option finish, finished the same once it
	// has run.
	finishing, finished *goss.Source

	w    *workspace
	prog program
	// chosen is what select and deselect leave of gossfiles; nil without them.
	chosen map[string]*chosen
	// printed is what goss printed at last, by gossfile.
	printed map[string][]byte
	// spec and debug are the gossfiles as goss rendered them.
	spec, debug []byte
}

// check is the way from a machine to a verdict.
func (r *run) check(ctx context.Context) error {
	if err := r.gather(); err != nil {
		return err
	}
	result, recorded, err := r.onMachine(ctx)
	if recorded != nil {
		err = errors.Join(err, r.writeRecorded(recorded))
	}
	if result == nil && err != nil && r.c.checks() {
		result, err = r.nothingRun(err)
	}
	if result == nil {
		return err
	}
	return r.conclude(result, err)
}

// nothingRun is the result of a check that broke off before goss was run, which
// whoever reads the reports has to be told as well.
func (r *run) nothingRun(broken error) (*goss.Result, error) {
	rules, err := r.rules()
	if err != nil {
		return nil, broken
	}
	return goss.NewSession(rules, r.suites(r.in.gossfiles...)...).Result(), broken
}

// gather reads what is brought along.
func (r *run) gather() (err error) {
	r.in = new(inputs)
	if r.c.checks() {
		if r.in, err = r.c.inputs(); err != nil {
			return err
		}
	}
	if r.linted, err = r.c.linted(r.in); err != nil {
		return err
	}
	r.vars, err = r.c.variables(r.in)
	return err
}

// checks says whether something is to be checked. A template may only record.
func (c *Config) checks() bool { return len(c.Tests) > 0 || c.GossFile != "" || len(c.GossFiles) > 0 }

// somethingToRun is an error where a check was asked for and none would be run.
func (r *run) somethingToRun() error {
	if r.c.checks() && len(r.in.gossfiles) == 0 {
		return errors.New("there is no gossfile to run, which proves nothing about the machine")
	}
	return nil
}

// onMachine is what is done on the machine, and what is left of it is nothing.
// Beside an error the result is that of a check that broke off, or nil if goss
// was not run.
func (r *run) onMachine(ctx context.Context) (result *goss.Result, recorded []byte, err error) {
	c := r.c
	sudo, input := c.sudo()
	if r.machine, err = look(ctx, r.guest, sudo, input); err != nil {
		return nil, nil, err
	}
	exe, err := c.binary(ctx, r.ui, r.machine.arch)
	if err != nil {
		return nil, nil, err
	}
	r.w = newWorkspace(r.guest, c.folders(r.machine.home))
	r.w.keep, r.w.strict, r.w.within = c.KeepRemote, c.Strict, r.within
	c.rights(r.w, r.machine.sudo, sudo, input)
	switch {
	case r.machine.sudo || r.machine.uid == "0":
		r.user = "root"
	case c.ExecuteCommand != "":
		r.user = "the user of execute_command"
	default:
		r.user = "the login user"
	}
	defer func() { err = errors.Join(err, r.w.remove(ctx)) }()
	if err := r.w.open(ctx); err != nil {
		return nil, nil, err
	}
	if c.KeepRemote {
		r.ui.Sayf("keep_remote is set: %s stays on the machine, and becomes part of the image", r.w.dir)
	}
	if err := r.bring(ctx, exe); err != nil {
		return nil, nil, err
	}
	if len(c.Record) > 0 {
		if recorded, err = r.record(ctx); err != nil {
			return nil, nil, err
		}
	}
	if !c.checks() {
		return nil, recorded, nil
	}
	if err := r.somethingToRun(); err != nil {
		return nil, recorded, err
	}
	r.ui.Sayf("Checking the machine with %s (linux/%s) as %s: %s", r.used.Origin, r.machine.arch, r.user, strings.Join(r.in.gossfiles, ", "))
	rules, err := r.rules()
	if err != nil {
		return nil, recorded, err
	}
	if result, err = r.await(ctx, rules); err != nil {
		return result, recorded, err
	}
	if err := r.choose(ctx); err != nil {
		return nil, recorded, err
	}
	if result, err = r.validateAll(ctx, rules); err == nil {
		err = r.render(ctx)
	}
	if err == nil && result.Err() == nil {
		err = r.finish(ctx, result)
	}
	return result, recorded, err
}

// rules are the demands of the template on this machine.
func (r *run) rules() (goss.Rules, error) {
	rules, err := r.c.rules()
	rules.Mask = r.secrets.Text
	if rules.Baseline != nil {
		rules.Baseline = rules.Baseline.Masking(r.secrets.Text)
	}
	return rules, err
}

// sudo is the command for sudo, if it is wanted, and what it reads.
func (c *Config) sudo() (command, input string) {
	if c.SudoPassword != "" {
		input = c.SudoPassword + "\n"
	}
	wanted := !c.UseSudo.False()
	if c.dropIn {
		wanted = c.UseSudo.True()
	}
	switch {
	case !wanted || c.ExecuteCommand != "":
		return "", input
	case input != "":
		return "sudo -S -p ''", input
	}
	return "sudo -n", ""
}

// rights says as whom goss runs in a workspace.
func (c *Config) rights(w *workspace, isSudo bool, sudo, input string) {
	stdin := ""
	if input == "" {
		stdin = " </dev/null"
	}
	switch {
	case c.ExecuteCommand != "":
		w.input = input
		w.become = func(script string) (string, error) {
			line, err := c.command(script)
			return line + stdin, err
		}
		w.asRoot = func(string) string {
			line, err := c.command(w.path("leave.sh"))
			if w.dir == "" || err != nil {
				return ""
			}
			return "[ -f " + quote(w.path("leave.sh")) + " ] && " + line + stdin
		}
	case isSudo:
		w.input = input
		w.become = func(script string) (string, error) { return sudo + " sh " + quote(script) + stdin, nil }
		w.asRoot = func(script string) string { return sudo + " sh -c " + quote(script) + stdin }
	default:
		w.become = func(script string) (string, error) { return "sh " + quote(script) + " </dev/null", nil }
	}
}

// folders are those in which the private folder may be, in the order in which
// they are tried.
func (c *Config) folders(home string) []string {
	usual := []string{"/dev/shm", home, "/tmp", "/var/tmp"}
	switch {
	case c.RemoteFolder == "":
		return usual
	case c.dropIn: // there it is the folder of the tests only
		return append(usual, c.RemoteFolder)
	}
	return []string{c.RemoteFolder}
}

// about is what reports say beside the tests.
func (r *run) about() goss.About {
	return goss.About{
		Time: time.Now(), Build: r.build.BuildName, BuildID: r.build.RunUUID, Machine: r.machine.about, Goss: r.used,
	}
}

// spelled counts things in words.
func spelled(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
