// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// badLine is the header line of packer-plugin-oracle issue 154.
const badLine = "application/json: application/json\r\n"

const instanceJSON = `{"id":"i-1","lifecycleState":"RUNNING"}`

// malformedReply is a good reply but for one line.
func malformedReply(body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + badLine + fmt.Sprintf("Opc-Request-Id: r-1\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestMalformedHeaderOnAnyNetwork(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		raw(w, malformedReply(instanceJSON))
	})
	proxied, err := simnet.Start(handler, simnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer proxied.Close()
	direct := httptest.NewTLSServer(handler)
	defer direct.Close()
	// The certificate of httptest is for example.com: every host is taken
	// there, and none is trusted for its own name but by this pool.
	toDirect := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, direct.Listener.Addr().String())
		},
		TLSClientConfig: direct.Client().Transport.(*http.Transport).TLSClientConfig,
	}}
	defer toDirect.CloseIdleConnections()
	pipe := simnet.Pipe(handler)
	defer pipe.CloseIdleConnections()
	for _, tt := range []struct {
		name, host string
		http       *http.Client
	}{
		{"through a proxy", "", proxied.Client()},
		{"direct TLS", "https://example.com", toDirect},
		{"a dialler that makes its own TLS", "", pipe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := buildOver(clientOver(t, tt.http), nil)
			if tt.host != "" {
				compute, err := core.NewComputeClientWithConfigurationProvider(unsigned{simRegion})
				if err != nil {
					t.Fatal(err)
				}
				b.prepare(&compute.BaseClient, false)
				compute.Host = tt.host
				b.compute.GetInstance = compute.GetInstance
			}
			i, err := b.instance(contextFor(t, 20*time.Second), "i-1")
			if err != nil || text(i.Id) != "i-1" || i.LifecycleState != "RUNNING" {
				t.Errorf("instance %s, %v", i, err)
			}
		})
	}
}

// effects is a service that does each thing once per retry token, and answers
// every POST so that net/http cannot read it.
type effects struct {
	mu     sync.Mutex
	bodies []string
	tokens []string
	done   map[string]int
}

func (e *effects) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	token := r.Header.Get("Opc-Retry-Token")
	e.bodies, e.tokens = append(e.bodies, string(body)), append(e.tokens, token)
	if e.done == nil {
		e.done = map[string]int{}
	}
	if token == "" || e.done[token] == 0 {
		e.done[token]++
	}
	e.mu.Unlock()
	raw(w, malformedReply(instanceJSON))
}

func TestMalformedHeaderOnPOST(t *testing.T) {
	e := &effects{}
	b := buildOver(wire(t, e.ServeHTTP), nil)
	id, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1")
	if err != nil || id != "i-1" {
		t.Fatalf("%q, %v", id, err)
	}
	if len(e.bodies) != 2 || e.bodies[0] != e.bodies[1] || !strings.Contains(e.bodies[0], "x:AD-1") ||
		e.tokens[0] != "token-1" || e.tokens[1] != "token-1" || e.done["token-1"] != 1 {
		t.Errorf("sent %q with %q, done %v", e.bodies, e.tokens, e.done)
	}
}

// Without a token a second request would be a second effect.
func TestMalformedHeaderOnPOSTWithoutToken(t *testing.T) {
	e := &effects{}
	c := wire(t, e.ServeHTTP)
	ns, bucket, name := "ns", "b", "link"
	_, err := c.objects.CreatePreauthenticatedRequest(t.Context(), objectstorage.CreatePreauthenticatedRequestRequest{
		NamespaceName: &ns, BucketName: &bucket, RequestMetadata: once(),
		CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{Name: &name, AccessType: "ObjectRead"},
	})
	err = wrap("create", "", err)
	if !lost(err) || !strings.Contains(err.Error(), "malformed MIME header") || strings.Contains(err.Error(), "https://") {
		t.Errorf("lost %t: %v", lost(err), err)
	}
	if len(e.bodies) != 1 || e.done[""] != 1 {
		t.Errorf("sent %q", e.bodies)
	}
}

// The first request may have taken effect, whatever becomes of the second.
func TestMalformedThenWorse(t *testing.T) {
	for name, second := range map[string]string{"cut": "", "cut in the header": "HTTP/1.1 200 OK\r\nContent-Le", "no HTTP": "hello\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			var n seen
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if n.add(r); n.count("POST") == 1 {
					raw(w, malformedReply(instanceJSON))
					return
				}
				raw(w, second)
			}), nil)
			_, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1")
			if v := b.Classify(err); !v.Ambiguous || v.Outcome != capacity.Transient || n.count("POST") != 2 {
				t.Errorf("%+v after %q", v, n.list)
			}
		})
	}
	t.Run("no second connection", func(t *testing.T) {
		pipe := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			raw(w, malformedReply(instanceJSON))
		}))
		defer pipe.CloseIdleConnections()
		tr, dials := pipe.Transport.(*http.Transport), 0
		dial := tr.DialContext
		tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
			}
			return dial(ctx, network, addr)
		}
		b := buildOver(clientOver(t, pipe), nil)
		_, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1")
		if v := b.Classify(err); !v.Ambiguous || dials != 2 {
			t.Errorf("%d connections; %+v", dials, v)
		}
	})
}

// get asks the given bytes of lenient.
func get(t *testing.T, method string, reply string) (*http.Response, error) {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
			_, _ = io.WriteString(far, reply)
		}
	}()
	t.Cleanup(func() { near.Close(); far.Close() })
	l := lenient{limit: time.Minute, dial: func(context.Context, string, string) (net.Conn, error) { return near, nil }}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://iaas.test/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l.Do(req)
}

func TestLenientReads(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		name, method, reply string
		body, header        string // header is the value of X
		fails               string
	}{
		{name: "length", reply: ok + badLine + "X: a\r\nContent-Length: 2\r\n\r\nhi and more", body: "hi", header: "a"},
		{name: "chunks", reply: ok + "Transfer-Encoding: chunked\r\n" + badLine + "\r\n2\r\nhi\r\n3\r\n yo\r\n0\r\n\r\n", body: "hi yo"},
		{name: "until closed", reply: ok + badLine + "\r\nto the end", body: "to the end"},
		{name: "interim replies", reply: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n" + badLine + "\r\n" + ok + badLine + "X: b\r\nContent-Length: 1\r\n\r\n!", body: "!", header: "b"},
		{name: "only line feeds", reply: "HTTP/1.1 200 OK\nbad line\nX: c\nContent-Length: 1\n\n.", body: ".", header: "c"},
		{name: "HEAD", method: http.MethodHead, reply: ok + badLine + "Content-Length: 7\r\n\r\n"},
		{name: "no content", reply: "HTTP/1.1 204 No Content\r\n" + badLine + "\r\n"},
		{name: "nothing wrong", reply: ok + "X: d\r\nContent-Length: 1\r\n\r\n1", body: "1", header: "d"},
		{name: "a folded good line", reply: ok + "X: e\r\n f\r\nContent-Length: 0\r\n\r\n", header: "e f"},
		{name: "a folded bad line", reply: ok + "Content-Length: 1\r\napplication/json:\r\n application/json\r\nX: g\r\n\r\n1", body: "1", header: "g"},
		{name: "a fold with nothing before", reply: ok + " lost\r\nX: h\r\nContent-Length: 0\r\n\r\n", header: "h"},
		{name: "spaces only", reply: ok + "X: i\r\n   \r\nContent-Length: 0\r\n\r\n", header: "i "},
		{name: "two carriage returns", reply: ok + "X: j\r\nContent-Length: 0\r\n\r\r\n\r\n", header: "j"},
		{name: "closed in the header", reply: ok + "X: a\r\n", fails: "read the header of a reply"},
		{name: "closed in the body", reply: ok + badLine + "Content-Length: 9\r\n\r\nhi", body: "hi", fails: "unexpected EOF"},
		{name: "not HTTP", reply: "SSH-2.0\r\n\r\n", fails: "malformed HTTP"},
		{name: "too many lines", reply: ok + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 1200) + "\r\n", fails: "too long"},
		{name: "too many bad lines", reply: ok + strings.Repeat("b/d: "+strings.Repeat("y", 1000)+"\r\n", 1200) + "\r\n", fails: "too long"},
		{name: "one endless line", reply: ok + "X: " + strings.Repeat("y", 2<<20), fails: "too long"},
		{name: "one endless status", reply: strings.Repeat("y", 2<<20), fails: "too long"},
		{name: "endless interim replies", reply: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000), fails: "too many"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			resp, err := get(t, tt.method, tt.reply)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				if cerr := resp.Body.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error %v, want %q", err, tt.fails)
				}
				return
			}
			if err != nil || string(body) != tt.body || resp.Header.Get("X") != tt.header {
				t.Errorf("body %q, X %q, %v; want %q, %q", body, resp.Header.Get("X"), err, tt.body, tt.header)
			}
		})
	}
}

// hang is a server that sends something and then neither more nor an end.
func hang(t *testing.T, bytes string) (*http.Client, <-chan struct{}) {
	closed := make(chan struct{})
	dial := func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer close(closed)
			defer far.Close()
			if _, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
				_, _ = io.WriteString(far, bytes)
				_, _ = io.Copy(io.Discard, far)
			}
		}()
		return near, nil
	}
	return &http.Client{Transport: &http.Transport{DialTLSContext: dial}}, closed
}

func TestLenientEnds(t *testing.T) {
	const begun = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
	for name, sent := range map[string]string{"in the header": begun[:20], "in the body": begun} {
		t.Run("cancelled "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, closed := hang(t, sent)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				err := readAll(ctx, newLenient(h, 0))
				if err == nil {
					t.Error("no error")
				}
				<-closed // a bubble that cannot go on fails the test
			})
		})
		t.Run("in time "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, closed := hang(t, sent)
				start := time.Now()
				err := readAll(t.Context(), newLenient(h, time.Minute))
				if d := time.Since(start); err == nil || d != time.Minute {
					t.Errorf("ended after %s with %v", d, err)
				}
				<-closed
			})
		})
	}
}

func readAll(ctx context.Context, l lenient) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://iaas.test/x", nil)
	if err != nil {
		return err
	}
	resp, err := l.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	return err
}

func TestLenientProxy(t *testing.T) {
	var auth string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth = r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		http.Error(w, "no", http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	for _, tt := range []struct{ proxy, auth, says string }{
		{strings.Replace(proxy.URL, "http://", "http://user:p%40ss@", 1), "CONNECT iaas.test:443 Basic dXNlcjpwQHNz", "refused a tunnel to iaas.test:443: 407 Proxy Authentication Required"},
		{proxy.URL, "CONNECT iaas.test:443 ", "refused a tunnel"},
		{"socks5://127.0.0.1:1", "", "only http:// proxies"},
	} {
		auth = ""
		tr := &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) { return r.URL.Parse(tt.proxy) }}
		err := readAll(t.Context(), newLenient(&http.Client{Transport: tr}, time.Minute))
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "p@ss") || strings.Contains(err.Error(), "p%40ss") {
			t.Errorf("%s: %v", tt.proxy, err)
		}
		if auth != tt.auth {
			t.Errorf("%s: the proxy saw %q", tt.proxy, auth)
		}
	}
}

func FuzzCleanHeader(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n" + badLine + "Content-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\n folded\r\nbad\r\n folded\r\n: x\r\n\tx\r\n\r\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\nX\x00: y\nX: \x00\n \x7f\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		head, err := cleanHeader(bufio.NewReader(bytes.NewReader(in)))
		if err != nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(head), nil)
		if err != nil && malformed(err) {
			t.Errorf("%q was let through as something that ReadResponse refuses: %v", in, err)
		}
		if err == nil {
			_ = resp.Body.Close()
		}
	})
}
