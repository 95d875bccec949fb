// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Ten builds in one account at the same time: each but the one that is cancelled makes
// its image, and none removes anything of another.
func TestTenBuilds(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	if err := s.AWS.Cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 64}); err != nil {
		t.Fatal(err)
	}
	var wg, together sync.WaitGroup
	together.Add(10)
	var mu sync.Mutex
	made := 0
	for i := range 10 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, said, err := build(ctx, t, s, set{"ami_name": fmt.Sprintf("image-%d", i), "free_tier": "ignore"},
				func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
					if err := comm.Upload("/home/admin/built", strings.NewReader("by armfree"), nil); err != nil {
						return err
					}
					together.Done()
					together.Wait() // all machines are there
					if i == 3 {
						cancel()
					}
					return ctx.Err()
				})
			if (err == nil) == (i == 3) {
				t.Errorf("build %d: %v\n%s", i, err, said)
			}
			if strings.Contains(said, "Leftovers") {
				t.Errorf("something is taken for a leftover:\n%s", said)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made++
			}
		})
	}
	wg.Wait()
	kinds := map[string]int{}
	for _, l := range s.Left() {
		kind, _, _ := strings.Cut(l, " ")
		kinds[kind]++
	}
	if made != 9 || kinds["image"] != 9 || kinds["snapshot"] != 9 || len(kinds) != 2 {
		t.Errorf("%d images were made, and there is %v: %q", made, kinds, s.Left())
	}
}
