// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// settings is a template for a stage.
func settings(s *stage.Stage) map[string]interface{} {
	return map[string]interface{}{
		"tenancy_ocid": s.Build.ID, "user_ocid": s.Build.UserID, "fingerprint": s.Build.Fingerprint(), "key": s.Build.PrivateKeyPEM(),
		"region": stage.BuildRegion, "compartment_ocid": s.Build.CompartmentID,
		"base_image_ocid": s.BaseImage, "subnet_ocid": s.Build.SubnetID(stage.BuildRegion),
		"ssh_username": "debian", "ssh_port": s.Cloud.SSHPort(), "assign_public_ip": true,
		"image_name": "built", "capacity_interval": "20ms", "capacity_timeout": "30s", "ssh_timeout": "30s",
	}
}

// build runs the builder as Packer would.
func build(ctx context.Context, t *testing.T, s *stage.Stage, change map[string]interface{}, h inpacker.Hook) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	maps.Copy(in, change)
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	ui := &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}
	if h == nil {
		h = touch
	}
	a, err := b.Run(ctx, ui, h)
	if err != nil {
		a = nil
	}
	return a, out.String(), err
}

// touch is a provisioner that changes the disk.
func touch(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
	return comm.Upload("/home/debian/built", strings.NewReader("by armfree"), nil)
}

func TestBuild(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, said, err := build(t.Context(), t, s, map[string]interface{}{
		"tags": map[string]string{"team": "infra", "empty": ""}, "instance_tags": map[string]string{"a": "b"}, "instance_name": "builder-1",
	}, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		i := s.Cloud.Inventory().Tenancies[0].Regions[0].Instances
		if len(i) != 1 || i[0].Name != "builder-1" || i[0].FreeformTags["a"] != "b" || !strings.HasPrefix(i[0].FreeformTags["armfree"], "build=") {
			t.Errorf("instances: %+v", i)
		}
		return touch(ctx, ui, comm)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if want := "An image was created: 'built' (OCID: " + a.Id() + ") in region '" + stage.BuildRegion + "'"; a.String() != want {
		t.Errorf("artifact says %q", a)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
		if i.ID != a.Id() {
			continue
		}
		tags := i.FreeformTags
		if _, ok := tags["empty"]; i.Name != "built" || !ok || tags["team"] != "infra" || !strings.HasPrefix(tags["armfree"], "build=") || strings.Contains(tags["armfree"], "expires=") || strings.Contains(tags["armfree"], "state=") {
			t.Errorf("image: %+v", i)
		}
	}

	// The image holds what the provisioner wrote, and starts again.
	var got bytes.Buffer
	b, said, err := build(t.Context(), t, s, map[string]interface{}{"base_image_ocid": a.Id(), "skip_create_image": true},
		func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
			return comm.Download("/home/debian/built", &got)
		})
	if err != nil || b != nil || got.String() != "by armfree" {
		t.Errorf("the image holds %q; %v, %v\n%s", &got, b, err, said)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := a.Destroy(); err != nil {
		t.Error(err)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind by Destroy: %q", left)
	}
}

// The build's own key does not stay in the image, whatever the template says
// about it, and a key that somebody else put there does.
func TestTemporaryKeyIsForgotten(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]options{"by default": {}, "asked for": {"ssh_clear_authorized_keys": true}, "named": {"temporary_key_pair_name": "packer-plugin-armfree-mine"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			temporaryKey(t, set)
		})
	}
}

func temporaryKey(t *testing.T, set options) {
	s := stage.ForTest(t, stage.Options{})
	const theirs = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzfSWZvo1iVNk3Y1pUM4LTbmZ2Kxl8rU5rXyoYlN6xv somebody else"
	const keys = "/home/debian/.ssh/authorized_keys"
	read := func(image string, change map[string]interface{}, then func(packersdk.Communicator) error) string {
		t.Helper()
		var got bytes.Buffer
		maps.Copy(change, map[string]interface{}{"base_image_ocid": image})
		a, said, err := build(t.Context(), t, s, change, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
			if err := comm.Download(keys, &got); err != nil {
				return err
			}
			return then(comm)
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if a != nil {
			return a.Id()
		}
		return got.String()
	}
	image := read(s.BaseImage, set, func(comm packersdk.Communicator) error {
		var now bytes.Buffer
		if err := comm.Download(keys, &now); err != nil {
			return err
		}
		return comm.Upload(keys, strings.NewReader(now.String()+theirs+"\n"), nil)
	})
	got := read(image, map[string]interface{}{"skip_create_image": true}, func(packersdk.Communicator) error { return nil })
	if n := strings.Count(got, " packer-plugin-armfree"); n != 1 || !strings.Contains(got, theirs) {
		t.Errorf("the new machine has %d keys of builds, want only its own; and somebody else's:\n%s", n, got)
	}
}

// When only another region has room, the machine is found there and the image
// is made there.
func TestAnotherRegion(t *testing.T) {
	t.Parallel()
	const other = "uk-london-1"
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{other}})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Region: stage.BuildRegion}); err != nil {
		t.Fatal(err)
	}
	more := []map[string]interface{}{{"region": other, "subnet_ocid": s.Build.SubnetID(other), "base_image_ocid": s.BaseImageIn(other)}}
	a, said, err := build(t.Context(), t, s, map[string]interface{}{"additional_region": more}, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if got := a.State("region"); got != other || !strings.Contains(a.String(), "in region '"+other+"'") {
		t.Errorf("artifact %q in %v", a, got)
	}
	for _, want := range []string{"6 availability domains in eu-frankfurt-1, uk-london-1", "machines are free in the home region only, which is eu-frankfurt-1"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := a.Destroy(); err != nil || len(s.Left()) > 0 {
		t.Errorf("%v; left behind by Destroy: %q", err, s.Left())
	}

	_, said, err = build(t.Context(), t, s, map[string]interface{}{"additional_region": more, "free_tier": "require", "capacity_timeout": "1s"}, nil)
	if err == nil || !strings.Contains(said, "uk-london-1 is left out: free_tier = \"require\" forbids") || !strings.Contains(said, "3 availability domains in eu-frankfurt-1, as") {
		t.Errorf("a region that is never free is not left out: %v\n%s", err, said)
	}
}

func TestProvisionerFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	_, said, err := build(t.Context(), t, s, nil, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return io.ErrUnexpectedEOF })
	if err == nil || s.Cloud.CountRequests("CreateImage") != 0 {
		t.Fatalf("error %v\n%s", err, said)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// With -on-error=ask a phase that failed can be run again; the build then never
// has two machines or two images.
func TestAskAndRetry(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	if err := s.Cloud.AddFaults(
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "ListVnicAttachments", Status: 400, Code: "InvalidParameter", Message: "no", Times: 1},
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "UpdateImage", Status: 400, Code: "InvalidParameter", Message: "no", Times: 1},
	); err != nil {
		t.Fatal(err)
	}
	in := settings(s)
	in["packer_on_error"] = "ask"
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: retry{}}, inpacker.Hook(touch))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if n := s.Cloud.CountRequests("LaunchInstance"); n != 2 {
		t.Errorf("%d launches", n)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, out.String())
	}
}

// retry is a user who always says so.
type retry struct{}

func (retry) ReadString() (string, error) { return "r", nil }
func (retry) Close() error                { return nil }

// A build that is cancelled at any request ends soon, with nothing left.
func TestCancelAnywhere(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	_, said, err := build(t.Context(), t, s, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, m := range tripwire.Moments(s.Cloud.Requests(), func(r ocisim.Request) string { return r.Op }) {
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{Wrap: w.Wrap})
			w.Watch(s.Cloud)
			a, said, err := build(ctx, t, s, nil, nil)
			keep := ""
			if err == nil {
				keep = a.Id() // cancelled while it tidied up: too late to matter
			}
			if left := s.Left(keep); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			at, ok := w.Pulled()
			if !ok {
				t.Fatal("the build did not come so far")
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s", d)
			}
		})
	}
}

// An image that is being made can only be deleted when it is done. The machine
// does not run until then: whoever cancels may not wait that long.
func TestCancelDuringASlowImage(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultSlow, Op: "CreateImage", State: "PROVISIONING", Delay: ocisim.Duration(4 * time.Second)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan bool, 1)
	go func() {
		for !strings.Contains(imageStates(s), "PROVISIONING") {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
		ended := func() bool {
			for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Instances {
				if i.State != "TERMINATED" && i.State != "TERMINATING" {
					return false
				}
			}
			return true
		}
		for !ended() && strings.Contains(imageStates(s), "PROVISIONING") {
			time.Sleep(5 * time.Millisecond)
		}
		gone <- strings.Contains(imageStates(s), "PROVISIONING")
	}()
	_, said, err := build(ctx, t, s, nil, nil)
	if !errors.Is(err, context.Canceled) || !<-gone {
		t.Errorf("the machine runs until the image is done: %v\n%s", err, said)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}

// imageStates are those of the build tenancy's own images.
func imageStates(s *stage.Stage) (states string) {
	for _, i := range s.Cloud.Inventory().Tenancies[0].Regions[0].Images {
		states += i.State + " "
	}
	return states
}

// ssh_host is where the machine is reached, whatever its address.
func TestSSHHost(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	const host = "127.0.0.9" // where nobody is
	_, said, err := build(t.Context(), t, s, map[string]interface{}{"ssh_host": host, "ssh_timeout": "300ms"}, nil)
	if err == nil || !strings.Contains(err.Error(), " at "+host+" (the limit is the option \"ssh_timeout\")") || !strings.Contains(err.Error(), "the last answer was: dial tcp "+host) || !strings.Contains(said, "Waiting for SSH at "+host) {
		t.Errorf("%v\n%s", err, said)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
