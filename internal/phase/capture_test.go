// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

// greeter is a machine that takes a helper, which says hello and nothing more; it ends
// when its input does, but not before ends is closed.
type greeter struct {
	packersdk.Communicator
	ends chan struct{}
}

func (g greeter) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	if cmd.Command != capture.RunCommand("/run/x") {
		cmd.SetExited(0)
		return nil
	}
	go func() {
		_ = wire.NewWriter(cmd.Stdout).Message(ctx, wire.Message{Hello: &wire.Hello{Version: wire.Version}})
		_, _ = io.Copy(io.Discard, cmd.Stdin)
		<-g.ends
		cmd.SetExited(0)
	}()
	return nil
}

// A helper is followed by another one, whether it ends or is not heard any more: then the
// next one waits on the machine, where it is known which of them holds it.
func TestHelperAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		ends  bool
		after time.Duration
	}{"it ends": {true, 0}, "it says nothing": {false, 9 * wire.BeatEvery}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := make(chan struct{})
				if tt.ends {
					close(ends)
				}
				p := &readyHelper{how: &Captures{Helper: &capture.Binary{}}, dir: "/run/x", connect: &Connect{Bare: greeter{ends: ends}}}
				if err := p.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				if err := p.start(t.Context()); err != nil || !p.session.Alive() {
					t.Error(err)
				}
				if d := time.Since(begun); d != tt.after {
					t.Errorf("after %s", d)
				}
				p.session.Close()
				if !tt.ends {
					close(ends)
				}
			})
		})
	}
}

// nowhere is an object that is not put anywhere.
type nowhere struct{ CaptureObject }

func (nowhere) Object() string                { return "object" }
func (nowhere) Direct() (url, ca string)      { return "", "" }
func (nowhere) Discard(context.Context) error { return nil }

// Why a helper is brought once more is said as it is: it has gone by itself, or did what it
// was there for.
func TestCaptureSaysWhyAgain(t *testing.T) {
	const gone, again = "The helper has gone with an earlier start of the machine", "The helper has ended with the capture before: it is brought again"
	for name, lost := range map[string]bool{"it was lost": true, "a capture was given up": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ends := make(chan struct{})
				close(ends)
				u, out := ui()
				how := &Captures{
					Helper: &capture.Binary{}, Job: func(string) wire.Job { return wire.Job{} },
					Begin: func(context.Context, string) (CaptureObject, error) { return nowhere{}, nil },
				}
				ready := &readyHelper{how: how, dir: "/run/x", config: &communicator.Config{}, connect: &Connect{Bare: greeter{ends: ends}}}
				if err := ready.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if lost {
					ready.session.Close()
					synctest.Wait()
				}
				p := &captureDisk{ui: u, how: how, ready: ready, machine: &FindMachine{}, begin: func() {}}
				for range 2 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					if err := p.capture(ctx); !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					cancel()
				}
				if n := strings.Count(out.String(), gone); n != 0 != lost || n > 1 {
					t.Errorf("%d times %q:\n%s", n, gone, out)
				}
				if strings.Count(out.String(), again) != 1 {
					t.Error(out)
				}
			})
		})
	}
}
