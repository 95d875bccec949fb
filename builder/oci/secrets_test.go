// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Whoever prints a secret of the template, even a provisioner, prints nothing.
func TestSecretsAreMasked(t *testing.T) {
	private, _ := newSSHKey(t, "")
	in := good(t)
	key := in["key"].(string)
	for name, set := range map[string]options{
		"key":                nil,
		"pass_phrase":        {"pass_phrase": "open sesame"},
		"ssh_password":       {"ssh_password": "open sesame"},
		"ssh_private_key":    {"ssh_private_key": private},
		"winrm_password":     {"communicator": "winrm", "winrm_username": "u", "winrm_password": "open sesame"},
		"a variable":         {"packer_sensitive_variables": []string{"v"}, "packer_user_variables": map[string]string{"v": "open sesame"}},
		"an SSH proxy":       {"ssh_proxy_host": "h", "ssh_proxy_username": "u", "ssh_proxy_password": "open sesame"},
		"an SSH bastion":     {"ssh_bastion_host": "h", "ssh_bastion_username": "u", "ssh_bastion_password": "open sesame"},
		"an exchanged token": {"oidc": options{"domain_url": "https://idcs-1.identity.oraclecloud.com", "client_id": "c", "client_secret": "open sesame", "token": "a.b.c"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := good(t)
			for k, v := range set {
				in[k] = v
			}
			if set["oidc"] != nil {
				for _, k := range []string{"tenancy_ocid", "user_ocid", "fingerprint", "key"} {
					delete(in, k)
				}
			}
			b := &Builder{Mask: new(mask.Masker)}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			said := b.Mask.Text(key + private + "open sesame")
			if set["oidc"] == nil && strings.Contains(said, strings.Split(key, "\n")[1]) {
				t.Error("the API key is shown")
			}
			if name == "ssh_private_key" && strings.Contains(said, strings.Split(private, "\n")[1]) {
				t.Error("the SSH key is shown")
			}
			if set != nil && name != "ssh_private_key" && strings.Contains(said, "open sesame") {
				t.Error("it is shown")
			}
		})
	}
}

// Oracle's SDK prints every request where the environment asks for it. What is
// secret is not among that: no signature, no user data, no key. The SDK looks at
// the environment when a program starts, so the test starts itself.
func TestTheSDKPrintsNoSecrets(t *testing.T) {
	const child = "ARMFREE_TEST_PRINTS"
	if os.Getenv(child) != "" {
		var sent string
		s := stage.ForTest(t, stage.Options{Wrap: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/instances") {
					body, err := io.ReadAll(r.Body)
					if m := regexp.MustCompile(`"user_data":"([^"]+)"`).FindSubmatch(body); err == nil && m != nil {
						sent = string(m[1])
					}
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
				h.ServeHTTP(w, r)
			})
		}})
		in := settings(s)
		maps.Copy(in, options{"ssh_pin_host_key": true, "skip_create_image": true, "user_data": "#!/bin/sh\n: hunter2hunter2\n"})
		b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
		log.SetOutput(b.Mask.Writer(os.Stderr)) // as main does
		if _, _, err := b.Prepare(in); err != nil {
			t.Fatal(err)
		}
		ui := &packersdk.BasicUi{Writer: os.Stderr, ErrorWriter: os.Stderr}
		if _, err := b.Run(t.Context(), ui, inpacker.Hook(nothing)); err != nil {
			t.Fatal(err)
		}
		// What must not be seen, so that the parent can look for it.
		fmt.Println(sent)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestTheSDKPrintsNoSecrets$")
	cmd.Env = append(os.Environ(), child+"=1", "OCI_GO_SDK_DEBUG=v")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &said)
	}
	userData, _, _ := strings.Cut(string(out), "\n")
	if plain, err := base64.StdEncoding.DecodeString(userData); err != nil || !strings.Contains(string(plain), "PRIVATE KEY") {
		t.Fatalf("the child says %q, %v", out, err)
	}
	if !strings.Contains(said.String(), `"ssh_authorized_keys":"`) {
		t.Fatalf("the SDK's log is not there:\n%s", &said)
	}
	if strings.Contains(said.String(), userData) || strings.Contains(said.String(), "hunter2hunter2") {
		t.Error("the user data is printed")
	}
	if signature := regexp.MustCompile(`signature="[^"]{20,}`).FindString(said.String()); signature != "" {
		t.Errorf("a signature is printed: %s", signature)
	}
}
