// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

// proxyLimit is how long a proxy may take to open a tunnel to a jump host.
const proxyLimit = 7 * time.Second

// DialJumpHost connects to a host that speaks SSH: through the proxy that the
// environment names for it (HTTPS_PROXY, NO_PROXY), as requests go, and directly
// where there is none or it does not lead there, as many lead to port 443 only.
func (o Options) DialJumpHost(ctx context.Context, network, addr string) (net.Conn, error) {
	l := newLenient(o.HTTP, 0)
	var via *url.URL
	if l.proxy != nil {
		req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: addr}}
		if u, err := l.proxy(req); err == nil {
			via = u
		}
	}
	if via == nil {
		return l.dial(ctx, network, addr)
	}
	limited, cancel := context.WithTimeout(ctx, proxyLimit)
	defer cancel()
	conn, perr := l.tunnel(limited, via, addr)
	if perr == nil {
		return conn, nil
	}
	conn, err := l.dial(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("%w; and through the proxy: %w", err, perr)
	}
	return conn, nil
}

// spoken is a connection through a proxy. What is read of it comes from the
// reader of the proxy's answer: an SSH server speaks first, and what it says may
// have come with that.
type spoken struct {
	net.Conn
	r *bufio.Reader
}

func (s *spoken) Read(p []byte) (int, error) { return s.r.Read(p) }
