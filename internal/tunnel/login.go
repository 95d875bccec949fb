// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// The timing of logins.
const (
	dialLimit = 15 * time.Second // to reach a jump host once, and as much again to be let in
	lateLimit = time.Minute      // a jump host may refuse a new way for so long: it has not heard of it
)

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
