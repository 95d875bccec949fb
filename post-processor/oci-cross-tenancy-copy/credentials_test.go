// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// beside is a network that has other hosts than the clouds'.
type beside struct {
	clouds *http.Client
	hosts  map[string]http.Handler
}

// RoundTrip implements http.RoundTripper.
func (b beside) RoundTrip(r *http.Request) (*http.Response, error) {
	h := b.hosts[r.URL.Host]
	if h == nil {
		return b.clouds.Transport.RoundTrip(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// Each block has its own way to sign in, and none takes anything of another's.
func TestEachBlockItsOwnKind(t *testing.T) {
	s, _ := template(t)
	machine, err := s.Cloud.NewMachine(s.Build, stage.BuildRegion)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := ocisim.NewIssuer("repo:octo/images:environment:production")
	if err != nil {
		t.Fatal(err)
	}
	domain := s.Cloud.AddDomain(ocisim.Domain{
		Tenancy: s.Production, ClientID: "app", ClientSecret: "app-secret-0123",
		Trusts: []ocisim.Trust{{Issuer: issuer, Audience: "oci", Subject: issuer.Subject}},
	})
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block, _ := pem.Decode([]byte(s.Build.PrivateKeyPEM()))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	session := s.Cloud.IssueToken(s.Build, &key.(*rsa.PrivateKey).PublicKey, time.Hour)
	keyFile := file("key.pem", s.Build.PrivateKeyPEM())
	config := file("config", "[BUILD]\ntenancy="+s.Build.ID+"\nuser="+s.Build.UserID+"\nfingerprint="+s.Build.Fingerprint()+"\nkey_file="+keyFile+"\nregion="+stage.BuildRegion+
		"\n[PROD]\ntenancy="+s.Production.ID+"\nuser="+s.Production.UserID+"\nfingerprint="+s.Production.Fingerprint()+"\nkey_file="+file("p.pem", s.Production.PrivateKeyPEM())+"\nregion="+stage.ProductionRegion+"\n")

	var copied []string
	type side = map[string]interface{}
	for _, tt := range []struct {
		name         string
		source, dest side
	}{
		{
			"an instance principal to an exchange", side{"use_instance_principals": true, "bucket": stage.BucketName},
			side{"region": stage.ProductionRegion, "oidc": side{"domain_url": domain, "client_id": "app", "client_secret": "app-secret-0123", "audience": "oci"}},
		},
		{
			"a session to a profile", side{"security_token_file": file("token", session), "key_file": keyFile, "region": stage.BuildRegion, "bucket": stage.BucketName},
			side{"access_cfg_file": config, "access_cfg_file_account": "PROD"},
		},
		{
			"a profile to a token", side{"access_cfg_file": config, "access_cfg_file_account": "BUILD", "bucket": stage.BucketName},
			side{"region": stage.ProductionRegion, "oidc": side{"domain_url": domain, "client_id": "app", "client_secret": "app-secret-0123", "token_file": file("jwt", issuer.Token("oci"))}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://github.example/token?api-version=2.0")
			t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", issuer.RequestToken)
			t.Setenv("OCI_USER_OCID", "ocid1.user.oc1..other")
			p := &PostProcessor{Mask: new(mask.Masker), HTTP: &http.Client{Transport: beside{
				s.Net.Client(), map[string]http.Handler{"169.254.169.254": machine, "github.example": issuer},
			}}}
			if err := p.Configure(map[string]interface{}{
				"source_image_ocid": s.BaseImage, "dest_image_name": "copied", "source": tt.source, "destination": []interface{}{tt.dest},
			}); err != nil {
				t.Fatal(err)
			}
			var out inpacker.Output
			a, _, _, err := p.PostProcess(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, &foreign{})
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			copied = append(copied, a.Id())
			if left := s.Left(copied...); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if !strings.Contains(out.String(), stage.ProductionRegion+" (tenancy ...") || strings.Contains(out.String(), "eyJ") {
				t.Errorf("said:\n%s", out.String())
			}
		})
	}
}
