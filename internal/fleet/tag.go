// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package fleet

import "github.com/armfree/packer-plugin-armfree/internal/cloud"

// TagImage gives the image of a machine more tags, where that machine's cloud
// can.
func (f *Fleet) TagImage(machine string, tags map[string]string) error {
	if t, ok := f.of(machine).Site.(cloud.Tagger); ok {
		return t.TagImage(tags)
	}
	return nil
}
