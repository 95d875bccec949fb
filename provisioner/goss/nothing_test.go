// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"strings"
	"testing"
)

// A build must not pass because there was nothing left to run.
func TestNothingLeftToRun(t *testing.T) {
	for _, names := range [][]string{{"*.yaml"}, {"ready.yaml"}} {
		t.Chdir(tree(t, map[string]string{"ready.yaml": ordered("print pass.json")}))
		c := newCheck(t)
		delete(c.options, "tests")
		delete(c.options, "goss_file")
		c.options["goss_files"], c.options["wait"] = names, "ready.yaml"
		if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "goss_files: there is nothing to run beside ready.yaml, which wait names") {
			t.Errorf("%v: got error %v", names, err)
		}
		c.mustBeClean()
	}
	// Whoever else empties the list is noticed on the machine.
	r := run{c: &Config{GossFiles: []string{"x"}}, in: &inputs{}}
	if err := r.somethingToRun(); err == nil {
		t.Error("checks were asked for, none are run, and that is no error")
	}
	r.c = &Config{} // it only records
	if err := r.somethingToRun(); err != nil {
		t.Error(err)
	}
}
