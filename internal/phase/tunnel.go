// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/tunnel"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Tunnel leads a local port to the machine, by sessions of a bastion, and lets
// the communicator connect to that port.
type Tunnel struct {
	UI      packersdk.Ui
	Config  *communicator.Config
	Machine *FindMachine
	Bastion *Bastion
	// Port is that of the machine's SSH server: Run puts another one into Config.
	Port int
	// Dial connects to a jump host.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout limits how long it may take to be let in; Option is the setting
	// that raises it.
	Timeout time.Duration
	Option  string

	t    *tunnel.Tunnel
	life atomic.Int64 // of a session; a time.Duration
}

// Name implements Phase.
func (p *Tunnel) Name() string { return "open a way to the machine" }

// Run implements Phase.
func (p *Tunnel) Run(ctx context.Context) error {
	p.close() // of an earlier run (-on-error=ask)
	key, line, err := tunnel.NewKey(p.Config.SSHPrivateKey)
	if err != nil {
		return err
	}
	to := cloud.Target{Address: p.Machine.Address, Port: p.Port, Key: line}
	p.UI.Sayf("Opening a way to %s through a bastion", p.Machine.ID)
	t := &tunnel.Tunnel{
		Open: func(ctx context.Context) (tunnel.Way, error) {
			s, err := p.Bastion.session(ctx, p.Machine.ID, to)
			if err != nil {
				return tunnel.Way{}, err
			}
			life := s.Ends.Sub(s.Made)
			p.life.Store(int64(life))
			p.UI.Sayf("Session %s is open for %s", s.ID, capacity.Short(life))
			return tunnel.Way{ID: s.ID, Host: s.Host, User: s.User, HostKey: s.HostKey, Made: s.Made, Ends: s.Ends}, nil
		},
		Left: func(ctx context.Context, w tunnel.Way) {
			p.Bastion.leave(ctx, func(id string) bool { return id == w.ID })
		},
		Dial: p.Dial, Key: key, Target: net.JoinHostPort(to.Address, strconv.Itoa(to.Port)),
		Timeout: p.Timeout, Option: p.Option, Say: p.UI.Sayf,
	}
	if err := t.Start(ctx); err != nil {
		return err
	}
	p.t = t
	p.Config.SSHHost, p.Config.SSHPort = t.Addr()
	p.UI.Sayf("%s:%d leads to %s port %d", p.Config.SSHHost, p.Config.SSHPort, to.Address, to.Port)
	return nil
}

func (p *Tunnel) close() {
	if p.t != nil {
		p.t.Close()
		p.t = nil
	}
}

// leaveLimit is how long asking for the end of sessions may keep the machine
// from being terminated.
const leaveLimit = 10 * time.Second

// Undo implements Phase. Sessions are asked to end, and Bastion sees that they
// do.
func (p *Tunnel) Undo(ctx context.Context, _ error) error {
	p.close()
	ctx, cancel := wait.Cleanup(ctx, leaveLimit)
	defer cancel()
	p.Bastion.leave(ctx, func(string) bool { return true })
	return nil
}

// Through returns comm as it is used through the tunnel: what is begun has most of
// a session's time before it, and what a session's end breaks off is explained.
func (p *Tunnel) Through(comm packersdk.Communicator) packersdk.Communicator {
	return &through{Communicator: comm, p: p, t: p.t}
}

// through is a communicator whose connection does not last. It connects again by
// itself when it is used after its connection has ended.
type through struct {
	packersdk.Communicator
	p *Tunnel
	t *tunnel.Tunnel

	mu   sync.Mutex
	busy int // what is going on over the connection
}

// begin gets ready for something and returns what ends it.
func (c *through) begin() (end func() (broken bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy == 0 {
		if err := c.t.Refresh(); err != nil {
			c.p.UI.Sayf("The session is used for as long as it lasts, since there is no other: %v", err)
		}
	}
	c.busy++
	breaks := c.t.Breaks()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy--
		return c.t.Breaks() > breaks
	}
}

// why explains what the end of a session broke off.
func (c *through) why() string {
	return fmt.Sprintf("the way through the bastion ended meanwhile: a session lasts %s (session_ttl, at most 3h), and a single command or transfer must be shorter than that; let it run in the background, or split it", capacity.Short(time.Duration(c.p.life.Load())))
}

// do makes a transfer.
func (c *through) do(transfer func() error) error {
	end := c.begin()
	return c.ended(transfer(), end)
}

// ended says why, if what failed was broken off.
func (c *through) ended(err error, end func() bool) error {
	if broken := end(); broken && err != nil {
		return fmt.Errorf("%w; %s", err, c.why())
	}
	return err
}

// Start implements packersdk.Communicator.
func (c *through) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	end := c.begin()
	if err := c.Communicator.Start(ctx, cmd); err != nil {
		return c.ended(err, end)
	}
	go func() {
		status := cmd.Wait()
		if broken := end(); broken && status == packersdk.CmdDisconnect {
			c.p.UI.Errorf("A command was broken off: %s", c.why())
		}
	}()
	return nil
}

// Upload implements packersdk.Communicator.
func (c *through) Upload(path string, r io.Reader, info *os.FileInfo) error {
	return c.do(func() error { return c.Communicator.Upload(path, r, info) })
}

// UploadDir implements packersdk.Communicator.
func (c *through) UploadDir(dst, src string, exclude []string) error {
	return c.do(func() error { return c.Communicator.UploadDir(dst, src, exclude) })
}

// Download implements packersdk.Communicator.
func (c *through) Download(path string, w io.Writer) error {
	return c.do(func() error { return c.Communicator.Download(path, w) })
}

// DownloadDir implements packersdk.Communicator.
func (c *through) DownloadDir(src, dst string, exclude []string) error {
	return c.do(func() error { return c.Communicator.DownloadDir(src, dst, exclude) })
}
