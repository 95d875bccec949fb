// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const a1 = "VM.Standard.A1.Flex"

// testKey is made once, since an RSA key takes long.
var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func testCredentials(t testing.TB) Credentials {
	t.Helper()
	fp, err := fingerprint(testKey())
	if err != nil {
		t.Fatal(err)
	}
	return Credentials{
		Tenancy: "ocid1.tenancy.oc1..t", User: "ocid1.user.oc1..u", Fingerprint: fp, Region: "eu-frankfurt-1",
		KeyPEM: pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(testKey())),
	}
}

// clientOver is a client of the product whose requests go out through h.
func clientOver(t testing.TB, h *http.Client) *Client {
	t.Helper()
	c, err := NewClient(testCredentials(t), Options{HTTP: h, UserAgent: "packer-plugin-armfree/test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wire is a client whose requests arrive at handler, through memory. It works
// inside a bubble of testing/synctest, too.
func wire(t testing.TB, handler http.HandlerFunc) *Client {
	t.Helper()
	pipe := simnet.Pipe(handler)
	t.Cleanup(pipe.CloseIdleConnections)
	return clientOver(t, pipe)
}

// buildOver is a build that asks for the usual machine.
func buildOver(c *Client, change func(*BuildConfig)) *Build {
	yes := true
	cfg := BuildConfig{
		Compartment:   "ocid1.compartment.oc1..c",
		MachineConfig: MachineConfig{BaseImage: "ocid1.image.oc1..base", Subnet: "ocid1.subnet.oc1..s", AssignPublicIP: &yes},
		Sizes:         []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}}, FreeTier: FreePrefer, Allowance: Allowance{2, 12, 200},
		Image:           ImageConfig{Compartment: "ocid1.compartment.oc1..c", Name: "built", Shapes: []string{a1}},
		InstanceTimeout: time.Minute, ImageTimeout: time.Hour,
	}
	if change != nil {
		change(&cfg)
	}
	return NewBuild(c, cfg, owner.Build{ID: "b1", Expires: time.Unix(2e9, 0)}, func(string, ...any) {})
}

// answer sends an ordinary JSON reply.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Opc-Request-Id", "r-1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refuse sends an error in OCI's form.
func refuse(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]string{"code": code, "message": message})
}

// raw sends bytes that are whatever they are and closes the connection.
func raw(w http.ResponseWriter, bytes string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, bytes)
	_ = conn.Close()
}

// seen counts requests, by "METHOD path".
type seen struct {
	mu   sync.Mutex
	list []string
}

func (s *seen) add(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, r.Method+" "+r.URL.Path)
}

// count is how many requests began like that.
func (s *seen) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.list {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}
