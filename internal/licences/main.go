// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Licences writes the licence texts of everything that a release consists of into one
// file: the modules of the plugin on every platform, those of the goss that it carries,
// and Go itself. The texts are read from the module cache. A module without one is an
// error: it could not be shipped.
//
// Usage: licences OUT
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// product is what is shipped: packages of a module, and where they run.
type product struct {
	dir, pkg  string
	platforms []string
}

// products are the plugin, and the goss that runs on the machine.
func products() []product {
	return []product{
		{dir: ".", pkg: ".", platforms: []string{"linux", "darwin", "windows", "freebsd"}},
		{dir: "tools/goss", pkg: "github.com/goss-org/goss/cmd/goss", platforms: []string{"linux"}},
	}
}

// text is what licences and notices are called.
var text = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)([-.].*)?$`)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licences OUT")
		os.Exit(2)
	}
	if err := write(context.Background(), os.Args[1], products()); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, out string, all []product) error {
	modules := map[string]map[string]bool{} // its licence files, by module
	for _, p := range all {
		for _, system := range p.platforms {
			if err := p.collect(ctx, system, modules); err != nil {
				return err
			}
		}
	}
	goroot, err := output(ctx, ".", nil, "env", "GOROOT")
	if err != nil {
		return err
	}
	modules["Go"] = map[string]bool{filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"): true}
	var b bytes.Buffer
	fmt.Fprintf(&b, "packer-plugin-armfree and the goss that it carries consist of the modules below, under their licences.\n")
	var missing []error
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		files := slices.Sorted(maps.Keys(modules[name]))
		if len(files) == 0 {
			missing = append(missing, fmt.Errorf("%s has no licence", name))
		}
		fmt.Fprintf(&b, "\n%s\n%s\n", strings.Repeat("=", 80), name)
		for _, f := range files {
			said, err := os.ReadFile(f) //nolint:gosec // of the module cache
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%s\n%s\n", strings.Repeat("-", 80), bytes.TrimSpace(said))
		}
	}
	if err := errors.Join(missing...); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil { //nolint:gosec // for everybody
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644) //nolint:gosec // for everybody
}

// listed is what "go list" says of a package.
type listed struct {
	Dir    string
	Module *module
}

type module struct {
	Path, Version, Dir string
	Main               bool
	Replace            *module
}

// collect adds the modules of a product on one system, with the licence files that are
// beside or above its packages.
func (p product) collect(ctx context.Context, system string, modules map[string]map[string]bool) error {
	said, err := output(ctx, p.dir, []string{"GOOS=" + system, "CGO_ENABLED=0"}, "list", "-deps", "-json=Dir,Module", p.pkg)
	if err != nil {
		return err
	}
	for d := json.NewDecoder(bytes.NewReader(said)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if l.Module == nil || l.Module.Main { // Go's own, and ours
			continue
		}
		m := *l.Module
		if r := m.Replace; r != nil {
			m.Path, m.Version = r.Path, r.Version
		}
		name := m.Path + " " + m.Version
		if modules[name] == nil {
			modules[name] = map[string]bool{}
		}
		for dir := l.Dir; strings.HasPrefix(dir, m.Dir); dir = filepath.Dir(dir) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if !e.IsDir() && text.MatchString(e.Name()) && filepath.Ext(e.Name()) != ".go" {
					modules[name][filepath.Join(dir, e.Name())] = true
				}
			}
		}
	}
}

// output runs go in a folder.
func output(ctx context.Context, dir string, env []string, args ...string) ([]byte, error) {
	var errs bytes.Buffer
	c := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the arguments are those above
	c.Dir, c.Stderr = dir, &errs
	c.Env = append(os.Environ(), env...)
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s in %s: %w\n%s", strings.Join(args, " "), dir, err, &errs)
	}
	return out, nil
}
