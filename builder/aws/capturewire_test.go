// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"archive/tar"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/e2e/capturekit"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// What the options of a capture do: to the requests, to the machine, to the object.
func TestCaptureOptionsOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *stage.Stage) set
		kind   byte // of compression, in the header of the disk
		asked  int  // how often the namespace was: to sweep, and to capture
		says   string
	}{
		{"by default", func(*stage.Stage) set { return nil }, 1, 2, "clean true"},
		{"deflate, and nothing is removed", func(*stage.Stage) set {
			return set{"capture_compression": "deflate", "capture_clean": false}
		}, 0, 2, "clean false"},
		{"a namespace", func(s *stage.Stage) set { return set{"capture_to.namespace": s.Build.Namespace} }, 1, 0, `key "packer-plugin-armfree"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := quiet(t, nil)
			a, said, err := captureBuild(t.Context(), t, s, tt.change(s), nil)
			if err != nil || !strings.Contains(said, tt.says) {
				t.Fatalf("%v\n%s", err, said)
			}
			if n := s.Cloud.CountRequests("GetNamespace"); n != tt.asked {
				t.Errorf("the namespace was asked for %d times", n)
			}
			c := a.(*ocibuild.Captured)
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
			if *r.ContentLength != c.Size || *r.OpcMultipartMd5 != c.Checksum {
				t.Errorf("%d bytes, %s; the artifact says %d, %s", *r.ContentLength, *r.OpcMultipartMd5, c.Size, c.Checksum)
			}
			disk, metadata := false, false
			for archive := tar.NewReader(r.Content); ; {
				h, err := archive.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				all, err := io.ReadAll(archive)
				switch {
				case err != nil:
					t.Fatal(err)
				case h.Name == "output.QCOW2":
					disk = string(all[:4]) == "QFI\xfb" && all[104] == tt.kind
				default:
					metadata = metadata || strings.Contains(string(all), "Debian") && strings.Contains(string(all), "12")
				}
			}
			if !disk || !metadata {
				t.Errorf("the disk is right: %t, what is said of it: %t", disk, metadata)
			}
		})
	}
}

// ociClient signs in to the tenancy of the bucket.
func ociClient(t *testing.T, s *stage.Stage) *oci.Client {
	t.Helper()
	client, err := oci.NewClient(oci.Credentials{
		Tenancy: s.Build.ID, User: s.Build.UserID, Fingerprint: s.Build.Fingerprint(), KeyPEM: s.Build.PrivateKeyPEM(), Region: stage.BuildRegion,
	}, oci.Options{HTTP: s.Net.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// begun begins a capture in the bucket of the stage, as somebody who is killed then.
func begun(t *testing.T, s *stage.Stage, expires time.Time, direct bool) (name string, c *oci.Captured) {
	t.Helper()
	bucket := &oci.Bucket{Client: ociClient(t, s), Namespace: s.Build.Namespace, Bucket: stage.BucketName}
	o := owner.NewBuild(time.Now(), time.Hour)
	o.Expires = expires
	name = oci.CaptureName("killed", o)
	c, err := bucket.Capture(t.Context(), o, name, direct, time.Hour, func(string) {})
	if err == nil {
		err = c.Part(t.Context(), 1, []byte("some of a disk"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return name, c
}

// A build that captures removes what captures of builds that were killed left in its
// bucket: the link, the upload, the note. What goes on, and what is finished, stays; and
// nothing else on OCI is looked at.
func TestCaptureSweepsItsBucket(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		s := quiet(t, nil)
		dead, _ := begun(t, s, time.Now().Add(-time.Hour), direct)
		alive, goes := begun(t, s, time.Now().Add(time.Hour), direct)
		finished, c := begun(t, s, time.Now().Add(-time.Hour), direct)
		if _, _, err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A build that does not capture has no business there.
		if _, said, err := build(t.Context(), t, s, set{"skip_create_ami": true}, nil); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if left := strings.Join(s.Left(), " "); !strings.Contains(left, dead) {
			t.Errorf("it went too early: %s", left)
		}
		a, said, err := captureBuild(t.Context(), t, s, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if !strings.Contains(said, "Leftovers of earlier builds in oci eu-frankfurt-1, removed: ") || !strings.Contains(said, "/armfree-"+strings.TrimSuffix(strings.TrimPrefix(dead, "armfree-capture-killed-"), ".oci")+"-copy-") {
			t.Error(said)
		}
		all := strings.Join(capturekit.Left(t, s, a), "\n")
		if strings.Contains(all, dead) || !strings.Contains(all, alive) || !strings.Contains(all, finished) {
			t.Errorf("left:\n%s", all)
		}
		for _, op := range []string{"ListInstances", "ListImages", "ListBuckets", "ListCompartments", "ListBastions"} {
			if n := s.Cloud.CountRequests(op); n > 0 {
				t.Errorf("%d requests %s", n, op)
			}
		}
		if err := goes.Discard(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
