// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The template with which the unmodified packer-plugin-oracle completes a build
// completes one with ours, by the one line of a drop-in, in the same simulated
// cloud; and how long each took for each phase is printed. PEER_ORACLE_PLUGIN is
// the path of the peer's binary; without it ours runs alone. Nothing is asserted
// of times but their order.
func TestAccPeerTimings(t *testing.T) {
	alone(t)
	const template = "oracle-oci.pkr.hcl"
	plugin := os.Getenv("PEER_ORACLE_PLUGIN")
	ours := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	changed := t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", template))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(changed, template), text, 0o600); err != nil {
		t.Fatal(err)
	}
	changeTheLine(t, filepath.Join(changed, template))

	for _, tt := range []struct {
		name   string
		delays *ocisim.Delays
		boot   time.Duration // RUNNING until the machine lets somebody in
	}{
		{"quick", ocisim.QuickDelays(), 0},
		{"realistic", ocisim.RealisticDelays(), 2500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := new(stopwatch)
			w.s = stage.ForTest(t, stage.Options{Delays: tt.delays, Driver: &machine.Fast{BootDelay: tt.boot, Watch: w.watch}})
			env := append(w.s.Env(), "OCI_AVAILABILITY_DOMAIN="+w.s.Build.AvailabilityDomains(stage.BuildRegion)[0])
			var made []string
			measure := func(p *runpacker.Packer, dir, image string) *timings {
				t.Helper()
				var out inpacker.Output
				w.start()
				err := p.Run(t.Context(), dir, env, &out, "build", "-var", fmt.Sprintf("ssh_port=%d", w.s.Cloud.SSHPort()), "-var", "image_name="+image, template)
				took := w.stop()
				if err != nil {
					t.Fatalf("%s: %v\n%s", image, err, out.String())
				}
				made = append(made, imageID.FindAllString(out.String(), -1)...)
				for _, problem := range took.problems() {
					t.Errorf("%s: %s", image, problem)
				}
				return took
			}
			var peer *timings
			if plugin != "" {
				peer = measure(packer(t, plugin, "github.com/hashicorp/oracle"), "testdata", "by-the-peer")
			}
			table := timingsTable(peer, measure(ours, changed, "by-us"))
			if plugin == "" {
				t.Log("the peer is missing: PEER_ORACLE_PLUGIN does not name a binary of packer-plugin-oracle")
			}
			t.Logf("%s delays, boot %s:\n%s", tt.name, tt.boot, table)
			images := 0
			for _, i := range w.s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
				if i.Name == "by-the-peer" || i.Name == "by-us" {
					images++
				}
			}
			if want := map[bool]int{true: 2, false: 1}[plugin != ""]; images != want {
				t.Errorf("%d images, want %d", images, want)
			}
			// The peer writes a capability schema for its image; ours leaves nothing.
			for _, schema := range w.s.Cloud.Inventory().Tenancies[0].Regions[0].CapabilitySchemas {
				made = append(made, schema.ID)
			}
			if left := w.s.Left(made...); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
