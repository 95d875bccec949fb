// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

func TestProvisionIsCancelled(t *testing.T) {
	t.Run("while goss runs", func(t *testing.T) {
		pids := filepath.Join(t.TempDir(), "pids")
		c := newCheck(t, "hang "+pids)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		found, err := c.whileItHangs(ctx, pids, cancel)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		if left := running(t, found); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
		c.mustBeClean()
	})

	t.Run("while goss is uploaded", func(t *testing.T) {
		c := newCheck(t, "print checks/pass.json")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c.host.upload = func(_ string, r io.Reader) (io.Reader, error) {
			one := make([]byte, 1)
			if _, err := io.ReadFull(r, one); err != nil {
				return nil, err
			}
			cancel()
			if _, err := r.Read(one); !errors.Is(err, context.Canceled) {
				t.Errorf("the transfer goes on after the cancel (%v)", err)
			}
			return r, nil
		}
		if err := c.run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		c.mustBeClean()
	})

	t.Run("before it begins", func(t *testing.T) {
		c := newCheck(t, "print checks/pass.json")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		if len(c.host.commands) != 0 {
			t.Errorf("ran %s", c.host.said())
		}
	})

	t.Run("while it waits to try again", func(t *testing.T) {
		c := newCheck(t, "print checks/mixed.json", "exit 1")
		c.options["retry_timeout"], c.options["sleep"] = "1h", "1h"
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c.host.program("base64", "exit 127")
		c.host.download = func(_ string, data []byte) ([]byte, error) {
			cancel()
			return data, nil
		}
		if err := c.run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		c.mustBeClean()
	})
}

// expiring is a context whose deadline comes when a test says so. A clock
// would say it before goss runs, where many tests run at a time.
type expiring struct {
	context.Context
	done chan struct{}
}

func newExpiring(t *testing.T) (ctx context.Context, expire func()) {
	e := expiring{t.Context(), make(chan struct{})}
	return e, func() { close(e.done) }
}

func (e expiring) Done() <-chan struct{}       { return e.done }
func (e expiring) Deadline() (time.Time, bool) { return time.Now(), true }
func (e expiring) Err() error {
	select {
	case <-e.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// whileItHangs provisions, and calls end once goss has written its process ids
// to a file. It returns them too.
func (c *check) whileItHangs(ctx context.Context, pids string, end func()) ([]string, error) {
	c.t.Helper()
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	for {
		if found := readFields(pids); len(found) > 0 {
			if len(running(c.t, found)) != len(found) {
				c.t.Errorf("not running: %v", found)
			}
			end()
			return found, <-done
		}
		select {
		case err := <-done:
			c.t.Fatalf("ended by itself: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Packer's timeout is a deadline; what a test has started ends with it.
func TestProvisionTimesOut(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := newCheck(t, "hang "+pids)
	c.dropIn = true
	c.options["remote_path"] = filepath.Join(c.base, "work", "goss")
	c.options["skip_download"] = true
	ctx, expire := newExpiring(t)
	found, err := c.whileItHangs(ctx, pids, expire)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	if left := running(t, found); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	c.mustBeClean()
}

// A test that left a process behind must not have it in the image's machine.
func TestProvisionEndsOrphans(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := newCheck(t, "orphan "+pids, "print checks/pass.json")
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	if left := running(t, strings.Fields(string(b))); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	c.mustBeClean()
}

// silent is a machine that answers until goss runs, and then no more.
type silent struct {
	packersdk.Communicator
	answers []string
	stuck   chan struct{}
}

func (s *silent) Start(_ context.Context, cmd *packersdk.RemoteCmd) error {
	if len(s.answers) == 0 {
		<-s.stuck
		return errors.New("too late")
	}
	answer := strings.ReplaceAll(s.answers[0], "MARK", proof.Mark(cmd.Command))
	s.answers = s.answers[1:]
	fmt.Fprintf(cmd.Stdout, "%s\narmfree:end=yes\n", answer)
	cmd.SetExited(0)
	return nil
}

func (s *silent) Upload(string, io.Reader, *os.FileInfo) error { return nil }

// A machine that no longer answers holds a build up for seconds only.
func TestAMachineThatNoLongerAnswers(t *testing.T) {
	file := filepath.Join(tree(t, map[string]string{"goss.yaml": gossfileText}), "goss.yaml")
	options := map[string]any{"goss_file": file, "goss_binary": arm64ELF(t)}
	synctest.Test(t, func(t *testing.T) {
		var p Provisioner
		if err := p.Prepare(options); err != nil {
			t.Fatal(err)
		}
		comm := &silent{stuck: make(chan struct{}), answers: []string{
			"armfree:system=Linux\narmfree:machine=aarch64\narmfree:uid=0\narmfree:home=/root", "armfree:dir=/dev/shm/MARK", "",
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err := p.Provision(ctx, newScreen(), comm, nil)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "it may be left as /dev/shm/armfree-goss.") {
			t.Errorf("got error %v", err)
		}
		if took := time.Since(start); took != time.Minute+removeWithin {
			t.Errorf("it took %v", took)
		}
		close(comm.stuck)
	})
}
