// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// worst is what may go wrong from the note on, which is the first thing of a capture.
func worst() capturekit.Builder {
	return capturekit.Builder{Stage: stage.Options{Adjust: noImages}, Build: captureBuild, From: "PutObject"}
}

// A cancel at any request of a capture leaves nothing, or the finished object, which is
// said.
func TestCaptureCancelled(t *testing.T) {
	t.Parallel()
	worst().Cancelled(t)
}

// A request of a capture that fails once, or whose reply is lost, makes no difference.
func TestCaptureOnBadDays(t *testing.T) {
	t.Parallel()
	worst().BadDays(t)
}

// A request of a capture that is never permitted fails the build with what was refused.
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
