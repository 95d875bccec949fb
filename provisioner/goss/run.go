// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// bring uploads goss and what it reads, and makes sure that all of it arrived.
func (r *run) bring(ctx context.Context, exe *goss.Executable) error {
	w, c := r.w, r.c
	r.prog = program{dir: w.dir, work: w.path("tests"), goss: w.path("goss"), inline: r.vars.inline, env: c.env()}
	last := ""
	if work := c.remotePath(); work != "" && len(r.in.files) > 0 {
		var names []string
		for _, f := range r.in.files {
			names = append(names, f.remote)
		}
		r.prog.work = work
		w.place = &placement{dir: w.dir, work: work, files: names, private: r.in.private}
		last = w.place.put()
	}
	if exe == nil {
		if err := r.find(ctx); err != nil {
			return err
		}
	}
	files, err := r.cargo()
	if err != nil {
		return fmt.Errorf("pack the files: %w", err)
	}
	packed, layout, err := archive(files)
	if err != nil {
		return fmt.Errorf("pack the test files: %w", err)
	}
	sum := ""
	if exe != nil {
		sum = hexSum(exe.Gzip)
		r.used = goss.GossUsed{Version: strings.TrimPrefix(exe.Origin, "goss "), SHA256: exe.SHA256, Origin: exe.Origin}
		if exe.Origin != "goss "+goss.Version {
			r.used.Version = ""
		}
		if err := w.guest.upload(ctx, w.path("goss.gz"), exe.Gzip); err != nil {
			return err
		}
	}
	if err := w.guest.upload(ctx, w.path("inputs.gz"), packed); err != nil {
		return err
	}
	said, err := w.guest.sh(ctx, "unpack goss on the machine", unpackScript(w.dir, sum, hexSum(packed), layout, last), "")
	if err != nil {
		return err
	}
	if w.place != nil {
		w.place.done = said["put"]
	}
	if bad := said.one("bad"); bad != "" {
		return fmt.Errorf("the upload failed: %.300s", bad)
	}
	return nil
}

// cargo is everything that travels beside goss itself.
func (r *run) cargo() ([]cargo, error) {
	files := []cargo{
		{"run.sh", "0600", []byte(r.prog.script())},
		{"leave.sh", "0700", []byte("#!/bin/sh\n" + r.w.leave())}, // execute_command starts it
	}
	last, err := r.finishCargo()
	if err != nil {
		return nil, err
	}
	files = append(files, last...)
	shown := map[string]bool{}
	for _, l := range r.linted {
		for _, name := range l.Gossfiles {
			shown[name] = true
		}
	}
	for _, f := range r.in.files {
		data, err := os.ReadFile(f.local)
		if err != nil {
			return nil, err
		}
		r.sent = append(r.sent, goss.Source{Name: f.remote, Origin: repositoryPath(f.local), Data: data})
		mode := "0600"
		if f.executable {
			mode = "0700"
		}
		if shown[f.remote] {
			data = goss.ShowOutput(data)
		}
		files = append(files, cargo{path.Join("tests", f.remote), mode, data})
	}
	if r.vars.file != nil {
		files = append(files, *r.vars.file)
	}
	return files, nil
}

// find looks for a goss that the user brought to the machine.
func (r *run) find(ctx context.Context) error {
	work := r.w.dir // relative names are those of the working directory, if that is there
	if r.w.place != nil && strings.Contains(r.c.DownloadPath, "/") && !path.IsAbs(r.c.DownloadPath) {
		work = r.w.place.work
	}
	said, err := r.guest.sh(ctx, "look for goss on the machine", findScript(work, r.c.onMachine(), r.digestIsRead()), "")
	if err != nil {
		return err
	}
	if r.prog.goss = said.one("goss"); r.prog.goss == "" {
		return fmt.Errorf("skip_install is set, but the machine has no goss that can be run as %s", strings.Join(r.c.onMachine(), " or "))
	}
	version := said.one("version")
	if _, v, ok := strings.Cut(version, "version "); ok {
		version = v
	}
	r.used = goss.GossUsed{Version: version, SHA256: said.one("sum"), Origin: r.prog.goss}
	return nil
}

// digestIsRead says whether somebody is told which goss ran, to the byte.
func (r *run) digestIsRead() bool {
	return r.build.wantsProof || r.c.Receipt != "" || len(r.c.reports()) > 0
}

// args are the arguments of goss for a gossfile, whose name is relative to the
// working directory or absolute.
func (r *run) args(gossfile string, verb ...string) []string {
	level := strings.ToUpper(r.c.LogLevel)
	if level == "" {
		level = "WARN"
	}
	args := []string{"--log-level", level, "--gossfile", gossfile}
	if r.vars.file != nil {
		args = append(args, "--vars", r.w.path(r.vars.file.name))
	}
	if p := r.c.Package; p != "" {
		args = append(args, "--package", strings.Replace(p, "deb", "dpkg", 1))
	}
	return append(args, verb...)
}

// goss runs goss with arguments, which are no secrets.
func (r *run) goss(ctx context.Context, args []string) (goss.Run, error) {
	return r.w.run(ctx, "run goss on the machine", "exec sh "+quote(r.w.path("run.sh"))+" "+quoteAll(args))
}

// validate runs one gossfile once.
func (r *run) validate(ctx context.Context, gossfile string) (goss.Run, error) {
	verb := []string{"validate", "--format", "json", "--format-options", "sort", "--no-color"}
	if n := r.c.MaxConcurrent; n != nil {
		verb = append(verb, "--max-concurrent", strconv.Itoa(*n))
	}
	return r.goss(ctx, r.args(gossfile, verb...))
}

// rules are the demands of the template.
func (c *Config) rules() (goss.Rules, error) {
	rules := goss.Rules{
		Selection: c.selection(), MinTests: *c.MinTests, MaxFailed: c.MaxFailed, ReportOnly: c.ReportOnly || c.Inspect, Strict: c.Strict, Vanished: c.BaselineComplete,
	}
	var err error
	if c.FailOn != "" {
		if rules.FailOn, err = goss.ParseSeverity(c.FailOn); err != nil {
			return rules, fmt.Errorf("fail_on: %w", err)
		}
	}
	if c.Baseline != "" {
		if rules.Baseline, err = c.baseline(); err != nil {
			return rules, fmt.Errorf("baseline: %w", err)
		}
	}
	return rules, nil
}

func (c *Config) baseline() (*goss.Baseline, error) {
	data, err := os.ReadFile(c.Baseline) // #nosec G304 -- the template names it
	if err != nil {
		return nil, err
	}
	return goss.ReadBaseline(data)
}

// again reports whether a verdict may be another one a little later.
func again(err error) bool {
	var verdict *goss.Error
	return errors.As(err, &verdict) && verdict.Again()
}

// await runs the gossfile that must pass first, until it does. Where it does
// not, the result is what that gossfile came to, and that the others were not
// run.
func (r *run) await(ctx context.Context, rules goss.Rules) (*goss.Result, error) {
	if r.in.wait == "" {
		return nil, nil
	}
	session := goss.NewSession(rules, append(r.suites(r.in.wait), r.suites(r.in.gossfiles...)...)...)
	n, start := 0, time.Now()
	err := wait.Loop{
		What: r.in.wait + " to pass", Timeout: r.c.waitTimeout, Option: "wait_timeout", Tolerate: again,
		Pace: wait.Pace{First: r.c.waitInterval, Max: r.c.waitInterval, Factor: 1},
		Progress: func(elapsed time.Duration) {
			r.ui.Sayf("Still waiting for %s to pass after %s", r.in.wait, elapsed)
		},
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		began := time.Now()
		run, err := r.validate(ctx, "./"+r.in.wait)
		if err != nil {
			return false, err
		}
		n++
		_ = session.Record(0, run, began, time.Since(began)) // by rules that are not for what is waited for
		report, err := goss.Judge(run, goss.Rules{Mask: r.secrets.Text})
		if err == nil {
			r.ui.Sayf("%s passed after %s and %s", r.in.wait, spelled(n, "attempt"), time.Since(start).Round(100*time.Millisecond))
			return true, nil
		}
		if n == 1 && again(err) {
			r.ui.Sayf("Waiting for %s to pass for up to %s: %v", r.in.wait, r.c.waitTimeout, err)
			r.failing(report.Masked(r.secrets.Text))
		}
		return false, fmt.Errorf("%s: %w", r.in.wait, err)
	})
	if err == nil || n == 0 {
		return nil, err
	}
	return session.Result(), err
}

// failing shows the tests that failed, of a report that is masked.
func (r *run) failing(report *goss.Report) {
	if report == nil {
		return
	}
	for i := range report.Tests {
		if report.Tests[i].Outcome == goss.Fail {
			r.ui.Say("  " + report.Tests[i].Line())
		}
	}
}

// suites are gossfiles as they are judged.
func (r *run) suites(names ...string) []goss.Suite {
	var suites []goss.Suite
	for _, name := range names {
		l := r.linted[name]
		suite := goss.Suite{Name: name, Path: repositoryPath(r.in.origin(name)), Findings: l.Findings, Places: l.Places}
		if one := r.chosen[name]; one != nil {
			suite.Out, suite.Unselected = one.out, one.file == "" && one.broken == nil
		}
		suites = append(suites, suite)
	}
	return suites
}

// validateAll runs every gossfile, and those with failing tests again for as
// long as retry_timeout lasts. Beside an error the result is what it had come
// to by then; nil if nothing was run.
func (r *run) validateAll(ctx context.Context, rules goss.Rules) (*goss.Result, error) {
	suites := r.suites(r.in.gossfiles...)
	session := goss.NewSession(rules, suites...)
	r.printed = map[string][]byte{}
	brokeOff := func(err error) (*goss.Result, error) {
		if len(r.printed) == 0 {
			return nil, err
		}
		return session.Result(), err
	}
	for round, start := 1, time.Now(); ; round++ {
		pending := session.Pending()
		for _, i := range pending {
			began := time.Now()
			run, err := r.attempt(ctx, suites[i].Name)
			if err != nil {
				return brokeOff(err)
			}
			r.printed[suites[i].Name] = run.Output
			err = session.Record(i, run, began, time.Since(began))
			if err != nil && r.c.retryTimeout > 0 {
				r.ui.Sayf("Attempt %d: %s: %v", round, suites[i].Name, err)
			}
		}
		next, left := session.Pending(), r.c.retryTimeout-time.Since(start)
		if len(next) == 0 || left <= 0 {
			if round > 1 {
				r.ui.Sayf("%s in %s", spelled(round, "attempt"), time.Since(start).Round(100*time.Millisecond))
			}
			return session.Result(), nil
		}
		pause := min(r.c.sleep, left)
		if slices.Equal(next, pending) && len(next) == len(suites) {
			r.ui.Sayf("Next attempt in %s, %s left", pause, left.Round(time.Second))
		} else {
			r.ui.Sayf("Next attempt in %s, %s left, of what failed: %s", pause, left.Round(time.Second), named(suites, next))
		}
		if err := wait.Sleep(ctx, pause); err != nil {
			return brokeOff(err)
		}
	}
}

func named(suites []goss.Suite, which []int) string {
	var names []string
	for _, i := range which {
		names = append(names, suites[i].Name)
	}
	return strings.Join(names, ", ")
}

// repositoryPath is a path for those who look at it elsewhere: relative to the
// folder in which Packer runs, where that is possible.
func repositoryPath(local string) string {
	full, err := filepath.Abs(local)
	if err != nil {
		return filepath.ToSlash(local)
	}
	here, err := os.Getwd()
	if err != nil {
		return filepath.ToSlash(local)
	}
	if rel, err := filepath.Rel(here, full); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(full)
}

// render lets goss render the gossfiles, for those who ask for it. It is done
// as the same user as the tests, since what a template reads may be that
// user's only.
func (r *run) render(ctx context.Context) error {
	if r.c.specFile() == "" {
		return nil
	}
	// All of it is one job, whose parts end with a line that has our mark.
	var script strings.Builder
	verbs := [][]string{{"render"}}
	if r.c.debugSpec() {
		verbs = append(verbs, []string{"render", "--debug"})
	}
	for _, verb := range verbs {
		for _, name := range r.in.gossfiles {
			fmt.Fprintf(&script, "sh %s %s; echo \"%s $?\"\n", quote(r.w.path("run.sh")), quoteAll(r.args("./"+name, verb...)), r.guest.mark)
		}
	}
	run, err := r.w.run(ctx, "let goss render on the machine", script.String())
	if err != nil {
		return err
	}
	rest := string(run.Output)
	for i := range verbs {
		var all strings.Builder
		for _, name := range r.in.gossfiles {
			var text, code string
			text, rest, _ = strings.Cut(rest, r.guest.mark+" ")
			code, rest, _ = strings.Cut(rest, "\n")
			if len(r.in.gossfiles) > 1 {
				fmt.Fprintf(&all, "---\n# %s\n", name)
			}
			if code != "0" {
				// The verdict on a gossfile that cannot be rendered says more.
				fmt.Fprintf(&all, "# %s could not be rendered (exit code %s)\n", name, code)
				continue
			}
			all.WriteString(text)
		}
		if i == 0 {
			r.spec = []byte(all.String())
		} else {
			r.debug = []byte(all.String())
		}
	}
	return nil
}
