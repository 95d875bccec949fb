// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package simnet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

func start(t *testing.T, h http.HandlerFunc, o simnet.Options) *simnet.Net {
	t.Helper()
	n, err := simnet.Start(h, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func echoHost(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s%s %s", r.Method, r.Host, r.URL.RequestURI(), body)
}

func get(t *testing.T, c *http.Client, method, url, body string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return fmt.Sprint(resp.StatusCode, " ", string(b)), err
}

func TestRealHostNames(t *testing.T) {
	n := start(t, echoHost, simnet.Options{})
	for _, host := range []string{
		"iaas.us-phoenix-1.oraclecloud.com",
		"identity.eu-frankfurt-1.oci.oraclecloud.com",
		"ns.objectstorage.us-phoenix-1.oci.customer-oci.com",
	} {
		for range 2 { // the second time with the cached certificate
			got, err := get(t, n.Client(), http.MethodPost, "https://"+host+"/a%2Fb//c+d=?x=y", "hello")
			want := "200 POST " + host + "/a%2Fb//c+d=?x=y hello"
			if err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			n.Client().CloseIdleConnections()
		}
	}
	if len(n.Hosts()) != 3 || len(n.Refused()) != 0 {
		t.Errorf("hosts %v, refused %v", n.Hosts(), n.Refused())
	}
}

func TestFence(t *testing.T) {
	n := start(t, echoHost, simnet.Options{})
	for _, test := range []struct{ name, url, want string }{
		{"another host", "https://example.com/", "not part of the simulated cloud"},
		{"a domain that only ends alike", "https://notoraclecloud.com/", "not part of the simulated cloud"},
		{"the bare domain", "https://oraclecloud.com/", "not part of the simulated cloud"},
		{"a cloud that is not simulated here", "https://ec2.us-east-1.amazonaws.com/", "not part of the simulated cloud"},
		{"another port", "https://iaas.us-phoenix-1.oraclecloud.com:8443/", "not part of the simulated cloud"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(n.Refused())
			got, err := get(t, n.Client(), http.MethodGet, test.url, "")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, error %v, want one that says %q", got, err, test.want)
			}
			host := strings.TrimSuffix(strings.TrimPrefix(test.url, "https://"), "/")
			if r := n.Refused()[before:]; len(r) != 1 || !strings.HasPrefix(r[0].Target, host) {
				t.Errorf("recorded %v", r)
			}
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		got, err := get(t, n.Client(), http.MethodGet, "http://iaas.us-phoenix-1.oraclecloud.com/x", "")
		if err != nil || !strings.HasPrefix(got, "403") {
			t.Errorf("got %q, %v", got, err)
		}
		if r := n.Refused(); r[len(r)-1].Target != "http://iaas.us-phoenix-1.oraclecloud.com/x" {
			t.Errorf("recorded %v", r)
		}
	})
	t.Run("a Host that is not the tunnel's", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://iaas.us-phoenix-1.oraclecloud.com/", nil)
		req.Host = "identity.us-phoenix-1.oraclecloud.com"
		resp, err := n.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("got %s", resp.Status)
		}
	})
	if !slices.Equal(n.Hosts(), []string{"iaas.us-phoenix-1.oraclecloud.com"}) {
		t.Errorf("hosts %v", n.Hosts())
	}
}

func TestCertificates(t *testing.T) {
	n := start(t, echoHost, simnet.Options{Domains: []string{simnet.AmazonAWS}})
	t.Run("not trusted without the authority", func(t *testing.T) {
		c := &http.Client{Transport: &http.Transport{
			Proxy:           http.ProxyURL(n.ProxyURL()),
			TLSClientConfig: &tls.Config{RootCAs: x509.NewCertPool()},
		}}
		_, err := get(t, c, http.MethodGet, "https://ec2.us-east-1.amazonaws.com/", "")
		if _, ok := errorAs[*tls.CertificateVerificationError](err); !ok {
			t.Errorf("got %v", err)
		}
	})
	t.Run("for the tunnel's name only", func(t *testing.T) {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(n.CAPEM())
		c := &http.Client{Transport: &http.Transport{
			Proxy:           http.ProxyURL(n.ProxyURL()),
			TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "s3.us-east-1.amazonaws.com"},
		}}
		if got, err := get(t, c, http.MethodGet, "https://ec2.us-east-1.amazonaws.com/", ""); err == nil {
			t.Errorf("got %q", got)
		}
	})
}

func TestHijackThroughTLS(t *testing.T) {
	n := start(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\napplication/json: application/json\r\nContent-Length: 0\r\n\r\n")
	}, simnet.Options{})
	_, err := get(t, n.Client(), http.MethodPost, "https://iaas.us-phoenix-1.oraclecloud.com/", "x")
	if err == nil || !strings.Contains(err.Error(), "malformed MIME header line") {
		t.Errorf("got %v", err)
	}
}

// The handler decides about a body before the client has sent it.
func TestExpectContinue(t *testing.T) {
	n := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuse" {
			http.Error(w, "no", http.StatusPreconditionFailed)
			return
		}
		_, _ = io.Copy(w, r.Body)
	}, simnet.Options{})
	transport := n.Client().Transport.(*http.Transport).Clone()
	transport.ExpectContinueTimeout = time.Minute // so that only a real 100 lets the body go
	c := &http.Client{Transport: transport}
	defer c.CloseIdleConnections()
	for _, test := range []struct {
		path string
		want string
		sent bool
	}{{"/take", "200 bytes", true}, {"/refuse", "412 no\n", false}} {
		body := &countingReader{r: strings.NewReader("bytes")}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://objectstorage.r.oraclecloud.com"+test.path, body)
		req.ContentLength = 5
		req.Header.Set("Expect", "100-continue")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if got := fmt.Sprint(resp.StatusCode, " ", string(b)); got != test.want || (body.n > 0) != test.sent {
			t.Errorf("%s: got %q after %d bytes", test.path, got, body.n)
		}
	}
}

// Close returns although a client holds connections and a handler waits, and
// nothing runs afterwards.
func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	entered := make(chan struct{})
	n, err := simnet.Start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			close(entered)
			<-r.Context().Done()
		}
	}), simnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := get(t, n.Client(), http.MethodGet, "https://iaas.r.oraclecloud.com/hang", "")
		failed <- err
	}()
	<-entered
	// A client that opened a tunnel and then says nothing.
	silent, err := net.Dial("tcp", n.ProxyURL().Host)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	fmt.Fprintf(silent, "CONNECT iaas.r.oraclecloud.com:443 HTTP/1.1\r\nHost: iaas.r.oraclecloud.com:443\r\n\r\n")
	if _, err := silent.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-failed; err == nil {
		t.Error("the hanging request succeeded")
	}
	if _, err := net.Dial("tcp", n.ProxyURL().Host); err == nil {
		t.Error("still listening")
	}
	// Goroutines report that they end just before they do.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for runtime.NumGoroutine() > before && ctx.Err() == nil {
		runtime.Gosched()
	}
	if got := runtime.NumGoroutine(); got > before {
		buf := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before\n%s", got, before, buf[:runtime.Stack(buf, true)])
	}
}

func TestStartWithoutHandler(t *testing.T) {
	if _, err := simnet.Start(nil, simnet.Options{}); err == nil {
		t.Error("started")
	}
}

// Another process finds the simulator with nothing but the environment.
func TestEnv(t *testing.T) {
	n := start(t, echoHost, simnet.Options{})
	if target := os.Getenv("SIMNET_TEST_CHILD"); target != "" {
		t.Skip("this is the child")
	}
	ca, err := n.CAFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestEnvChild$", "-test.v")
	child.Env = append(os.Environ(), append(n.Env(ca), "SIMNET_TEST_CHILD=https://iaas.r.oraclecloud.com/hello")...)
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "GET iaas.r.oraclecloud.com/hello") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEnvChild(t *testing.T) {
	target := os.Getenv("SIMNET_TEST_CHILD")
	if target == "" {
		t.Skip("only runs as a child of TestEnv")
	}
	got, err := get(t, http.DefaultClient, http.MethodGet, target, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(got)
	u, _ := url.Parse(target)
	u.Host = "example.com"
	if _, err := get(t, http.DefaultClient, http.MethodGet, u.String(), ""); err == nil {
		t.Error("the world is reachable")
	}
}

func TestPipeInsideBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Hour)
			echoHost(w, r)
		}))
		begin := time.Now()
		for _, scheme := range []string{"http", "https"} {
			got, err := get(t, c, http.MethodPut, scheme+"://iaas.r.oraclecloud.com/p", "b")
			if err != nil || got != "200 PUT iaas.r.oraclecloud.com/p b" {
				t.Errorf("got %q, %v", got, err)
			}
		}
		if took := time.Since(begin); took != 2*time.Hour {
			t.Errorf("took %v of virtual time", took)
		}
		c.CloseIdleConnections() // or the bubble would not end
	})
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestRaw: a tunnel to a port that is not HTTPS leads where Raw says, and only
// there.
func TestRaw(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(conn, conn); conn.Close() }()
		}
	}()
	n := start(t, http.NotFound, simnet.Options{Raw: func(host, port string) (string, bool) {
		return echo.Addr().String(), host == "host.oraclecloud.com" && port == "22"
	}})
	connect := func(target string) (net.Conn, string) {
		conn, err := net.Dial("tcp", n.ProxyURL().Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		// What is said before the answer arrives as well.
		io.WriteString(conn, "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\nearly ")
		text := make([]byte, 12)
		if _, err := io.ReadFull(conn, text); err != nil {
			t.Fatal(err)
		}
		return conn, string(text)
	}
	conn, status := connect("host.oraclecloud.com:22")
	if status != "HTTP/1.1 200" {
		t.Fatalf("got %q", status)
	}
	io.WriteString(conn, "late")
	conn.(*net.TCPConn).CloseWrite()
	if text, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(text), "\r\n\r\nearly late") {
		t.Errorf("got %q, %v", text, err)
	}
	for _, target := range []string{"host.oraclecloud.com:23", "other.oraclecloud.com:22", "host.example.com:22"} {
		if _, status := connect(target); status != "HTTP/1.1 403" {
			t.Errorf("%s: got %q", target, status)
		}
	}
	open, _ := connect("host.oraclecloud.com:22")
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	_, _ = io.ReadAll(open) // it ends, in whatever way
}
