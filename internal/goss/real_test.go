// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// builtGoss builds the pinned goss for this host once, from modules that are
// already here: a test does not download.
var builtGoss = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "armfree-goss-test-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "goss")
	cmd := exec.Command("go", "build", "-mod=readonly", "-trimpath", "-ldflags", "-s -w", "-o", bin, "github.com/goss-org/goss/cmd/goss")
	cmd.Dir = filepath.Join("..", "..", "tools", "goss")
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if realGossWanted {
		if bin, err := builtGoss(); err == nil {
			os.RemoveAll(filepath.Dir(bin))
		} else if bin != "" {
			os.RemoveAll(bin)
		}
	}
	os.Exit(code)
}

// realGossWanted says that builtGoss was called.
var realGossWanted bool

func realGoss(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building goss takes a while")
	}
	realGossWanted = true
	bin, err := builtGoss()
	if err != nil {
		t.Skipf("goss cannot be built here; \"make goss\" fetches its modules: %v", err)
	}
	return bin
}

// project writes files into a new folder.
func project(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runGoss runs the real goss in a folder. Arguments before "validate" come
// first; the format is JSON unless the arguments say otherwise.
func runGoss(t *testing.T, dir, gossfile string, args ...string) Run {
	t.Helper()
	var before, after []string
	for i, a := range args {
		if a == "validate" {
			before, after = args[:i], args[i+1:]
			break
		}
		before = args
	}
	all := append([]string{"--log-level", "WARN", "--gossfile", gossfile}, before...)
	all = append(all, "validate", "--no-color")
	if !strings.Contains(strings.Join(after, " "), "--format") {
		all = append(all, "--format", "json", "--format-options", "sort")
	}
	cmd := exec.CommandContext(t.Context(), realGoss(t), append(all, after...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return Run{ExitCode: cmd.ProcessState.ExitCode(), Output: stdout.Bytes(), Warnings: stderr.Bytes()}
}

// lintOf is what lint says about a folder of files.
func lintOf(files map[string]string, gossfile string, vars map[string]any) Linted {
	l := Lint{Gossfile: gossfile, Vars: vars}
	for name, text := range files {
		l.Sources = append(l.Sources, Source{Name: name, Origin: name, Data: []byte(text)})
	}
	return l.Check()
}

// once judges one run of one gossfile, with what lint says about it.
func once(rules Rules, run Run, linted Linted) *Result {
	s := NewSession(rules, Suite{Name: "goss.yaml", Path: "goss.yaml", Findings: linted.Findings, Places: linted.Places})
	s.Record(0, run, time.Time{}, time.Second)
	return s.Result()
}
