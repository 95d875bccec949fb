// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/crypto/ssh"
)

// Connect opens the connection over which the machine is provisioned.
type Connect struct {
	UI      packersdk.Ui
	Config  *communicator.Config
	Machine *FindMachine
	// Pin, if set, changes how a connection is made, such as which host key it
	// takes.
	Pin Pin
	// Wrap, if set, is put around the connection.
	Wrap func(packersdk.Communicator) packersdk.Communicator

	// Comm is the open connection, nil with communicator = "none".
	Comm packersdk.Communicator
}

// Pin changes how an SSH connection is made.
type Pin func(*ssh.ClientConfig)

// Name implements Phase.
func (p *Connect) Name() string { return "connect to the machine" }

// Run implements Phase.
func (p *Connect) Run(ctx context.Context) error { return p.Machine.use(ctx, p.connect) }

func (p *Connect) connect(ctx context.Context) error {
	host := p.Machine.Address
	if h := p.Config.Host(); h != "" {
		host = h // ssh_host, where the machine is reached by another way
	}
	step := &communicator.StepConnect{
		Config:    p.Config,
		Host:      func(multistep.StateBag) (string, error) { return host, nil },
		SSHConfig: p.sshConfig,
	}
	bag := new(multistep.BasicStateBag)
	bag.Put("ui", p.UI)
	if step.Run(ctx, bag) != multistep.ActionContinue {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err, ok := bag.Get("error").(error); ok {
			return fmt.Errorf("could not connect to %s at %s (the limit is the option \"ssh_timeout\"): %w", p.Machine.ID, host, err)
		}
		return fmt.Errorf("could not connect to %s at %s", p.Machine.ID, host)
	}
	p.Comm, _ = bag.Get("communicator").(packersdk.Communicator)
	if p.Wrap != nil && p.Comm != nil {
		p.Comm = p.Wrap(p.Comm)
	}
	return nil
}

// sshConfig is the SDK's, pinned.
func (p *Connect) sshConfig(bag multistep.StateBag) (*ssh.ClientConfig, error) {
	c, err := p.Config.SSHConfigFunc()(bag)
	if err == nil && p.Pin != nil {
		p.Pin(c)
	}
	return c, err
}

// Undo implements Phase; the connection ends with the machine.
func (p *Connect) Undo(context.Context, error) error { return nil }

// Provision runs the template's provisioners.
type Provision struct {
	UI      packersdk.Ui
	Hook    packersdk.Hook
	Config  *communicator.Config
	Machine *FindMachine
	Connect *Connect

	// More is what the builder adds to Data.
	More func() map[string]interface{}

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
	err := p.Machine.use(ctx, func(ctx context.Context) error { return p.hook(ctx, packersdk.HookProvision) })
	p.failed = err != nil
	if err == nil {
		p.forgetKey(ctx)
	}
	return err
}

// forgetKey removes the build's own key from the machine, if it made one. A
// provisioner may have closed the door behind itself, so that this can no
// longer be done: it is tried, over the connection that is open, and not needed
// for a good build.
func (p *Provision) forgetKey(ctx context.Context) {
	name := p.Config.SSHTemporaryKeyPairName
	if name == "" || p.Connect.Comm == nil {
		return
	}
	p.UI.Say("Removing the temporary SSH key from the machine")
	const script = `for f in "$HOME/.ssh/authorized_keys" /root/.ssh/authorized_keys; do
s=; [ -w "$f" ] || s='sudo -n'
$s test -e "$f" || continue
$s sh -c 'grep -v " %s$" "$0" > "$0.new"; cat "$0.new" > "$0"; rm -f "$0.new"' "$f" || exit 1
done 2>/dev/null`
	ctx, cancel := context.WithTimeout(ctx, forgetLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		cmd := &packersdk.RemoteCmd{Command: fmt.Sprintf(script, name)}
		err := p.Connect.Comm.Start(ctx, cmd)
		if err == nil && cmd.Wait() != 0 {
			err = fmt.Errorf("exit status %d", cmd.ExitStatus())
		}
		done <- err
	}()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err() // a closed firewall may keep a command for ever
	case err = <-done:
	}
	if err != nil {
		p.UI.Sayf("The temporary SSH key could not be removed, so its public half stays in the image: %v", err)
	}
}

// forgetLimit is how long it may take to remove the temporary key.
const forgetLimit = 30 * time.Second

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
