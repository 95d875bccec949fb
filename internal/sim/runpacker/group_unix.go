//go:build unix

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package runpacker

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// watchdog runs the command in its arguments beside a watcher that kills their
// whole process group when file 3 comes to its end. The other end of that file
// is held by the process that started all this: when it dies, without being
// able to say so, Packer and its plugins go with it.
const watchdog = `( read -r _ <&3; kill -KILL 0 ) >/dev/null 2>&1 & exec "$@" 3<&-`

// guarded is a command in a process group of its own, under the watchdog.
func guarded(ctx context.Context, name string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", watchdog, "packer", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// guard hands cmd, which is about to start, the end of the file that the
// watchdog reads. Call release when cmd has ended.
func guard(cmd *exec.Cmd) (release func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{r}
	return func() { w.Close(); r.Close() }, nil
}

func interruptGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func killGroup(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // nobody there is what we want
	}
}
