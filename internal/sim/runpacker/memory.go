// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package runpacker

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Memory is that of all processes of the plugin, shared pages counted once.
type Memory struct {
	Processes int
	Bytes     int64
}

// WatchMemory finds, until ctx ends, the moment at which the plugin's processes whose
// home is home have the most memory. Off Linux it finds nothing.
func WatchMemory(ctx context.Context, home string) (most Memory) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var now Memory
		envs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, e := range envs {
			pid := filepath.Dir(e)
			exe, err := os.Readlink(filepath.Join(pid, "exe"))
			if err != nil || !strings.HasPrefix(filepath.Base(exe), "packer-plugin-armfree") {
				continue
			}
			env, err := os.ReadFile(e)
			if err != nil || !bytes.Contains(env, []byte("HOME="+home)) {
				continue
			}
			roll, _ := os.ReadFile(filepath.Join(pid, "smaps_rollup"))
			for line := range strings.Lines(string(roll)) {
				if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
					kib, _ := strconv.ParseInt(f[1], 10, 64)
					now.Processes++
					now.Bytes += kib << 10
				}
			}
		}
		if now.Bytes > most.Bytes {
			most = now
		}
		select {
		case <-ctx.Done():
			return most
		case <-tick.C:
		}
	}
}
