// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// What the provisioner finds reaches the builder, which is another process,
// through the real Packer; and the builder sees what ran afterwards.
func TestAccImageCarriesProof(t *testing.T) {
	acceptance(t)
	// It takes away what let us in, as the clean-up of the example does.
	const script = "#!/bin/sh\nrm -f /home/debian/goss /home/debian/pass.json /home/debian/.ssh/authorized_keys /etc/sudoers.d/*\necho forgotten\n"
	finish, sum := filepath.Join(t.TempDir(), "forget.sh"), sha256.Sum256([]byte(script))
	if err := os.WriteFile(finish, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		tag  string
		ends string
	}{
		"checked last":       {tag: "true tests=7 sha256="},
		"changed afterwards": {args: []string{"-var", `afterwards=["echo x >changed"]`}, tag: "stale tests=7 sha256="},
		"finished by itself": {args: []string{"-var", "finish=" + finish}, tag: "true tests=7 sha256=", ends: " finish=" + hex.EncodeToString(sum[:])},
		"skipped":            {args: []string{"-var", "afterwards=[]"}, tag: "true tests=7 sha256="},
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, home)
			if err != nil {
				t.Fatal(err)
			}
			s := stage.ForTest(t, stage.Options{})
			args := append([]string{"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort())}, tt.args...)
			said, err := packerBuild(t.Context(), p, s.Env(), "proof.pkr.hcl", args...)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			found := false
			for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
				if i.Name == "proof" {
					found = true
					if got := i.FreeformTags[proof.Tag]; !strings.HasPrefix(got, tt.tag) || !strings.HasSuffix(got, tt.ends) || strings.Contains(got, "finish") != (tt.ends != "") {
						t.Errorf("the tag is %q, want %q\n%s", got, tt.tag, said)
					}
				}
			}
			if !found {
				t.Errorf("there is no image\n%s", said)
			}
			if left, _ := filepath.Glob(filepath.Join(home, "tmp", "armfree-proof-*", "*")); len(left) > 0 {
				t.Errorf("notes are left: %v", left)
			}
		})
	}
}
