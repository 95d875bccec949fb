// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package phase is what a build is made of.
//
// A build is a list of phases: find a machine, connect to it, provision it,
// make an image of it. Each has a typed result that the next one reads, and
// each undoes what it made: undoing runs in reverse order, also when the phase
// itself failed half way or the build was cancelled, and has a deadline of its
// own. Builders share every phase here and differ only in their configuration
// and in the cloud they hand in.
//
// Packer's SDK passes state between steps in an untyped bag. This is the only
// package that touches one, and only where a step of the SDK (the one that
// connects) demands it. The SDK's ready-made runner and provision step are not
// used: they would cost 12 MB of binary and 6 ms at every start.
package phase

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/trace"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Phase is one step of a build.
type Phase interface {
	// Name is how the phase is called in messages: "find a machine".
	Name() string
	// Run does the work. It obeys ctx.
	Run(ctx context.Context) error
	// Undo removes what Run made and the finished build does not need. It is
	// called once whenever Run was called, also after Run failed; failed is the
	// build's error, nil after a good build. An error names what is left.
	Undo(ctx context.Context, failed error) error
}

// Maker is a phase that makes things which stay when the build is aborted without
// a cleanup.
type Maker interface {
	// Made names what is there: "machine ocid1.instance...".
	Made() []string
}

// What Packer's -on-error may be. The empty string means Cleanup.
const (
	Cleanup       = "cleanup"
	Abort         = "abort"
	AskUser       = "ask"
	RunCleanupSet = "run-cleanup-provisioner"
)

// Runner runs the phases of one build.
type Runner struct {
	UI packersdk.Ui
	// Debug pauses before each phase (packer build -debug).
	Debug bool
	// OnError is Packer's -on-error.
	OnError string
	// CleanupTimeout limits the undoing of each phase.
	CleanupTimeout time.Duration
	// Left, if set, is told what undoing could not remove, beside the Ui.
	Left func(error)
}

// Run runs phases in order and undoes them in reverse order. The error is the
// first phase's that failed, or ctx's. What undoing could not remove is said on
// the Ui and does not change the result: an image that is finished stays one.
func (r Runner) Run(ctx context.Context, phases ...Phase) (err error) {
	var begun []Phase
	defer func() { r.undo(ctx, begun, err) }()
	for _, p := range phases {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.Debug {
			if err := r.pause(ctx, p); err != nil {
				return err
			}
		}
		begun = append(begun, p)
		if err := r.attempt(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// attempt runs p, again for as long as the user asks for it (-on-error=ask).
func (r Runner) attempt(ctx context.Context, p Phase) error {
	for {
		start := time.Now()
		end := trace.Begin(ctx, trace.Phase, p.Name())
		err := p.Run(ctx)
		end(outcome(err))
		log.Printf("[INFO] phase %q took %s", p.Name(), time.Since(start).Round(time.Millisecond))
		if err == nil || ctx.Err() != nil || r.OnError != AskUser {
			return err
		}
		r.UI.Error(err.Error())
		answer, aerr := r.ask(ctx, fmt.Sprintf("Could not %s. [c] Clean up and exit, [a] abort without cleanup, or [r] retry?", p.Name()))
		switch {
		case aerr != nil:
			return err
		case strings.HasPrefix(answer, "r"):
			continue
		case strings.HasPrefix(answer, "a"):
			return abortError{err}
		}
		return err
	}
}

// outcome is how a phase ended, for a trace. What went wrong is said elsewhere, masked.
func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return ""
}

// abortError is the error of a phase after which the user wants nothing undone.
type abortError struct{ error }

func (e abortError) Unwrap() error { return e.error }

// undo removes in reverse order what begun made.
func (r Runner) undo(ctx context.Context, begun []Phase, failed error) {
	keep := false
	if failed != nil {
		var abort abortError
		keep = errors.As(failed, &abort) || r.OnError == Abort || r.OnError == RunCleanupSet
	}
	for i := len(begun) - 1; i >= 0; i-- {
		p := begun[i]
		if keep {
			if s, ok := p.(interface{ UndoOnAbort() bool }); !ok || !s.UndoOnAbort() || r.OnError != RunCleanupSet {
				if m, ok := p.(Maker); ok {
					for _, what := range m.Made() {
						r.UI.Errorf("Aborted: %s is left as it is", what)
					}
				}
				continue
			}
		}
		r.undoOne(ctx, p, failed)
	}
}

// undoOne gives a phase a limit of its own: an image that cannot be deleted must
// not cost the time in which the machine is terminated.
func (r Runner) undoOne(ctx context.Context, p Phase, failed error) {
	c, cancel := wait.Cleanup(ctx, r.CleanupTimeout)
	defer cancel()
	end := trace.Begin(ctx, trace.Undo, p.Name())
	err := p.Undo(c, failed)
	end(outcome(err))
	if err != nil {
		r.UI.Errorf("Cleanup: %v", err)
		if r.Left != nil {
			r.Left(err)
		}
	}
}

func (r Runner) pause(ctx context.Context, p Phase) error {
	_, err := r.ask(ctx, fmt.Sprintf("Pausing before the phase %q. Press enter to continue.", p.Name()))
	return err
}

// ask asks the user and gives up when ctx is done.
func (r Runner) ask(ctx context.Context, question string) (string, error) {
	type reply struct {
		s   string
		err error
	}
	c := make(chan reply, 1)
	go func() {
		s, err := r.UI.Ask(question)
		c <- reply{strings.ToLower(strings.TrimSpace(s)), err}
	}()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case a := <-c:
		return a.s, a.err
	}
}
