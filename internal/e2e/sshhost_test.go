// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sshhost"
)

// sshHost is an SSH server whose machine is this one, and the file that lets one in.
type sshHost struct{ port, key string }

func newSSHHost(t *testing.T, env ...string) *sshHost {
	t.Helper()
	h, err := sshhost.Start(env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, h.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	return &sshHost{port: h.Port(), key: key}
}
