// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sshkey

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"golang.org/x/crypto/ssh"
)

// usersKey is a key pair as ssh-keygen writes it.
func usersKey(t *testing.T) (private, public []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "user")
	if err != nil {
		t.Fatal(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), bytes.TrimSpace(ssh.MarshalAuthorizedKey(sshPub))
}

func file(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// matches checks that the two halves in c belong together.
func matches(t *testing.T, c *communicator.Config) {
	t.Helper()
	signer, err := ssh.ParsePrivateKey(c.SSHPrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	public, comment, _, rest, err := ssh.ParseAuthorizedKey(c.SSHPublicKey)
	if err != nil || len(rest) > 0 {
		t.Fatalf("public key %q: %v", c.SSHPublicKey, err)
	}
	if !bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()) {
		t.Error("the public key is not that of the private key")
	}
	if comment != "packer-plugin-armfree" {
		t.Errorf("the public key does not say where it comes from: %q", comment)
	}
}

func TestTemporaryKey(t *testing.T) {
	var before string
	for range 2 {
		c := communicator.Config{Type: "ssh"}
		secret, err := Prepare(&c)
		if err != nil {
			t.Fatal(err)
		}
		matches(t, &c)
		if !strings.HasPrefix(string(c.SSHPublicKey), "ssh-ed25519 ") {
			t.Errorf("public key %q", c.SSHPublicKey)
		}
		if secret == "" || secret != string(c.SSHPrivateKey) {
			t.Error("the private key is not returned as a secret")
		}
		if secret == before {
			t.Error("two builds have the same key")
		}
		before = secret
	}
}

func TestUsersKey(t *testing.T) {
	private, public := usersKey(t)
	inFile := communicator.Config{Type: "ssh"}
	inFile.SSHPrivateKeyFile = file(t, private)
	inMemory := communicator.Config{Type: "ssh"}
	inMemory.SSHPrivateKey = private
	for name, c := range map[string]*communicator.Config{"file": &inFile, "memory": &inMemory} {
		t.Run(name, func(t *testing.T) {
			secret, err := Prepare(c)
			if err != nil {
				t.Fatal(err)
			}
			matches(t, c)
			if secret != string(private) || !bytes.Equal(c.SSHPrivateKey, private) {
				t.Error("the user's key is not used as it is")
			}
			if !bytes.HasPrefix(c.SSHPublicKey, public) {
				t.Errorf("public key %q, want %q", c.SSHPublicKey, public)
			}
		})
	}
}

func TestNoKeyIsNeeded(t *testing.T) {
	password := communicator.Config{Type: "ssh"}
	password.SSHPassword = "p"
	agent := communicator.Config{Type: "ssh"}
	agent.SSHAgentAuth = true
	for name, c := range map[string]*communicator.Config{
		"none": {Type: "none"}, "winrm": {Type: "winrm"}, "password": &password, "agent": &agent,
	} {
		t.Run(name, func(t *testing.T) {
			secret, err := Prepare(c)
			if err != nil || secret != "" || len(c.SSHPrivateKey)+len(c.SSHPublicKey) > 0 {
				t.Errorf("a key was made: %q, %v", c.SSHPublicKey, err)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*communicator.Config)
		want string
	}{
		"no such file": {func(c *communicator.Config) { c.SSHPrivateKeyFile = filepath.Join(t.TempDir(), "none") }, "ssh_private_key_file: "},
		"not a key":    {func(c *communicator.Config) { c.SSHPrivateKeyFile = file(t, []byte("c2VjcmV0")) }, "the SSH private key cannot be read"},
		"half a key": {func(c *communicator.Config) {
			c.SSHPrivateKey = []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n")
		}, "the SSH private key cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			c := communicator.Config{Type: "ssh"}
			tt.set(&c)
			secret, err := Prepare(&c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || secret != "" {
				t.Fatalf("got %q, %v", secret, err)
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Error("the message quotes the key")
			}
		})
	}
}

func TestTemporaryKeyTypes(t *testing.T) {
	for kind, want := range map[string]string{"": "ssh-ed25519", "ed25519": "ssh-ed25519", "rsa": "ssh-rsa", "ecdsa": "ecdsa-sha2-"} {
		c := &communicator.Config{Type: "ssh"}
		c.SSHTemporaryKeyPairType = kind
		if err := Check(c, "OCI"); len(err) > 0 {
			t.Fatal(err)
		}
		if _, err := Prepare(c); err != nil {
			t.Fatalf("%q: %v", kind, err)
		}
		matches(t, c)
		if s := string(c.SSHPublicKey); !strings.HasPrefix(s, want) {
			t.Errorf("%q gives %s", kind, s)
		}
	}
	for _, bad := range []string{"dsa", "ed448"} {
		c := &communicator.Config{Type: "ssh"}
		c.SSHTemporaryKeyPairType = bad
		if err := Check(c, "OCI"); len(err) != 1 || !strings.Contains(err[0].Error(), "temporary_key_pair_type") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	c := &communicator.Config{Type: "ssh"}
	c.SSHTemporaryKeyPairName = "mine"
	if _, err := Prepare(c); err != nil || !strings.HasSuffix(string(c.SSHPublicKey), " mine") {
		t.Errorf("the key is not called as the template says: %s, %v", c.SSHPublicKey, err)
	}
	c.SSHTemporaryKeyPairName, c.SSHPrivateKey = " packer 1700000000 ", nil
	if _, err := Prepare(c); err != nil || !strings.HasSuffix(string(c.SSHPublicKey), " packer-1700000000") {
		t.Errorf("a name with blanks: %s, %v", c.SSHPublicKey, err)
	}
	for bits, kind := range map[int]string{1000: "rsa", 20000: "rsa", 255: "ecdsa", 2048: "ecdsa"} {
		bad := &communicator.Config{Type: "ssh"}
		bad.SSHTemporaryKeyPairType, bad.SSHTemporaryKeyPairBits = kind, bits
		if err := Check(bad, "OCI"); len(err) != 1 || !strings.Contains(err[0].Error(), "temporary_key_pair_bits") {
			t.Errorf("%d bits of %s: %v", bits, kind, err)
		}
	}
	for bits, kind := range map[int]string{0: "ecdsa", 384: "ecdsa", 2048: "rsa", 4096: ""} {
		ok := &communicator.Config{Type: "ssh"}
		ok.SSHTemporaryKeyPairType, ok.SSHTemporaryKeyPairBits = kind, bits
		if err := Check(ok, "OCI"); len(err) > 0 {
			t.Errorf("%d bits of %q: %v", bits, kind, err)
		}
	}
	c.SSHTemporaryKeyPairName = "a'; rm -rf /"
	if err := Check(c, "OCI"); len(err) != 1 {
		t.Error("a name that would change the clean-up's meaning is accepted")
	}
}
