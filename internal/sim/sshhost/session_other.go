// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package sshhost

import "os/exec"

func asSession(*exec.Cmd) {}
