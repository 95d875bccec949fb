// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package simnet

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// Pipe returns a client whose every connection, for whatever host and whether
// the URL says http or https, leads through memory to handler. No socket and
// no TLS are involved, so it works inside a testing/synctest bubble, where
// waiting takes no time. The handler sees the URL's host in Host.
//
// Each connection is served by one goroutine that ends with it: a test that
// must leave none behind calls CloseIdleConnections on the client at its end.
func Pipe(handler http.Handler) *http.Client {
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		conn := &pipeConn{Conn: far, host: host, closed: make(chan struct{})}
		server := &http.Server{
			Handler:           handler,
			ErrorLog:          log.New(io.Discard, "", 0),
			ReadHeaderTimeout: headerTimeout,
		}
		go func() { _ = server.Serve(&oneConn{conn: conn}) }()
		return near, nil
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DialTLSContext: dial}}
}

// oneConn is a listener that accepts one connection and ends with it.
type oneConn struct {
	conn     *pipeConn
	accepted bool // only Serve's goroutine calls Accept
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.accepted {
		<-l.conn.closed
		return nil, net.ErrClosed
	}
	l.accepted = true
	return l.conn, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

type pipeConn struct {
	net.Conn
	host   string
	once   sync.Once
	closed chan struct{}
}

func (c *pipeConn) LocalAddr() net.Addr { return tunnelAddr(c.host) }

func (c *pipeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
