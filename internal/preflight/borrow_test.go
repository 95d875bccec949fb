// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// A bucket of somebody else's is looked for in the region that the template or the
// environment names, else in his.
func TestPrepareAs(t *testing.T) {
	for _, tt := range []struct{ option, variable, want string }{
		{"", "", "sa-saopaulo-1"}, {"", "us-ashburn-1", "us-ashburn-1"}, {"eu-frankfurt-1", "us-ashburn-1", "eu-frankfurt-1"},
	} {
		// What is there for other work moves nobody's bucket.
		home := t.TempDir()
		t.Setenv("HOME", home)
		t.Setenv("OCI_REGION", "eu-zurich-1")
		if err := os.Mkdir(filepath.Join(home, ".oci"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(home, ".oci", "config"), []byte("[DEFAULT]\nregion=uk-london-1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("BUILD_OCI_REGION", tt.variable)
		s := Origin{Bucket: "images"}
		s.Region = tt.option
		if errs := s.PrepareAs("source.", oci.Credentials{Tenancy: "t", Region: "sa-saopaulo-1"}); len(errs) > 0 {
			t.Error(errs)
		}
		if c := s.Credentials(); c.Region != tt.want || c.Tenancy != "t" {
			t.Errorf("%+v: %s of %s", tt, c.Region, c.Tenancy)
		}
	}
}

// Whoever signs in without a key is named as well.
func TestOriginNamed(t *testing.T) {
	for _, name := range []string{"", "BUILD_OCI_CONFIG_PROFILE", "OCI_CONFIG_FILE", "BUILD_OCI_OIDC_DOMAIN_URL", "OCI_OIDC_DOMAIN_URL", "OCI_CLI_USER", "OCI_CLI_AUTH"} {
		t.Run(name, func(t *testing.T) {
			if name != "" {
				t.Setenv(name, "instance_principal")
			}
			if got := new(Origin).Named(); got != (name != "") {
				t.Errorf("%t", got)
			}
		})
	}
}
