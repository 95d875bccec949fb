// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// named is an object under a name that the template chose.
const named = "mine.oci"

// Somebody else may put an object under the name that the template chose: the copy fails,
// and it stays, whenever that happens.
func TestStreamForeignObjectStays(t *testing.T) {
	upload := func(method, rest string) func(string) bool {
		return func(op string) bool {
			return strings.HasPrefix(op, method) && strings.HasSuffix(op, "/b/images/u"+rest)
		}
	}
	for name, tt := range map[string]struct {
		at    func(op string) bool // the request before which it is put there
		again bool                 // by a run that takes up one that was killed
		skip  int                  // of such requests
	}{
		"before the upload":          {at: upload("POST", "")},
		"while it is uploaded":       {at: upload("PUT", "/"+named)},
		"before the object is made":  {at: upload("POST", "/"+named)},
		"after it was looked at":     {at: func(op string) bool { return strings.HasPrefix(op, "HEAD") && strings.HasSuffix(op, "/o/"+named) }, again: true, skip: 1},
		"before it is made, once up": {at: upload("POST", "/"+named), again: true},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.settings()
				in["object_name"] = named
				if tt.again {
					f.killed(t, in, http.MethodPut)
				}
				put, seen := false, 0
				f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
					if op := r.Method + " " + r.URL.Path; !put && tt.at(op) {
						if seen++; seen > tt.skip {
							put = true
							f.put(t, named, packed(t, blocks(2)))
						}
					}
					return false
				})
				_, said, err := f.copy(t.Context(), t, in)
				if err == nil || !put {
					t.Errorf("put: %t, %v\n%s", put, err, said)
				}
				if left := f.left(); !slices.Equal(left, []string{"object " + named}) {
					t.Errorf("left %q\n%s", left, said)
				}
			})
		})
	}
}

// Nor does a copy go on with what somebody else uploads under that name, or remove it,
// however the copy ends; its own it takes up.
func TestStreamForeignUploadStays(t *testing.T) {
	for name, tt := range map[string]struct{ again, fails bool }{"": {}, "taken up": {again: true}, "of one that fails": {fails: true}, "taken up, and fails": {again: true, fails: true}} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.settings()
				in["object_name"] = named
				f.begin(t, named)
				time.Sleep(time.Minute)
				if tt.again {
					f.killed(t, in, http.MethodPut)
				}
				if tt.fails {
					if err := f.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CommitMultipartUpload", Status: 400, Code: "InvalidParameter"}); err != nil {
						t.Fatal(err)
					}
				}
				image, said, err := f.copy(t.Context(), t, in)
				if (err != nil) != tt.fails || strings.Contains(said, "1 parts were there from an earlier run") != (tt.again && !tt.fails) {
					t.Errorf("%v\n%s", err, said)
				}
				want := []string{"image " + image, "upload " + named}
				if tt.fails {
					want = want[1:]
				}
				if left := f.left(); !slices.Equal(slices.Sorted(slices.Values(left)), want) {
					t.Errorf("left %q, want %q\n%s", left, want, said)
				}
			})
		})
	}
}

// The same for an image that OCI exports.
func TestExportForeignUploadStays(t *testing.T) {
	for name, fails := range map[string]bool{"": false, "of one that fails": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVirtual(t)
				in := v.settings("direct")
				in["object_name"] = named
				v.begin(t, named)
				time.Sleep(time.Minute)
				if fails {
					if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "InvalidParameter"}); err != nil {
						t.Fatal(err)
					}
				}
				image, said, err := v.copy(t.Context(), t, in)
				if (err != nil) != fails {
					t.Errorf("%v\n%s", err, said)
				}
				want := []string{"image " + image, "upload " + named}
				if fails {
					want = want[1:]
				}
				if left := v.left(); !slices.Equal(slices.Sorted(slices.Values(left)), want) {
					t.Errorf("left %q, want %q\n%s", left, want, said)
				}
			})
		})
	}
}

// killed is a run that is killed once the service has done what a request of an upload
// asked for: PUT, and a part of the object has arrived; POST, and the object is complete.
func (f *flying) killed(t *testing.T, in map[string]interface{}, method string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var dead atomic.Bool
	f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		switch {
		case dead.Load():
			panic(http.ErrAbortHandler)
		case r.Method != method || !strings.Contains(r.URL.Path, "/u/"):
			return false
		}
		dead.Store(true)
		f.serve(httptest.NewRecorder(), r)
		cancel()
		panic(http.ErrAbortHandler)
	})
	if _, said, err := f.copy(ctx, t, in); err == nil || !dead.Load() {
		t.Fatalf("it was not killed\n%s", said)
	}
	f.wire.reset(nil)
}

// begin begins an upload as somebody else would.
func (v *virtual) begin(t *testing.T, name string) {
	t.Helper()
	client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(v.build.ID, v.build.UserID, homeRegion, v.build.Fingerprint(), v.build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	client.HTTPClient = v.http
	bucket := "images"
	if _, err := client.CreateMultipartUpload(t.Context(), objectstorage.CreateMultipartUploadRequest{
		NamespaceName: &v.build.Namespace, BucketName: &bucket, CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &name},
	}); err != nil {
		t.Fatal(err)
	}
}

// What a run that was killed has uploaded under a name that the template chose goes when its
// time is over, by the next copy through the bucket or by the sweep. What somebody else
// uploads under that name does not, and nor does an object.
func TestStreamNamedLeftovers(t *testing.T) {
	for _, by := range []string{"another copy", "the sweep", "the sweep of that copy"} {
		for _, there := range []bool{false, true} {
			t.Run(by+map[bool]string{true: ", and there is an object"}[there], func(t *testing.T) {
				inFlight(t, blocks(1), func(t *testing.T, f *flying) {
					f.tag(t, proven())
					in := f.settings()
					in["object_name"] = named
					f.killed(t, in, http.MethodPut)
					if left := f.left(); !slices.Contains(left, "upload "+named) {
						t.Fatalf("left %q", left)
					}
					time.Sleep(47 * time.Hour)
					f.begin(t, named)
					keep := []string{"upload " + named}
					if there {
						f.put(t, named, packed(t, blocks(2)))
						keep = []string{"object " + named, "upload " + named}
					}
					time.Sleep(time.Hour)
					if by == "another copy" {
						image, said, err := f.copy(t.Context(), t, f.settings())
						if err != nil || strings.Contains(said, "please delete it") != there {
							t.Errorf("%v\n%s", err, said)
						}
						keep = append(keep, "image "+image)
					} else {
						f.sweep(t, by == "the sweep of that copy")
					}
					left := f.left()
					slices.Sort(left)
					if slices.Sort(keep); !slices.Equal(left, keep) {
						t.Errorf("left %q, want %q", left, keep)
					}
				})
			})
		}
	}
}

// sweep sweeps the tenancy that the image is copied from, all of it or of the copy that the
// one note there is of.
func (f *flying) sweep(t *testing.T, named bool) {
	t.Helper()
	c, err := oci.NewClient(oci.Credentials{
		Tenancy: f.build.ID, User: f.build.UserID, Fingerprint: f.build.Fingerprint(), KeyPEM: f.build.PrivateKeyPEM(), Region: homeRegion,
	}, oci.Options{HTTP: f.http})
	if err != nil {
		t.Fatal(err)
	}
	rules := sweep.Rules{Grace: sweep.DefaultGrace}
	for _, l := range f.left() {
		if id, _, is := strings.Cut(strings.TrimPrefix(l, "object armfree-"), "-copy-"); is && named {
			rules.Builds = []string{id}
		}
	}
	w := sweep.Sweep{Cloud: &oci.Leftovers{Client: c, Compartments: []string{f.build.CompartmentID}, Buckets: true}, Rules: rules}
	if r, err := w.Run(t.Context()); err != nil || len(r.Left)+len(r.Blind) > 0 || named && len(rules.Builds) == 0 {
		t.Errorf("%v, %+v, of %q", err, r, rules.Builds)
	}
}
