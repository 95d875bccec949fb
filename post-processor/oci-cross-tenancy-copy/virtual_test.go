// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// The regions of the clouds in virtual time.
const (
	homeRegion = "eu-frankfurt-1"
	farRegion  = "sa-saopaulo-1"
)

// virtualTenancies are made once, since RSA keys take long. The build tenancy has
// a bucket's worth of reach: it is subscribed to the destination's region.
var virtualTenancies = sync.OnceValue(func() [2]*ocisim.Tenancy {
	var all [2]*ocisim.Tenancy
	var err error
	if all[0], err = ocisim.NewTenancy("build", homeRegion, farRegion); err == nil {
		all[1], err = ocisim.NewTenancy("production", farRegion)
	}
	if err != nil {
		panic(err)
	}
	return all
})

// virtual is a cloud in a bubble of testing/synctest, where retries take no time.
type virtual struct {
	*ocisim.Cloud
	build, production *ocisim.Tenancy
	image             string
	http              *http.Client
	wire              *wire
}

// wire stands between the plugin and the cloud. The cloud's own requests do not
// pass it.
type wire struct {
	mu   sync.Mutex
	next http.Handler
	n    int
	ops  []string
	hit  func(w http.ResponseWriter, r *http.Request, n int) (done bool) // n counts from 0
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	n, hit := w.n, w.hit
	w.n++
	path := r.URL.Path
	if rest, isPAR := strings.CutPrefix(path, "/p/"); isPAR {
		_, rest, _ = strings.Cut(rest, "/")
		path = "/p/.../" + rest
	}
	w.ops = append(w.ops, r.Method+" "+path)
	w.mu.Unlock()
	if hit == nil || !hit(rw, r, n) {
		w.next.ServeHTTP(rw, r)
	}
}

// reset forgets what was counted.
func (w *wire) reset(hit func(http.ResponseWriter, *http.Request, int) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n, w.ops, w.hit = 0, nil, hit
}

func newVirtual(t *testing.T) *virtual {
	t.Helper()
	v := &virtual{}
	for i, p := range []**ocisim.Tenancy{&v.build, &v.production} {
		own := *virtualTenancies()[i]
		own.Limits, own.Quotas = map[string]int64{}, map[string]int64{}
		*p = &own
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	own := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { v.Cloud.ServeHTTP(w, r) }))
	var err error
	v.Cloud, err = ocisim.New(ocisim.Config{
		Tenancies: []*ocisim.Tenancy{v.build, v.production}, Driver: machine.Idle{}, WorkDir: dir, Fetch: own,
		Images: []ocisim.BaseImage{{Name: "debian", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "build", Regions: []string{homeRegion}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	v.wire = &wire{next: v.Cloud}
	v.http = simnet.Pipe(v.wire)
	v.image = v.ImageID(v.build, homeRegion, "debian")
	t.Cleanup(func() {
		own.CloseIdleConnections()
		v.http.CloseIdleConnections()
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, b := range []struct {
		of     *ocisim.Tenancy
		region string
	}{{v.build, homeRegion}, {v.build, farRegion}, {v.production, farRegion}} {
		client, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
			common.NewRawConfigurationProvider(b.of.ID, b.of.UserID, b.region, b.of.Fingerprint(), b.of.PrivateKeyPEM(), nil))
		if err != nil {
			t.Fatal(err)
		}
		client.HTTPClient = v.http
		name := "images"
		if _, err := client.CreateBucket(t.Context(), objectstorage.CreateBucketRequest{
			NamespaceName: &b.of.Namespace, CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &name, CompartmentId: &b.of.CompartmentID},
		}); err != nil {
			t.Fatal(err)
		}
	}
	v.wire.reset(nil)
	return v
}

// settings is a copy-only template.
func (v *virtual) settings(route string) map[string]interface{} {
	access := func(t *ocisim.Tenancy) map[string]interface{} {
		return map[string]interface{}{
			"tenancy_ocid": t.ID, "user_ocid": t.UserID, "fingerprint": t.Fingerprint(), "key": t.PrivateKeyPEM(), "region": t.HomeRegion,
		}
	}
	source, dest := access(v.build), access(v.production)
	source["bucket"] = "images"
	dest["compartment_ocid"] = v.production.CompartmentID
	if dest["route"] = route; route == "relay" {
		dest["relay_bucket"] = "images"
	}
	return map[string]interface{}{"source_image_ocid": v.image, "dest_image_name": "copied", "source": source, "destination": []interface{}{dest}}
}

// copy runs the template as Packer would.
func (v *virtual) copy(ctx context.Context, t *testing.T, in map[string]interface{}) (string, string, error) {
	t.Helper()
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: v.http}
	if err := p.Configure(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, _, _, err := p.PostProcess(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, &foreign{})
	if err != nil {
		return "", out.String() + err.Error(), err
	}
	return a.Id(), out.String(), nil
}

// left is everything that there is beside the source image.
func (v *virtual) left() (all []string) {
	for _, t := range v.Inventory().Tenancies {
		for _, r := range t.Regions {
			for _, i := range r.Images {
				if i.ID != v.image {
					all = append(all, "image "+i.ID)
				}
				if strings.Contains(i.FreeformTags["armfree"], "state=") {
					all = append(all, "unfinished "+i.ID)
				}
			}
			for _, b := range r.Buckets {
				for _, o := range b.Objects {
					all = append(all, "object "+o.Name)
				}
				for _, u := range b.Uploads {
					all = append(all, "upload "+u.Object)
				}
				for _, p := range b.PARs {
					all = append(all, "link "+p.Name)
				}
			}
		}
	}
	return all
}

func (v *virtual) mustLeave(t *testing.T, image, said string) {
	t.Helper()
	if left := v.left(); len(left) != 1 || left[0] != "image "+image || image == "" {
		t.Errorf("there are %q, want the image %s alone\n%s", left, image, said)
	}
}

// rehearse counts the requests of a copy on which nothing goes wrong.
func rehearse(t *testing.T, route string) (ops []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		image, said, err := v.copy(t.Context(), t, v.settings(route))
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		v.mustLeave(t, image, said)
		ops = v.wire.ops
	})
	return ops
}

// TestMain keeps the log of thousands of copies out of the output.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

// moment is a request at which something goes wrong.
type moment struct {
	n  int
	op string
}

// moments are all requests of a direct copy, and of the other routes those that
// the direct one does not make.
func moments(t *testing.T) map[string][]moment {
	t.Helper()
	kind := func(op string) string { return ids.ReplaceAllString(op, "") }
	all, known := map[string][]moment{}, map[string]bool{}
	for _, route := range []string{"direct", "copy-object", "relay"} {
		seen := map[string]bool{}
		for n, op := range rehearse(t, route) {
			if route == "direct" || !known[kind(op)] {
				all[route] = append(all[route], moment{n, op})
			}
			seen[kind(op)] = true
		}
		for k := range seen {
			known[k] = true
		}
		t.Logf("%s: %d requests", route, len(all[route]))
	}
	return all
}

// ids are the parts of a path that are never the same.
var ids = regexp.MustCompile(`ocid1[a-z0-9.-]+|ns[0-9a-f]{10}|/p/[^.].*|armfree-[a-z0-9-]+|-[a-z0-9]{16}`)

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"message":"a bad day"}`, code)
}

// Whatever goes wrong once at any request of a copy, the copy comes to its end.
func TestOneFaultAnywhere(t *testing.T) {
	faults := map[string]func(*virtual) func(http.ResponseWriter, *http.Request){
		"429": func(*virtual) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) { problem(w, 429, "TooManyRequests") }
		},
		"500": func(*virtual) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) { problem(w, 500, "InternalError") }
		},
		"reset": func(*virtual) func(http.ResponseWriter, *http.Request) {
			return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		},
		"lost": func(v *virtual) func(http.ResponseWriter, *http.Request) {
			return func(_ http.ResponseWriter, r *http.Request) {
				v.Cloud.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
		},
	}
	for route, at := range moments(t) {
		for kind, fault := range faults {
			for _, m := range at {
				i := m.n
				t.Run(fmt.Sprintf("%s %s %d %s", route, kind, i, m.op), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						v := newVirtual(t)
						hit := fault(v)
						happened := false
						v.wire.reset(func(w http.ResponseWriter, r *http.Request, n int) bool {
							if n != i {
								return false
							}
							happened = true
							hit(w, r)
							return true
						})
						image, said, err := v.copy(t.Context(), t, v.settings(route))
						if err != nil {
							t.Fatalf("%v\n%s", err, said)
						}
						if !happened {
							t.Error("the copy did not come so far")
						}
						if strings.Contains(said, "Cleanup:") {
							t.Errorf("said:\n%s", said)
						}
						v.mustLeave(t, image, said)
					})
				})
			}
		}
	}
}

// Killed after any request, the copy is taken up by the next run.
func TestKilledAnywhere(t *testing.T) {
	for route, at := range moments(t) {
		for _, m := range at {
			i := m.n
			t.Run(fmt.Sprintf("%s %d %s", route, i, m.op), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					v := newVirtual(t)
					in := v.settings(route)
					if i%2 == 0 {
						in["object_name"] = "mine.oci"
					}
					ctx, cancel := context.WithCancel(t.Context())
					dead := false
					v.wire.reset(func(w http.ResponseWriter, r *http.Request, n int) bool {
						switch {
						case dead || n > i:
							panic(http.ErrAbortHandler)
						case n < i:
							return false
						}
						dead = true
						v.Cloud.ServeHTTP(httptest.NewRecorder(), r)
						cancel()
						panic(http.ErrAbortHandler)
					})
					if _, said, err := v.copy(ctx, t, in); err == nil && i < 10 {
						t.Fatalf("it was not killed\n%s", said)
					}
					v.wire.reset(nil)
					// The next run comes at once, or after the cloud has done what it
					// was asked for.
					if i%4 > 1 {
						time.Sleep(time.Hour)
					}
					image, said, err := v.copy(t.Context(), t, in)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					v.mustLeave(t, image, said)
					if n := v.CountRequests("ExportImage"); n > 2 {
						t.Errorf("%d exports", n)
					}
				})
			})
		}
	}
}

// The header of packer-plugin-oracle#154 on an import, whichever request it is.
func TestMalformedHeaderOnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultMalformedHeader, Op: "CreateImage"}); err != nil {
			t.Fatal(err)
		}
		image, said, err := v.copy(t.Context(), t, v.settings("direct"))
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		v.mustLeave(t, image, said)
	})
}

// compute calls the cloud as the owner of a tenancy would.
func (v *virtual) compute(t *testing.T, of *ocisim.Tenancy) core.ComputeClient {
	t.Helper()
	c, err := core.NewComputeClientWithConfigurationProvider(common.NewRawConfigurationProvider(of.ID, of.UserID, of.HomeRegion, of.Fingerprint(), of.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = v.http
	return c
}

// get is an image as its owner sees it.
func (v *virtual) get(t *testing.T, image string) core.Image {
	t.Helper()
	of := v.production
	if image == v.image {
		of = v.build
	}
	r, err := v.compute(t, of).GetImage(t.Context(), core.GetImageRequest{ImageId: &image})
	if err != nil {
		t.Fatal(err)
	}
	return r.Image
}

// tagSource gives the source image tags as a build would.
func (v *virtual) tagSource(t *testing.T, tags map[string]string) {
	t.Helper()
	_, err := v.compute(t, v.build).UpdateImage(t.Context(), core.UpdateImageRequest{ImageId: &v.image, UpdateImageDetails: core.UpdateImageDetails{FreeformTags: tags}})
	if err != nil {
		t.Fatal(err)
	}
}

// links are when the links of the build tenancy expire.
func (v *virtual) links(t *testing.T) (expire []time.Time) {
	t.Helper()
	for _, b := range v.Inventory().Tenancies[0].Regions[0].Buckets {
		for _, p := range b.PARs {
			expire = append(expire, p.Expires)
		}
	}
	return expire
}
