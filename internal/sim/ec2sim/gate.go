// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
)

// sshPort is the port that security groups talk about.
const sshPort = 22

// gate is the way to a machine from outside: it listens at the instance's
// addresses while the security groups admit the caller, and leads to where
// the machine itself listens. A closed gate refuses connections, as a network
// that drops packets cannot be imitated on loopback.
type gate struct {
	mu    sync.Mutex
	open  map[netip.Addr]net.Listener
	conns map[net.Conn]struct{}
	shut  bool
}

// moveGates opens and closes all gates as things are now. The cloud's lock is
// held.
func (c *Cloud) moveGates() {
	if c.cfg.Offline {
		return
	}
	for _, i := range all[*instance](c) {
		i.gate.keep(c, i, c.reachable(i))
	}
}

// reachable are the addresses at which the caller gets to a machine.
func (c *Cloud) reachable(i *instance) []netip.Addr {
	if i.machine == nil || c.closed || c.faults.peek(i.target("RunInstances"), FaultSSHClosed) != nil {
		return nil
	}
	from := c.cfg.Caller
	if c.cfg.CallerInVPC {
		from = c.callerIn(i)
	}
	admitted := false
	for _, g := range i.eni.groups {
		// Templates name the port that stands for 22.
		admitted = admitted || g.admits(from, sshPort) || g.admits(from, c.ports.ssh)
	}
	if !admitted {
		return nil
	}
	if c.cfg.CallerInVPC {
		return []netip.Addr{i.eni.private}
	}
	if i.eni.public.IsValid() {
		return []netip.Addr{i.eni.public}
	}
	return nil
}

// callerIn is the caller's address in a VPC: the last but one of the subnet.
func (c *Cloud) callerIn(i *instance) netip.Addr {
	a := i.eni.subnet.vpc.cidr.Addr().As4()
	return netip.AddrFrom4([4]byte{a[0], a[1], 255, 254})
}

// keep makes a gate listen at the addresses and nowhere else.
func (g *gate) keep(c *Cloud, i *instance, at []netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wanted := map[netip.Addr]bool{}
	for _, a := range at {
		wanted[a] = !g.shut
	}
	for a, l := range g.open {
		if !wanted[a] {
			l.Close()
			delete(g.open, a)
		}
	}
	for a, want := range wanted {
		if !want || g.open[a] != nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(a.String(), strconv.Itoa(c.ports.ssh)))
		if err != nil {
			continue // somebody else has it; the machine cannot be reached
		}
		if g.open == nil {
			g.open, g.conns = map[netip.Addr]net.Listener{}, map[net.Conn]struct{}{}
		}
		g.open[a] = l
		inside := net.JoinHostPort(i.eni.private.String(), strconv.Itoa(c.ports.inside))
		c.background(func(context.Context) { g.serve(c, l, inside) })
	}
}

func (g *gate) serve(c *Cloud, l net.Listener, inside string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		c.background(func(ctx context.Context) { g.pass(ctx, conn, inside) })
	}
}

// pass joins a connection with one to the machine.
func (g *gate) pass(ctx context.Context, client net.Conn, inside string) {
	defer g.forget(client)
	if !g.remember(client) {
		return
	}
	var dialer net.Dialer
	server, err := dialer.DialContext(ctx, "tcp", inside)
	if err != nil {
		if tcp, is := client.(*net.TCPConn); is {
			_ = tcp.SetLinger(0) // refused, as far as that is possible by now
		}
		return
	}
	defer g.forget(server)
	if !g.remember(server) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { half(client, server) })
	half(server, client)
	back.Wait()
}

// half copies one direction and hands on its end.
func half(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if tcp, is := to.(*net.TCPConn); is && err == nil {
		_ = tcp.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}

func (g *gate) remember(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || g.conns == nil {
		return false
	}
	g.conns[conn] = struct{}{}
	return true
}

func (g *gate) forget(conn net.Conn) {
	conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}

// close ends it for good, with all connections.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	for _, l := range g.open {
		l.Close()
	}
	for conn := range g.conns {
		conn.Close()
	}
}
