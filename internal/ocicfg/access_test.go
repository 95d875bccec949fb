// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// newKey makes an API key and its fingerprint.
func newKey(t *testing.T) (text, fingerprint string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	bad := oci.Credentials{Tenancy: "ocid1.tenancy.x", User: "ocid1.user.x", Fingerprint: "?", Region: "r", KeyPEM: text}
	_, fingerprint, ok := strings.Cut(bad.Problems(strings.Clone, strings.Clone)[0].Error(), "has the fingerprint ")
	if !ok {
		t.Fatal("the message about a wrong fingerprint does not name the right one")
	}
	return text, fingerprint
}

// clean empties the environment of what Prepare reads, and gives it a home
// without a configuration file.
func clean(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.Contains(name, "OCI_") || strings.HasPrefix(name, "ACTIONS_") {
			t.Setenv(name, "")
		}
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPrepare(t *testing.T) {
	clean(t)
	key, print := newKey(t)
	good := Access{
		TenancyOCID: "ocid1.tenancy.oc1..t", UserOCID: "ocid1.user.oc1..u", Fingerprint: print, Key: key, Region: "eu-frankfurt-1",
	}
	want := oci.Credentials{
		Tenancy: good.TenancyOCID, User: good.UserOCID, Fingerprint: print, KeyPEM: key, Region: good.Region,
	}

	for name, tt := range map[string]struct {
		change func(*Access)
		env    map[string]string
		prefix string
	}{
		"all in the template": {},
		"all in the environment": {
			change: func(a *Access) { *a = Access{} },
			env: map[string]string{
				"OCI_TENANCY_OCID": good.TenancyOCID, "OCI_USER_OCID": good.UserOCID, "OCI_FINGERPRINT": print,
				"OCI_API_PRIVATE_KEY": key, "OCI_REGION": good.Region,
			},
		},
		"under a prefix": {
			change: func(a *Access) { *a = Access{} },
			prefix: "PROD_",
			env: map[string]string{
				"PROD_OCI_TENANCY_OCID": good.TenancyOCID, "PROD_OCI_USER_OCID": good.UserOCID, "PROD_OCI_FINGERPRINT": print,
				"PROD_OCI_API_PRIVATE_KEY": key, "PROD_OCI_REGION": good.Region,
				"OCI_TENANCY_OCID": "another's", "OCI_API_PRIVATE_KEY": "another's",
			},
		},
		"the template before the environment": {
			env: map[string]string{"OCI_TENANCY_OCID": "x", "OCI_API_PRIVATE_KEY": "x", "OCI_REGION": "x", "OCI_FINGERPRINT": "x"},
		},
		"key_file": {
			change: func(a *Access) { a.Key, a.KeyFile = "", write(t, filepath.Join(t.TempDir(), "key"), key) },
			env:    map[string]string{"OCI_API_PRIVATE_KEY": "x"},
		},
		"key before key_file": {change: func(a *Access) { a.KeyFile = "nowhere" }},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			a := good
			if tt.change != nil {
				tt.change(&a)
			}
			got, errs := a.Prepare("", tt.prefix)
			if len(errs) > 0 {
				t.Fatal(errors.Join(errs...))
			}
			if got != want {
				t.Error("the credentials are not those that were given")
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	clean(t)
	key, print := newKey(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(me.HomeDir, "no/such/key.of.the.tests") // not that of $HOME
	garbage := "-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n"
	for _, tt := range []struct {
		change func(*Access)
		want   []string
	}{
		{func(a *Access) { *a = Access{} }, []string{
			"source.tenancy_ocid must be set", "source.user_ocid must be set", "source.fingerprint must be set",
			"source.region must be set", "source.key must be set (or source.key_file, or the environment variable OCI_API_PRIVATE_KEY)",
		}},
		{func(a *Access) { a.TenancyOCID = "ocid1.user.oc1..t" }, []string{`source.tenancy_ocid must be an OCID that begins with ocid1.tenancy, it is "ocid1.user.oc1..t"`}},
		{func(a *Access) { a.UserOCID = "jane" }, []string{`source.user_ocid must be an OCID that begins with ocid1.user, it is "jane"`}},
		{func(a *Access) { a.Fingerprint = "aa:bb" }, []string{"source.fingerprint is aa:bb, but the key given by source.key has the fingerprint " + print}},
		{func(a *Access) { a.Key = garbage }, []string{"source.key cannot be read: it must be the PEM text of an RSA private key"}},
		{func(a *Access) { a.Key = strings.ReplaceAll(garbage, "PRIVATE", "ENCRYPTED PRIVATE") }, []string{"source.key cannot be read: it is encrypted, and source.pass_phrase is not set"}},
		{func(a *Access) { a.Key, a.KeyFile = "", filepath.Join(t.TempDir(), "none") }, []string{"source.key_file cannot be read: "}},
		{func(a *Access) { a.Key, a.KeyFile = "", "~/no/such/key.of.the.tests" }, []string{"source.key_file cannot be read: open " + home}},
		{func(a *Access) { a.Key, a.KeyFile = "", "~no.such.user/key" }, []string{"source.key_file cannot be read: user: unknown user no.such.user"}},
		{func(a *Access) { a.Key, a.KeyFile = "", t.TempDir() }, []string{"source.key_file cannot be read: "}},
		{func(a *Access) { a.Region, a.UserOCID, a.Key = "", "u", garbage }, []string{"source.user_ocid must be", "source.region must be set", "source.key cannot be read"}},
	} {
		t.Run(tt.want[0], func(t *testing.T) {
			a := Access{
				TenancyOCID: "ocid1.tenancy.oc1..t", UserOCID: "ocid1.user.oc1..u", Fingerprint: print, Key: key, Region: "eu-frankfurt-1",
			}
			tt.change(&a)
			_, errs := a.Prepare("source.", "")
			if len(errs) != len(tt.want) {
				t.Fatalf("got %q", errs)
			}
			for i, err := range errs {
				if !strings.HasPrefix(err.Error(), tt.want[i]) {
					t.Errorf("got %q, want %q", err, tt.want[i])
				}
				if strings.Contains(err.Error(), "c2VjcmV0") {
					t.Error("the message quotes the key")
				}
			}
		})
	}
}

// `packer validate` does not know what data sources give; a build does.
func TestUnknownValues(t *testing.T) {
	clean(t)
	for name, set := range map[string]func(*Access, string){
		"tenancy_ocid": func(a *Access, v string) { a.TenancyOCID = v },
		"user_ocid":    func(a *Access, v string) { a.UserOCID = v },
		"fingerprint":  func(a *Access, v string) { a.Fingerprint = v },
		"key":          func(a *Access, v string) { a.Key = v },
		"pass_phrase":  func(a *Access, v string) { a.PassPhrase = v },
		"region":       func(a *Access, v string) { a.Region = v },
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"<unknown>", "74D93920-ED26-11E3-AC10-0800200C9A66"} {
				a := Access{TenancyOCID: "t", UserOCID: "u", Fingerprint: "aa", Key: "k", Region: "r"}
				set(&a, v)
				if _, errs := a.Prepare("", ""); len(errs) > 0 {
					t.Errorf("%s: %q", v, errs)
				}
			}
		})
	}
}
