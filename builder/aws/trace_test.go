// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// trace_file names the requests by their actions.
func TestTraceFile(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	file := filepath.Join(t.TempDir(), "trace.json")
	built(t, s, set{"trace_file": file}, nil)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"name":"find a machine","cat":"phase"`, `"name":"RunInstances","cat":"request"`, `"name":"TerminateInstances","cat":"request"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the trace lacks %s:\n%s", want, text)
		}
	}
}
