// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capture

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture/helper"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

// letGo is a disk of several parts that says when it is let go.
func letGo() (q *helper.Quiet, released chan struct{}) {
	q, released = still(noise(60<<20)), make(chan struct{})
	q.Close = func() error { close(released); return nil }
	return q, released
}

func quieted(q *helper.Quiet) func(context.Context, wire.Job, func(string, ...any)) (*helper.Quiet, error) {
	return func(context.Context, wire.Job, func(string, ...any)) (*helper.Quiet, error) { return q, nil }
}

// A helper that waits for its output to be taken lets the machine go when its input ends,
// or it is told to end: a connection of SSH takes nothing more once the plugin has gone,
// and does not close the pipe.
func TestHelperNobodyReads(t *testing.T) {
	for _, way := range []string{"the input ends", "it is told to end"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, released := letGo()
				stdin, in := io.Pipe()
				out, stdout := io.Pipe()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- helper.Helper{In: stdin, Out: stdout, Quiet: quieted(q)}.Run(ctx) }()
				line, err := json.Marshal(job())
				if err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = in.Write(append(line, '\n')) }()
				for begun := false; !begun; {
					f, err := wire.Read(out, func(n int) []byte { return make([]byte, n) })
					if err != nil {
						t.Fatal(err)
					}
					begun = f.Begin != nil
				}
				synctest.Wait() // until all it does is wait for us
				cut := time.Now()
				if way == "the input ends" {
					_ = in.Close()
				} else {
					cancel()
				}
				select {
				case <-released:
				case <-time.After(time.Hour):
					t.Error("the machine is not let go")
				}
				if d := time.Since(cut); d > time.Second {
					t.Errorf("the machine was let go after %s", d)
				}
				select {
				case err := <-ended:
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				case <-time.After(time.Hour):
					t.Error("the helper does not end")
				}
				if d := time.Since(cut); d > 11*time.Second {
					t.Errorf("the helper has ended after %s", d)
				}
				_, _ = out.Close(), in.Close()
			})
		})
	}
}

// A capture that the plugin gives up ends on the machine, too, at once, and it is known
// when: before that there must not be another one. Letting go may take its time.
func TestCaptureGivenUp(t *testing.T) {
	for _, takes := range []time.Duration{0, 4 * silence} {
		t.Run(takes.String(), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { givenUp(t, takes) }) })
	}
}

func givenUp(t *testing.T, takes time.Duration) {
	t.Helper()
	q, released := letGo()
	let := q.Close
	q.Close = func() error {
		time.Sleep(takes)
		return let()
	}
	stdin, in := io.Pipe()
	far, stdout := io.Pipe() // on the machine
	out, near := io.Pipe()   // here
	ended := make(chan error, 1)
	go func() {
		ended <- helper.Helper{In: stdin, Out: stdout, Quiet: quieted(q)}.Run(t.Context())
		_ = stdout.Close()
	}()
	// As a connection of SSH does: what cannot be written is not read, and nobody is told.
	go func() {
		if _, err := io.Copy(near, far); err == nil {
			_ = near.Close()
		}
	}()
	s, err := Attach(t.Context(), in, out)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the bucket is full")
	begun := time.Now()
	if _, err := s.Run(t.Context(), job(), &memory{fail: broken}, Listener{Say: func(string, ...any) {}}); !errors.Is(err, broken) {
		t.Error(err)
	}
	limited, cancel := context.WithTimeout(t.Context(), takes+time.Minute)
	defer cancel()
	if err := s.Ended(limited); err != nil {
		t.Error(err)
	}
	select {
	case <-released:
	default:
		t.Error("the machine is not let go")
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the helper says that all went well")
		}
	default:
		t.Error("the helper has not ended")
	}
	if d := time.Since(begun); d > takes+time.Second {
		t.Errorf("it took %s", d)
	}
	_, _ = far.Close(), out.Close()
	<-released
}

// A helper of which nothing is known is not followed by another one, wherever it went
// silent.
func TestSessionThatDoesNotEnd(t *testing.T) {
	for name, more := range map[string]string{"between frames": "", "in a head": "m\x00\x00", "in a frame": "m\x00\x00\x00\x00\x00\x00\x00\x0f{"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, in := io.Pipe()
				out, stdout := io.Pipe()
				go func() {
					_ = wire.NewWriter(stdout).Message(t.Context(), wire.Message{Hello: &wire.Hello{Version: wire.Version}})
					_, _ = io.WriteString(stdout, more)
				}()
				s, err := Attach(t.Context(), in, out)
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				limited, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := s.Ended(limited); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				if s.Alive() {
					t.Error("it may be given a job")
				}
				if err := s.Ended(t.Context()); !errors.Is(err, ErrSilent) || time.Since(begun) != silence {
					t.Errorf("%v after %s", err, time.Since(begun))
				}
			})
		})
	}
}
