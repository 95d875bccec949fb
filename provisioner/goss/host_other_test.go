// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package goss

import (
	"os/exec"
	"testing"
)

func needUnix(t testing.TB) {
	t.Helper()
	t.Skip("the machine of this test is this computer, which has to be a Unix")
}

func asSession(*exec.Cmd) {}
