// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// A build whose Packer dies when the image is finished already removes it, since nobody
// will ever hear of it; after a Ctrl-C it stays, and is said.
func TestImageForNobody(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{true, false} {
		for _, force := range []bool{true, false} {
			var dead atomic.Bool
			ctx, cancel := context.WithCancel(t.Context())
			s := stage.ForTest(t, stage.Options{Wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/instances/") {
						dead.Store(gone)
						cancel()
					}
					next.ServeHTTP(w, r)
				})
			}})
			line := &lifeline.Line{Alive: func() bool { return !dead.Load() }}
			in := settings(s)
			in["packer_force"] = force
			b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			var out inpacker.Output
			a, err := line.Builder(b).Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(touch))
			cancel()
			if removed := gone && !force; removed {
				if left := s.Left(); err == nil || a != nil || len(left) > 0 {
					t.Errorf("%v, left %q\n%s", err, left, out.String())
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if left := s.Left(a.Id()); len(left) > 0 || !strings.Contains(out.String(), "image "+a.Id()+" stays") {
				t.Errorf("left %q\n%s", left, out.String())
			}
		}
	}
}
