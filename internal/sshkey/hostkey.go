// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sshkey

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// HostKey is a key by which a machine proves that it is the one that was
// launched: it gets it through cloud-init, and nobody else has it.
type HostKey struct {
	private string
	public  ssh.PublicKey
}

// NewHostKey makes one.
func NewHostKey() (HostKey, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return HostKey{}, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return HostKey{}, err
	}
	p, err := ssh.NewPublicKey(public)
	return HostKey{string(pem.EncodeToMemory(block)), p}, err
}

// Secret is what must not be printed.
func (h HostKey) Secret() string { return h.private }

// cloudConfig hands the key to cloud-init.
func (h HostKey) cloudConfig() string {
	return "#cloud-config\nssh_deletekeys: true\nssh_keys:\n  ed25519_private: |\n    " +
		strings.ReplaceAll(strings.TrimSpace(h.private), "\n", "\n    ") +
		"\n  ed25519_public: " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(h.public))) + "\n"
}

// Part hands the key to cloud-init.
func (h HostKey) Part() Part { return Part(h.cloudConfig()) }

// CheckUserData says why a host key cannot be added to user data.
func CheckUserData(user []byte) error {
	if Mixes(user) {
		return nil
	}
	return errors.New("ssh_pin_host_key adds to the user data, which must be a script (#!), #cloud-config, #include or MIME for that; set it to false")
}

// Pin lets a connection only speak to the machine that has the key.
func (h HostKey) Pin(c *ssh.ClientConfig) {
	c.HostKeyAlgorithms = []string{ssh.KeyAlgoED25519}
	c.HostKeyCallback = func(host string, _ net.Addr, key ssh.PublicKey) error {
		if bytes.Equal(key.Marshal(), h.public.Marshal()) {
			return nil
		}
		return fmt.Errorf("the machine at %s has another host key than the one it was given through cloud-init: it is another machine, somebody is in between, or its image has no cloud-init (then set ssh_pin_host_key = false)", host)
	}
}
