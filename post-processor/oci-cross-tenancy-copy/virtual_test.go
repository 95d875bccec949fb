// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
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
	dir, base         string // of the cloud's files, and of the base image's disk
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
	v.dir, v.base = dir, disk
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
	switch dest["route"] = route; route {
	case "relay":
		dest["relay_bucket"] = "images"
	case "verify":
		dest["route"] = "direct"
		dest["verify"] = map[string]interface{}{"subnet_ocid": v.production.SubnetID(farRegion), "ssh_username": "debian", "goss_file": "goss.yaml"}
	}
	return map[string]interface{}{"source_image_ocid": v.image, "dest_image_name": "copied", "source": source, "destination": []interface{}{dest}}
}

// copy runs the template as Packer would.
func (v *virtual) copy(ctx context.Context, t *testing.T, in map[string]interface{}) (string, string, error) {
	t.Helper()
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: v.http, Goss: func() packersdk.Provisioner { return content{} }, unreachable: true}
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

// content is a provisioner that is content with every machine.
type content struct{}

func (content) ConfigSpec() hcldec.ObjectSpec { return nil }
func (content) Prepare(...interface{}) error  { return nil }
func (content) InputsDigest() (string, error) { return "", nil }
func (content) Provision(ctx context.Context, _ packersdk.Ui, _ packersdk.Communicator, _ map[string]interface{}) error {
	return ctx.Err()
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
			for _, i := range slices.Concat(r.Instances, r.BootVolumes) {
				all = append(all, "machine "+i.ID+" "+i.State)
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

// TestMain keeps the log of thousands of copies out of the output. The run has an id,
// as Packer gives one, and a folder of its own for what goss says of it. What is on this
// computer must not decide about tests.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	dir, err := os.MkdirTemp("", "copies-*")
	if err != nil {
		panic(err)
	}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") || strings.Contains(name, "OCI_") {
			_ = os.Unsetenv(name)
		}
	}
	for name, value := range map[string]string{"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "TMPDIR": dir, "PACKER_RUN_UUID": "run-1"} {
		_ = os.Setenv(name, value)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
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
