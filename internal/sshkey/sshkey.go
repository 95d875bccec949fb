// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package sshkey decides with which key a machine is reached.
//
// A user's own key is used as it is. Without one, a build makes a key pair that
// nobody else has and that ends with the build: its public half goes to the
// machine, its private half is never written to a file.
package sshkey

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"golang.org/x/crypto/ssh"
)

// Prepare completes the SSH part of c: with the public half of the user's key
// (ssh_private_key_file), or else with a new ed25519 key pair that lives as
// long as the build. A password or an agent need no key. It returns the
// private key if it made one: a secret that must not be printed.
func Prepare(c *communicator.Config) (secret string, err error) {
	if c.Type != "ssh" {
		return "", nil
	}
	if c.SSHPrivateKeyFile != "" {
		c.SSHPrivateKey, err = c.ReadSSHPrivateKeyFile()
		if err != nil {
			return "", fmt.Errorf("ssh_private_key_file: %w", err)
		}
	}
	if len(c.SSHPrivateKey) > 0 {
		signer, err := ssh.ParsePrivateKey(c.SSHPrivateKey)
		if err != nil {
			return "", fmt.Errorf("the SSH private key cannot be read: %w", err)
		}
		c.SSHPublicKey = line(signer.PublicKey())
		return string(c.SSHPrivateKey), nil
	}
	if c.SSHPassword != "" || c.SSHAgentAuth {
		return "", nil
	}
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "packer-plugin-armfree")
	if err != nil {
		return "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", err
	}
	c.SSHPrivateKey, c.SSHPublicKey = pem.EncodeToMemory(block), line(key)
	return string(c.SSHPrivateKey), nil
}

// line is a public key as authorized_keys has it, with a comment that tells
// where a key comes from that someone finds later.
func line(k ssh.PublicKey) []byte {
	return []byte(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) + " packer-plugin-armfree")
}
