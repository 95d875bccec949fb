// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// proofOf says what is missing of the proof that an image whose machine did not run on OCI
// boots there. A machine that does not is found out only once it was paid for, without a
// word on any console. what names the image, and carrier what should carry the proof, the
// value of the tag; allowed lets it pass, which warn is told.
func proofOf(what, carrier, value string, allowed bool, warn func(format string, args ...any)) error {
	c := proof.Read(value)
	why := ""
	switch {
	case !c.Passed && value == "":
		why = fmt.Sprintf("%s has no tag %q", carrier, proof.Tag)
	case !c.Passed:
		why = fmt.Sprintf("its tag %q says that its machine did not pass: %q", proof.Tag, value)
	case !c.Bootable:
		why = fmt.Sprintf("its tag %q does not speak of a gossfile %q", proof.Tag, goss.BootableGossfile)
	case c.Stale:
		why = "something ran on its machine after the check, other than the check's own `finish`"
	}
	switch {
	case why == "":
		return nil
	case allowed:
		warn("Nothing proves that %s boots on OCI (%s), and allow_unproven_image lets it pass", what, why)
		return nil
	}
	return help.About(help.Boot, fmt.Errorf("nothing proves that %s boots on OCI: %s. Let the build run the provisioner armfree-goss with the gossfile %s.goss.yaml of example/pipeline, or set allow_unproven_image = true if you know that it does (virtio drivers in its initramfs, file systems named by UUID, a loader at EFI/BOOT/BOOTAA64.EFI)", what, why, goss.BootableGossfile))
}
