// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
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
	for name, tt := range map[string]struct {
		args []string
		tag  string
	}{
		"checked last":       {tag: "true tests=7 sha256="},
		"changed afterwards": {args: []string{"-var", `afterwards=["echo x >changed"]`}, tag: "stale tests=7 sha256="},
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
					if got := i.FreeformTags[proof.Tag]; !strings.HasPrefix(got, tt.tag) {
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
