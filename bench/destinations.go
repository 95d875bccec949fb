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
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// regions are those that a tenancy may have, beside the ones of the stage.
const regions = `us-ashburn-1 us-phoenix-1 uk-london-1 us-sanjose-1 us-chicago-1 ca-toronto-1 ca-montreal-1 sa-vinhedo-1
	sa-santiago-1 mx-queretaro-1 uk-cardiff-1 eu-amsterdam-1 eu-zurich-1 eu-milan-1 eu-marseille-1 eu-paris-1 eu-madrid-1
	eu-stockholm-1 me-jeddah-1`

// copies copies one image to one place, and to twenty.
func (b *bench) copies(ctx context.Context) error {
	places := append([]string{stage.ProductionRegion}, strings.Fields(regions)...)
	const export, reading = 12 * time.Second, 15 * time.Second
	rows := [][]string{{"destinations", "whole", "beyond export and import", "requests", "MiB at the peak"}}
	for _, to := range [][]string{places[:1], places} {
		var walls, beyond []time.Duration
		var requests, mib []int
		for range b.runs {
			wall, n, most, err := b.copyTo(ctx, to, export, reading)
			if err != nil {
				return err
			}
			walls, beyond, requests, mib = append(walls, wall), append(beyond, wall-export-reading), append(requests, n), append(mib, int(most.Bytes>>20))
		}
		rows = append(rows, []string{fmt.Sprint(len(to)), seconds(spreadOf(walls)), seconds(spreadOf(beyond)), fmt.Sprint(spreadOf(requests).median), fmt.Sprint(spreadOf(mib).median)})
	}
	fmt.Fprintf(b.out, "\nOne image copied, export %s, import %s:\n", export, reading)
	table(b.out, rows)
	return nil
}

func (b *bench) copyTo(ctx context.Context, to []string, export, reading time.Duration) (wall time.Duration, requests int, most runpacker.Memory, err error) {
	dir, err := os.MkdirTemp("", "bench-*")
	if err != nil {
		return 0, 0, most, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := runpacker.Install(ctx, b.packer, b.plugin, runpacker.Source, dir)
	if err != nil {
		return 0, 0, most, err
	}
	base := filepath.Join(dir, "base.qcow2")
	if err := machine.FastDisk(base, nil); err != nil {
		return 0, 0, most, err
	}
	delays := *ocisim.QuickDelays()
	delays.Export, delays.Import = export, reading
	s, err := stage.New(ctx, stage.Options{Dir: dir, Image: base, Delays: &delays, Driver: &machine.Fast{}, ProductionRegions: to[1:], Wrap: far})
	if err != nil {
		return 0, 0, most, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return 0, 0, most, err
	}
	if err := os.WriteFile(filepath.Join(work, "copy.pkr.hcl"), copyTemplate(s.BaseImage, to), 0o600); err != nil {
		return 0, 0, most, err
	}
	watching, stop := context.WithCancel(ctx)
	peak := make(chan runpacker.Memory, 1)
	go func() { peak <- runpacker.WatchMemory(watching, dir) }()
	var out inpacker.Output
	start := time.Now()
	err = p.Run(ctx, work, s.Env(), &out, "build", ".")
	wall = time.Since(start)
	stop()
	most = <-peak
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out.String())
	}
	return wall, len(s.Cloud.Requests()), most, err
}

func copyTemplate(image string, to []string) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `packer {
  required_plugins {
    armfree = { source = %q, version = ">= 0.1.0" }
  }
}

source "null" "image" {
  communicator = "none"
}

build {
  sources = ["source.null.image"]

  post-processor "armfree-oci-cross-tenancy-copy" {
    source_image_ocid = %q
`, runpacker.Source, image)
	for _, region := range to {
		fmt.Fprintf(&out, `
    destination {
      region           = %q
      image_name       = "copy"
    }
`, region)
	}
	out.WriteString("  }\n}\n")
	return out.Bytes()
}
