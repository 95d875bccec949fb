// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen collects what the demo prints, and calls seen when text appears.
type screen struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen func()
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.buf.Write(p)
	if s.seen != nil && strings.Contains(s.buf.String(), s.text) {
		s.seen()
		s.seen = nil
	}
	return n, err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// acceptance is a demo in a folder of its own.
func acceptance(t *testing.T, out *screen) *demo {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("an acceptance test: run it by \"make testacc\"")
	}
	return &demo{
		packer: os.Getenv("ACC_PACKER"), plugin: os.Getenv("ACC_PLUGIN"), guest: os.Getenv("ACC_GUEST"),
		cache: t.TempDir(), example: "../../../../example", out: out,
	}
}

// leftBehind lists files and processes of a demo that has ended.
func leftBehind(t *testing.T, d *demo) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(d.cache, "*"))
	if err != nil {
		t.Fatal(err)
	}
	// Every child has the folder in its arguments or in its environment.
	procs, _ := filepath.Glob("/proc/[0-9]*") // empty where there is no /proc
	for _, p := range procs {
		args, _ := os.ReadFile(filepath.Join(p, "cmdline")) // it may be gone by now
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		if bytes.Contains(args, []byte(d.cache)) || bytes.Contains(env, []byte(d.cache)) {
			left = append(left, p+": "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// The whole pipeline on real ARM64 machines: hardened, checked, imaged, copied,
// and started from the copy.
func TestAccDemo(t *testing.T) {
	var out screen
	d := acceptance(t, &out)
	err := d.run(t.Context())
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"no capacity for VM.Standard.A1.Flex 2 OCPU/12 GB", "has room in FAULT-DOMAIN-2", "Attempt 1: ", "reports, 1 launch)", "harden: done", "0 failed", "forget: done",
		"An image was created: 'debian-12-arm64-", "was copied:", "packer build example/verify", "import and verify", "Nothing else is left",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said", want)
		}
	}
	if n := len(regexp.MustCompile(`\d+ tests: \d+ passed, 0 failed, 0 skipped in `).FindAllString(out.String(), -1)); n != 2 {
		t.Errorf("goss passed %d times, want once on the build and once on the copy", n)
	}
	if left := leftBehind(t, d); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Ctrl-C while the guest boots ends the demo, with all that it started.
func TestAccDemoInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := screen{text: "Waiting for SSH", seen: func() { time.AfterFunc(time.Second, cancel) }}
	d := acceptance(t, &out)
	var cancelled time.Time
	context.AfterFunc(ctx, func() { cancelled = time.Now() })
	err := d.run(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, out.String())
	}
	if d := time.Since(cancelled); d > 60*time.Second {
		t.Errorf("went on for %s", d)
	}
	if left := leftBehind(t, d); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, out.String())
	}
}
