// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/multistep"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
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
	// Bare is the same without what Wrap put around it.
	Bare packersdk.Communicator
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
	option := map[string]string{"ssh": "ssh_timeout", "winrm": "winrm_timeout"}[p.Config.Type]
	failed := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := fmt.Sprintf("could not connect to %s at %s", p.Machine.ID, host)
		if option != "" && (err == nil || !refused(err)) {
			text += fmt.Sprintf(" (the limit is the option %q)", option)
		}
		if err == nil {
			return help.About(help.Connection, errors.New(text))
		}
		return help.About(help.Connection, fmt.Errorf("%s: %w", text, err))
	}
	limit := p.Config.SSHTimeout
	if err := p.awaitPort(ctx, host); err != nil {
		return failed(err)
	}
	step := &communicator.StepConnect{
		Config:    p.Config,
		Host:      func(multistep.StateBag) (string, error) { return host, nil },
		SSHConfig: p.sshConfig,
	}
	bag := new(multistep.BasicStateBag)
	bag.Put("ui", p.UI)
	action := step.Run(ctx, bag)
	p.Config.SSHTimeout = limit // of which awaitPort took its part
	if action != multistep.ActionContinue {
		err, _ := bag.Get("error").(error)
		if err != nil && ctx.Err() == nil {
			err = p.explain(ctx, host, err)
		}
		return failed(err)
	}
	p.Comm, _ = bag.Get("communicator").(packersdk.Communicator)
	p.Bare = p.Comm
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

// refused says that a server was reached that does not let the build in: more time
// would not help. The text is of Packer's SDK.
func refused(err error) bool { return strings.Contains(err.Error(), "authentication error") }

// direct says whether the machine is reached without a bastion or proxy of the
// template.
func (p *Connect) direct() bool { return p.Config.SSHBastionHost == "" && p.Config.SSHProxyHost == "" }

// leastLeft is what is left of ssh_timeout for signing in, however late the port
// answered.
const leastLeft = 5 * time.Second

// awaitPort waits until the machine's SSH server says that it is there. Packer's
// SDK looks every five seconds, which is long beside a machine that boots in
// twenty. The time is taken off ssh_timeout.
func (p *Connect) awaitPort(ctx context.Context, host string) error {
	if p.Config.Type != "ssh" || !p.direct() || p.Config.SSHTimeout <= 0 {
		return nil
	}
	addr, start := net.JoinHostPort(host, strconv.Itoa(p.Config.SSHPort)), time.Now()
	p.UI.Sayf("Waiting for SSH at %s", addr)
	err := wait.Loop{
		What: "SSH at " + addr, Timeout: p.Config.SSHTimeout, Pace: wait.Door, Tolerate: func(error) bool { return true },
		Progress: func(d time.Duration) { p.UI.Sayf("Still waiting for SSH at %s (%s)", addr, d) },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		err := banner(ctx, addr)
		return err == nil, err
	})
	if err != nil {
		return err
	}
	p.Config.SSHTimeout = max(p.Config.SSHTimeout-time.Since(start), min(leastLeft, p.Config.SSHTimeout))
	return nil
}

// bannerLimit is how long a server may take to say what it is.
const bannerLimit = 5 * time.Second

// banner says why there is no SSH server at an address.
func banner(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, bannerLimit)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	line, err := bufio.NewReaderSize(conn, 256).ReadSlice('\n')
	switch {
	case strings.HasPrefix(string(line), "SSH-"):
		return nil
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%s takes the connection and says nothing", addr)
	case err != nil:
		return fmt.Errorf("%s closes the connection: %w", addr, err)
	}
	return fmt.Errorf("what answers at %s is no SSH server", addr)
}

// Undo implements Phase; the connection ends with the machine.
func (p *Connect) Undo(context.Context, error) error { return nil }
