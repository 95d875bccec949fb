// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// person is a user with a key, in a tenancy, as sources name one.
type person struct {
	tenancy, user, print, key string
}

// people are two, made once, since RSA keys take long.
var people = sync.OnceValue(func() [2]person {
	var out [2]person
	for i, name := range []string{"ann", "bob"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
		out[i] = person{"ocid1.tenancy.oc1.." + name, "ocid1.user.oc1.." + name, oci.KeyFingerprint(text, ""), text}
	}
	return out
})

// locked is a key with a passphrase.
func (p person) locked(t *testing.T, pass string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(p.key))
	enc, err := x509.EncryptPEMBlock(rand.Reader, block.Type, block.Bytes, []byte(pass), x509.PEMCipherAES256) //nolint:staticcheck // OCI's own console hands out such keys
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(enc))
}

// options is a template that names a person.
func (p person) options() Access {
	return Access{TenancyOCID: p.tenancy, UserOCID: p.user, Fingerprint: p.print, Key: p.key, Region: "eu-frankfurt-1"}
}

// variables are an environment that names a person.
func (p person) variables(prefix string) map[string]string {
	return map[string]string{
		prefix + "OCI_TENANCY_OCID": p.tenancy, prefix + "OCI_USER_OCID": p.user, prefix + "OCI_FINGERPRINT": p.print,
		prefix + "OCI_API_PRIVATE_KEY": p.key, prefix + "OCI_REGION": "uk-london-1",
	}
}

// cli is the same for the command line's variables.
func (p person) cli() map[string]string {
	return map[string]string{
		"OCI_CLI_TENANCY": p.tenancy, "OCI_CLI_USER": p.user, "OCI_CLI_FINGERPRINT": p.print, "OCI_CLI_KEY_CONTENT": p.key,
		"OCI_CLI_REGION": "ap-tokyo-1",
	}
}

// profile is a section of a configuration file that names a person.
func (p person) profile(name string, more ...string) string {
	return fmt.Sprintf("[%s]\ntenancy = %s\nuser=%s\n  fingerprint=%s\nkey_content=%s\nregion=us-phoenix-1\n%s\n",
		name, p.tenancy, p.user, p.print, p.key, strings.Join(more, "\n"))
}

// jwt is a token that nobody signed.
func jwt(claims string) string {
	e := base64.RawURLEncoding.EncodeToString
	return e([]byte(`{"alg":"RS256"}`)) + "." + e([]byte(claims)) + "." + e([]byte("signature"))
}

// place is what a case starts from.
type place struct {
	t    *testing.T
	home string
	dir  string
}

func (p place) file(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if filepath.IsAbs(name) {
		path = name
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	return write(p.t, path, text)
}

// config writes ~/.oci/config.
func (p place) config(text string) string {
	return p.file(filepath.Join(p.home, ".oci", "config"), text)
}

type vars = map[string]string

func join(all ...vars) vars {
	out := vars{}
	for _, m := range all {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// who says which person signs in, and how.
type who struct {
	kind         oci.Kind
	user, region string
	pass         string
}

func TestSources(t *testing.T) {
	ann, bob := people()[0], people()[1]
	for _, tt := range []struct {
		name   string
		env    vars
		files  func(place) vars // more environment
		access func(place) Access
		block  string
		prefix []string
		want   who
	}{
		{name: "the template", access: func(place) Access { return ann.options() }, want: who{user: ann.user, region: "eu-frankfurt-1"}},
		{name: "the environment", env: ann.variables(""), want: who{user: ann.user, region: "uk-london-1"}},
		{name: "the environment, and a configuration file that is not needed", env: ann.variables(""),
			files: func(p place) vars { p.config(bob.profile("DEFAULT")); return nil }, want: who{user: ann.user, region: "uk-london-1"}},
		{name: "the environment, and a configuration file that is none", env: ann.variables(""),
			files: func(p place) vars { p.config("\x00{}"); return nil }, want: who{user: ann.user, region: "uk-london-1"}},
		{name: "the environment, and a profile that is named there", env: join(ann.variables(""), vars{"OCI_CLI_PROFILE": "nobody"}),
			want: who{user: ann.user, region: "uk-london-1"}},
		{name: "the template, and a configuration file that is not needed", access: func(place) Access { return ann.options() },
			files: func(p place) vars { p.config(bob.profile("DEFAULT")); return nil }, want: who{user: ann.user, region: "eu-frankfurt-1"}},
		{name: "a file that the template names and that is not there, when it is not needed",
			access: func(place) Access { a := ann.options(); a.AccessCfgFile = "/nowhere/config"; return a }, want: who{user: ann.user, region: "eu-frankfurt-1"}},
		{name: "the command line's variables", env: ann.cli(), want: who{user: ann.user, region: "ap-tokyo-1"}},
		{name: "our variables before the command line's", env: join(ann.variables(""), bob.cli()), want: who{user: ann.user, region: "uk-london-1"}},
		{name: "a tenancy of ours beside a whole user of the command line's", env: join(vars{"OCI_TENANCY_OCID": bob.tenancy, "OCI_REGION": "uk-london-1"}, ann.cli()),
			want: who{user: ann.user, region: "uk-london-1"}},
		{name: "the command line's key file and passphrase", env: join(ann.cli(), vars{"OCI_CLI_KEY_CONTENT": "", "OCI_CLI_PASSPHRASE": "open sesame"}),
			files: func(p place) vars { return vars{"OCI_CLI_KEY_FILE": p.file("k.pem", ann.locked(t, "open sesame"))} },
			want:  who{user: ann.user, region: "ap-tokyo-1", pass: "open sesame"}},
		{name: "our own passphrase", env: join(ann.variables(""), vars{"OCI_API_PRIVATE_KEY_PASSPHRASE": "open sesame"}),
			files: func(place) vars { return vars{"OCI_API_PRIVATE_KEY": ann.locked(t, "open sesame")} },
			want:  who{user: ann.user, region: "uk-london-1", pass: "open sesame"}},
		{name: "a key in the template, its passphrase in the environment", env: vars{"OCI_CLI_PASSPHRASE": "open sesame"},
			access: func(place) Access { a := ann.options(); a.Key = ann.locked(t, "open sesame"); return a },
			want:   who{user: ann.user, region: "eu-frankfurt-1", pass: "open sesame"}},
		{name: "a key file in the template, the rest in the environment", env: join(ann.variables(""), vars{"OCI_API_PRIVATE_KEY": ""}),
			access: func(p place) Access { return Access{KeyFile: p.file("k.pem", ann.key)} }, want: who{user: ann.user, region: "uk-london-1"}},
		{name: "only the key in the environment", env: vars{"OCI_API_PRIVATE_KEY": ann.key},
			access: func(place) Access { a := ann.options(); a.Key = ""; return a }, want: who{user: ann.user, region: "eu-frankfurt-1"}},
		{name: "the same user in two sources", env: ann.variables(""), access: func(place) Access { return Access{UserOCID: ann.user, TenancyOCID: ann.tenancy} },
			want: who{user: ann.user, region: "uk-london-1"}},
		{name: "the region alone from the template", env: ann.variables(""), access: func(place) Access { return Access{Region: "sa-saopaulo-1"} },
			want: who{user: ann.user, region: "sa-saopaulo-1"}},
		{name: "the default file", files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil }, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "the default file with Windows line ends, a mark and comments",
			files: func(p place) vars {
				p.config("\ufeff# mine\r\n; too\r\n" + strings.ReplaceAll(ann.profile("DEFAULT"), "\n", "\r\n"))
				return nil
			}, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "a value that contains =", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT", "pass_phrase = open=sesame=="), ann.key, ann.locked(t, "open=sesame=="), 1))
			return nil
		}, want: who{user: ann.user, region: "us-phoenix-1", pass: "open=sesame=="}},
		{name: "passphrase in one word", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT", "passphrase=open sesame"), ann.key, ann.locked(t, "open sesame"), 1))
			return nil
		}, want: who{user: ann.user, region: "us-phoenix-1", pass: "open sesame"}},
		{name: "a key file below ~", files: func(p place) vars {
			p.file(filepath.Join(p.home, "keys/k.pem"), ann.key)
			p.config(strings.Replace(ann.profile("DEFAULT"), "key_content="+ann.key, "key_file=~/keys/k.pem", 1))
			return nil
		}, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "a key file beside the configuration file", files: func(p place) vars {
			p.file(filepath.Join(p.home, ".oci/k.pem"), ann.key)
			p.config(strings.Replace(ann.profile("DEFAULT"), "key_content="+ann.key, "KEY_FILE = k.pem", 1))
			return nil
		}, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "the profile that the template names", access: func(place) Access { return Access{AccessCfgFileAccount: "BOB"} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT") + bob.profile("BOB")); return nil }, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "the file that the template names", access: func(p place) Access { return Access{AccessCfgFile: p.file("other", bob.profile("DEFAULT"))} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil }, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "the profile that the template names before the environment", env: join(ann.variables(""), ann.cli()),
			access: func(place) Access { return Access{AccessCfgFileAccount: "BOB"} },
			files:  func(p place) vars { p.config(bob.profile("BOB")); return nil }, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "the template's region before the profile's", access: func(place) Access { return Access{AccessCfgFileAccount: "BOB", Region: "eu-paris-1"} },
			files: func(p place) vars { p.config(bob.profile("BOB")); return nil }, want: who{user: bob.user, region: "eu-paris-1"}},
		{name: "the environment's region after a profile without one", env: vars{"OCI_REGION": "eu-paris-1"},
			files: func(p place) vars {
				p.config(strings.Replace(bob.profile("DEFAULT"), "region=", "noregion=", 1))
				return nil
			}, want: who{user: bob.user, region: "eu-paris-1"}},
		{name: "OCI_CONFIG_FILE", files: func(p place) vars { return vars{"OCI_CONFIG_FILE": p.file("c", ann.profile("DEFAULT"))} }, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "OCI_CLI_CONFIG_FILE and OCI_CLI_PROFILE", env: vars{"OCI_CLI_PROFILE": "B"},
			files: func(p place) vars {
				return vars{"OCI_CLI_CONFIG_FILE": p.file("c", ann.profile("DEFAULT")+bob.profile("B"))}
			}, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "OCI_CONFIG_PROFILE", env: vars{"OCI_CONFIG_PROFILE": "B"}, files: func(p place) vars { p.config(bob.profile("B")); return nil }, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "a profile inherits tenancy and region from DEFAULT", access: func(place) Access { return Access{AccessCfgFileAccount: "B"} },
			files: func(p place) vars {
				b := strings.NewReplacer("tenancy =", "x=", "region=", "y=").Replace(bob.profile("B"))
				p.config(ann.profile("DEFAULT") + b)
				return nil
			}, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "a partial environment beside a whole default profile", env: vars{"OCI_USER_OCID": bob.user, "OCI_FINGERPRINT": bob.print},
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil }, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "the key of a profile, given once more", access: func(place) Access { return Access{Key: ann.key} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil }, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "a copy's source", prefix: []string{"BUILD_", ""}, env: join(ann.variables("BUILD_"), bob.variables("")), want: who{user: ann.user, region: "uk-london-1"}},
		{name: "a copy's source, all from the builder's variables but the region", prefix: []string{"BUILD_", ""},
			env: join(ann.variables(""), vars{"BUILD_OCI_REGION": "eu-paris-1"}), want: who{user: ann.user, region: "eu-paris-1"}},
		{name: "a destination by a profile", prefix: []string{"PROD_"}, access: func(place) Access { return Access{AccessCfgFileAccount: "B"} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT") + bob.profile("B")); return nil }, want: who{user: bob.user, region: "us-phoenix-1"}},
		{name: "a destination by a profile that the environment names", prefix: []string{"PROD_"}, env: vars{"PROD_OCI_CONFIG_PROFILE": "B"},
			files: func(p place) vars { return vars{"OCI_CONFIG_FILE": p.file("c", bob.profile("B"))} }, want: who{user: bob.user, region: "us-phoenix-1"}},

		{name: "a session token in the template", access: func(p place) Access {
			return Access{SecurityTokenFile: p.file("token", jwt("{}")), KeyFile: p.file("k.pem", ann.key), Region: "eu-paris-1"}
		}, want: who{kind: oci.SessionToken, region: "eu-paris-1"}},
		{name: "a session token in a profile", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT", "security_token_file="+p.file("token", jwt("{}"))), "user=", "nobody=", 1))
			return nil
		}, want: who{kind: oci.SessionToken, region: "us-phoenix-1"}},
		{name: "a profile that has a user and a token", files: func(p place) vars {
			p.config(ann.profile("DEFAULT", "security_token_file="+p.file("token", jwt("{}"))))
			return nil
		}, want: who{user: ann.user, region: "us-phoenix-1"}},
		{name: "a profile that has a user and a token, which is asked for", env: vars{"OCI_CLI_AUTH": "security_token"}, files: func(p place) vars {
			p.config(ann.profile("DEFAULT", "security_token_file="+p.file("token", jwt("{}"))))
			return nil
		}, want: who{kind: oci.SessionToken, region: "us-phoenix-1"}},
		{name: "a session token of the command line", env: vars{"OCI_CLI_KEY_CONTENT": ann.key, "OCI_CLI_REGION": "eu-paris-1"},
			files: func(p place) vars { return vars{"OCI_CLI_SECURITY_TOKEN_FILE": p.file("token", jwt("{}"))} }, want: who{kind: oci.SessionToken, region: "eu-paris-1"}},

		{name: "an instance principal", access: func(place) Access { return Access{UseInstancePrincipals: true} }, want: who{kind: oci.InstancePrincipal}},
		{name: "an instance principal, with everything in the environment", env: join(ann.variables(""), ann.cli(), vars{"OCI_CLI_PROFILE": "nobody"}),
			access: func(place) Access { return Access{UseInstancePrincipals: true} }, want: who{kind: oci.InstancePrincipal, region: "uk-london-1"}},
		{name: "an instance principal in a destination's region", block: "destination.", prefix: []string{"PROD_"},
			access: func(place) Access { return Access{UseInstancePrincipals: true, Region: "eu-paris-1"} }, want: who{kind: oci.InstancePrincipal, region: "eu-paris-1"}},
		{name: "an instance principal by the command line's variable", env: vars{"OCI_CLI_AUTH": "instance_principal", "OCI_USER_OCID": "ocid1.user.oc1..x"}, want: who{kind: oci.InstancePrincipal}},
		{name: "a whole user in the environment before OCI_CLI_AUTH", env: join(ann.variables(""), vars{"OCI_CLI_AUTH": "instance_principal"}), want: who{user: ann.user, region: "uk-london-1"}},
		{name: "an instance principal by a profile", files: func(p place) vars {
			p.config("[DEFAULT]\nauthentication_type=instance_principal\nregion=eu-paris-1")
			return nil
		},
			want: who{kind: oci.InstancePrincipal, region: "eu-paris-1"}},
		{name: "a resource principal", access: func(place) Access { return Access{UseResourcePrincipal: true, Region: "eu-paris-1"} }, want: who{kind: oci.ResourcePrincipal, region: "eu-paris-1"}},
		{name: "a workload identity", access: func(place) Access { return Access{UseOKEWorkloadIdentity: true} }, want: who{kind: oci.WorkloadIdentity}},
		{name: "GitHub", env: vars{"ACTIONS_ID_TOKEN_REQUEST_URL": "https://github.example/t", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"},
			access: func(place) Access {
				return Access{Region: "eu-paris-1", OIDC: []OIDC{{DomainURL: "https://idcs-1.identity.oraclecloud.com", ClientID: "c", ClientSecret: "s"}}}
			}, want: who{kind: oci.TokenExchange, region: "eu-paris-1"}},
		{name: "an exchange in the environment alone", env: vars{
			"OCI_OIDC_DOMAIN_URL": "https://idcs-1.identity.oraclecloud.com:443/", "OCI_OIDC_CLIENT_ID": "c", "OCI_OIDC_CLIENT_SECRET": "s", "OCI_OIDC_TOKEN": "a.b.c",
			"OCI_REGION": "eu-paris-1", "OCI_USER_OCID": ann.user,
		}, want: who{kind: oci.TokenExchange, region: "eu-paris-1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clean(t)
			p := place{t, os.Getenv("HOME"), t.TempDir()}
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if tt.files != nil {
				for k, v := range tt.files(p) {
					t.Setenv(k, v)
				}
			}
			var a Access
			if tt.access != nil {
				a = tt.access(p)
			}
			if tt.prefix == nil {
				tt.prefix = []string{""}
			}
			got, errs := a.Prepare(tt.block, tt.prefix...)
			if len(errs) > 0 {
				t.Fatal(errors.Join(errs...))
			}
			if (who{got.Kind, got.User, got.Region, got.Passphrase}) != tt.want {
				t.Errorf("got %q, %s in %q, passphrase %q; want %+v", got.Kind, got.User, got.Region, got.Passphrase, tt.want)
			}
			for _, q := range []person{ann, bob} {
				if got.User == q.user && (got.Fingerprint != q.print || oci.KeyFingerprint(got.KeyPEM, got.Passphrase) != q.print) {
					t.Error("the key is not the user's")
				}
			}
			if a.TenancyOCID != got.Tenancy || a.Region != got.Region {
				t.Error("the options do not say what was chosen")
			}
		})
	}
}

func TestPrecedenceMistakes(t *testing.T) {
	ann, bob := people()[0], people()[1]
	const default1 = `in the profile "DEFAULT" of ~/.oci/config`
	for _, tt := range []struct {
		name   string
		env    vars
		files  func(place) vars
		access func(place) Access
		block  string
		prefix []string
		want   []string
	}{
		{name: "another user than the profile's", access: func(place) Access { return Access{UserOCID: bob.user} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil },
			want:  []string{"user_ocid and fingerprint " + default1 + ` do not belong together: the profile "DEFAULT" of ~/.oci/config has another user_ocid; take tenancy`}},
		{name: "another key than the profile's", access: func(place) Access { return Access{Key: bob.key} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil },
			want:  []string{"key and user " + default1 + " do not belong together"}},
		{name: "another key and fingerprint than the profile's", access: func(place) Access { return Access{Key: bob.key, Fingerprint: bob.print} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil },
			want:  []string{"fingerprint and user " + default1 + " do not belong together"}},
		{name: "another tenancy than the profile's user has", access: func(place) Access { return Access{TenancyOCID: bob.tenancy} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT")); return nil },
			want:  []string{"tenancy_ocid and user " + default1 + " do not belong together"}},
		{name: "another user than the environment's", env: ann.variables(""), access: func(place) Access { return Access{UserOCID: bob.user} },
			want: []string{"user_ocid and the environment variable OCI_FINGERPRINT do not belong together: the environment (OCI_USER_OCID...) has another user_ocid"}},
		{name: "another key file than the environment's", env: ann.variables(""), access: func(p place) Access { return Access{KeyFile: p.file("k.pem", bob.key)} },
			want: []string{"key_file and the environment variable OCI_USER_OCID do not belong together"}},
		{name: "torn between the two families of variables", env: vars{"OCI_USER_OCID": bob.user, "OCI_CLI_USER": ann.user, "OCI_CLI_FINGERPRINT": ann.print, "OCI_CLI_KEY_CONTENT": ann.key, "OCI_TENANCY_OCID": ann.tenancy, "OCI_REGION": "r"},
			want: []string{"the environment variable OCI_USER_OCID and the environment variable OCI_CLI_FINGERPRINT do not belong together"}},
		{name: "torn within a file", access: func(place) Access { return Access{AccessCfgFileAccount: "B"} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT") + "[B]\nuser=" + bob.user); return nil },
			want:  []string{`user in the profile "B" of ~/.oci/config and fingerprint ` + default1 + " do not belong together"}},
		{name: "a session token with another session's key", access: func(p place) Access {
			return Access{SecurityTokenFile: p.file("mine", jwt("{}")), Region: "r"}
		}, env: vars{"OCI_CLI_KEY_CONTENT": ann.key, "OCI_CLI_SECURITY_TOKEN_FILE": "/their/token"},
			want: []string{"security_token_file and the environment variable OCI_CLI_KEY_CONTENT do not belong together"}},
		{name: "no region anywhere", env: join(ann.variables(""), vars{"OCI_REGION": ""}), files: func(p place) vars { p.config(bob.profile("DEFAULT")); return nil },
			want: []string{"region must be set (or the environment variable OCI_REGION)"}},
		{name: "a destination does not fall back to the default profile", block: "destination.", prefix: []string{"PROD_"}, env: ann.variables(""),
			files: func(p place) vars { p.config(bob.profile("DEFAULT")); return vars{"OCI_CLI_PROFILE": "DEFAULT"} },
			want:  []string{"destination.tenancy_ocid must be set", "destination.user_ocid must", "destination.fingerprint must", "destination.region must", "destination.key must"}},
		{name: "a file that the template names is missing", access: func(place) Access { return Access{AccessCfgFile: "/nowhere/config"} },
			want: []string{"access_cfg_file cannot be read: open /nowhere/config", "region must be set"}},
		{name: "a file that the environment names is missing", env: vars{"OCI_CONFIG_FILE": "/nowhere/config", "OCI_REGION": "r"},
			want: []string{"the environment variable OCI_CONFIG_FILE cannot be read: open /nowhere/config"}},
		{name: "a profile is named and there is no file", access: func(place) Access { return Access{AccessCfgFileAccount: "B", Region: "r"} },
			want: []string{"access_cfg_file_account names a profile, but the configuration file cannot be read: open "}},
		{name: "a profile that is not in the file", access: func(place) Access { return Access{AccessCfgFileAccount: "C", Region: "r"} },
			files: func(p place) vars { p.config(ann.profile("DEFAULT") + bob.profile("B")); return nil },
			want:  []string{`access_cfg_file_account: ~/.oci/config has no profile "C", only DEFAULT, B`}},
		{name: "a file without profiles", files: func(p place) vars { return vars{"OCI_CONFIG_FILE": p.file("c", "user=x"), "OCI_REGION": "r"} },
			want: []string{"the environment variable OCI_CONFIG_FILE: "}},
		{name: "a profile that lacks something", files: func(p place) vars { p.config("[DEFAULT]\nuser=" + ann.user + "\nregion=r"); return nil },
			want: []string{"tenancy_ocid must be set (or the environment variable OCI_TENANCY_OCID, or tenancy " + default1 + ")", "fingerprint must be set", "key must be set (or key_file, or "}},
		{name: "a key file of a profile that is missing", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT"), "key_content="+ann.key, "key_file=~/gone.pem", 1))
			return nil
		}, want: []string{"key_file " + default1 + " cannot be read: open "}},
		{name: "a profile's passphrase is wrong", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT", "pass_phrase=shut sesame"), ann.key, ann.locked(t, "open sesame"), 1))
			return nil
		}, want: []string{"key_content " + default1 + " cannot be read: it is encrypted, and pass_phrase " + default1 + " does not open it"}},
		{name: "a profile's fingerprint is wrong", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT"), ann.print, "aa:bb", 1))
			return nil
		}, want: []string{"fingerprint " + default1 + " is aa:bb, but the key given by key_content " + default1 + " has the fingerprint " + ann.print}},
		{name: "a profile's user is none", files: func(p place) vars {
			p.config(strings.Replace(ann.profile("DEFAULT"), ann.user, "ann@example.com", 1))
			return nil
		}, want: []string{"user " + default1 + ` must be an OCID that begins with ocid1.user, it is "ann@example.com"`}},
		{name: "delegation tokens", files: func(p place) vars {
			p.config("[DEFAULT]\nauthentication_type=instance_principal\ndelegation_token_file=/t\nregion=r")
			return nil
		}, want: []string{"delegation_token_file " + default1 + ": delegation tokens are not supported"}},
		{name: "an unknown kind in a profile", files: func(p place) vars { p.config("[DEFAULT]\nauthentication_type=magic\nregion=r"); return nil },
			want: []string{"authentication_type " + default1 + ` is "magic", only instance_principal is known`}},
		{name: "an unknown kind in the environment", env: vars{"OCI_CLI_AUTH": "instance_obo_user", "OCI_REGION": "r"}, want: []string{`the environment variable OCI_CLI_AUTH is "instance_obo_user"; only api_key`}},
		{name: "an instance principal beside everything", access: func(place) Access {
			a := ann.options()
			a.UseInstancePrincipals, a.AccessCfgFile, a.AccessCfgFileAccount, a.KeyFile, a.PassPhrase, a.SecurityTokenFile = true, "f", "p", "k", "pp", "t"
			return a
		}, want: []string{
			"access_cfg_file cannot be present when use_instance_principals is set to true", "access_cfg_file_account cannot", "user_ocid cannot", "tenancy_ocid cannot",
			"region cannot", "fingerprint cannot", "key cannot", "key_file cannot", "pass_phrase cannot", "security_token_file cannot",
		}},
		{name: "a resource principal beside a key", access: func(place) Access { a := ann.options(); a.UseResourcePrincipal = true; return a },
			want: []string{"user_ocid cannot be present when use_resource_principal is set to true", "fingerprint cannot", "key cannot"}},
		{name: "two kinds", block: "source.", access: func(place) Access { return Access{UseInstancePrincipals: true, UseOKEWorkloadIdentity: true} },
			want: []string{"source.use_instance_principals and source.use_oke_workload_identity exclude each other"}},
		{name: "a session token beside a user", access: func(place) Access { a := ann.options(); a.SecurityTokenFile = "t"; return a },
			want: []string{"security_token_file and user_ocid exclude each other"}},
		{name: "a session token without a key", access: func(p place) Access { return Access{SecurityTokenFile: p.file("t", jwt("{}")), Region: "r"} },
			want: []string{"key must be set (or key_file, or"}},
		{name: "a session token that is not there", access: func(place) Access { return Access{SecurityTokenFile: "/gone/token", Key: ann.key} },
			want: []string{"region must be set", "security_token_file: the session token cannot be read: open /gone/token"}},
		{name: "a session token that is none", access: func(p place) Access {
			return Access{SecurityTokenFile: p.file("t", "c2VjcmV0c2VjcmV0"), Key: ann.key, Region: "r"}
		}, want: []string{"security_token_file: "}},
		{name: "an exchange without anything", access: func(place) Access { return Access{OIDC: []OIDC{{}}} }, want: []string{
			"region must be set", "oidc.domain_url must be set (or the environment variable OCI_OIDC_DOMAIN_URL)", "oidc.client_id must", "oidc.client_secret must",
			"there is no token to exchange: a job of GitHub Actions needs `permissions: id-token: write`",
		}},
		{name: "an exchange at no domain", block: "destination.", prefix: []string{"PROD_"}, env: vars{"PROD_OCI_OIDC_CLIENT_SECRET": "s", "PROD_OCI_OIDC_TOKEN": "a.b.c"},
			access: func(place) Access {
				return Access{Region: "r", OIDC: []OIDC{{DomainURL: "http://example.com/x", ClientID: "c"}}}
			}, want: []string{"destination.oidc.domain_url must be the URL of an identity domain"}},
		{name: "an exchange's token file is missing", access: func(place) Access {
			return Access{Region: "r", OIDC: []OIDC{{DomainURL: "https://example.com", ClientID: "c", ClientSecret: "s", TokenFile: "/gone/jwt"}}}
		}, want: []string{"oidc.token_file cannot be read: there is no file /gone/jwt"}},
		{name: "two exchanges", access: func(place) Access { return Access{OIDC: []OIDC{{}, {}}} }, want: []string{"oidc is there twice"}},
		{name: "an exchange beside a key", access: func(place) Access { return Access{OIDC: []OIDC{{}}, Key: ann.key} }, want: []string{"key cannot be present when oidc is"}},
		{name: "a region with blanks", access: func(place) Access { a := ann.options(); a.Region = "eu frankfurt"; return a }, want: []string{`region must be a region such as eu-frankfurt-1, it is "eu frankfurt"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clean(t)
			p := place{t, os.Getenv("HOME"), t.TempDir()}
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			if tt.files != nil {
				for k, v := range tt.files(p) {
					t.Setenv(k, v)
				}
			}
			var a Access
			if tt.access != nil {
				a = tt.access(p)
			}
			if tt.prefix == nil {
				tt.prefix = []string{""}
			}
			_, errs := a.Prepare(tt.block, tt.prefix...)
			if len(errs) != len(tt.want) {
				t.Errorf("got %d problems: %v", len(errs), errors.Join(errs...))
			}
			for i, err := range errs {
				if i < len(tt.want) && !strings.HasPrefix(err.Error(), tt.want[i]) {
					t.Errorf("got %q, want %q", err, tt.want[i])
				}
				for _, secret := range []string{"c2VjcmV0", "sesame", ann.key[40:80], bob.key[40:80]} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("a secret is quoted: %v", err)
					}
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %q", err)
				}
			}
		})
	}
}

// Preparing reads files, and asks nobody: it takes no time where nobody answers.
func TestPrepareAsksNobody(t *testing.T) {
	clean(t)
	t.Setenv("OCI_METADATA_BASE_URL", "http://192.0.2.1")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://192.0.2.1")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
	start := time.Now()
	for _, a := range []Access{
		{UseInstancePrincipals: true}, {UseResourcePrincipal: true}, {UseOKEWorkloadIdentity: true},
		{Region: "r", OIDC: []OIDC{{DomainURL: "https://192.0.2.1", ClientID: "c", ClientSecret: "s"}}},
	} {
		if _, errs := a.Prepare("", ""); len(errs) > 0 {
			t.Error(errors.Join(errs...))
		}
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("it took %s", d)
	}
}
