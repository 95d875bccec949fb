// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package tmpl

import (
	"reflect"
	"testing"
	"time"
)

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

func TestEmptyAsUnset(t *testing.T) {
	for in, want := range map[string]any{"": time.Duration(0), "5m": "5m"} {
		if got, err := EmptyAsUnset(reflect.TypeOf(in), reflect.TypeFor[time.Duration](), in); got != want || err != nil {
			t.Errorf("%q is %v, %v", in, got, err)
		}
	}
	if got, _ := EmptyAsUnset(reflect.TypeOf(""), reflect.TypeFor[string](), ""); got != "" {
		t.Errorf("a text is %v", got)
	}
}
