// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// build is what tells this build from others. Names of files may contain it.
type build struct {
	BuildName, BuilderType, ID, RunUUID string

	wantsProof bool
}

// buildOf reads it from what the builder generated.
func (c *Config) buildOf(data map[string]any) build {
	text := func(key string) string {
		s, _ := data[key].(string)
		return s
	}
	b := build{BuildName: c.PackerBuildName, BuilderType: c.PackerBuilderType, ID: text("ID"), RunUUID: text("PackerRunUUID")}
	if b.RunUUID == "" {
		b.RunUUID = os.Getenv("PACKER_RUN_UUID")
	}
	b.wantsProof = text(proof.Wanted) != "" && b.ID != "" && b.RunUUID != ""
	return b
}

// reports are all that are asked for.
func (c *Config) reports() []Report {
	all := slices.Clone(c.Reports)
	for _, format := range slices.Sorted(maps.Keys(c.ReportFiles)) {
		all = append(all, Report{Format: format, Path: c.ReportFiles[format]})
	}
	return all
}

// fileName fills in the name of a file on this host. What is filled in stays
// within its folder.
func (c *Config) fileName(name string, b build) (string, error) {
	word := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || strings.ContainsRune(`/\:*?"<>|`, r) {
				return '_'
			}
			return r
		}, s)
	}
	ctx := c.ctx
	ctx.Data = map[string]string{
		"BuildName": word(b.BuildName), "BuilderType": word(b.BuilderType), "ID": word(b.ID), "RunUUID": word(b.RunUUID),
	}
	full, err := interpolate.Render(name, &ctx)
	if err == nil && strings.Contains(full, "<no value>") {
		err = fmt.Errorf("%q: there are BuildName, BuilderType, ID and RunUUID", name)
	}
	return full, err
}

// save writes a file on this host, whole or not at all: builds that run side
// by side may write to the same name.
func (r *run) save(option, name string, data []byte, mode fs.FileMode) error {
	full, err := r.c.fileName(name, r.build)
	if err == nil {
		err = replace(full, data, mode)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	r.ui.Sayf("Wrote %s", full)
	return nil
}

func replace(name string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { // #nosec G301 G703 -- a folder of the user's, for the user's tools
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name) // #nosec G703 -- the user names it
	}
	if err != nil {
		os.Remove(f.Name()) // #nosec G703 -- made above
	}
	return err
}

// tellGitHub writes the summary of a job of GitHub Actions, and annotations.
// These are lines that the runner obeys only where they stand at the beginning
// of a line of a step's output; Packer writes the build's name before each line
// of a plugin, so a later step has to print them.
func (r *run) tellGitHub(result *goss.Result, about goss.About) error {
	if !r.c.onGitHub() {
		return nil
	}
	var errs []error
	if name := os.Getenv("GITHUB_STEP_SUMMARY"); name != "" {
		errs = append(errs, appendTo(name, result.JobSummary(about)))
	}
	lines := result.Annotations()
	if dir := os.Getenv("RUNNER_TEMP"); dir != "" && len(lines) > 0 {
		name := filepath.Join(dir, "armfree-goss", strings.TrimPrefix(r.guest.mark, "armfree-goss.")+".txt")
		err := replace(name, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
		if err == nil {
			r.ui.Sayf("Annotations for GitHub are in %s: a later step shows them by printing it", name)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("github: %w", err)
	}
	return nil
}

func (c *Config) onGitHub() bool {
	switch c.GitHub {
	case "true":
		return true
	case "false":
		return false
	}
	return os.Getenv("GITHUB_ACTIONS") == "true"
}

// appendTo adds to a file in one write, as parallel builds do to the same one.
func appendTo(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) // #nosec G304 G703 -- the runner names it
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
