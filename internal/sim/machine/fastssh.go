// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
)

// sshServer is the machine's sshd: public keys, and a password where the machine
// has one; one shell process per session.
type sshServer struct {
	m      *fastMachine
	config *ssh.ServerConfig

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	shut  bool
	wg    sync.WaitGroup
}

func newSSHServer(m *fastMachine, keys []ssh.PublicKey, identity []ssh.Signer) (*sshServer, error) {
	if len(identity) == 0 {
		return nil, errors.New("no hostkeys available")
	}
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u7",
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			a, ok := accountByName(c.User())
			if !ok || a.uid == 0 || m.behaviour.RefuseKeys {
				return nil, errors.New("permission denied")
			}
			for _, k := range keys {
				if bytes.Equal(k.Marshal(), key.Marshal()) {
					return &ssh.Permissions{}, nil
				}
			}
			return nil, errors.New("permission denied")
		},
	}
	if want := m.behaviour.Password; want != "" {
		config.PasswordCallback = func(c ssh.ConnMetadata, got []byte) (*ssh.Permissions, error) {
			if a, ok := accountByName(c.User()); !ok || a.uid == 0 || string(got) != want {
				return nil, errors.New("permission denied")
			}
			return &ssh.Permissions{}, nil
		}
	}
	for _, signer := range identity {
		config.AddHostKey(signer)
	}
	return &sshServer{m: m, config: config, conns: make(map[net.Conn]struct{})}, nil
}

// serve accepts connections until the listener is closed.
func (s *sshServer) serve(ctx context.Context, l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.shut {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.wg.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.wg.Done()
			s.handle(ctx, conn)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		}()
	}
}

// close cuts all connections and waits until nothing of them runs.
func (s *sshServer) close() {
	s.mu.Lock()
	s.shut = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *sshServer) handle(ctx context.Context, conn net.Conn) {
	from := conn.RemoteAddr()
	if only := s.m.behaviour.OnlyFrom; only != "" {
		if host, _, err := net.SplitHostPort(from.String()); err != nil || host != only {
			s.m.tell(EventRefused, from)
			return
		}
	}
	if s.m.behaviour.Hang {
		io.Copy(io.Discard, conn)
		return
	}
	sc, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		s.m.logf("sshd: %v", err)
		return
	}
	defer sc.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	a, _ := accountByName(sc.User())
	s.m.logf("sshd: accepted %s", a.name)
	s.m.tell(EventLogin, from)
	wg.Go(func() { ssh.DiscardRequests(requests) })
	for nc := range channels {
		if nc.ChannelType() != "session" {
			nc.Reject(ssh.UnknownChannelType, "only sessions are served")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			continue
		}
		wg.Go(func() { s.session(ctx, a, from, ch, reqs) })
	}
}

// session runs what one channel asks for. Its end, or the client's, cancels
// the program.
func (s *sshServer) session(ctx context.Context, a account, from net.Addr, ch ssh.Channel, reqs <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &Process{Env: baseEnv(a), Dir: a.home, UID: a.uid, Stdin: ch, Stdout: ch, Stderr: ch.Stderr(), m: s.m, umask: 0o022}
	var running sync.WaitGroup
	defer running.Wait()
	defer ch.Close() // wakes a program that waits for input
	defer cancel()
	started := false
	for req := range reqs {
		ok := false
		var program func() int
		switch req.Type {
		case "env":
			var v struct{ Name, Value string }
			if !started && ssh.Unmarshal(req.Payload, &v) == nil && (v.Name == "LANG" || len(v.Name) > 3 && v.Name[:3] == "LC_") {
				p.Env, ok = withEnv(p.Env, v.Name, v.Value), true // as Debian's AcceptEnv
			}
		case "pty-req", "window-change":
			ok = true
		case "exec", "shell":
			if started {
				break
			}
			p.Args = []string{"bash"}
			if req.Type == "exec" {
				var v struct{ Command string }
				if ssh.Unmarshal(req.Payload, &v) != nil {
					break
				}
				p.Args = []string{"bash", "-c", v.Command}
			}
			ok = true
			program = func() int { return shell(ctx, p) }
		case "subsystem":
			var v struct{ Name string }
			if !started && ssh.Unmarshal(req.Payload, &v) == nil && v.Name == "sftp" {
				ok = true
				program = func() int {
					if err := serveSFTP(p, ch); err != nil {
						return 1
					}
					return 0
				}
			}
		case "signal":
			cancel()
			ok = true
		}
		if req.WantReply {
			req.Reply(ok, nil)
		}
		if program == nil {
			continue
		}
		// Only now: a short program must not close the channel before the
		// client knows that it was started.
		started = true
		s.m.tell(EventBegin, from)
		running.Go(func() {
			status := program()
			s.m.tell(EventEnd, from)
			if ctx.Err() == nil {
				ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(status)))
			}
			ch.Close()
		})
	}
}
