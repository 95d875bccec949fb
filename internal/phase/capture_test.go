// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

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
