// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"archive/tar"
	"io"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// What the options of a capture do: to the requests, to the machine, to the object.
func TestCaptureOptionsOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *stage.Stage) map[string]interface{}
		kind   byte // of compression, in the header of the disk
		asked  int  // how often the namespace was: to sweep, and to capture
		says   string
	}{
		{"by default", func(*stage.Stage) map[string]interface{} { return nil }, 1, 2, "clean true"},
		{"deflate, and nothing is removed", func(*stage.Stage) map[string]interface{} {
			return map[string]interface{}{"capture_compression": "deflate", "capture_clean": false}
		}, 0, 2, "clean false"},
		{"a namespace", func(s *stage.Stage) map[string]interface{} {
			return map[string]interface{}{"capture_namespace": s.Build.Namespace}
		}, 1, 0, `key "packer-plugin-armfree"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Driver: withHelper(nil), Adjust: noImages})
			a, said, err := captureBuild(t.Context(), t, s, tt.change(s), nil)
			if err != nil || !strings.Contains(said, tt.says) {
				t.Fatalf("%v\n%s", err, said)
			}
			if n := s.Cloud.CountRequests("GetNamespace"); n != tt.asked {
				t.Errorf("the namespace was asked for %d times", n)
			}
			c := a.(*ocibuild.Captured)
			if c.Namespace != s.Build.Namespace || c.Bucket != stage.BucketName || c.Region != stage.BuildRegion || c.State("firmware") != "UEFI_64" {
				t.Errorf("%+v", c)
			}
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
			archive := tar.NewReader(r.Content)
			for {
				h, err := archive.Next()
				if err != nil {
					t.Fatal(err)
				}
				if h.Name != "output.QCOW2" {
					continue
				}
				head := make([]byte, 112)
				if _, err := io.ReadFull(archive, head); err != nil || string(head[:4]) != "QFI\xfb" || head[104] != tt.kind {
					t.Errorf("the disk begins with %q, %v", head, err)
				}
				return
			}
		})
	}
}
