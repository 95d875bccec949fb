// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capturecfg

import "github.com/hashicorp/packer-plugin-sdk/communicator"

// Given is what a template says elsewhere.
type Given struct {
	Method string // image_method
	Wanted bool   // which says that disks are captured
	Skip   bool   // nothing is made at all
	Comm   *communicator.Config
	Block  string // is put before the names of options: "aws: "
	// Shared says that there is a bucket for where capture_to is left out.
	Shared bool
}
