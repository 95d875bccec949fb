// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// scale runs one build of many sources, all at the same time: what it needs, and
// whether all of them get on.
func (b *bench) scale(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "bench-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := runpacker.Install(ctx, b.packer, b.plugin, runpacker.Source, dir)
	if err != nil {
		return err
	}
	st, err := pace("short")
	if err != nil {
		return err
	}
	s, err := clouds(ctx, dir, st, func(build, _ *ocisim.Tenancy) { roomFor(build, b.sources) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "many.pkr.hcl"), manySources(s, b.sources), 0o600); err != nil {
		return err
	}

	watching, stop := context.WithCancel(ctx)
	peak := make(chan runpacker.Memory, 1)
	go func() { peak <- runpacker.WatchMemory(watching, dir) }()
	var out inpacker.Output
	start := time.Now()
	err = p.Run(ctx, work, s.Env(), &out, "build", "-parallel-builds=0", ".")
	wall := time.Since(start)
	stop()
	most := <-peak
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out.String())
	}
	var first, last time.Time // the images that are AVAILABLE
	for _, c := range s.Cloud.Changes() {
		if strings.HasPrefix(c.ID, "ocid1.image.") && c.State == "AVAILABLE" {
			last = c.Time
			if first.IsZero() {
				first = c.Time
			}
		}
	}
	requests := len(s.Cloud.Requests())
	fmt.Fprintf(b.out, "\nOne build of %d sources, short states:\n", b.sources)
	table(b.out, [][]string{
		{"what", "figure"},
		{"whole", fmt.Sprintf("%.1f s", wall.Seconds())},
		{"first image after", fmt.Sprintf("%.1f s", first.Sub(start).Seconds())},
		{"last image after", fmt.Sprintf("%.1f s", last.Sub(start).Seconds())},
		{"requests", fmt.Sprint(requests)},
		{"requests a second", fmt.Sprintf("%.1f", float64(requests)/wall.Seconds())},
		{"processes of the plugin at the peak", fmt.Sprint(most.Processes)},
		{"MiB of them, shared pages counted once", fmt.Sprint(most.Bytes >> 20)},
		{"MiB for each source", fmt.Sprintf("%.1f", float64(most.Bytes)/(1<<20)/float64(b.sources))},
	})
	return nil
}

// roomFor raises the limits of a tenancy so that n machines fit.
func roomFor(t *ocisim.Tenancy, n int) {
	if t.Limits == nil {
		t.Limits = map[string]int64{}
	}
	for name, each := range map[string]int64{"standard-a1-core": 1, "standard-a1-memory": 6} {
		t.Limits[name+"-count"], t.Limits[name+"-regional-count"] = each*int64(n), each*int64(n)
	}
	t.Limits["custom-image-count"] = int64(n) + 1
}

func manySources(s *stage.Stage, n int) []byte {
	var out bytes.Buffer
	out.WriteString("packer {\n  required_plugins {\n    armfree = { source = \"" + runpacker.Source + "\", version = \">= 0.1.0\" }\n  }\n}\n")
	var names []string
	for i := range n {
		fmt.Fprintf(&out, "\nsource \"armfree-oci\" \"s%d\" {\n  image_name   = \"many-%d\"\n  ssh_username = \"debian\"\n  ssh_port     = %d\n  shape_config {\n    ocpus         = 1\n    memory_in_gbs = 6\n  }\n}\n", i, i, s.Cloud.SSHPort())
		names = append(names, fmt.Sprintf("source.armfree-oci.s%d", i))
	}
	fmt.Fprintf(&out, "\nbuild {\n  sources = [\"%s\"]\n  provisioner \"shell\" {\n    inline = [\"uname -m\"]\n  }\n}\n", strings.Join(names, `", "`))
	return out.Bytes()
}
