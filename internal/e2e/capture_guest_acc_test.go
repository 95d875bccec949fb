// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capture/blockmap"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// command runs a program on this host; e2fsprogs may be in sbin.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if p, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		cmd.Path, cmd.Err = p, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// capturedDisk downloads a captured disk and unpacks it to a raw file.
func capturedDisk(t *testing.T, s *stage.Stage, c *ocibuild.Captured) string {
	t.Helper()
	client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(s.Build.ID, s.Build.UserID, stage.BuildRegion, s.Build.Fingerprint(), s.Build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	client.HTTPClient = s.Net.Client()
	r, err := client.GetObject(t.Context(), objectstorage.GetObjectRequest{NamespaceName: &c.Namespace, BucketName: &c.Bucket, ObjectName: &c.Object})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Content.Close()
	dir := t.TempDir()
	archive := tar.NewReader(r.Content)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, filepath.Base(h.Name)))
		if err == nil {
			_, err = io.Copy(f, archive)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	image, raw := filepath.Join(dir, "output.QCOW2"), filepath.Join(dir, "raw")
	command(t, "qemu-img", "check", image)
	command(t, "qemu-img", "convert", "-O", "raw", image, raw)
	return raw
}

// rootOf takes the ext4 file system out of a disk.
func rootOf(t *testing.T, disk string) string {
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
	for _, a := range m.Areas {
		if a.Kind != "ext4" {
			continue
		}
		root := filepath.Join(t.TempDir(), "root")
		out, err := os.Create(root)
		if err == nil {
			_, err = io.Copy(out, io.NewSectionReader(f, a.Start, a.End-a.Start))
			err = errors.Join(err, out.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	t.Fatalf("there is no ext4: %+v", m.Areas)
	return ""
}

// A real ARM64 machine, in a tenancy that may have no images: its disk is captured from
// within, imported in production, and boots there.
func TestAccCaptureGuest(t *testing.T) {
	acceptance(t)
	guests, err := stage.OpenGuests(os.Getenv("ACC_GUEST"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guests.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s := stage.ForTest(t, stage.Options{Driver: guests.Driver, Disks: guests.Disks, Image: guests.Image, Adjust: func(b, _ *ocisim.Tenancy) { b.Limits["custom-image-count"] = 0 }})
	p := &play{s: s}
	start := time.Now()
	a, err := p.build(t, s.Build, s.BaseImage, map[string]interface{}{
		"image_method": "auto", "capture_bucket": stage.BucketName, "capture_route": "relay", "ssh_timeout": "10m", "capacity_timeout": "10m",
	}, func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		cmd := &packersdk.RemoteCmd{Command: "echo by the build | sudo tee /etc/made >/dev/null; nohup sh -c 'exec >>/var/tmp/writer; while :; do echo tick; sleep 1; done' 2>/dev/null </dev/null &"}
		if err := comm.Start(ctx, cmd); err != nil {
			return err
		}
		cmd.Wait()
		return nil
	})
	t.Logf("took %s\n%s", time.Since(start), p.out.String())
	if err != nil {
		t.Fatal(err)
	}
	c, is := a.(*ocibuild.Captured)
	if !is {
		t.Fatalf("%T", a)
	}
	root := rootOf(t, capturedDisk(t, s, c))
	t.Log(command(t, "e2fsck", "-fn", root))
	for path, want := range map[string]string{"/etc/made": "by the build\n", "/etc/machine-id": ""} {
		if got := command(t, "debugfs", "-R", "cat "+path, root); !strings.HasSuffix(got, want) || want == "" && strings.Contains(got, "0123456789abcdef") {
			t.Errorf("%s holds %q", path, got)
		}
	}
	t.Log(command(t, "debugfs", "-R", "ls -l /var/log", root), command(t, "debugfs", "-R", "ls -l /etc/ssh", root))
}
