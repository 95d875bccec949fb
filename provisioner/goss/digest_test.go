// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"path/filepath"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

// The receipt speaks of the files that were sent, not of what is there when it
// is written.
func TestReceiptIsOfWhatWasSent(t *testing.T) {
	c := newCheck(t, "print checks/pass.json")
	c.file("gone.txt", "gone")
	sent, err := os.ReadFile(filepath.Join(c.tests, "goss.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.host.start = func(_ int, cmd *packersdk.RemoteCmd) bool {
		if len(c.host.commands) == 4 { // everything is there, and goss runs
			c.file("goss.yaml", "another")
			os.Remove(filepath.Join(c.tests, "gone.txt"))
		}
		return false
	}
	name := filepath.Join(t.TempDir(), "receipt.json")
	c.options["receipt"] = name
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := goss.ReadReceipt(data)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range receipt.Sources {
		got[s.Name] = s.SHA256
	}
	if got["checks/goss.yaml"] != digestOf(sent) || got["checks/gone.txt"] != digestOf([]byte("gone")) {
		t.Errorf("the receipt says %v", got)
	}
}
