// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"errors"
	"net"
	"sync"
)

// relay passes connections on to one address.
type relay struct {
	l  net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
}

func newRelay(to string) (*relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{l: l, to: to, conns: make(map[net.Conn]struct{})}
	r.wg.Go(r.run)
	return r, nil
}

func (r *relay) addr() string { return r.l.Addr().String() }

func (r *relay) run() {
	for {
		conn, err := r.l.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.pass(conn) })
	}
}

// keep remembers a connection until forget; false when the relay is closed.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.shut {
		r.conns[c] = struct{}{}
	}
	return !r.shut
}

func (r *relay) forget(c net.Conn) {
	c.Close()
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
}

func (r *relay) pass(guest net.Conn) {
	defer r.forget(guest)
	if !r.keep(guest) {
		return
	}
	host, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer r.forget(host)
	if !r.keep(host) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		pipeTCP(guest, host)
	}()
	pipeTCP(host, guest)
	<-back
}

// pipeTCP copies one direction and hands on its end.
func pipeTCP(dst, src net.Conn) {
	d, ok := dst.(*net.TCPConn)
	if !ok {
		return
	}
	_, err := d.ReadFrom(src)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		src.Close()
	}
	d.CloseWrite()
}
