// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// key makes a login key and its line for authorized_keys.
func key(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, string(ssh.MarshalAuthorizedKey(s.PublicKey()))
}

// metadata is the least that a guest needs of OCI.
func metadata(id, keys, userData string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/opc/v2/instance/" || r.Header.Get("Authorization") != "Bearer Oracle" {
			http.NotFound(w, r)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"id": id, "hostname": "build-1",
			"metadata": map[string]string{"ssh_authorized_keys": keys, "user_data": userData}})
	})
}

// freeAddr is a loopback address that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func base(t *testing.T, files map[string]string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := FastDisk(disk, files); err != nil {
		t.Fatal(err)
	}
	return disk
}

func power(t *testing.T, d *Fast, spec Spec) Machine {
	t.Helper()
	if spec.SSH == "" {
		spec.SSH = freeAddr(t)
	}
	spec.Cloud, spec.CPUs = OCI, 1
	if spec.Firmware == "" {
		spec.Firmware = UEFI64
	}
	m, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Kill() })
	return m
}

// login waits until sshd answers and logs in.
func login(t *testing.T, addr, user string, s ssh.Signer) *ssh.Client {
	t.Helper()
	conn := dial(t, addr)
	c, chans, reqs, err := ssh.NewClientConn(conn, addr, clientConfig(user, s))
	if err != nil {
		t.Fatalf("login as %s: %v", user, err)
	}
	client := ssh.NewClient(c, chans, reqs)
	t.Cleanup(func() { client.Close() })
	return client
}

func clientConfig(user string, s ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(s)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// run runs one command and returns its status and streams.
func run(t *testing.T, c *ssh.Client, command, stdin string) (status int, stdout, stderr string) {
	t.Helper()
	s, err := c.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(stdin), &out, &errs
	if err := s.Run(command); err != nil {
		var ee *ssh.ExitError
		if !errors.As(err, &ee) {
			t.Fatalf("%s: %v (stderr %q)", command, err, errs.String())
		}
		status = ee.ExitStatus()
	}
	return status, out.String(), errs.String()
}

func TestLogin(t *testing.T) {
	signer, line := key(t)
	other, _ := key(t)
	disk := base(t, nil)
	start := func(b Behaviour) (string, Machine) {
		spec := Spec{ID: "i", Disk: disk, Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
		return spec.SSH, power(t, &Fast{Behave: func(Spec) Behaviour { return b }}, spec)
	}
	try := func(addr, user string, s ssh.Signer) error {
		c, _, _, err := ssh.NewClientConn(dial(t, addr), addr, clientConfig(user, s))
		if err == nil {
			c.Close()
		}
		return err
	}
	addr, m := start(Behaviour{})
	for _, user := range []string{"debian", "opc", "ubuntu"} {
		if err := try(addr, user, signer); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	for user, s := range map[string]ssh.Signer{"root": signer, "nobody": signer, "debian": other} {
		if err := try(addr, user, s); err == nil {
			t.Errorf("%s came in", user)
		}
	}
	m.Kill()
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("still listening after Kill")
	}

	addr, m = start(Behaviour{RefuseKeys: true})
	if err := try(addr, "debian", signer); err == nil {
		t.Error("a key was accepted")
	}
	m.Kill()

	addr, m = start(Behaviour{Hang: true})
	conn := dial(t, addr)
	read := make(chan error, 1)
	go func() { _, err := conn.Read(make([]byte, 1)); read <- err }()
	select {
	case err := <-read:
		t.Errorf("a hanging machine answered (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	m.Kill()
	<-read

	addr, m = start(Behaviour{Password: "secret"})
	for password, want := range map[string]bool{"secret": true, "": false, "guess": false} {
		config := clientConfig("debian", other)
		config.Auth = []ssh.AuthMethod{ssh.Password(password)}
		c, _, _, err := ssh.NewClientConn(dial(t, addr), addr, config)
		if (err == nil) != want {
			t.Errorf("password %q: %v", password, err)
		}
		if err == nil {
			c.Close()
		}
	}
	m.Kill()

	addr, m = start(Behaviour{OnlyFrom: "127.80.0.1"})
	if err := try(addr, "debian", signer); err == nil {
		t.Error("a connection from elsewhere was accepted")
	}
	m.Kill()

	for name, spec := range map[string]Spec{
		"BIOS": {ID: "i", Disk: disk, Firmware: BIOS, SSH: freeAddr(t)},
		"dead": {ID: "dead", Disk: disk, SSH: freeAddr(t)},
	} {
		m := power(t, &Fast{Behave: func(s Spec) Behaviour { return Behaviour{Dead: s.ID == "dead"} }}, spec)
		if _, err := net.DialTimeout("tcp", spec.SSH, 50*time.Millisecond); err == nil {
			t.Errorf("%s: it listens", name)
		}
		m.Kill()
	}
}

// Whoever watches a machine learns what comes to pass in it, in order.
func TestWatch(t *testing.T) {
	signer, line := key(t)
	events := make(chan Event, 100)
	d := &Fast{Watch: func(e Event) { events <- e }}
	spec := Spec{ID: "i", Disk: base(t, nil), Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
	m := power(t, d, spec)
	run(t, login(t, spec.SSH, "debian", signer), "true", "")
	m.Kill()
	close(events)
	var got []EventKind
	last := time.Time{}
	for e := range events {
		if e.Machine != "i" || e.Time.Before(last) || (e.From == nil) != (e.What == EventListens) {
			t.Errorf("%+v", e)
		}
		got, last = append(got, e.What), e.Time
	}
	if want := []EventKind{EventListens, EventLogin, EventBegin, EventEnd}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestShutdownObeysContext(t *testing.T) {
	m := power(t, &Fast{Behave: func(Spec) Behaviour { return Behaviour{IgnorePowerButton: true} }}, Spec{ID: "i", Disk: base(t, nil)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestKillEndsSessions: a command that waits for ever ends with its machine.
func TestKillEndsSessions(t *testing.T) {
	signer, line := key(t)
	spec := Spec{ID: "i", Disk: base(t, nil), Metadata: metadata("i", line, ""), SSH: freeAddr(t)}
	m := power(t, &Fast{}, spec)
	c := login(t, spec.SSH, "debian", signer)
	ended := make(chan error, 3)
	for _, command := range []string{"sleep 3600", "cat", "cat /dev/zero >/dev/null"} {
		s, err := c.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(command); err != nil {
			t.Fatal(err)
		}
		go func() { ended <- s.Wait() }()
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-ended; err == nil {
			t.Error("a command ended well though its machine lost power")
		}
	}
}
