// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package simnet gives a simulated cloud its real host names.
//
// A client that nobody here wrote has no option for another endpoint: it
// resolves iaas.us-phoenix-1.oraclecloud.com, speaks TLS to it and checks the
// certificate. What every such client does honour is HTTPS_PROXY and a file of
// trusted certificates. So a [Net] is a proxy on loopback that ends the TLS
// connection itself, with a certificate made for the name the client asked
// for and signed by an authority that exists only as long as the Net, and
// hands the request to one http.Handler with its Host untouched.
//
// A Net is also a fence. Names outside the simulated clouds are refused, never
// forwarded, and remembered, so that a test can say that nothing but the
// simulator was contacted.
//
// Only HTTP/1.1 is spoken, because a simulator must be able to hijack a
// connection and answer something that HTTP does not allow.
//
// Inside a testing/synctest bubble real sockets do not work; [Pipe] connects a
// client to a handler through memory instead, under the same host names.
package simnet

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The domains under which the public clouds answer.
const (
	OracleCloud   = "oraclecloud.com"
	CustomerOCI   = "customer-oci.com"
	AmazonAWS     = "amazonaws.com"
	AmazonAPI     = "api.aws" // newer services of Amazon
	httpsPort     = "443"
	headerTimeout = 30 * time.Second
)

// Options adjusts a Net. The zero value simulates OCI.
type Options struct {
	// Domains are the DNS suffixes whose hosts the handler plays, without a
	// leading dot. Default: OracleCloud and CustomerOCI.
	Domains []string
	// Raw, if set, says for a host of the clouds and a port where in this
	// machine a tunnel to it leads, such as a jump host's port 22. It is for
	// what is not HTTPS; without an answer the tunnel is refused.
	Raw func(host, port string) (address string, ok bool)
	// ErrorLog receives what the HTTP servers complain about, for example
	// clients that do not trust the authority. Default: discarded.
	ErrorLog *log.Logger
}

// Refusal is one request for something outside the simulated clouds.
type Refusal struct {
	Method string // CONNECT, or the method of a plain HTTP request
	Target string // host:port, or the URL of a plain HTTP request
	Reason string
}

func (r Refusal) String() string { return r.Method + " " + r.Target + ": " + r.Reason }

// Net is a running proxy. Its methods may be used by many goroutines.
type Net struct {
	domains   []string
	raw       func(host, port string) (string, bool)
	authority *authority
	proxyURL  *url.URL
	client    *http.Client

	outer  *http.Server // speaks to the client as a proxy
	inner  *http.Server // speaks to the client as the cloud, inside the tunnels
	queue  *connQueue   // tunnels on their way from outer to inner
	conns  *tracker     // every connection and every running handler
	ledger *ledger
}

// Start listens on a free port of 127.0.0.1 and serves handler under the host
// names of o.Domains until Close.
func Start(handler http.Handler, o Options) (*Net, error) {
	if handler == nil {
		return nil, errors.New("simnet: no handler")
	}
	if len(o.Domains) == 0 {
		o.Domains = []string{OracleCloud, CustomerOCI}
	}
	if o.ErrorLog == nil {
		o.ErrorLog = log.New(io.Discard, "", 0)
	}
	ca, err := newAuthority(time.Now())
	if err != nil {
		return nil, fmt.Errorf("simnet: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("simnet: %w", err)
	}
	n := &Net{
		domains:   slices.Clone(o.Domains),
		raw:       o.Raw,
		authority: ca,
		proxyURL:  &url.URL{Scheme: "http", Host: listener.Addr().String()},
		queue:     newConnQueue(listener.Addr()),
		conns:     newTracker(),
		ledger:    newLedger(),
	}
	n.outer = &http.Server{
		Handler:           n.conns.handler(http.HandlerFunc(n.serveProxy)),
		ConnState:         n.conns.connState,
		ErrorLog:          o.ErrorLog,
		ReadHeaderTimeout: headerTimeout,
	}
	n.inner = &http.Server{
		Handler:           n.conns.handler(n.sameHost(handler)),
		ConnState:         n.conns.connState,
		ErrorLog:          o.ErrorLog,
		ReadHeaderTimeout: headerTimeout,
	}
	n.client = &http.Client{Transport: &http.Transport{
		Proxy:           http.ProxyURL(n.proxyURL),
		TLSClientConfig: &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12},
	}}
	n.conns.run(func() { _ = n.outer.Serve(listener) })
	n.conns.run(func() { _ = n.inner.Serve(n.queue) })
	return n, nil
}

// ProxyURL is what HTTPS_PROXY must say.
func (n *Net) ProxyURL() *url.URL { return new(*n.proxyURL) }

// CAPEM is the certificate of the throw-away authority in PEM form.
func (n *Net) CAPEM() []byte { return slices.Clone(n.authority.pem) }

// CAFile writes CAPEM to the file ca.pem in dir and returns its path.
func (n *Net) CAFile(dir string) (string, error) {
	path := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(path, n.authority.pem, 0o644); err != nil {
		return "", fmt.Errorf("simnet: %w", err)
	}
	return path, nil
}

// Env is the environment, as NAME=value, with which an unmodified client in
// another process reaches the simulated cloud. The argument is a path that
// CAFile returned. Plain HTTP goes through the proxy as well, which refuses
// it: a client that wants something else is found out, not helped.
func (n *Net) Env(caFile string) []string {
	proxy := n.proxyURL.String()
	const direct = "localhost,127.0.0.1"
	return []string{
		"HTTPS_PROXY=" + proxy, "https_proxy=" + proxy,
		"HTTP_PROXY=" + proxy, "http_proxy=" + proxy,
		"NO_PROXY=" + direct, "no_proxy=" + direct,
		"SSL_CERT_FILE=" + caFile,          // Go, OpenSSL
		"OCI_DEFAULT_CERTS_PATH=" + caFile, // newer OCI SDKs
		"REQUESTS_CA_BUNDLE=" + caFile,     // Python
		"AWS_CA_BUNDLE=" + caFile,
		"CURL_CA_BUNDLE=" + caFile,
		"CHECKPOINT_DISABLE=1", // HashiCorp's version check
	}
}

// Client is an HTTP client of this process that goes through the proxy and
// trusts only the throw-away authority.
func (n *Net) Client() *http.Client { return n.client }

// Refused lists what was asked for outside the simulated clouds, in order.
func (n *Net) Refused() []Refusal { return n.ledger.refusals() }

// Hosts lists the simulated hosts to which a tunnel was opened, sorted.
func (n *Net) Hosts() []string { return n.ledger.hosts() }

// Close cuts every connection and returns when all goroutines of the Net have
// ended, handlers included. It may be called more than once.
func (n *Net) Close() error {
	n.queue.Close()
	err := errors.Join(n.outer.Close(), n.inner.Close())
	n.client.CloseIdleConnections()
	n.conns.close()
	if err != nil {
		return fmt.Errorf("simnet: %w", err)
	}
	return nil
}

// serveProxy answers what a client says to its proxy.
func (n *Net) serveProxy(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		n.refuse(w, Refusal{r.Method, r.URL.String(), "only HTTPS is simulated"})
		return
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err == nil && n.raw != nil && port != httpsPort && n.simulated(host) {
		if address, ok := n.raw(host, port); ok {
			n.ledger.visit(host)
			n.serveRaw(w, r, address)
			return
		}
	}
	if err != nil || !n.simulated(host) || port != httpsPort {
		n.refuse(w, Refusal{r.Method, r.Host, "not part of the simulated cloud"})
		return
	}
	n.ledger.visit(host)
	raw, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.WriteString(raw, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = raw.Close()
		return
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !strings.EqualFold(hello.ServerName, host) {
				return nil, fmt.Errorf("simnet: tunnel to %s carries TLS for %q", host, hello.ServerName)
			}
			return n.authority.certificate(strings.ToLower(host), time.Now())
		},
	}
	n.queue.push(tls.Server(&tunnel{Conn: n.conns.track(raw), host: host, early: early(buffered)}, config))
}

// serveRaw joins a tunnel with a connection to an address of this machine.
func (n *Net) serveRaw(w http.ResponseWriter, r *http.Request, address string) {
	var dialer net.Dialer
	target, err := dialer.DialContext(r.Context(), "tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer target.Close()
	hijacked, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	client := n.conns.track(hijacked)
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	over := make(chan struct{})
	var others sync.WaitGroup
	defer others.Wait()
	defer close(over)
	others.Go(func() {
		select {
		case <-n.queue.closed: // by Close, which waits for this
			_ = target.Close()
			_ = client.Close()
		case <-over:
		}
	})
	var back sync.WaitGroup
	defer back.Wait()
	back.Go(func() {
		_, _ = io.Copy(client, target) // whichever side ends it
		_ = client.Close()
	})
	if _, err := io.Copy(target, io.MultiReader(early(buffered), client)); err != nil {
		_ = target.Close()
	} else if tcp, ok := target.(*net.TCPConn); ok {
		_ = tcp.CloseWrite() // the client has no more to say, but may listen
	}
}

// refuse writes the reason into the status line, because that is the part of
// a proxy's refusal that Go's HTTP client reports.
func (n *Net) refuse(w http.ResponseWriter, r Refusal) {
	n.ledger.refuse(r)
	raw, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		http.Error(w, r.Reason, http.StatusForbidden)
		return
	}
	defer raw.Close()
	_, _ = fmt.Fprintf(raw, "HTTP/1.1 403 %q is %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", r.Target, r.Reason)
}

// sameHost refuses a request whose Host is not the one its tunnel leads to: a
// real server would not have that name's certificate either.
func (n *Net) sameHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, _ := r.Context().Value(http.LocalAddrContextKey).(tunnelAddr)
		if !strings.EqualFold(strings.TrimSuffix(r.Host, ":"+httpsPort), string(want)) {
			n.ledger.refuse(Refusal{r.Method, r.Host, "asked for in a tunnel to " + string(want)})
			http.Error(w, "the tunnel leads to "+string(want), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (n *Net) simulated(host string) bool {
	host = strings.ToLower(host)
	return slices.ContainsFunc(n.domains, func(domain string) bool {
		return strings.HasSuffix(host, "."+domain)
	})
}

// early is what the client sent before it saw the proxy's answer.
func early(b *bufio.ReadWriter) *bytes.Reader {
	ahead, _ := b.Reader.Peek(b.Reader.Buffered())
	return bytes.NewReader(slices.Clone(ahead))
}
