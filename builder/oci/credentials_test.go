// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

const metadata = "169.254.169.254"

// beside is a network that has other hosts than the clouds'.
type beside struct {
	clouds *http.Client
	hosts  map[string]http.Handler
}

func (b beside) client() *http.Client { return &http.Client{Transport: b} }

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

// Whole builds by whoever has no key of a user. What is in the environment of a
// user beside them does not matter, and no token is seen anywhere.
func TestBuildWithoutAKey(t *testing.T) {
	const github = "pipelines.actions.example"
	issuer, err := ocisim.NewIssuer("repo:octo/images:ref:refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		set    map[string]interface{}
		env    func(domain string) map[string]string
		tokens string // the operation that gives them
	}{
		{
			name: "instance principal", set: map[string]interface{}{"use_instance_principals": "true"}, tokens: "X509Federation",
			env: func(string) map[string]string {
				return map[string]string{"OCI_USER_OCID": "ocid1.user.oc1..other", "OCI_TENANCY_OCID": "ocid1.tenancy.oc1..other", "OCI_FINGERPRINT": "aa:bb", "OCI_CLI_PROFILE": "nobody"}
			},
		},
		{
			name: "GitHub Actions", tokens: "TokenExchange",
			set: map[string]interface{}{"region": stage.BuildRegion, "oidc": map[string]interface{}{"client_id": "app", "audience": "oci"}},
			env: func(domain string) map[string]string {
				return map[string]string{
					"OCI_OIDC_DOMAIN_URL": domain, "OCI_OIDC_CLIENT_SECRET": "app-secret-0123",
					"ACTIONS_ID_TOKEN_REQUEST_URL": "https://" + github + "/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": issuer.RequestToken,
				}
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{})
			machine, err := s.Cloud.NewMachine(s.Build, stage.BuildRegion)
			if err != nil {
				t.Fatal(err)
			}
			client := beside{s.Net.Client(), map[string]http.Handler{metadata: machine, github: issuer}}.client()
			domain := s.Cloud.AddDomain(ocisim.Domain{
				Tenancy: s.Build, ClientID: "app", ClientSecret: "app-secret-0123",
				Trusts: []ocisim.Trust{{Issuer: issuer, Audience: "oci", Subject: issuer.Subject}},
			})
			good(t) // empties the environment
			for k, v := range tt.env(domain) {
				t.Setenv(k, v)
			}
			in := settings(s)
			for _, name := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "key", "region", "compartment_ocid"} {
				delete(in, name)
			}
			maps.Copy(in, tt.set)

			var logged bytes.Buffer
			log.SetOutput(&logged)
			defer log.SetOutput(os.Stderr)
			b := &Builder{Mask: new(mask.Masker), HTTP: client}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			if n := s.Cloud.CountRequests(tt.tokens); n != 0 {
				t.Errorf("%d requests while preparing", n)
			}
			var out inpacker.Output
			a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(touch))
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if n := s.Cloud.CountRequests(tt.tokens); n != 1 {
				t.Errorf("%d tokens", n)
			}
			if left := s.Left(a.Id()); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if c := b.config; c.CompartmentOCID != s.Build.ID || c.ImageCompartmentOCID != s.Build.ID || c.Region != stage.BuildRegion {
				t.Errorf("machine in %s, image in %s, in %s", c.CompartmentOCID, c.ImageCompartmentOCID, c.Region)
			}
			if seen := out.String() + logged.String(); strings.Contains(seen, "eyJ") || strings.Contains(seen, issuer.RequestToken) || strings.Contains(seen, "app-secret-0123") {
				t.Error("a secret is seen")
			}
		})
	}
}

// Two regions that turn out to be one are found before anything is started.
func TestOwnRegionTwice(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	machine, err := s.Cloud.NewMachine(s.Build, stage.BuildRegion)
	if err != nil {
		t.Fatal(err)
	}
	good(t)
	in := settings(s)
	for _, name := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "key", "region"} {
		delete(in, name)
	}
	in["use_instance_principals"] = true
	in["additional_region"] = []map[string]interface{}{{"region": stage.BuildRegion, "subnet_ocid": s.Build.SubnetID(stage.BuildRegion), "base_image_ocid": s.BaseImage}}
	b := &Builder{Mask: new(mask.Masker), HTTP: beside{s.Net.Client(), map[string]http.Handler{metadata: machine}}.client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	_, err = b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(touch))
	if err == nil || err.Error() != "additional_region: "+stage.BuildRegion+" is there twice" || s.Cloud.CountRequests("LaunchInstance") != 0 {
		t.Errorf("%v", err)
	}
}

// The block may be empty in HCL, where the environment has it all, and is an
// object in JSON; options that are true or false are texts there.
func TestBlockOfAnExchange(t *testing.T) {
	type set = map[string]interface{}
	env := map[string]string{
		"OCI_OIDC_DOMAIN_URL": "https://idcs-1.identity.oraclecloud.com", "OCI_OIDC_CLIENT_ID": "app", "OCI_OIDC_CLIENT_SECRET": "app-secret-0123",
		"OCI_OIDC_TOKEN": "aaaaaaaaa.bbbbbbbbb.ccccccccc", "OCI_REGION": stage.BuildRegion, "OCI_API_PRIVATE_KEY": "none",
	}
	for _, tt := range []struct {
		name string
		hcl  string
		json interface{}
		kind oci.Kind
	}{
		{name: "an empty block", hcl: "oidc {}", kind: oci.TokenExchange},
		{name: "a block", hcl: "oidc {\n client_id = \"other\"\n}", kind: oci.TokenExchange},
		{name: "an object", json: set{"client_id": "other"}, kind: oci.TokenExchange},
		{name: "a list", json: []interface{}{set{"client_id": "other"}}, kind: oci.TokenExchange},
		{name: "a machine", hcl: "use_instance_principals = true", kind: oci.InstancePrincipal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := good(t)
			for k, v := range env {
				t.Setenv(k, v)
			}
			for _, name := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "key", "region"} {
				delete(in, name)
			}
			b := &Builder{Mask: new(mask.Masker)}
			raws := []interface{}{in}
			if tt.hcl != "" {
				file, diags := hclparse.NewParser().ParseHCL([]byte(tt.hcl), "t.hcl")
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				value, diags := hcldec.Decode(file.Body, b.ConfigSpec(), nil)
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				raws = append(raws, value)
			} else {
				in["oidc"] = tt.json
			}
			if _, _, err := b.Prepare(raws...); err != nil {
				t.Fatal(err)
			}
			if got := b.config.credentials.Kind; got != tt.kind {
				t.Errorf("signs in as %q", got)
			}
			if said := b.Mask.Text("app-secret-0123 aaaaaaaaa.bbbbbbbbb.ccccccccc"); tt.kind == oci.TokenExchange && said != mask.Hidden+" "+mask.Hidden {
				t.Errorf("masked to %q", said)
			}
		})
	}
}
