// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process is one of those that a run of Packer consists of.
type process struct {
	pid, parent int
	program     string // the name of its file
}

// processes are those that have a variable in their environment.
func processes(variable string) (all []process) {
	envs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range envs {
		dir := filepath.Dir(e)
		env, err := os.ReadFile(e)
		if err != nil || !bytes.Contains(env, []byte(variable)) {
			continue
		}
		exe, err := os.Readlink(filepath.Join(dir, "exe"))
		stat, serr := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil || serr != nil {
			continue
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		p := process{program: filepath.Base(exe)}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		p.parent, _ = strconv.Atoi(fields[1])
		all = append(all, p)
	}
	return all
}

// packerRun is a Packer that runs, by its processes: the one that people see, its child
// that does the work, and our plugins.
type packerRun struct {
	outer, inner int
	plugins      []int
}

func packerProcesses(variable string) (r packerRun) {
	all := processes(variable)
	packers := map[int]int{} // parents by process
	for _, p := range all {
		if p.program == "packer" {
			packers[p.pid] = p.parent
		}
	}
	for _, p := range all {
		_, below := packers[p.parent]
		switch {
		case strings.HasPrefix(p.program, "packer-plugin-"):
			r.plugins = append(r.plugins, p.pid)
		case p.program == "packer" && !below:
			r.outer = p.pid
		}
	}
	for pid, parent := range packers {
		if parent == r.outer {
			r.inner = pid
		}
	}
	return r
}

// pluginsEnd waits until our plugins have ended.
func pluginsEnd(t *testing.T, variable string, limit time.Duration) {
	t.Helper()
	start := time.Now()
	for len(packerProcesses(variable).plugins) > 0 {
		if time.Since(start) > limit {
			t.Errorf("after %s there is still %v", limit, processes(variable))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
