// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"
)

// Without a word of the template the machine ends itself after a day, unless that
// cannot be: what the user data is for comes first.
func TestMachineLifetime(t *testing.T) {
	full := "#!/bin/sh\n" + strings.Repeat("#", 23900)
	for name, tt := range map[string]struct {
		data  string
		timer bool
	}{
		"nothing":          {"", true},
		"a script":         {"#!/bin/sh\n: theirs\n", true},
		"nothing to mix":   {`{"ignition":{}}`, false},
		"no room for more": {full, false},
	} {
		in := good(t)
		in["user_data"] = tt.data
		var c Config
		if _, err := c.Prepare(in); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := string(c.builds()[0].UserData)
		if timer := strings.Contains(got, "#cloud-boothook") && strings.Contains(got, "--on-active=86400 "); timer != tt.timer || !strings.Contains(got, tt.data) {
			t.Errorf("%s: %.300q", name, got)
		}
	}
}
