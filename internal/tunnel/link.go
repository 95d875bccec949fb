// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tunnel

import (
	"context"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// The timing of links.
const (
	againLimit = 5 * time.Second  // to enter it again after a break, before a new way is opened
	aliveEvery = 15 * time.Second // how often it is asked whether it is still there
	aliveLimit = 30 * time.Second // how long it may take to say so
	margin     = time.Minute      // a way that ends sooner is not entered again
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
