// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// worst is what may go wrong with a capture, from the first request on.
func worst() capturekit.Builder { return capturekit.Builder{Build: captureBuild} }

// A cancel at any request of a capture, to either cloud, leaves nothing, or the finished
// object, which is said.
func TestCaptureCancelled(t *testing.T) {
	t.Parallel()
	worst().Cancelled(t)
}

// A request to OCI that fails once, or whose reply is lost, makes no difference.
func TestCaptureOnBadDays(t *testing.T) {
	t.Parallel()
	worst().BadDays(t)
}

// A request to OCI that is never permitted fails the build with what was refused.
func TestCaptureIsNotPermitted(t *testing.T) {
	t.Parallel()
	worst().NotPermitted(t)
}

// The machine is lost at each step of the helper: the build ends with an error, and
// leaves nothing.
func TestCaptureLosesItsMachine(t *testing.T) {
	t.Parallel()
	worst().LosesItsMachine(t)
}

// A build whose Packer dies when the disk is captured already removes the object, since
// nobody will ever hear of it, and -force is no reason to keep it: it replaces nothing.
// After a Ctrl-C it stays, and is said.
func TestCaptureForNobody(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{true, false} {
		for _, force := range []bool{true, false} {
			var dead atomic.Bool
			ctx, cancel := context.WithCancel(t.Context())
			s := stage.ForTest(t, stage.Options{Driver: capturekit.Machine{}.Driver(), WrapAWS: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, err := io.ReadAll(r.Body)
					if err != nil {
						panic(http.ErrAbortHandler)
					}
					if strings.Contains(string(body), "Action=TerminateInstances") {
						dead.Store(gone)
						cancel()
					}
					r.Body = io.NopCloser(strings.NewReader(string(body)))
					next.ServeHTTP(w, r)
				})
			}})
			line := &lifeline.Line{Alive: func() bool { return !dead.Load() }}
			in := settings(s)
			in["packer_force"], in["image_method"], in["capture_to"] = force, "capture", to(s)
			b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client(), Helper: capturekit.Program}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			var out inpacker.Output
			a, err := line.Builder(b).Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, inpacker.Hook(touch))
			cancel()
			if gone {
				if left := capturekit.Left(t, s, nil); err == nil || a != nil || len(left) > 0 {
					t.Errorf("force %t: %v, left %q\n%s", force, err, left, out.String())
				}
				continue
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if left := capturekit.Left(t, s, a); len(left) > 0 || !strings.Contains(out.String(), fmt.Sprintf("the object %v stays", a.State(ocibuild.StateObject))) {
				t.Errorf("left %q\n%s", left, out.String())
			}
		}
	}
}
