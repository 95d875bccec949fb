// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// selection is what the template selects.
func (c *Config) selection() goss.Selection {
	var s goss.Selection
	for _, x := range c.Select {
		s.Select = append(s.Select, goss.Selector(x))
	}
	for _, x := range c.Deselect {
		s.Deselect = append(s.Deselect, goss.Selector(x))
	}
	return s
}

// checkSelection says what is wrong with select and deselect.
func (c *Config) checkSelection(bad *problems) {
	s := c.selection()
	for option, list := range map[string][]goss.Selector{"select": s.Select, "deselect": s.Deselect} {
		for _, x := range list {
			if tmpl.Unknown(x.Type) {
				continue
			}
			if err := x.Check(); err != nil {
				bad.addf("%s: %w", option, err)
			}
		}
	}
}

// logTime is what goss puts before its words where it gives up.
var logTime = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d `)

// chosen is what is run in place of a gossfile.
type chosen struct {
	file     string // its name on the machine; empty if nothing of it is selected
	warnings []byte // what goss said about the whole one
	out      []goss.Resource
	// broken is the run that is judged where goss cannot read the gossfile.
	broken *goss.Run
}

// choose lets goss render the gossfiles, takes from them what is not selected,
// and brings back the rest. goss itself selects nothing, and a gossfile with
// templates can only be understood on the machine.
func (r *run) choose(ctx context.Context) error {
	selection := r.c.selection()
	if selection.Empty() {
		return nil
	}
	r.chosen = map[string]*chosen{}
	var files []cargo
	for i, name := range r.in.gossfiles {
		run, err := r.goss(ctx, r.args("./"+name, "render"))
		if err != nil {
			return err
		}
		one := &chosen{warnings: run.Warnings}
		r.chosen[name] = one
		if run.ExitCode != 0 {
			// It is what goss ends with when it is to validate such a gossfile.
			// Its words are on standard error here.
			one.broken = &goss.Run{ExitCode: 78, Output: logTime.ReplaceAll(run.Warnings, nil)}
			if run.ExitCode != 1 {
				one.broken.ExitCode = run.ExitCode
			}
			continue
		}
		left, err := selection.Apply(name, run.Output)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		one.out = left.Out
		r.ui.Sayf("Selected %d of %s of %s", left.Kept, spelled(left.Kept+len(left.Out), "resource"), name)
		if left.Kept == 0 {
			continue
		}
		file := cargo{fmt.Sprintf("selected/%d%s", i, path.Ext(name)), "0600", left.Gossfile}
		one.file = r.w.path(file.name)
		files = append(files, file)
	}
	if len(files) == 0 {
		return nil
	}
	return r.w.unpack(ctx, files)
}

// unpack brings more files into the folder.
func (w *workspace) unpack(ctx context.Context, files []cargo) error {
	packed, layout, err := archive(files)
	if err != nil {
		return err
	}
	if err := w.guest.upload(ctx, w.path("inputs.gz"), packed); err != nil {
		return err
	}
	said, err := w.guest.sh(ctx, "unpack the selected tests on the machine", unpackScript(w.dir, "", hexSum(packed), layout, ""), "")
	if err != nil {
		return err
	}
	if bad := said.one("bad"); bad != "" {
		return fmt.Errorf("the upload failed: %.300s", bad)
	}
	return nil
}

// attempt runs one gossfile once, or what is selected of it.
func (r *run) attempt(ctx context.Context, name string) (goss.Run, error) {
	one := r.chosen[name]
	if one == nil {
		return r.validate(ctx, "./"+name)
	}
	if one.broken != nil {
		return *one.broken, nil
	}
	run, err := r.validate(ctx, one.file)
	run.Warnings = []byte(strings.TrimPrefix(string(one.warnings)+"\n"+string(run.Warnings), "\n"))
	return run, err
}
