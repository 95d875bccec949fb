// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// lenient makes one request on a connection of its own and reads the reply
// through cleanHeader. net/http offers no place to put such a filter: behind a
// proxy it adds TLS itself, above every hook. So the few steps are made here.
type lenient struct {
	proxy   func(*http.Request) (*url.URL, error)
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	dialTLS func(ctx context.Context, network, addr string) (net.Conn, error) // if set, used where there is no proxy
	trust   func() (*tls.Config, error)
	limit   time.Duration // of one request, its reply's body included; 0 is none
}

// newLenient shares the proxy, the dialling and the trust of base, or of the
// SDK's own client if base is nil.
func newLenient(base *http.Client, limit time.Duration) lenient {
	l := lenient{
		proxy: http.ProxyFromEnvironment,
		dial:  new(net.Dialer).DialContext,
		limit: limit,
		trust: func() (*tls.Config, error) { return common.GetTLSConfigTemplateForTransport().NewOrDefault() },
	}
	if base == nil {
		return l
	}
	if tr, ok := base.Transport.(*http.Transport); ok {
		l.proxy, l.dialTLS = tr.Proxy, tr.DialTLSContext
		if tr.DialContext != nil {
			l.dial = tr.DialContext
		}
		l.trust = func() (*tls.Config, error) { return tr.TLSClientConfig.Clone(), nil }
	}
	return l
}

// maxInterim is how many 1xx replies may come before the real one, as for
// net/http.
const maxInterim = 5

// Do sends req. The reply's body closes the connection. Errors are of the same
// kind as http.Client's.
func (l lenient) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := req.Context(), context.CancelFunc(func() {})
	if l.limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, l.limit)
	}
	resp, err := l.send(ctx, cancel, req)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		cancel()
		return nil, &url.Error{Op: req.Method, URL: req.URL.Redacted(), Err: err}
	}
	return resp, nil
}

// send is Do without its wrapping. The reply's body calls cancel.
func (l lenient) send(ctx context.Context, cancel context.CancelFunc, req *http.Request) (*http.Response, error) {
	conn, err := l.connect(ctx, req)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	resp, err := exchange(conn, req)
	if err != nil {
		stop()
		conn.Close()
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, ctx: ctx, end: func() { stop(); conn.Close(); cancel() }}
	return resp, nil
}

// exchange writes req and reads the reply.
func exchange(conn net.Conn, req *http.Request) (*http.Response, error) {
	req.Close = true
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	for range maxInterim {
		head, err := cleanHeader(r)
		if err != nil {
			return nil, fmt.Errorf("read the header of a reply: %w", err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(head, r)), req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 1 {
			return resp, nil
		}
	}
	return nil, errors.New("too many interim replies")
}

// body is the body of a reply that has a connection of its own.
type body struct {
	io.ReadCloser
	ctx context.Context // the request's, as in net/http
	end func()
}

// Read says why the connection was closed, if it was us.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = b.ctx.Err()
	}
	return n, err
}

func (b *body) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// connect opens a connection to req's host, through the proxy that is
// configured for it, with TLS where the URL says https.
func (l lenient) connect(ctx context.Context, req *http.Request) (net.Conn, error) {
	addr := req.URL.Host
	if req.URL.Port() == "" {
		addr = net.JoinHostPort(req.URL.Hostname(), map[string]string{"http": "80", "https": "443"}[req.URL.Scheme])
	}
	var via *url.URL
	if l.proxy != nil {
		var err error
		if via, err = l.proxy(req); err != nil {
			return nil, err
		}
	}
	if via == nil && l.dialTLS != nil && req.URL.Scheme == "https" {
		return l.dialTLS(ctx, "tcp", addr)
	}
	conn, err := l.tunnel(ctx, via, addr)
	if err != nil || req.URL.Scheme != "https" {
		return conn, err
	}
	cfg, err := l.trust()
	if err != nil {
		conn.Close()
		return nil, err
	}
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.ServerName, cfg.NextProtos = req.URL.Hostname(), []string{"http/1.1"}
	tc := tls.Client(conn, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return tc, nil
}

// tunnel dials addr, through an HTTP proxy if via is set.
func (l lenient) tunnel(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	if via == nil {
		return l.dial(ctx, "tcp", addr)
	}
	if via.Scheme != "http" {
		return nil, fmt.Errorf("proxy %s: only http:// proxies are supported here", via.Redacted())
	}
	proxy := via.Host
	if via.Port() == "" {
		proxy = net.JoinHostPort(via.Hostname(), "80")
	}
	conn, err := l.dial(ctx, "tcp", proxy)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	connect := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := via.User; u != nil {
		pw, _ := u.Password()
		connect.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pw)))
	}
	if err := connect.Write(conn); err != nil {
		conn.Close()
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, connect)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("proxy %s refused a tunnel to %s: %s", via.Redacted(), addr, resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &spoken{Conn: conn, r: r}, nil
}
