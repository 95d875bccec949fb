// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// hook is what is done on the machine.
type hook struct {
	goss    packersdk.Provisioner // may be nil
	timeout time.Duration
}

// Run implements packersdk.Hook.
func (h hook) Run(ctx context.Context, name string, ui packersdk.Ui, comm packersdk.Communicator, data interface{}) error {
	if name != packersdk.HookProvision {
		return nil
	}
	inner, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	err := h.run(inner, ui, comm, data)
	if err != nil && ctx.Err() == nil && inner.Err() != nil {
		return fmt.Errorf("the checks took longer than %s (test_timeout): %w", h.timeout, err)
	}
	return err
}

func (h hook) run(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator, data interface{}) error {
	if h.goss != nil {
		generated, _ := data.(map[string]interface{})
		return h.goss.Provision(ctx, ui, comm, generated)
	}
	// An account may let somebody in and let them do nothing.
	cmd := &packersdk.RemoteCmd{Command: "true"}
	if err := comm.Start(ctx, cmd); err != nil {
		return fmt.Errorf("the machine lets the user in and runs no command: %w", err)
	}
	done := make(chan int, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case code := <-done:
		if code != 0 {
			return fmt.Errorf("the machine lets the user in, but the command \"true\" ended with exit status %d", code)
		}
		return nil
	}
}
