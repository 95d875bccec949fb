// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Ten builds in one tenancy at the same time: each but the one that is cancelled makes
// its image, and none removes anything of another.
func TestTenBuilds(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Adjust: func(b, _ *ocisim.Tenancy) {
		b.Limits["standard-a1-core-count"], b.Limits["standard-a1-memory-count"] = 40, 240
	}})
	var wg, together sync.WaitGroup
	together.Add(10)
	images := make([]string, 10)
	for i := range images {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			own := fmt.Sprintf("by build %d", i)
			a, said, err := build(ctx, t, s, map[string]interface{}{"image_name": fmt.Sprintf("image-%d", i), "capacity_order": "size", "free_tier": "ignore"},
				func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
					if err := comm.Upload("/home/debian/built", strings.NewReader(own), nil); err != nil {
						return err
					}
					together.Done()
					together.Wait() // all machines are there
					if i == 3 {
						cancel()
					}
					return ctx.Err()
				})
			switch {
			case i == 3 && err == nil:
				t.Error("the cancelled one goes on")
			case i != 3 && err != nil:
				t.Errorf("build %d: %v\n%s", i, err, said)
			case i != 3:
				images[i] = a.Id()
			}
			if strings.Contains(said, "Leftovers") {
				t.Errorf("something is taken for a leftover:\n%s", said)
			}
		})
	}
	wg.Wait()
	if left := s.Left(images...); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for i, id := range images {
		if i != 3 && !strings.Contains(fmt.Sprint(s.Cloud.Inventory()), id) {
			t.Errorf("image %d is gone", i)
		}
	}
}
