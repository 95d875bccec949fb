// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// trace_file gets the phases and the requests of a build, of one that failed as well.
func TestTraceFile(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	file := filepath.Join(t.TempDir(), "trace.json")
	a, said, err := build(t.Context(), t, s, map[string]interface{}{"trace_file": file}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	trace := read(t, file)
	for _, want := range []string{
		`"name":"find a machine","cat":"phase"`, `"name":"connect to the machine","cat":"phase"`, `"name":"find a machine","cat":"undo"`,
		`"name":"POST /20160918/instances","cat":"request"`, `"name":"GET /20160918/images/` + a.Id() + `","cat":"request"`,
	} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %s:\n%s", want, trace)
		}
	}
	if strings.Contains(trace, "outcome\":\"failed") {
		t.Errorf("nothing failed:\n%s", trace)
	}
	if !strings.Contains(said, "Times: ") || !strings.Contains(said, " requests. They are in "+file) {
		t.Errorf("it does not say so:\n%s", said)
	}

	if _, said, err = build(t.Context(), t, s, map[string]interface{}{"trace_file": file, "image_name": "other", "ssh_username": "nobody", "ssh_timeout": "1s"}, nil); err == nil {
		t.Fatalf("nobody gets in:\n%s", said)
	}
	if trace = read(t, file); !strings.Contains(trace, `"name":"connect to the machine","cat":"phase"`) || !strings.Contains(trace, `"outcome":"failed"`) {
		t.Errorf("the trace of a failure:\n%s", trace)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
