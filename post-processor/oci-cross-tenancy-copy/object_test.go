// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"bytes"
	"crypto/md5" //nolint:gosec // the service's own checksum
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"
)

const theObject = "armfree-capture-debian_12-build1.oci"

// put writes an object in one part, in place of one that is there, and says by which
// checksum the service knows it.
func (v *virtual) put(t *testing.T, name string, data []byte) string {
	t.Helper()
	client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(v.build.ID, v.build.UserID, homeRegion, v.build.Fingerprint(), v.build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	client.HTTPClient = v.http
	ns, bucket, size := v.build.Namespace, "images", int64(len(data))
	up, err := client.CreateMultipartUpload(t.Context(), objectstorage.CreateMultipartUploadRequest{
		NamespaceName: &ns, BucketName: &bucket, CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &name},
	})
	if err != nil {
		t.Fatal(err)
	}
	part, err := client.UploadPart(t.Context(), objectstorage.UploadPartRequest{
		NamespaceName: &ns, BucketName: &bucket, ObjectName: &name, UploadId: up.UploadId, UploadPartNum: new(1), ContentLength: &size, UploadPartBody: io.NopCloser(bytes.NewReader(data)),
	})
	if err != nil {
		t.Fatal(err)
	}
	done, err := client.CommitMultipartUpload(t.Context(), objectstorage.CommitMultipartUploadRequest{
		NamespaceName: &ns, BucketName: &bucket, ObjectName: &name, UploadId: up.UploadId,
		CommitMultipartUploadDetails: objectstorage.CommitMultipartUploadDetails{PartsToCommit: []objectstorage.CommitMultipartUploadPartDetails{{PartNum: new(1), Etag: part.ETag}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	digest := md5.Sum(data)   //nolint:gosec // the service's own checksum
	all := md5.Sum(digest[:]) //nolint:gosec // the service's own checksum
	if sum := base64.StdEncoding.EncodeToString(all[:]) + "-1"; *done.OpcMultipartMd5 != sum {
		t.Fatalf("the checksum is %s, not %s", *done.OpcMultipartMd5, sum)
	}
	return *done.OpcMultipartMd5
}

// ofObject is a template that copies an object.
func (f *flying) ofObject(sum string, options map[string]interface{}) map[string]interface{} {
	in := f.ofFile(options)
	in["source_object"] = theObject
	if sum != "" {
		in["source_checksum"] = sum
	}
	return in
}

// objects are the objects that are left, and only they.
func objects(left []string) bool {
	return len(left) == 1 && strings.Contains(left[0], theObject)
}

// source_checksum of an object is compared before anything starts.
func TestObjectWithItsChecksum(t *testing.T) {
	for _, tt := range []struct {
		name, sum string // "": none; "right"
		fails     bool
	}{
		{"none", "", false},
		{"right", "right", false},
		{"that of another object", "AgQlttlYM7ya/tH0Fosu9A==-3", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inFlight(t, blocks(3), func(t *testing.T, f *flying) {
				right := f.put(t, theObject, packed(t, blocks(3)))
				sum := tt.sum
				if sum == "right" {
					sum = right
				}
				f.wire.reset(nil)
				image, said, err := f.copy(t.Context(), t, f.ofObject(sum, nil))
				if !tt.fails {
					if err != nil || len(f.imported(t)) != 1 || f.get(t, image).DisplayName == nil {
						t.Fatalf("%v\n%s", err, said)
					}
					return
				}
				if err == nil || !strings.Contains(said, "nothing was started") || !strings.Contains(said, `its checksum is "`+right+`", not "`+sum+`"`) {
					t.Errorf("%v\n%s", err, said)
				}
				if left := f.left(); !objects(left) || slices.ContainsFunc(f.wire.ops, func(op string) bool { return strings.HasPrefix(op, "POST") || strings.HasPrefix(op, "PUT") }) {
					t.Errorf("left %q, asked for %q", left, f.wire.ops)
				}
			})
		})
	}
}

// An object that somebody writes to between the comparison and the end of the import becomes
// no image, and stays; so does what has taken its place.
func TestObjectThatIsReplacedOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		name, route string
		at          string // the request before which it is replaced
		same        bool   // by the same bytes
	}{
		{"before the import", "direct", "POST /20160918/images", false},
		{"by the same bytes", "direct", "POST /20160918/images", true},
		{"during the import", "direct", "GET /20160918/workRequests", false},
		{"on its way", "relay", "POST /20160918/images", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inFlight(t, blocks(3), func(t *testing.T, f *flying) {
				sum := f.put(t, theObject, packed(t, blocks(3)))
				replaced := false
				f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
					if op := r.Method + " " + r.URL.Path; !replaced && strings.HasPrefix(op, tt.at) {
						replaced = true
						n := int64(2)
						if tt.same {
							n = 3
						}
						f.put(t, theObject, packed(t, blocks(n)))
					}
					return false
				})
				in := f.ofObject(sum, map[string]interface{}{"keep_source_image": false})
				in["destination"] = f.virtual.settings(tt.route)["destination"]
				_, said, err := f.copy(t.Context(), t, in)
				if err == nil || !replaced || !strings.Contains(said, "is not the one any more") {
					t.Errorf("replaced %t, %v\n%s", replaced, err, said)
				}
				if left := f.left(); !objects(left) {
					t.Errorf("left %q", left)
				}
			})
		})
	}
}
