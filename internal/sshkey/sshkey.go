// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package sshkey decides with which key a machine is reached.
//
// A user's own key is used as it is. Without one, a build makes a key pair that
// nobody else has and that ends with the build: its public half goes to the
// machine, its private half is never written to a file.
package sshkey

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/communicator/sshkey"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// comment tells, behind a public key, where a key comes from that someone finds
// later.
const comment = "packer-plugin-armfree"

// Prepare completes the SSH part of c: with the public half of the user's key
// (ssh_private_key_file), or else with a new key pair that lives as long as the
// build, ed25519 unless temporary_key_pair_type says otherwise. A password or
// an agent need no key. It returns the private key that is used: a secret that
// must not be printed.
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
		c.SSHPrivateKey = Lines(c.SSHPrivateKey)
		signer, err := ssh.ParsePrivateKey(c.SSHPrivateKey)
		if err != nil {
			return "", fmt.Errorf("the SSH private key cannot be read: %w", err)
		}
		c.SSHPublicKey = line(ssh.MarshalAuthorizedKey(signer.PublicKey()), comment)
		c.SSHTemporaryKeyPairName = "" // there is none, so none is to be removed
		return string(c.SSHPrivateKey), nil
	}
	if c.SSHPassword != "" || c.SSHAgentAuth {
		c.SSHTemporaryKeyPairName = ""
		return "", nil
	}
	kind, err := algorithm(c.SSHTemporaryKeyPairType)
	if err != nil {
		return "", err
	}
	pair, err := sshkey.GeneratePair(kind, nil, c.SSHTemporaryKeyPairBits)
	if err != nil {
		return "", fmt.Errorf("make a temporary SSH key: %w", err)
	}
	if c.SSHTemporaryKeyPairName = name(c); c.SSHTemporaryKeyPairName == "" {
		c.SSHTemporaryKeyPairName = comment
	}
	c.SSHPrivateKey, c.SSHPublicKey = pair.Private, line(pair.Public, c.SSHTemporaryKeyPairName)
	return string(c.SSHPrivateKey), nil
}

// Lines is a key's text with its line ends. CI systems like to hand a multi-line
// secret over with them written as \n, or as Windows writes them.
func Lines(key []byte) []byte {
	text := strings.TrimSpace(string(key))
	if text == "" {
		return nil
	}
	if !strings.Contains(text, "\n") {
		text = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n").Replace(text)
	}
	return []byte(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) + "\n")
}

// Check reports what is wrong with the user's key and with the settings of a
// temporary one, without making one. prefix is that of the variables a key may come
// from: "OCI" for OCI_SSH_PRIVATE_KEY.
func Check(c *communicator.Config, prefix string) (list []error) {
	for _, err := range []error{checkKey(c, prefix), checkKind(c), checkName(c)} {
		if err != nil {
			list = append(list, err)
		}
	}
	return list
}

func checkKey(c *communicator.Config, prefix string) error {
	if tmpl.Unknown(string(c.SSHPrivateKey) + string(c.SSHPublicKey)) {
		return nil
	}
	if len(c.SSHPrivateKey) > 0 {
		signer, err := ssh.ParsePrivateKey(Lines(c.SSHPrivateKey))
		var locked *ssh.PassphraseMissingError
		switch {
		case errors.As(err, &locked):
			return fmt.Errorf("ssh_private_key (or the environment variable %s_SSH_PRIVATE_KEY) has a passphrase; Packer needs it without one, or in an agent (ssh_agent_auth)", prefix)
		case err != nil:
			return fmt.Errorf("ssh_private_key (or the environment variable %s_SSH_PRIVATE_KEY) must be the text of a private key, as ssh-keygen makes it; it cannot be read", prefix)
		}
		if len(c.SSHPublicKey) > 0 {
			public, _, _, _, err := ssh.ParseAuthorizedKey(c.SSHPublicKey)
			if err != nil {
				return fmt.Errorf("ssh_public_key (or the environment variable %s_SSH_PUBLIC_KEY) must be a line as authorized_keys has it; it cannot be read", prefix)
			}
			if !bytes.Equal(public.Marshal(), signer.PublicKey().Marshal()) {
				return errors.New("ssh_public_key is not the public half of ssh_private_key")
			}
		}
	}
	return nil
}

// checkKind checks what kind of key a temporary one is to be.
func checkKind(c *communicator.Config) error {
	kind, err := algorithm(c.SSHTemporaryKeyPairType)
	if err != nil {
		return err
	}
	switch n := c.SSHTemporaryKeyPairBits; {
	case n == 0:
	case kind == sshkey.RSA && (n < 1024 || n > 16384):
		return fmt.Errorf("temporary_key_pair_bits must be from 1024 to 16384 for an RSA key, it is %d", n)
	case kind == sshkey.ECDSA && n != 256 && n != 384 && n != 521:
		return fmt.Errorf("temporary_key_pair_bits must be 256, 384 or 521 for an ECDSA key, it is %d", n)
	}
	return nil
}

// name is how the temporary key is called, as far as it is one word: blanks would
// make several of the comment behind a key.
func name(c *communicator.Config) string {
	return strings.Join(strings.Fields(c.SSHTemporaryKeyPairName), "-")
}

func checkName(c *communicator.Config) error {
	// It becomes part of a command on the machine (ssh_clear_authorized_keys).
	for _, r := range name(c) {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-", r) {
			return fmt.Errorf("temporary_key_pair_name may have letters, digits, blanks and ._@- only, it is %q", c.SSHTemporaryKeyPairName)
		}
	}
	return nil
}

func algorithm(name string) (sshkey.Algorithm, error) {
	switch name {
	case "", "ed25519":
		return sshkey.ED25519, nil
	case "rsa":
		return sshkey.RSA, nil
	case "ecdsa":
		return sshkey.ECDSA, nil
	case "dsa":
		return 0, fmt.Errorf("temporary_key_pair_type: %q keys are refused by OpenSSH since version 7; use ed25519, ecdsa or rsa", name)
	}
	return 0, fmt.Errorf("temporary_key_pair_type must be ed25519, ecdsa or rsa, it is %q", name)
}

// line is a public key as authorized_keys has it.
func line(key []byte, comment string) []byte {
	return []byte(strings.TrimSpace(string(key)) + " " + comment)
}
