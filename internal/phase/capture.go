// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

// CaptureObject is what a captured disk becomes. It is the build's own until Commit.
type CaptureObject interface {
	capture.Object
	// Object is its name.
	Object() string
	// Commit makes the object of the parts that have arrived, and is sure of its content.
	Commit(ctx context.Context) (checksum string, size int64, err error)
	// Discard removes whatever there is of it.
	Discard(ctx context.Context) error
}

// Captures says how the disk of a machine becomes an object in place of an image.
type Captures struct {
	// Wanted says whether that is to be done with a machine; others get an image.
	Wanted func(machine string) bool
	// Begin begins the object. What it returns, also with an error, is discarded if the
	// build fails.
	Begin func(ctx context.Context, machine string) (CaptureObject, error)
	// Job is what the helper on the machine is told.
	Job func(machine string) wire.Job
	// Helper is what is brought to the machine.
	Helper *capture.Binary
	// Timeout limits the capture; Option is the setting that raises it.
	Timeout time.Duration
	Option  string
}

// Captured is a finished object.
type Captured struct {
	Object   string
	Checksum string // opc-multipart-md5
	Size     int64  // in bytes
	Result   capture.Result
}

// readyHelper keeps the helper of a capture on the machine, from before the first
// provisioner: the last one may take away the right to become root, or lock the door.
type readyHelper struct {
	ui      packersdk.Ui
	how     *Captures
	dir     string // on the machine, in memory
	config  *communicator.Config
	machine *FindMachine
	connect *Connect

	session *capture.Session
	used    bool // the session was given a job
}

// Name implements Phase.
func (*readyHelper) Name() string { return "get the capture of the disk ready" }

// Run implements Phase.
func (p *readyHelper) Run(ctx context.Context) error {
	if !p.how.Wanted(p.machine.ID) {
		return nil
	}
	p.ui.Say("Bringing the helper that captures the disk to the machine")
	return p.machine.use(ctx, p.start)
}

// installLimit is how long it may take to bring the helper to the machine.
const installLimit = 5 * time.Minute

// start brings the helper and leaves it waiting.
func (p *readyHelper) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	var err error
	if p.session != nil { // of a capture that failed: two at a time would wait for each other
		err = p.session.Ended(ctx)
	}
	if errors.Is(err, capture.ErrSilent) {
		log.Printf("[WARN] %v: the next helper waits for it on the machine", err)
		err = nil
	}
	if err == nil {
		err = p.install(ctx)
	}
	if err == nil {
		p.session, err = p.attach(ctx)
		p.used = false
	}
	if err != nil {
		return fmt.Errorf("the disk of the machine cannot be captured: %w", err)
	}
	log.Printf("[INFO] the helper runs on %s, Linux %s", p.session.Hello.System, p.session.Hello.Kernel)
	return nil
}

func (p *readyHelper) install(ctx context.Context) error {
	out := &words{}
	cmd := &packersdk.RemoteCmd{Command: capture.InstallCommand(p.dir, p.how.Helper), Stdin: bytes.NewReader(p.how.Helper.Gzip), Stdout: out, Stderr: out}
	code, err := p.run(ctx, cmd)
	switch {
	case err != nil:
		return fmt.Errorf("the helper could not be brought to it: %w", err)
	case code != 0 && strings.Contains(out.String(), "sudo:"):
		return fmt.Errorf("that needs root, and the user %q may not become root by \"sudo -n\": %s", p.config.User(), out)
	case code != 0:
		return fmt.Errorf("the helper could not be brought to it (exit code %d): %s", code, out)
	}
	return nil
}

// run runs a command to its end, or until ctx ends.
func (p *readyHelper) run(ctx context.Context, cmd *packersdk.RemoteCmd) (code int, err error) {
	done := make(chan error, 1)
	go func() {
		err := p.connect.Bare.Start(ctx, cmd)
		if err == nil {
			cmd.Wait()
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	return cmd.ExitStatus(), nil
}

// attach starts the helper.
func (p *readyHelper) attach(ctx context.Context) (*capture.Session, error) {
	stdin, in := io.Pipe()
	out, stdout := io.Pipe()
	said := &words{}
	cmd := &packersdk.RemoteCmd{Command: capture.RunCommand(p.dir), Stdin: stdin, Stdout: stdout, Stderr: said}
	go func() {
		// The context of the command is that of the whole build: it outlives this call.
		err := p.connect.Bare.Start(context.WithoutCancel(ctx), cmd)
		if err == nil {
			cmd.Wait()
			err = io.EOF
		}
		_ = stdout.CloseWithError(err)
		_ = stdin.CloseWithError(err)
	}()
	s, err := capture.Attach(ctx, in, out)
	if err != nil && said.String() != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return s, err
}

// Undo implements Phase.
func (p *readyHelper) Undo(context.Context, error) error {
	if p.session != nil {
		p.session.Close()
	}
	return nil
}

// captureDisk makes the object.
type captureDisk struct {
	ui      packersdk.Ui
	how     *Captures
	ready   *readyHelper
	machine *FindMachine
	begin   func() // is called before the object is begun

	// Result of Run.
	Captured *Captured

	object CaptureObject
}

// Name implements Phase.
func (*captureDisk) Name() string { return "capture the disk" }

// Run implements Phase.
func (p *captureDisk) Run(ctx context.Context) error {
	if err := p.Undo(ctx, errAgain); err != nil { // a second run (-on-error=ask)
		return err
	}
	limited, cancel := context.WithTimeout(ctx, p.how.Timeout)
	defer cancel()
	err := p.machine.use(limited, p.capture)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("the disk could not be captured within %s (the limit is the option %q): %w", p.how.Timeout, p.how.Option, err)
	}
	return err
}

func (p *captureDisk) capture(ctx context.Context) error {
	start := time.Now()
	if p.ready.session == nil || !p.ready.session.Alive() {
		why := "The helper has gone with an earlier start of the machine, or with its connection"
		if p.ready.used {
			why = "The helper has ended with the capture before"
		}
		p.ui.Say(why + ": it is brought again")
		if err := p.ready.start(ctx); err != nil {
			return err
		}
	}
	var err error
	p.begin()
	if p.object, err = p.how.Begin(ctx, p.machine.ID); err != nil {
		return err
	}
	p.ui.Sayf("Capturing the disk of %s into the object %s", p.machine.ID, p.object.Object())
	told := start
	job := p.how.Job(p.machine.ID)
	if c := p.ready.config; c.SSHTemporaryKeyPairName != "" {
		job.Key = c.SSHTemporaryKeyPairName
		if f := strings.Fields(string(c.SSHPublicKey)); len(f) > 1 {
			job.PublicKey = f[1]
		}
	}
	p.ready.used = true
	r, err := p.ready.session.Run(ctx, job, p.object, capture.Listener{
		Say: func(format string, args ...any) { p.ui.Sayf(format, args...) },
		Progress: func(at capture.Progress) {
			if now := time.Now(); now.Sub(told) >= progressEvery {
				told = now
				p.ui.Sayf("Captured %.0f %% (%s)", 100*float64(at.Read)/float64(max(at.Stored, at.Read, 1)), now.Sub(start).Round(time.Second))
			}
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the disk could not be captured: %w", err)
	}
	checksum, size, err := p.object.Commit(ctx)
	if err != nil {
		return err
	}
	p.Captured = &Captured{Object: p.object.Object(), Checksum: checksum, Size: size, Result: r}
	way := "straight from the machine"
	if r.Relayed > 0 {
		way = "through this computer"
	}
	p.ui.Sayf("The disk is captured: %.0f MB of it became an object of %.1f MB, %s, in %s", float64(r.Read)/1e6, float64(size)/1e6, way, time.Since(start).Round(time.Second))
	return nil
}

// progressEvery is how often it is said how far a capture is.
const progressEvery = 15 * time.Second

// Made implements Maker.
func (p *captureDisk) Made() []string {
	if p.object == nil {
		return nil
	}
	return []string{"the object " + p.object.Object() + " or parts of it"}
}

// Undo implements Phase: a failed build leaves no object.
func (p *captureDisk) Undo(ctx context.Context, failed error) error {
	if failed == nil || p.object == nil {
		return nil
	}
	if !errors.Is(failed, errAgain) {
		p.machine.End(ctx)
	}
	p.ui.Sayf("Removing what there is of the object %s", p.object.Object())
	if err := p.object.Discard(ctx); err != nil {
		return err
	}
	p.object, p.Captured = nil, nil
	return nil
}

// imageOrDisk is the last phase of a build that may do either.
type imageOrDisk struct {
	image   *MakeImage
	capture *captureDisk
	machine *FindMachine
}

func (p *imageOrDisk) chosen() Phase {
	if p.capture.how.Wanted(p.machine.ID) {
		return p.capture
	}
	return p.image
}

// Name implements Phase.
func (p *imageOrDisk) Name() string { return p.chosen().Name() }

// Run implements Phase.
func (p *imageOrDisk) Run(ctx context.Context) error { return p.chosen().Run(ctx) }

// Undo implements Phase.
func (p *imageOrDisk) Undo(ctx context.Context, failed error) error {
	return p.chosen().Undo(ctx, failed)
}

// Made implements Maker.
func (p *imageOrDisk) Made() []string { return append(p.image.Made(), p.capture.Made()...) }

// words keeps the first of what a command says.
type words struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if room := 2000 - w.buf.Len(); room > 0 {
		w.buf.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(w.buf.String())
}
