// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// New ties this process to the Packer that started it. Call it early: a parent that
// is gone before cannot be seen.
func New() *Line { return &Line{Alive: parent(), Exit: os.Exit} }

// Start watches until stop is called. A SIGHUP that whoever started all this wants
// to be ignored (nohup) stays so.
func (l *Line) Start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	c := make(chan os.Signal, 16)
	// A SIGPIPE that is not asked for ends a process that logs to a dead Packer.
	which := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		which = append(which, syscall.SIGHUP)
	}
	signal.Notify(c, which...)
	go l.Watch(ctx, c)
	return func() { signal.Stop(c); cancel() }
}

// Binary is the path of this program, for people to type. After "packer init" it is in
// a folder of Packer's and not on PATH.
func Binary() string {
	path, err := os.Executable()
	if err != nil {
		return "packer-plugin-armfree"
	}
	return path
}
