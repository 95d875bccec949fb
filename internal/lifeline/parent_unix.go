//go:build unix

// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// parent looks at the process that started this one: an orphan gets another parent.
//
// Packer is two processes: one that people see and can kill, and its child, which
// does the work and starts the plugins. The child does not notice that the other is
// gone until it prints something. So where there is /proc, the grandparent is looked
// at as well, if it runs the same program as the parent.
func parent() func() bool {
	pid := os.Getppid()
	outer, ok := parentOf(pid)
	if ok = ok && sameProgram(pid, outer); !ok {
		return func() bool { return os.Getppid() == pid }
	}
	return func() bool {
		if os.Getppid() != pid {
			return false
		}
		now, ok := parentOf(pid)
		return !ok || now == outer // what cannot be read proves nothing
	}
}

func sameProgram(a, b int) bool {
	x, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", a))
	if err != nil {
		return false
	}
	y, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", b))
	return err == nil && x == y
}

// parentOf reads the parent of a process from /proc; ok is false where there is none.
func parentOf(pid int) (parent int, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	return statParent(b)
}

// statParent reads "pid (name) state parent ...", where the name may have anything.
func statParent(stat []byte) (parent int, ok bool) {
	_, after, ok := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") "))
	fields := bytes.Fields(after)
	if !ok || len(fields) < 2 {
		return 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return parent, err == nil
}
