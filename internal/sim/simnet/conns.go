// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package simnet

import (
	"bytes"
	"net"
	"net/http"
	"sync"
)

// tunnelAddr is the host that the client of a tunnel believes to be at its
// other end. net/http hands it to handlers as the local address.
type tunnelAddr string

func (a tunnelAddr) Network() string { return "tunnel" }
func (a tunnelAddr) String() string  { return string(a) }

// tunnel is a hijacked connection: first what had been read ahead, then the
// rest.
type tunnel struct {
	net.Conn
	host  string
	early *bytes.Reader
}

func (t *tunnel) LocalAddr() net.Addr { return tunnelAddr(t.host) }

func (t *tunnel) Read(p []byte) (int, error) {
	if t.early.Len() > 0 {
		return t.early.Read(p)
	}
	return t.Conn.Read(p)
}

// connQueue is a listener whose connections come from push.
type connQueue struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newConnQueue(addr net.Addr) *connQueue {
	return &connQueue{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *connQueue) push(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.closed:
		_ = c.Close()
	}
}

func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *connQueue) Addr() net.Addr { return q.addr }

// tracker knows every goroutine and every hijacked connection of a Net, so
// that Close can end all of them. http.Server forgets a connection once it is
// hijacked and does not wait for handlers.
type tracker struct {
	mu      sync.Mutex
	idle    *sync.Cond
	running int
	closed  bool
	raw     map[net.Conn]struct{}
	served  map[net.Conn]struct{}
}

func newTracker() *tracker {
	t := &tracker{raw: make(map[net.Conn]struct{}), served: make(map[net.Conn]struct{})}
	t.idle = sync.NewCond(&t.mu)
	return t
}

// run starts f on a goroutine that close waits for.
func (t *tracker) run(f func()) {
	t.begin()
	go func() {
		defer t.end()
		f()
	}()
}

// handler counts the handlers that run, also after they have hijacked.
func (t *tracker) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.begin()
		defer t.end()
		next.ServeHTTP(w, r)
	})
}

// connState counts the goroutines that http.Server keeps per connection.
func (t *tracker) connState(c net.Conn, state http.ConnState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch state {
	case http.StateNew:
		t.served[c] = struct{}{}
		if t.closed { // accepted while the server was being closed
			go c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		delete(t.served, c)
		t.idle.Broadcast()
	}
}

// track remembers a hijacked connection until it is closed.
func (t *tracker) track(c net.Conn) net.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = c.Close()
		return c
	}
	t.raw[c] = struct{}{}
	return &trackedConn{Conn: c, owner: t}
}

func (t *tracker) begin() {
	t.mu.Lock()
	t.running++
	t.mu.Unlock()
}

func (t *tracker) end() {
	t.mu.Lock()
	t.running--
	t.idle.Broadcast()
	t.mu.Unlock()
}

// close cuts the connections that http.Server.Close has missed, which are the
// hijacked ones and those accepted at the last moment, and waits until nothing
// runs any more.
func (t *tracker) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for c := range t.raw {
		_ = c.Close()
	}
	for c := range t.served {
		go c.Close() // closing a TLS connection comes back to connState or raw
	}
	for t.running > 0 || len(t.served) > 0 {
		t.idle.Wait()
	}
}

type trackedConn struct {
	net.Conn
	owner *tracker
}

func (c *trackedConn) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.raw, c.Conn)
	c.owner.mu.Unlock()
	return c.Conn.Close()
}
