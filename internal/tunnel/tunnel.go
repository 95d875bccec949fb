// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package tunnel leads from a port of this computer through a jump host to a
// machine that nobody reaches otherwise.
//
// A way through the jump host does not last: a cloud opens it for some hours,
// and networks break. The port stays the same all the time. Whoever connects to
// it is led along the way that is open, and if none is, a new one is opened
// first. What goes along a way that ends is cut, and has to connect again: there
// is no moving a connection from one way to another. So a way can also be
// replaced at a moment that suits its user, see Refresh.
package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// Way is how the jump host is entered.
type Way struct {
	ID         string
	Host       string // with its port
	User       string
	HostKey    string // the host's, as known_hosts has it; empty if it is not known
	Made, Ends time.Time
}

// Tunnel is a local port that leads to Target. The fields are set before Start.
type Tunnel struct {
	// Open opens a new way; only one is being opened at a time.
	Open func(ctx context.Context) (Way, error)
	// Left, if set, is told of a way that is not used any more.
	Left func(ctx context.Context, w Way)
	// Dial connects to a jump host.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Key lets in.
	Key ssh.Signer
	// Target is the machine's address and port.
	Target string
	// Timeout limits how long entering a jump host may take; Option is the
	// setting that raises it.
	Timeout time.Duration
	Option  string
	// Say tells people what happens to the way.
	Say func(format string, args ...any)

	life     context.Context // of the whole tunnel
	end      context.CancelFunc
	listener net.Listener
	users    sync.WaitGroup
	turn     chan struct{} // whoever opens a way holds it

	mu      sync.Mutex
	now     *link
	breaks  int
	said    string
	hostKey map[string]ssh.PublicKey // of each jump host, as it was seen first
}

// wornFraction: a way is worn when one of so many parts of its time is over.
const wornFraction = 4

// Start opens the first way and the local port. When ctx ends no further way is
// opened; the tunnel lasts until Close.
func (t *Tunnel) Start(ctx context.Context) error {
	t.life, t.end = context.WithCancel(ctx)
	t.turn, t.hostKey = make(chan struct{}, 1), map[string]ssh.PublicKey{}
	l, err := t.link(ctx, false)
	if err != nil {
		t.end()
		return err
	}
	t.release(l)
	if t.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		t.Close()
		return fmt.Errorf("open a local port for the way to the machine: %w", err)
	}
	t.users.Go(func() {
		for {
			conn, err := t.listener.Accept()
			if err != nil {
				return // closed
			}
			t.users.Go(func() { t.serve(conn) })
		}
	})
	return nil
}

// Addr is the local port.
func (t *Tunnel) Addr() (host string, port int) {
	if a, ok := t.listener.Addr().(*net.TCPAddr); ok {
		return a.IP.String(), a.Port
	}
	return "", 0
}

// Close cuts everything and returns when nothing is left of it.
func (t *Tunnel) Close() {
	t.end()
	if t.listener != nil {
		t.listener.Close()
	}
	t.turn <- struct{}{} // a way that is being opened is waited for, so that its opener knows of it
	t.mu.Lock()
	l := t.now
	t.now = nil
	t.mu.Unlock()
	<-t.turn
	if l != nil {
		l.client.Close()
	}
	t.users.Wait()
}

// Breaks counts how often a way ended that was not left.
func (t *Tunnel) Breaks() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.breaks
}

// Refresh replaces a way that is worn, so that what begins now has most of a
// way's time before it. Connections are cut by that: it is for moments in which
// nothing goes on in the one connection that its user has. If there are others,
// it does nothing.
func (t *Tunnel) Refresh() error {
	t.mu.Lock()
	l := t.now
	worn := l != nil && l.alive() && l.count <= 1 && time.Since(l.way.Made) > l.way.Ends.Sub(l.way.Made)/wornFraction
	t.mu.Unlock()
	if !worn {
		return nil
	}
	_, err := t.link(t.life, true)
	return err
}

// serve leads one connection to the target.
func (t *Tunnel) serve(near net.Conn) {
	defer near.Close()
	stop := context.AfterFunc(t.life, func() { near.Close() })
	defer stop()
	l, far := t.reach()
	if far == nil {
		return
	}
	defer t.release(l)
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(near, far) // whichever side ends it
		near.Close()
	})
	_, _ = io.Copy(far, near)
	far.Close()
	both.Wait()
}

// reach connects to the target. If the way ends at that moment, it is tried once
// more along another.
func (t *Tunnel) reach() (*link, net.Conn) {
	for range 2 {
		l, err := t.link(t.life, false)
		if err != nil {
			if t.life.Err() == nil {
				t.sayOnce("The way to the machine cannot be opened again: %v", err)
			}
			return nil, nil
		}
		far, err := l.client.DialContext(t.life, "tcp", t.Target)
		if err == nil {
			return l, far
		}
		t.release(l)
		var answer *ssh.OpenChannelError
		if !errors.As(err, &answer) { // no answer: the way has ended, or is about to
			l.client.Close()
			<-l.ended
		} else {
			t.sayOnce("The jump host does not reach %s yet: %v", t.Target, err)
			return nil, nil
		}
	}
	return nil, nil
}

// sayOnce does not say the same thing twice in a row.
func (t *Tunnel) sayOnce(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.mu.Lock()
	again := t.said == text
	t.said = text
	t.mu.Unlock()
	if !again {
		t.Say("%s", text)
	}
}
