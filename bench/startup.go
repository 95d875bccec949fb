// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startup measures what Packer waits for each time it starts a plugin's binary: for its
// description, and until a component of it answers.
func (b *bench) startup(ctx context.Context) error {
	rows := [][]string{{"binary", "MB", "describe", "component answers", "MiB resident"}}
	times := 8 * b.runs // they are short
	peers := []struct{ variable, name, plugin string }{
		{"", "armfree", b.plugin}, {"PEER_ORACLE_PLUGIN", "packer-plugin-oracle", b.oracle},
		{"PEER_AMAZON_PLUGIN", "packer-plugin-amazon", b.amazon}, {"PEER_GOSS_PLUGIN", "packer-plugin-goss", b.goss},
	}
	all := make([]started, len(peers))
	for range times { // in turns
		for i, p := range peers {
			if p.plugin == "" {
				continue
			}
			if err := all[i].again(ctx, p.plugin); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	var bytes int64
	for i, p := range peers {
		if p.plugin == "" {
			b.missing(p.variable, p.name)
			continue
		}
		file, err := os.Stat(p.plugin)
		if err != nil {
			return err
		}
		if i > 0 {
			bytes += file.Size()
		}
		milliseconds := func(list []time.Duration) string {
			s := spreadOf(list)
			return fmt.Sprintf("%.1f ms (%.1f-%.1f)", s.median.Seconds()*1e3, s.least.Seconds()*1e3, s.most.Seconds()*1e3)
		}
		rows = append(rows, []string{p.name, fmt.Sprintf("%.1f", float64(file.Size())/1e6), milliseconds(all[i].describe), milliseconds(all[i].component), fmt.Sprintf("%.1f", float64(spreadOf(all[i].resident).median)/1024)})
	}
	if bytes > 0 {
		rows = append(rows, []string{"the peers together", fmt.Sprintf("%.1f", float64(bytes)/1e6), "-", "-", "-"})
	}
	fmt.Fprintf(b.out, "\nThe start of a binary, %d times each:\n", times)
	table(b.out, rows)
	return nil
}

// started is what several starts of a binary took.
type started struct {
	describe, component []time.Duration
	resident            []int // KiB, when the component answers
}

func (s *started) again(ctx context.Context, plugin string) error {
	begin := time.Now()
	text, err := exec.CommandContext(ctx, plugin, "describe").Output()
	if err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	s.describe = append(s.describe, time.Since(begin))
	var says struct {
		Builders     []string `json:"builders"`
		Provisioners []string `json:"provisioners"`
	}
	if err := json.Unmarshal(text, &says); err != nil {
		return fmt.Errorf("describe: %w", err)
	}
	var kind, name string
	switch {
	case len(says.Builders) > 0:
		kind, name = "builder", says.Builders[0]
	case len(says.Provisioners) > 0:
		kind, name = "provisioner", says.Provisioners[0]
	default:
		return errors.New("it has neither builders nor provisioners")
	}
	took, kib, err := answers(ctx, plugin, kind, name)
	if err != nil {
		return err
	}
	s.component, s.resident = append(s.component, took), append(s.resident, kib)
	return nil
}

// answers starts a component as Packer does, and ends it when it says where it listens.
func answers(ctx context.Context, plugin, kind, name string) (took time.Duration, kib int, err error) {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, plugin, "start", kind, name)
	// What Packer sets: packer/plugin-getter and plugin.MagicCookieKey of its SDK.
	cmd.Env = append(os.Environ(), "PACKER_PLUGIN_MAGIC_COOKIE=d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2", "PACKER_PLUGIN_MIN_PORT=10000", "PACKER_PLUGIN_MAX_PORT=25000")
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // that it was killed is no news
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, 0, fmt.Errorf("start %s %s: %w\n%s", kind, name, err, log.String())
	}
	took = time.Since(begin)
	if strings.Count(line, "|") < 2 {
		return 0, 0, fmt.Errorf("start %s %s: it says %q", kind, name, line)
	}
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
	if err != nil {
		return took, 0, nil // there is no such file but on Linux
	}
	for l := range strings.Lines(string(status)) {
		if f := strings.Fields(l); len(f) > 1 && f[0] == "VmRSS:" {
			kib, err = strconv.Atoi(f[1])
		}
	}
	return took, kib, err
}
