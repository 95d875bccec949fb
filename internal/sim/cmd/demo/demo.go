// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

type demo struct {
	packer, plugin, guest, cache, example string
	out                                   io.Writer
}

// errLeft says that something was left behind.
var errLeft = errors.New("something was left behind")

// scarce is what the region of the build has: nothing at first, and then one host
// in one fault domain of one availability domain.
func scarce() []ocisim.Fault {
	var all []ocisim.Fault
	for _, f := range []ocisim.Fault{
		{AD: "AD-1"}, {AD: "AD-2"}, {FaultDomain: "FAULT-DOMAIN-1"}, {FaultDomain: "FAULT-DOMAIN-3"}, {Until: ocisim.Duration(8 * time.Second)},
	} {
		f.Kind, f.Tenancy = ocisim.FaultCapacity, "build"
		all = append(all, f)
	}
	return all
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n### "+format+"\n", args...)
}

func (d *demo) run(ctx context.Context) (err error) {
	d.sweep()
	dir, err := os.MkdirTemp(d.cache, fmt.Sprintf("demo-%d-*", os.Getpid()))
	if err != nil {
		return err
	}
	// The plugin and the guests get absolute paths.
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	guests, err := stage.OpenGuests(d.guest)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, guests.Close(context.WithoutCancel(ctx))) }()
	s, err := stage.New(ctx, stage.Options{
		Driver: guests.Driver, Disks: guests.Disks, Image: guests.Image, Dir: dir, Delays: ocisim.RealisticDelays(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	d.say("Two simulated tenancies of Oracle Cloud are open: \"build\" in %s and \"production\" in %s.", stage.BuildRegion, stage.ProductionRegion)
	fmt.Fprintf(d.out, "The base image is a real Debian 12 for ARM64. There is no capacity at first, and then a host in one fault domain.\n")
	if err := s.Cloud.AddFaults(scarce()...); err != nil {
		return err
	}
	p, err := runpacker.Install(ctx, d.packer, d.plugin, runpacker.Source, mkdir(dir, "home"))
	if err != nil {
		return err
	}
	work := filepath.Join(dir, "example")
	if err := os.CopyFS(work, os.DirFS(d.example)); err != nil {
		return err
	}

	start := time.Now()
	d.say("packer build example/pipeline")
	err = p.Run(ctx, filepath.Join(work, "pipeline"), s.Env(), d.out, "build",
		"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "capacity_interval=2s",
		"-var", "apt_source="+stage.APTSource, "-var", "install_tailscale=false", ".")
	if err != nil {
		return d.failed(s, err)
	}
	built := time.Now()
	image, err := copied(filepath.Join(work, "pipeline", "manifest.json"))
	if err != nil {
		return err
	}

	d.say("The copy is %s. Starting it in the production tenancy, from its own bytes, to check it again:\n### packer build example/verify", image)
	err = p.Run(ctx, filepath.Join(work, "verify"), s.ProductionEnv(image), d.out, "build",
		"-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "base_image_ocid="+image, ".")
	if err != nil {
		return d.failed(s, err)
	}
	return d.summary(s, image, start, built)
}

// failed is the error of a build that did not end well. It must not have left
// anything but images that were finished: those are said to be.
func (d *demo) failed(s *stage.Stage, err error) error {
	var finished []string
	for _, t := range s.Cloud.Inventory().Tenancies {
		for _, r := range t.Regions {
			for _, i := range r.Images {
				if i.State == "AVAILABLE" && !strings.Contains(i.FreeformTags["armfree"], "state=unfinished") {
					finished = append(finished, i.ID)
				}
			}
		}
	}
	if left := s.Left(finished...); len(left) > 0 {
		return fmt.Errorf("%w, %w:\n%s", err, errLeft, strings.Join(left, "\n"))
	}
	return err
}

// sweep removes the folders of demos that were killed: their names carry the
// number of a process that is no more.
func (d *demo) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(d.cache, "demo-*-*")) // the pattern is well formed
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "demo-%d-", &pid); err != nil {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); os.IsNotExist(err) {
			_ = os.RemoveAll(dir) // the next demo tries again
		}
	}
}

// mkdir makes a folder below dir, which nobody else uses.
func mkdir(dir, name string) string {
	path := filepath.Join(dir, name)
	_ = os.Mkdir(path, 0o700) // whoever uses it will tell
	return path
}

// copied is the id of the copied image, as Packer's manifest has it.
func copied(manifest string) (string, error) {
	b, err := os.ReadFile(manifest)
	if err != nil {
		return "", err
	}
	var m struct {
		Builds []struct {
			ArtifactID string `json:"artifact_id"`
		} `json:"builds"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return "", fmt.Errorf("read the manifest: %w", err)
	}
	if len(m.Builds) != 1 || !strings.HasPrefix(m.Builds[0].ArtifactID, "ocid1.image.") {
		return "", fmt.Errorf("the manifest does not name one image: %s", b)
	}
	return m.Builds[0].ArtifactID, nil
}
