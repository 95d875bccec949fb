// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sshkey

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What ends the machine is run by cloud-init before the system is up, and the start of a
// timer waits until it is: systemd-run returns only after that. Whoever waits for
// systemd-run there waits for ever, and so does SSH, which comes after cloud-init.
func TestLifetimeDoesNotHoldUpTheBoot(t *testing.T) {
	dir := t.TempDir()
	up, asked := filepath.Join(dir, "up"), filepath.Join(dir, "asked")
	script := "#!/bin/sh\necho \"$@\" >" + asked + ".new\nmv " + asked + ".new " + asked + "\nwhile [ -d " + dir + " ] && [ ! -e " + up + " ]; do sleep 0.01; done\n"
	if err := os.WriteFile(filepath.Join(dir, "systemd-run"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	_, hook, ok := strings.Cut(string(PowerOff(90*time.Minute)), "#cloud-boothook\n")
	if !ok {
		t.Fatal("it is not run at every start")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", hook)
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput() // to the end of its output, as cloud-init does
	if werr := os.WriteFile(up, nil, 0o600); werr != nil {
		t.Fatal(werr)
	}
	if err != nil {
		t.Fatalf("the boot waits for it: %v\n%s", err, out)
	}
	var said []byte
	for said == nil && ctx.Err() == nil {
		said, _ = os.ReadFile(asked)
	}
	if got := strings.TrimSpace(string(said)); got != "--on-active=5400 systemctl poweroff" {
		t.Errorf("systemd-run was called with %q", got)
	}
}
