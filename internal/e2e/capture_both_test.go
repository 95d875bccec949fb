// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capture/blockmap"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// bothWays takes one machine two ways from one moment on. When its capture begins, the
// machine is kept as it is; when it has been captured and is to go, it first goes back to
// that moment, and CreateImage makes an image of it, for which it is shut down. Whoever
// terminated it only sees that this takes its time.
type bothWays struct {
	t      *testing.T
	driver machine.Driver
	s      *stage.Stage

	mu      sync.Mutex
	id      string // of the machine that is captured
	machine machine.Keeper
	kept    bool
	ending  bool // its end was asked for
	done    bool // the image is made, or cannot be
	image   string
	err     error
}

// Start implements machine.Driver.
func (b *bothWays) Start(ctx context.Context, spec machine.Spec) (machine.Machine, error) {
	m, err := b.driver.Start(ctx, spec)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil && (b.id == "" || b.id == spec.ID) {
		b.id, b.machine = spec.ID, m.(machine.Keeper)
	}
	return m, err
}

// Wrap is put around the cloud.
func (b *bothWays) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		// The note beside the object is the first thing that is put into the bucket.
		if !b.kept && b.id != "" && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/b/"+stage.BucketName+"/o/") {
			b.kept = true
			b.err = b.machine.Save(r.Context())
		}
		end := !b.done && b.kept && r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/instances/"+b.id)
		if end && !b.ending {
			b.ending = true
			go b.imageIt()
		}
		b.mu.Unlock()
		if end {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// imageIt images the machine as it was kept, and terminates it.
func (b *bothWays) imageIt() {
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	client, err := core.NewComputeClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(b.s.Build.ID, b.s.Build.UserID, stage.BuildRegion, b.s.Build.Fingerprint(), b.s.Build.PrivateKeyPEM(), nil))
	var image string
	if err == nil {
		client.HTTPClient = b.s.Net.Client()
		image, err = b.makeImage(ctx, client)
	}
	b.mu.Lock()
	b.image, b.err, b.done = image, errors.Join(b.err, err), true
	b.mu.Unlock()
	drop := false
	_, err = client.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: &b.id, PreserveBootVolume: &drop})
	b.mu.Lock()
	b.err = errors.Join(b.err, err)
	b.mu.Unlock()
}

func (b *bothWays) makeImage(ctx context.Context, client core.ComputeClient) (string, error) {
	b.s.Cloud.ResetFaults() // the tenancy may have an image now
	start := time.Now()
	if err := b.machine.Restore(ctx); err != nil {
		return "", err
	}
	made, err := client.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &b.s.Build.ID, InstanceId: &b.id, DisplayName: common.String("of the same machine"),
	}})
	if err != nil {
		return "", err
	}
	for {
		got, err := client.GetImage(ctx, core.GetImageRequest{ImageId: made.Id})
		if err != nil {
			return *made.Id, err
		}
		switch got.LifecycleState {
		case core.ImageLifecycleStateAvailable:
			b.t.Logf("the same machine was imaged within %s", time.Since(start).Round(time.Second))
			return *made.Id, nil
		case core.ImageLifecycleStateDeleted:
			return *made.Id, fmt.Errorf("the image is %s", got.LifecycleState)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return *made.Id, ctx.Err()
		}
	}
}

// disk is the image's, as a raw file.
func (b *bothWays) disk() string {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil || b.image == "" {
		b.t.Fatalf("the machine was not imaged as well: %v", b.err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(b.t.TempDir()), "*", "stage-*", "images", b.image+".qcow2"))
	if err != nil || len(files) != 1 {
		b.t.Fatalf("%q, %v", files, err)
	}
	raw := filepath.Join(b.t.TempDir(), "raw")
	command(b.t, "qemu-img", "convert", "-O", "raw", files[0], raw)
	return raw
}

// sameAsImage fails for each difference of two disks that docs/capture.md does not list.
func sameAsImage(t *testing.T, image, captured string) {
	t.Helper()
	allowed, err := documentedDifferences()
	if err != nil {
		t.Fatal(err)
	}
	a, b := areasOf(t, image), areasOf(t, captured)
	if len(a) != len(b) || len(a) < 2 {
		t.Fatalf("areas %+v and %+v", a, b)
	}
	for i := range a {
		if a[i].Kind != b[i].Kind || a[i].Start != b[i].Start || a[i].End != b[i].End {
			t.Errorf("an area is %+v, and %+v", a[i], b[i])
		}
		if a[i].Kind != "ext4" && !bytes.Equal(bytesOf(t, image, a[i]), bytesOf(t, captured, a[i])) {
			t.Errorf("%s is not the same", a[i].Name())
		}
	}
	want := rootOf(t, image)
	command(t, "e2fsck", "-fn", want)
	tree := readTree(t, want)
	if len(tree) < 1000 {
		t.Fatalf("%d files", len(tree))
	}
	must := map[string]bool{"/var/lib/systemd/random-seed": true, "/var/log/wtmp": true} // which a shutdown writes
	differ := compareTrees(tree, readTree(t, rootOf(t, captured)))
	for _, u := range differ {
		delete(must, u.path)
		if by, ok := allowed.allows(u.path); ok {
			t.Logf("differs, as %s may: %s", by, u)
			continue
		}
		t.Errorf("differs: %s", u)
	}
	if len(must) > 0 {
		t.Errorf("these do not differ, as if no machine had been shut down: %v", must)
	}
	t.Logf("%d files, %d differences", len(tree), len(differ))
}

func areasOf(t *testing.T, disk string) []blockmap.Area {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := blockmap.Read(f, i.Size())
	if err != nil {
		t.Fatal(err)
	}
	return m.Areas
}

func bytesOf(t *testing.T, disk string, a blockmap.Area) []byte {
	t.Helper()
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, a.End-a.Start)
	if _, err := f.ReadAt(buf, a.Start); err != nil {
		t.Fatal(err)
	}
	return buf
}
