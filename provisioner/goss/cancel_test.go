// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestProvisionIsCancelled(t *testing.T) {
	t.Run("while goss runs", func(t *testing.T) {
		pids := filepath.Join(t.TempDir(), "pids")
		c := newCheck(t, "hang "+pids)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- c.run(ctx) }()
		var found []string
		for found == nil {
			select {
			case err := <-done:
				t.Fatalf("ended by itself: %v", err)
			default:
			}
			if b, err := os.ReadFile(pids); err == nil {
				found = strings.Fields(string(b))
			}
		}
		if len(running(t, found)) != 2 {
			t.Fatalf("not running: %v", found)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
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

// Packer's timeout is a deadline; what a test has started ends with it.
func TestProvisionTimesOut(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	c := newCheck(t, "hang "+pids)
	c.dropIn = true
	c.options["remote_path"] = filepath.Join(c.base, "work", "goss")
	c.options["skip_download"] = true
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := c.run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
	if b, err := os.ReadFile(pids); err == nil {
		if left := running(t, strings.Fields(string(b))); len(left) > 0 {
			t.Errorf("still running: %v", left)
		}
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
