// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tunnel

import (
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"
)

// FuzzCheckHost reads the host key that the cloud says a jump host has. A key that is
// told counts; whatever is told, a host whose key has changed is not let pass.
func FuzzCheckHost(f *testing.F) {
	seen, _ := newFuzzKey(f)
	other, otherLine := newFuzzKey(f)
	f.Add(otherLine)
	f.Add(string(ssh.MarshalAuthorizedKey(seen)))
	f.Add("ssh-ed25519 AAAA")
	f.Add("host ssh-rsa")
	f.Add(`command="x" ` + otherLine)
	f.Add("")
	f.Fuzz(func(t *testing.T, line string) {
		tun := &Tunnel{hostKey: map[string]ssh.PublicKey{}}
		first := tun.checkHost(Way{Host: "h", HostKey: line})("", nil, seen)
		if first != nil && !errors.Is(first, errHostKey) {
			t.Errorf("%v", first)
		}
		if first != nil {
			if tun.hostKey["h"] != nil {
				t.Error("a key that was refused is remembered")
			}
			return
		}
		if err := tun.checkHost(Way{Host: "h", HostKey: line})("", nil, other); !errors.Is(err, errHostKey) {
			t.Errorf("another key is let pass: %v", err)
		}
	})
}

func newFuzzKey(f *testing.F) (ssh.PublicKey, string) {
	f.Helper()
	signer, line, err := NewKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	return signer.PublicKey(), line
}
