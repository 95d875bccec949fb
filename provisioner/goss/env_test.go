// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever the variables of a template are called, they reach goss and not the
// scripts, which delete files as root.
func TestVariablesDoNotSteerTheScript(t *testing.T) {
	theirs := tree(t, map[string]string{"pid": "theirs"})
	env := map[string]string{"PATH": theirs, "HOME": theirs, "IFS": "/", "PS4": "$(id)", "CDPATH": theirs}
	for _, name := range []string{"dir", "name", "pid", "code", "n", "script", "armfree_dir", "armfree_name", "armfree_pid", "armfree_code"} {
		env[name] = theirs
	}
	var orders []string
	for name, value := range env {
		if name != "IFS" && name != "PS4" { // goss's child does not see them the same way in every shell
			orders = append(orders, "env "+name+" "+quoteGo(value))
		}
	}
	c := newCheck(t, append(orders, "print checks/pass.json")...)
	c.options["env"] = env
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(theirs, "pid")); err != nil || string(b) != "theirs" {
		t.Errorf("a file of theirs was touched: %q, %v", b, err)
	}
	c.mustBeClean()

	// Nor does the script change what the machine itself gives goss.
	orders = nil
	for _, name := range []string{"dir", "name", "pid", "code"} {
		t.Setenv(name, "the machine's")
		orders = append(orders, "env "+name+` "the machine's"`)
	}
	c = newCheck(t, append(orders, "print checks/pass.json")...)
	if err := c.run(t.Context()); err != nil {
		t.Error(err)
	}
	c.mustBeClean()
}
