// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// lockPath is in memory, so that it does not travel with the disk. It is never removed:
// somebody might wait for the file that goes.
const lockPath = "/run/armfree-capture.lock"

// lockLimit is how long a helper waits for the one before, which may have much to write.
const lockLimit = 5 * time.Minute

// alone quiets a machine while no other helper holds it: one whose connection was lost may
// still be about to let it go. The kernel gives up the lock of a process that ends.
func alone(ctx context.Context, path string, say func(string, ...any), quiet func() (*Quiet, error)) (*Quiet, error) {
	lock, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the machine cannot be kept from being captured twice at a time: %w", err)
	}
	told := false
	every := wait.Pace{First: time.Second, Max: time.Second, Factor: 1}
	err = wait.Loop{What: "the end of another capture", Timeout: lockLimit, Pace: every}.Until(ctx, func(context.Context) (bool, error) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err == nil, err
		}
		if !told {
			say("The helper of a capture before still holds the machine: waiting until it has let it go")
			told = true
		}
		return false, nil
	})
	var timeout *wait.TimeoutError
	if errors.As(err, &timeout) {
		err = fmt.Errorf("the helper of a capture before still holds the machine after %s: try again later, or restart the machine", timeout.After)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	q, err := quiet()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	release := q.Close
	q.Close = func() error { return errors.Join(release(), lock.Close()) }
	return q, nil
}
