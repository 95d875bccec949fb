// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tunnel

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// NewKey is the key with which a jump host is entered: the private key given, or
// a new one that ends with the build where there is none (a password, an agent).
// line is its public half as authorized_keys has it.
func NewKey(private []byte) (key ssh.Signer, line string, err error) {
	if len(private) > 0 {
		key, err = ssh.ParsePrivateKey(private)
	} else {
		var own ed25519.PrivateKey
		if _, own, err = ed25519.GenerateKey(rand.Reader); err == nil {
			key, err = ssh.NewSignerFromKey(own)
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("the key for the jump host: %w", err)
	}
	return key, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey()))), nil
}
