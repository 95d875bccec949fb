// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// jumpHost is what host.bastion.<region>.oci.oraclecloud.com:22 is at Oracle:
// an SSH server whose users are the OCIDs of bastion sessions, and which does
// nothing but forward each to its target. It serves all regions at
// [Cloud.BastionAddr].
type jumpHost struct {
	key  ssh.Signer
	once sync.Once
}

// init makes the host key.
func (j *jumpHost) init() error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err == nil {
		j.key, err = ssh.NewSignerFromSigner(private)
	}
	if err != nil {
		return fmt.Errorf("make the jump host's key: %w", err)
	}
	return nil
}

// BastionAddr is where the jump host of all bastions listens: the cloud's SSH
// port, at an address that no machine has. At Oracle it is port 22 of the host
// name in a session's sshMetadata.
//
// Nobody is let in before the first call, because a goroutine that waits for
// the network keeps the time of a testing/synctest bubble from passing. A test
// in such a bubble makes bastions and sessions, and does not call this.
func (c *Cloud) BastionAddr() string {
	c.openJumpHost()
	return c.gateway.Addr().String()
}

// BastionHostKey is the jump host's key.
func (c *Cloud) BastionHostKey() ssh.PublicKey { return c.jump.key.PublicKey() }

// IsBastionHost tells whether a name is the one of a region's jump host.
func IsBastionHost(name string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(name), "host.bastion.")
	region, right := strings.CutSuffix(rest, ".oci.oraclecloud.com")
	_, err := lookUpRegion(region)
	return ok && right && err == nil
}

// openJumpHost accepts connections from now on.
func (c *Cloud) openJumpHost() {
	c.jump.once.Do(func() {
		c.background(func(ctx context.Context) {
			var open sync.WaitGroup
			defer open.Wait()
			for {
				conn, err := c.gateway.Accept()
				if err != nil { // the cloud was closed
					return
				}
				open.Go(func() { c.jumpIn(ctx, conn) })
			}
		})
	})
}

// jumpIn serves one connection.
func (c *Cloud) jumpIn(ctx context.Context, raw net.Conn) {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	var session *jumpSession
	config := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-Go",
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			s, err := c.admit(meta, key)
			session = s
			return &ssh.Permissions{}, err
		},
	}
	config.AddHostKey(c.jump.key)
	if raw.SetDeadline(time.Now().Add(time.Minute)) != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil || raw.SetDeadline(time.Time{}) != nil {
		return
	}
	defer conn.Close()
	if !c.joined(session, conn) {
		return
	}
	defer c.left(session, conn)
	var running sync.WaitGroup
	defer running.Wait()
	defer conn.Close() // ends what runs
	running.Go(func() { ssh.DiscardRequests(requests) })
	for channel := range channels {
		if channel.ChannelType() != "direct-tcpip" {
			_ = channel.Reject(ssh.Prohibited, "only forwarding is served")
			continue
		}
		running.Go(func() { c.forward(ctx, session, channel) })
	}
}

// admit is a public key's authentication: the user name is a session that is
// ACTIVE, the key is its own, and the client comes from where the bastion lets
// it come from. Without a list of such places nobody may.
func (c *Cloud) admit(meta ssh.ConnMetadata, key ssh.PublicKey) (*jumpSession, error) {
	denied := errors.New("permission denied")
	c.mu.Lock()
	defer c.mu.Unlock()
	s, exists := c.jumps.get(meta.User())
	if !exists || !s.is("ACTIVE") || !bytes.Equal(s.key.Marshal(), key.Marshal()) {
		return nil, denied
	}
	from, err := netip.ParseAddrPort(meta.RemoteAddr().String())
	if err != nil || !slices.ContainsFunc(s.bastion.body.ClientBlocks, func(block string) bool {
		p, err := netip.ParsePrefix(block)
		return err == nil && p.Masked().Contains(from.Addr().Unmap())
	}) {
		return nil, denied
	}
	if c.cfg.Switches.BastionSessionsLate {
		if s.late == nil {
			s.late = bytes.Clone(meta.SessionID())
		}
		if bytes.Equal(s.late, meta.SessionID()) {
			return nil, denied
		}
	}
	return s, nil
}

// joined notes a connection, unless its session has just ended.
func (c *Cloud) joined(s *jumpSession, conn ssh.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.is("ACTIVE") {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (c *Cloud) left(s *jumpSession, conn ssh.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(s.conns, conn)
}

// forward connects a channel with the machine that it asks for.
func (c *Cloud) forward(ctx context.Context, s *jumpSession, channel ssh.NewChannel) {
	var asked struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	if ssh.Unmarshal(channel.ExtraData(), &asked) != nil {
		_ = channel.Reject(ssh.ConnectionFailed, "not understood")
		return
	}
	address, reason, message := c.jumpAddress(s, asked.Host, int(asked.Port))
	if address == "" {
		_ = channel.Reject(reason, message)
		return
	}
	// It connects from an address of its own, so that a machine can tell who comes
	// through it.
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(routerIP)}}
	target, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	defer target.Close()
	stream, requests, err := channel.Accept()
	if err != nil {
		return
	}
	defer stream.Close()
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() { ssh.DiscardRequests(requests) })
	both.Go(func() {
		_, _ = io.Copy(stream, target) // whichever side ends it
		_ = stream.CloseWrite()
	})
	_, _ = io.Copy(target, stream)
	if tcp, ok := target.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// jumpAddress finds where a session's user may get to: the target it was made
// for, or with dynamic forwarding any machine of the VCN. Of a machine's ports
// only that of its SSH server leads anywhere; it is 22, and the port at which
// it listens in this host.
func (c *Cloud) jumpAddress(s *jumpSession, host string, port int) (string, ssh.RejectionReason, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := s.target
	if t.SessionType != "DYNAMIC_PORT_FORWARDING" &&
		(port != *t.Port || (host != orElse(t.PrivateIP, "") && !strings.EqualFold(host, orElse(t.FQDN, "")))) {
		return "", ssh.Prohibited, "administratively prohibited: open failed"
	}
	for _, v := range c.vnics.all() {
		if !v.alive() || v.tenancy != s.tenancy || v.region.name != s.region.name {
			continue
		}
		subnet, in := s.tenancy.networks[s.region.name].find(v.body.SubnetID)
		name := orElse(v.body.HostnameLabel, "") + "." + subnet.SubnetDomainName
		if in && subnet.VCNID == s.bastion.body.TargetVCNID && (v.body.PrivateIP == host || strings.EqualFold(name, host)) {
			if port != 22 && port != c.sshPort {
				return "", ssh.ConnectionFailed, "Connection refused"
			}
			return net.JoinHostPort(v.body.PrivateIP, strconv.Itoa(c.sshPort)), 0, ""
		}
	}
	return "", ssh.ConnectionFailed, "No route to host"
}
