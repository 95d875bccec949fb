// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Provision runs the template's provisioners.
type Provision struct {
	UI      packersdk.Ui
	Hook    packersdk.Hook
	Config  *communicator.Config
	Machine *FindMachine
	Connect *Connect

	// More is what the builder adds to Data.
	More func() map[string]interface{}
	// Done, if set, is called once all provisioners have succeeded.
	Done func()

	// Data is what provisioners and post-processors see as build.*.
	Data map[string]interface{}

	failed bool
}

// notHere is what Packer's provisioners see for an HTTP server that this
// builder does not have; the values are the SDK's own.
const notHere = "ERR_HTTP_%s_NOT_IMPLEMENTED_BY_BUILDER"

// Name implements Phase.
func (p *Provision) Name() string { return "provision the machine" }

// Run implements Phase.
func (p *Provision) Run(ctx context.Context) error {
	p.Data = map[string]interface{}{
		"ID":                p.Machine.ID,
		"PackerRunUUID":     os.Getenv("PACKER_RUN_UUID"),
		"PackerHTTPIP":      fmt.Sprintf(notHere, "IP"),
		"PackerHTTPPort":    fmt.Sprintf(notHere, "PORT"),
		"PackerHTTPAddr":    fmt.Sprintf(notHere, "ADDR"),
		"Host":              p.Config.Host(),
		"Port":              p.Config.Port(),
		"User":              p.Config.User(),
		"Password":          p.Config.Password(),
		"ConnType":          p.Config.Type,
		"SSHPublicKey":      string(p.Config.SSHPublicKey),
		"SSHPrivateKey":     string(p.Config.SSHPrivateKey),
		"SSHPrivateKeyFile": p.Config.SSHPrivateKeyFile,
		"SSHAgentAuth":      p.Config.SSHAgentAuth,
		"WinRMPassword":     p.Config.WinRMPassword,
	}
	if p.More != nil {
		maps.Copy(p.Data, p.More())
	}
	err := p.hook(ctx, packersdk.HookProvision)
	p.failed = err != nil
	if err == nil && p.Done != nil {
		p.Done()
	}
	if err == nil {
		p.forgetKey(ctx)
	}
	return err
}

// Undo implements Phase: it runs the error-cleanup-provisioner where the
// template has one and provisioning failed.
func (p *Provision) Undo(ctx context.Context, failed error) error {
	if !p.failed || errors.Is(failed, context.Canceled) {
		return nil
	}
	if err := p.hook(ctx, packersdk.HookCleanupProvision); err != nil {
		return fmt.Errorf("the error-cleanup-provisioner failed: %w", err)
	}
	return nil
}

// UndoOnAbort keeps the error-cleanup-provisioner running under
// -on-error=run-cleanup-provisioner, where nothing else is undone.
func (p *Provision) UndoOnAbort() bool { return true }

// hook runs one of Packer's hooks and returns when ctx is done, even where a
// provisioner does not.
func (p *Provision) hook(ctx context.Context, name string) error {
	done := make(chan error, 1)
	go func() { done <- p.Hook.Run(ctx, name, p.UI, p.Connect.Comm, p.Data) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
