// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package e2e plays whole builds, from template to copied image.
//
// The tests named TestAcc run the real Packer and are part of "make testacc";
// the others run the components in this process and are part of "make test".
package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
)

// acceptance skips t unless the acceptance tests are wanted, and has it run beside others:
// most of such a test is waiting for programs that wait.
func acceptance(t *testing.T) {
	t.Helper()
	alone(t)
	t.Parallel()
}

// alone is acceptance for tests that measure, or that change what all share.
func alone(t *testing.T) {
	t.Helper()
	if os.Getenv("PACKER_ACC") == "" {
		t.Skip("an acceptance test: run it by \"make testacc\"")
	}
}

// packer installs a plugin for the real Packer.
func packer(t *testing.T, plugin, source string) *runpacker.Packer {
	t.Helper()
	p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), plugin, source, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// packerBuild runs "packer build" on a template in testdata.
func packerBuild(ctx context.Context, p *runpacker.Packer, env []string, template string, args ...string) (string, error) {
	var out inpacker.Output
	err := p.Run(ctx, "testdata", env, &out, append(append([]string{"build"}, args...), template)...)
	return out.String(), err
}
