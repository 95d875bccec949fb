// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// lenient makes one request on a connection of its own and reads the reply
// through cleanHeader. net/http offers no place to put such a filter: behind a
// proxy it adds TLS itself, above every hook. So the few steps are made here.
type lenient struct {
	proxy func(*http.Request) (*url.URL, error)
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	trust func() (*tls.Config, error)
}

// newLenient shares the proxy, the dialling and the trust of base, or of the
// SDK's own client if base is nil.
func newLenient(base *http.Client) lenient {
	l := lenient{
		proxy: http.ProxyFromEnvironment,
		dial:  new(net.Dialer).DialContext,
		trust: func() (*tls.Config, error) { return common.GetTLSConfigTemplateForTransport().NewOrDefault() },
	}
	if base == nil {
		return l
	}
	if tr, ok := base.Transport.(*http.Transport); ok {
		l.proxy = tr.Proxy
		if tr.DialContext != nil {
			l.dial = tr.DialContext
		}
		l.trust = func() (*tls.Config, error) { return tr.TLSClientConfig.Clone(), nil }
	}
	return l
}

// Do sends req. The reply's body closes the connection.
func (l lenient) Do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	conn, err := l.connect(ctx, req)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	fail := func(err error) (*http.Response, error) {
		stop()
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return fail(err)
	}
	r := bufio.NewReader(conn)
	for {
		head, err := cleanHeader(r)
		if err != nil {
			return fail(fmt.Errorf("read the header of a reply: %w", err))
		}
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(head, r)), req)
		if err != nil {
			return fail(err)
		}
		if resp.StatusCode/100 == 1 {
			continue
		}
		resp.Body = &closer{ReadCloser: resp.Body, then: func() { stop(); conn.Close() }}
		return resp, nil
	}
}

type closer struct {
	io.ReadCloser
	then func()
}

func (c *closer) Close() error {
	err := c.ReadCloser.Close()
	c.then()
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
	// The proxy sends nothing after its header until we do, so the reader that
	// is dropped here holds no bytes of the tunnel.
	resp, err := http.ReadResponse(bufio.NewReader(conn), connect)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("proxy %s refused a tunnel to %s: %s", via.Redacted(), addr, resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
