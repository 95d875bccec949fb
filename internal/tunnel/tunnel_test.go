// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// jump is a jump host that lets in whoever is in users and forwards to an echo.
type jump struct {
	net.Listener
	echo net.Listener

	mu      sync.Mutex
	key     ssh.Signer
	users   map[string]bool
	conns   map[string]ssh.Conn // by user
	refused int                 // how many more logins are refused at first
	logins  int
}

func newSigner(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	key, line, err := NewKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key, line
}

func newJump(t *testing.T) *jump {
	t.Helper()
	j := &jump{users: map[string]bool{}, conns: map[string]ssh.Conn{}}
	j.key, _ = newSigner(t)
	for _, l := range []*net.Listener{&j.Listener, &j.echo} {
		var err error
		if *l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*l).Close() })
	}
	go func() {
		for {
			c, err := j.echo.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	go func() {
		for {
			c, err := j.Accept()
			if err != nil {
				return
			}
			go j.serve(c)
		}
	}()
	return j
}

func (j *jump) serve(c net.Conn) {
	defer c.Close()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(m ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		if !j.users[m.User()] {
			return nil, errors.New("no")
		}
		if j.refused > 0 {
			j.refused--
			return nil, errors.New("not yet")
		}
		return &ssh.Permissions{}, nil
	}}
	j.mu.Lock()
	cfg.AddHostKey(j.key)
	j.mu.Unlock()
	conn, channels, requests, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return
	}
	j.mu.Lock()
	j.logins++
	j.conns[conn.User()] = conn
	j.mu.Unlock()
	go ssh.DiscardRequests(requests)
	for ch := range channels {
		go func() {
			far, err := net.Dial("tcp", j.echo.Addr().String())
			if err != nil {
				_ = ch.Reject(ssh.ConnectionFailed, "no")
				return
			}
			near, reqs, err := ch.Accept()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			go func() { _, _ = io.Copy(near, far); near.Close() }()
			_, _ = io.Copy(far, near)
			far.Close()
		}()
	}
}

// end cuts a user off; gone means for good.
func (j *jump) end(user string, gone bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if gone {
		delete(j.users, user)
	}
	if c := j.conns[user]; c != nil {
		c.Close()
	}
}

// begin is a tunnel through j whose ways last as long as life says.
func (j *jump) begin(t *testing.T, life time.Duration, change func(*Tunnel)) (tun *Tunnel, left func() []string, said func() string) {
	t.Helper()
	var mu sync.Mutex
	var gone, lines []string
	n := 0
	key, _ := newSigner(t)
	tun = &Tunnel{
		Key: key, Target: "10.0.0.1:22", Timeout: 5 * time.Second, Option: "the limit", Dial: new(net.Dialer).DialContext,
		Open: func(context.Context) (Way, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			user := fmt.Sprintf("way%d", n)
			j.mu.Lock()
			j.users[user] = true
			j.mu.Unlock()
			return Way{ID: user, Host: j.Addr().String(), User: user, Made: time.Now(), Ends: time.Now().Add(life)}, nil
		},
		Left: func(_ context.Context, w Way) { mu.Lock(); gone = append(gone, w.ID); mu.Unlock() },
		Say:  func(f string, a ...any) { mu.Lock(); lines = append(lines, fmt.Sprintf(f, a...)); mu.Unlock() },
	}
	if change != nil {
		change(tun)
	}
	return tun, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), gone...) },
		func() string { mu.Lock(); defer mu.Unlock(); return strings.Join(lines, "\n") }
}

// user is a connection through the tunnel.
type user struct {
	net.Conn
	r *bufio.Reader
}

func connect(t *testing.T, tun *Tunnel) *user {
	t.Helper()
	host, port := tun.Addr()
	c, err := net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &user{c, bufio.NewReader(c)}
}

// works says whether a line comes back.
func (u *user) works() bool {
	_ = u.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(u, "hello\n"); err != nil {
		return false
	}
	s, err := u.r.ReadString('\n')
	return err == nil && s == "hello\n"
}

func TestTunnel(t *testing.T) {
	j := newJump(t)
	tun, left, said := j.begin(t, time.Hour, nil)
	if err := tun.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	a, b := connect(t, tun), connect(t, tun)
	if !a.works() || !b.works() || j.logins != 1 {
		t.Fatalf("two connections do not work along one way; %d logins", j.logins)
	}

	// A break of the network: the same way again.
	j.end("way1", false)
	if a.works() {
		t.Error("a connection outlives its way")
	}
	if !connect(t, tun).works() || tun.Breaks() != 1 || j.conns["way2"] != nil || !strings.Contains(said(), "The way to the machine has ended") {
		t.Errorf("after a break: %d breaks\n%s", tun.Breaks(), said())
	}

	// The end of the session: another way.
	j.end("way1", true)
	if !connect(t, tun).works() || j.conns["way2"] == nil {
		t.Errorf("after the end of a session there is no way\n%s", said())
	}
	if got := left(); len(got) != 1 || got[0] != "way1" {
		t.Errorf("left: %q", got)
	}
}

func TestRefresh(t *testing.T) {
	j := newJump(t)
	const life = 4 * time.Second // worn after one
	tun, left, said := j.begin(t, life, nil)
	if err := tun.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	a := connect(t, tun)
	if err := tun.Refresh(); err != nil || !a.works() || len(left()) > 0 {
		t.Fatalf("a fresh way is replaced: %v, %q", err, left())
	}
	time.Sleep(life/wornFraction + 100*time.Millisecond)

	// Somebody else uses it, too.
	b := connect(t, tun)
	if !b.works() {
		t.Fatal("a second connection does not work")
	}
	if err := tun.Refresh(); err != nil || !a.works() || !b.works() {
		t.Errorf("others are cut off: %v", err)
	}
	b.Close()
	for end := time.Now().Add(5 * time.Second); len(left()) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := tun.Refresh(); err != nil {
			t.Fatal(err)
		}
	}
	if a.works() || len(left()) != 1 || tun.Breaks() != 0 || said() != "" {
		t.Errorf("left %q, %d breaks\n%s", left(), tun.Breaks(), said())
	}
	if !connect(t, tun).works() {
		t.Error("there is no way after a refresh")
	}
}

func TestJumpHost(t *testing.T) {
	other, line := newSigner(t)
	for _, tt := range []struct {
		name   string
		before func(*jump)
		change func(*Tunnel, *jump)
		after  func(*jump)
		want   string
	}{
		{name: "late", before: func(j *jump) { j.refused = 2 }},
		{name: "refuses for ever", before: func(j *jump) { j.refused = 1e6 }, change: func(tun *Tunnel, _ *jump) { tun.Timeout = time.Second }, want: "client_cidr_blocks"},
		{name: "is another than the cloud says", change: func(tun *Tunnel, _ *jump) {
			open := tun.Open
			tun.Open = func(ctx context.Context) (Way, error) { w, err := open(ctx); w.HostKey = line; return w, err }
		}, want: "somebody else may be in between"},
		{name: "cannot be reached", change: func(tun *Tunnel, _ *jump) {
			tun.Timeout = time.Second
			tun.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }
		}, want: "no route"},
		{name: "is another later", after: func(j *jump) { j.key = other }, want: "somebody else may be in between"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := newJump(t)
			if tt.before != nil {
				tt.before(j)
			}
			tun, _, said := j.begin(t, time.Hour, func(tun *Tunnel) {
				if tt.change != nil {
					tt.change(tun, j)
				}
			})
			err := tun.Start(t.Context())
			if tt.after == nil {
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				if err == nil {
					tun.Close()
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer tun.Close()
			j.mu.Lock()
			tt.after(j)
			j.mu.Unlock()
			j.end("way1", true)
			if connect(t, tun).works() || !strings.Contains(said(), tt.want) {
				t.Errorf("said: %s", said())
			}
		})
	}
}

// A tunnel that is closed while a way is being opened waits for that, and knows
// of no other afterwards.
func TestCloseWhileOpening(t *testing.T) {
	j := newJump(t)
	opening, opened := make(chan struct{}), false
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tun, _, _ := j.begin(t, time.Hour, func(tun *Tunnel) {
		open, first := tun.Open, true
		tun.Open = func(ctx context.Context) (Way, error) {
			if first {
				first = false
				return open(ctx)
			}
			close(opening)
			<-ctx.Done()
			time.Sleep(200 * time.Millisecond) // in grace
			opened = true
			return open(ctx)
		}
	})
	if err := tun.Start(ctx); err != nil {
		t.Fatal(err)
	}
	u := connect(t, tun)
	if !u.works() {
		t.Fatal("no way")
	}
	j.end("way1", true)
	connect(t, tun)
	<-opening
	cancel()
	tun.Close()
	if !opened || u.works() {
		t.Error("closed before the way was known, or not at all")
	}
}

func TestNewKey(t *testing.T) {
	_, line, err := NewKey(nil)
	if err != nil || !strings.HasPrefix(line, "ssh-ed25519 ") || strings.Contains(line, "\n") {
		t.Errorf("%q, %v", line, err)
	}
	if _, _, err := NewKey([]byte("no key")); err == nil {
		t.Error("what is no key is taken for one")
	}
}
