// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tmpl

import "testing"

func TestUnknown(t *testing.T) {
	for value, want := range map[string]bool{
		"":                                     false,
		"unknown":                              false,
		"<sensitive>":                          false,
		"ocid1.image.x":                        false,
		"<unknown>":                            true,
		"ocid1.image.<unknown>":                true,
		"74D93920-ED26-11E3-AC10-0800200C9A66": true,
		"a-74D93920-ED26-11E3-AC10-0800200C9A66.qc": true,
		"74D93920-ED26-11E3-AC10-0800200C9A67":      false,
	} {
		if got := Unknown(value); got != want {
			t.Errorf("Unknown(%q) = %t", value, got)
		}
	}
}
