// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// Who signs the requests of a build, by each option that says so. Without any one
// of the options nobody does, and the build says so before it asks anybody.
func TestAccessOnTheWire(t *testing.T) {
	s := newWireSet(t)
	b := s.build
	write := func(name, text string) string {
		path := filepath.Join(s.files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block, _ := pem.Decode([]byte(b.PrivateKeyPEM()))
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(*rsa.PrivateKey)
	sealed, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte("open sesame"), x509.PEMCipherAES256) //nolint:staticcheck // OCI's own console hands out such keys
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := ocisim.NewIssuer("repo:octo/images:ref:refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	domain := s.AddDomain(ocisim.Domain{
		Tenancy: b, ClientID: "app", ClientSecret: "app-secret-0123", Trusts: []ocisim.Trust{{Issuer: issuer, Audience: "oci", Subject: issuer.Subject}},
	})
	token, resource := s.IssueToken(b, &key.PublicKey, time.Hour), s.IssueResourceToken(b, &key.PublicKey, time.Hour)
	profile := func(name string) string {
		return fmt.Sprintf("[%s]\ntenancy=%s\nuser=%s\nfingerprint=%s\nkey_file=%s\nregion=%s\n", name, b.ID, b.UserID, b.Fingerprint(), write("profile.pem", b.PrivateKeyPEM()), near)
	}
	user := options{"tenancy_ocid": b.ID, "user_ocid": b.UserID, "fingerprint": b.Fingerprint()}
	person := b.ID + "/" + b.UserID + "/" + b.Fingerprint()
	with := func(more options) options {
		all := maps.Clone(user)
		maps.Copy(all, more)
		return all
	}
	exchange := func(more options) options {
		x := options{"domain_url": domain, "client_id": "app", "client_secret": "app-secret-0123"}
		maps.Copy(x, more)
		return options{"oidc": x, "region": near}
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("app:app-secret-0123"))
	for _, tt := range []struct {
		name   string
		set    options
		env    map[string]string
		signer string // how the header Authorization names it
		asks   string // the header with which a token is asked for
	}{
		{name: "key", set: with(options{"key": b.PrivateKeyPEM(), "region": near}), signer: person},
		{name: "key_file", set: with(options{"key_file": write("key.pem", b.PrivateKeyPEM()), "region": near}), signer: person},
		{name: "pass_phrase", set: with(options{"key": string(pem.EncodeToMemory(sealed)), "pass_phrase": "open sesame", "region": near}), signer: person},
		{name: "access_cfg_file", set: options{"access_cfg_file": write("one", profile("DEFAULT"))}, signer: person},
		{name: "access_cfg_file_account", set: options{"access_cfg_file": write("two", "[DEFAULT]\nregion="+near+"\n"+profile("OTHER")), "access_cfg_file_account": "OTHER"}, signer: person},
		{name: "security_token_file", set: options{"security_token_file": write("token", token), "key_file": write("session.pem", b.PrivateKeyPEM()), "region": near}, signer: "ST$" + token},
		{
			name: "use_resource_principal", set: options{"use_resource_principal": "true"}, signer: "ST$" + resource,
			env: map[string]string{
				"OCI_RESOURCE_PRINCIPAL_VERSION": "2.2", "OCI_RESOURCE_PRINCIPAL_REGION": near,
				"OCI_RESOURCE_PRINCIPAL_RPST": write("rpst", resource), "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM": write("rp.pem", b.PrivateKeyPEM()),
			},
		},
		{name: "oidc.token", set: exchange(options{"token": issuer.Token("oci")}), signer: "ST$", asks: basic},
		{name: "oidc.token_file", set: exchange(options{"token_file": write("jwt", issuer.Token("oci"))}), signer: "ST$", asks: basic},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := func(set options) ([]sent, error) {
				good(t) // empties the environment
				for k, v := range tt.env {
					t.Setenv(k, v)
				}
				in := s.settings()
				for _, name := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "key", "region"} {
					delete(in, name)
				}
				maps.Copy(in, set)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w := &tap{next: s.http.Transport, until: "GET /availabilityDomains", pull: cancel}
				b := &Builder{Mask: new(mask.Masker), HTTP: &http.Client{Transport: w}}
				if _, _, err := b.Prepare(in); err != nil {
					return w.list, err
				}
				var out inpacker.Output
				_, err := b.Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(nothing))
				return w.list, err
			}
			list, err := run(tt.set)
			i := slices.IndexFunc(list, func(s sent) bool { return s.op == "GET /availabilityDomains" })
			if i < 0 || !strings.Contains(list[i].key, `keyId="`+tt.signer) {
				t.Fatalf("not signed by %s: %+v, %v", tt.signer, list, err)
			}
			if tt.asks != "" && list[0].key != tt.asks {
				t.Errorf("a token is asked for with %q", list[0].key)
			}
			if n := s.CountRequests("ListAvailabilityDomains"); n == 0 {
				t.Error("it did not arrive")
			}
			lacks := func(name string, set options) {
				if list, err := run(set); err == nil || len(list) > 0 {
					t.Errorf("without %s: %d requests, %v", name, len(list), err)
				}
			}
			for name := range tt.set {
				less := maps.Clone(tt.set)
				delete(less, name)
				lacks(name, less)
			}
			if x, ok := tt.set["oidc"].(options); ok {
				for name := range x {
					less := maps.Clone(x)
					delete(less, name)
					lacks("oidc."+name, options{"oidc": less, "region": near})
				}
			}
		})
	}
}

// Whoever needs the platform to sign in is known from the template alone.
func TestAccessByThePlatform(t *testing.T) {
	for option, kind := range map[string]oci.Kind{
		"use_instance_principals": oci.InstancePrincipal, "use_resource_principal": oci.ResourcePrincipal, "use_oke_workload_identity": oci.WorkloadIdentity,
	} {
		in := good(t)
		for _, name := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "key", "region"} {
			delete(in, name)
		}
		in[option] = "true"
		var c Config
		if _, err := c.Prepare(in); err != nil || c.credentials.Kind != kind {
			t.Errorf("%s: %q, %v", option, c.credentials.Kind, err)
		}
	}
}
