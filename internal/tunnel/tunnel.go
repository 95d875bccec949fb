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
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
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

// The timing of a way.
const (
	dialLimit    = 15 * time.Second // to reach a jump host once, and as much again to be let in
	lateLimit    = time.Minute      // a jump host may refuse a new way for so long: it has not heard of it
	againLimit   = 5 * time.Second  // to enter it again after a break, before a new way is opened
	aliveEvery   = 15 * time.Second // how often it is asked whether it is still there
	aliveLimit   = 30 * time.Second // how long it may take to say so
	margin       = time.Minute      // a way that ends sooner is not entered again
	wornFraction = 4                // a way is worn when one of so many parts of its time is over
)

// link is a connection to a jump host.
type link struct {
	way    Way
	client *ssh.Client
	ended  chan struct{} // closed when the connection is
	users  sync.WaitGroup
	count  int // of users
}

func (l *link) alive() bool {
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

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

func (t *Tunnel) release(l *link) {
	t.mu.Lock()
	l.count--
	t.mu.Unlock()
	l.users.Done()
}

// use is the link that is open, to be released, or nil.
func (t *Tunnel) use() *link {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.now; l != nil && l.alive() {
		l.count++
		l.users.Add(1)
		return l
	}
	return nil
}

// link returns the open link, to be released unless it is asked for to replace
// another, and opens one if there is none.
func (t *Tunnel) link(ctx context.Context, replace bool) (*link, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-t.turn }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l := t.use(); l != nil && !replace {
		return l, nil
	} else if l != nil {
		t.release(l)
	}
	t.mu.Lock()
	old := t.now
	t.mu.Unlock()

	client, way, err := t.again(ctx, old, replace)
	if client == nil && err == nil {
		if way, err = t.Open(ctx); err == nil {
			client, err = t.enter(ctx, way, t.Timeout, lateLimit)
		}
	}
	if err != nil {
		return nil, err
	}
	l := &link{way: way, client: client, ended: make(chan struct{}), count: 1}
	l.users.Add(1)
	t.mu.Lock()
	t.now = l
	t.mu.Unlock()
	t.users.Go(func() { t.watch(ctx, l) })
	if old != nil {
		old.client.Close()
		old.users.Wait() // so that whoever was led along it notices before they go on
		if old.way.ID != way.ID && t.Left != nil {
			t.Left(ctx, old.way)
		}
	}
	if replace {
		t.release(l)
	}
	return l, nil
}

// again enters the jump host along a way that broke and has time left: it may
// have been the network only. Nothing is returned where a new way is needed.
func (t *Tunnel) again(ctx context.Context, old *link, replace bool) (*ssh.Client, Way, error) {
	if old == nil || replace || time.Until(old.way.Ends) < margin {
		return nil, Way{}, nil
	}
	client, err := t.enter(ctx, old.way, againLimit, 0)
	switch {
	case err == nil:
		return client, old.way, nil
	case ctx.Err() != nil:
		return nil, Way{}, ctx.Err()
	}
	return nil, Way{}, nil
}

// watch notices the end of a link, and brings it about when the other side does
// not answer any more.
func (t *Tunnel) watch(ctx context.Context, l *link) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		_ = l.client.Wait()
		close(l.ended)
		cancel()
	}()
	for wait.Sleep(ctx, aliveEvery) == nil {
		limited, done := context.WithTimeout(ctx, aliveLimit)
		stop := context.AfterFunc(limited, func() { l.client.Close() })
		_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
		stop()
		done()
		if err != nil {
			l.client.Close()
		}
	}
	<-l.ended
	t.mu.Lock()
	broken := t.now == l
	if broken {
		t.breaks++
	}
	t.mu.Unlock()
	if broken && t.life.Err() == nil {
		t.Say("The way to the machine has ended; it is opened again for the next connection")
	}
}

// refusedError says that the jump host knows us and does not let us in.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// errHostKey says that the jump host is another than before.
var errHostKey = errors.New("the jump host has another key than it should have, so somebody else may be in between")

// enter logs in at the jump host within limit. One that has not heard of the way
// yet refuses, which is put up with for the time late.
func (t *Tunnel) enter(ctx context.Context, w Way, limit, late time.Duration) (*ssh.Client, error) {
	var client *ssh.Client
	start := time.Now()
	err := wait.Loop{
		What: "the jump host " + w.Host + " to let this build in", Timeout: limit, Option: t.Option, Pace: wait.Quick,
		Tolerate: func(err error) bool {
			var refused refusedError
			return !errors.Is(err, errHostKey) && (!errors.As(err, &refused) || time.Since(start) < late)
		},
		Progress: func(d time.Duration) { t.Say("Still waiting for the jump host %s (%s)", w.Host, d) },
	}.Until(ctx, func(ctx context.Context) (_ bool, err error) {
		client, err = t.login(ctx, w)
		return err == nil, err
	})
	var refused refusedError
	if errors.As(err, &refused) && ctx.Err() == nil {
		err = fmt.Errorf("%w; it lets in only whoever comes from a block in client_cidr_blocks (of an existing bastion: its CIDR block allowlist)", err)
	}
	return client, err
}

// login logs in once.
func (t *Tunnel) login(ctx context.Context, w Way) (*ssh.Client, error) {
	limited, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := t.Dial(limited, "tcp", w.Host)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", w.Host, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(dialLimit)); err != nil {
		conn.Close()
		return nil, err
	}
	c, channels, requests, err := ssh.NewClientConn(conn, w.Host, &ssh.ClientConfig{
		User: w.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(t.Key)}, HostKeyCallback: t.checkHost(w),
	})
	switch {
	case err != nil:
		conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if strings.Contains(err.Error(), "unable to authenticate") { // the package has no other sign of it
			return nil, refusedError{err}
		}
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// checkHost takes the key that the cloud says the jump host has, or else whatever
// key it has at first, and no other afterwards.
func (t *Tunnel) checkHost(w Way) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		want := t.hostKey[w.Host]
		if told, _, _, _, err := ssh.ParseAuthorizedKey([]byte(w.HostKey)); err == nil {
			want = told
		}
		if want != nil && ssh.FingerprintSHA256(want) != ssh.FingerprintSHA256(key) {
			return fmt.Errorf("%w: %s has %s and should have %s", errHostKey, w.Host, ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(want))
		}
		t.hostKey[w.Host] = key
		return nil
	}
}
