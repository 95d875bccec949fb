// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package inpacker stands in for Packer where a component runs inside a test: it
// collects what the user would see, and is the template's provisioners.
package inpacker

import (
	"bytes"
	"context"
	"sync"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Output collects what the user sees; it is safe for concurrent use.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is what was written so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Hook stands for the template's provisioners. Packer's other hooks do nothing.
type Hook func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error

// Run implements packersdk.Hook.
func (h Hook) Run(ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, _ interface{}) error {
	if name != packersdk.HookProvision {
		return nil
	}
	return h(ctx, ui, comm)
}
