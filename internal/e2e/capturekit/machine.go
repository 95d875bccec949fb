// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package capturekit is what the tests of builders have in common where the disk of a
// machine is captured: machines on which the helper runs within the test, and everything
// that may go wrong with a capture, whatever the builder.
package capturekit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// Machine is a machine on which the helper runs in this process: with the machine's own
// disk, and without what it does to a real one.
type Machine struct {
	// Client, if it gives one, is how the machine reaches Object Storage.
	Client func() *http.Client
	// Change, if set, may spoil something.
	Change func(*helper.Quiet) error
	// Step, if set, is told what the helper does.
	Step func(string)
	// Other, if set, is what programs do that are not the helper.
	Other func(*machine.Process) int
}

// Driver starts such machines.
func (m Machine) Driver() *machine.Fast { return &machine.Fast{ELF: m.run} }

func (m Machine) run(ctx context.Context, p *machine.Process) int {
	if m.Other != nil && !strings.HasSuffix(p.Args[0], "/helper") {
		return m.Other(p)
	}
	if p.UID != 0 {
		return 1
	}
	h := helper.Helper{In: p.Stdin, Out: p.Stdout, Quiet: func(_ context.Context, job wire.Job, say func(string, ...any)) (*helper.Quiet, error) {
		return m.quiet(p, job, say)
	}}
	if m.Client != nil {
		h.HTTP = m.Client()
	}
	if err := h.Run(ctx); err != nil {
		fmt.Fprintln(p.Stderr, err)
		return 1
	}
	return 0
}

func (m Machine) quiet(p *machine.Process, job wire.Job, say func(string, ...any)) (*helper.Quiet, error) {
	step := m.Step
	if step == nil {
		step = func(string) {}
	}
	step("the machine is quieted")
	say("Quiet, clean %t, key %q", job.Clean, job.Key)
	var disk bytes.Buffer
	if err := p.Disk(&disk); err != nil {
		return nil, err
	}
	disk.Write(make([]byte, 1<<20-disk.Len()%(1<<20)))
	q := &helper.Quiet{
		Path: "/dev/sda", Size: int64(disk.Len()), Disk: bytes.NewReader(disk.Bytes()),
		Written: func() (int64, error) {
			step("the disk is looked at") // before it is read, and after
			return 1, nil
		},
		Close: func() error {
			step("the disk is let go")
			return nil
		},
	}
	if m.Change == nil {
		return q, nil
	}
	return q, m.Change(q)
}

// Program is one that the machine's processor takes for one of its own.
func Program() (*capture.Binary, error) {
	packed, err := machine.PackedProgram()
	if err != nil {
		return nil, err
	}
	return capture.Pack(packed)
}

// Failing is a disk that fails where much is read.
type Failing struct {
	io.ReaderAt
	Err error
	Do  func() // if set, is called before
}

// ReadAt implements io.ReaderAt.
func (f Failing) ReadAt(p []byte, at int64) (int, error) {
	if len(p) < 1<<20 {
		return f.ReaderAt.ReadAt(p, at)
	}
	if f.Do != nil {
		f.Do()
	}
	return 0, f.Err
}

// Mortals are machines that can be lost.
type Mortals struct {
	*machine.Fast
	mu   sync.Mutex
	last machine.Machine
}

// Start implements machine.Driver.
func (m *Mortals) Start(ctx context.Context, spec machine.Spec) (machine.Machine, error) {
	got, err := m.Fast.Start(ctx, spec)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = got
	return got, err
}

// Kill cuts the power of the last machine, from within a program of it as well.
func (m *Mortals) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	go m.last.Kill() //nolint:errcheck // what comes of it the build will see
}
