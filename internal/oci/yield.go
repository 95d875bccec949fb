// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"slices"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/core"
)

// yieldCode is the code of the error of a machine that makes room for another.
const yieldCode = "ArmfreeYields"

// yield says why a machine that was launched must go, where nothing may cost money:
// builds that begin at the same time each find the free allowance unused. So each
// looks again once it has its machine, and the later ones yield: what was launched
// before counts, and what was launched after does not. Machines of the same moment are
// ordered by their ids.
//
// It needs no lease that somebody has to give back. It relies on a list that shows a
// machine which another build has seen running; unverified against the real service.
func (b *Build) yield(ctx context.Context, own core.Instance) error {
	if b.cfg.FreeTier != FreeRequire || b.free == nil {
		return nil
	}
	mine := asRunning(own)
	used := b.use(ctx, b.cfg.Compartment)
	if err := ctx.Err(); err != nil {
		return err
	}
	used.machines = slices.DeleteFunc(used.machines, func(m running) bool {
		return m.id == mine.id || m.created.After(mine.created) || m.created.Equal(mine.created) && strings.Compare(m.id, mine.id) > 0
	})
	now := *b.free
	now.used = used // storage stays as the plan found it
	ok, note := now.decide(FreeRequire, Size{Shape: mine.shape, OCPUs: mine.ocpus, MemoryGB: mine.memoryGB}, b.cfg.SizesNamed)
	if ok {
		return nil
	}
	return &Error{Op: opStart, Subject: mine.id, Code: yieldCode, Message: "another machine was launched a moment before this one, which makes room for it: " + note}
}
