// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

func TestWatch(t *testing.T) {
	one, two, stranger := "armfree-goss."+strings.Repeat("A", 26), "armfree-goss."+strings.Repeat("B", 26), "armfree-goss."+strings.Repeat("C", 26)
	tests := []struct {
		name     string
		did      string // c: command, u: upload, d: folder, r: download; 1 and 2: of a check; 3: it looks like one
		one, two bool
	}{
		{"nothing", "", false, false},
		{"a check", "c u1 c1", true, false},
		{"two checks", "c1 c2 c2", true, true},
		{"a command after a check", "c1 c", false, false},
		{"an upload after a check", "c1 u", false, false},
		{"a folder after a check", "c1 d", false, false},
		{"a download after a check", "c1 r", true, false},
		{"a command between checks", "c1 c c2", false, true},
		{"checked again", "c1 c c1", true, false},
		{"a command that looks like a check", "c1 c3", false, false},
		{"an upload that looks like a check", "c1 c2 u3", false, false},
		{"it looks like a check and came before", "c3 c1", true, false},
		{"it looks like a check and came between", "c1 c3 c2", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w Watch
			comm := w.Wrap(new(packersdk.MockCommunicator))
			for _, did := range strings.Fields(tt.did) {
				text := map[string]string{"": "/tmp/script", "1": "/dev/shm/" + one + "/x", "2": "rm -rf '" + two + "'", "3": "/tmp/" + stranger}[did[1:]]
				var err error
				switch did[0] {
				case 'c':
					err = comm.Start(t.Context(), &packersdk.RemoteCmd{Command: text})
				case 'u':
					err = comm.Upload(text, strings.NewReader(""), nil)
				case 'd':
					err = comm.UploadDir(text, "", nil)
				case 'r':
					err = comm.Download(text, new(strings.Builder))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			fresh := w.Fresh(one, two)
			if fresh(one) != tt.one || fresh(two) != tt.two {
				t.Errorf("fresh: %v and %v", fresh(one), fresh(two))
			}
		})
	}
}
