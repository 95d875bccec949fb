// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/record"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	region    = "us-phoenix-1"
	secretKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII somebody@somewhere"
	userData  = "dGhlIHBhc3N3b3JkIGlzIHN3b3JkZmlzaA=="
)

// world is one simulated cloud: each has other keys, identifiers and images.
type world struct {
	cloud   *ocisim.Cloud
	tenancy *ocisim.Tenancy
	image   string
}

func newWorld(t *testing.T, edits ...func(*ocisim.Config)) *world {
	t.Helper()
	tenancy, err := ocisim.NewTenancy("build", region)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	cfg := ocisim.Config{
		Tenancies: []*ocisim.Tenancy{tenancy}, Driver: machine.Idle{}, WorkDir: t.TempDir(),
		Images: []ocisim.BaseImage{{Name: "debian-12", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "build"}},
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	cloud, err := ocisim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{cloud: cloud, tenancy: tenancy}
	web := w.client(t, cloud)
	images, err := newCompute(t, w, web).ListImages(t.Context(), core.ListImagesRequest{CompartmentId: &tenancy.CompartmentID, DisplayName: new("debian-12")})
	if err != nil || len(images.Items) == 0 {
		// Images may be kept in the root compartment.
		images, err = newCompute(t, w, web).ListImages(t.Context(), core.ListImagesRequest{CompartmentId: &tenancy.ID, DisplayName: new("debian-12")})
	}
	if err != nil || len(images.Items) == 0 {
		t.Fatal("no base image", err)
	}
	w.image = *images.Items[0].Id
	return w
}

func (w *world) client(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	c := simnet.Pipe(h)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (w *world) known() map[string]string {
	return map[string]string{
		"tenancy": w.tenancy.ID, "user": w.tenancy.UserID, "compartment": w.tenancy.CompartmentID, "namespace": w.tenancy.Namespace,
		"region": region, "subnet": w.tenancy.SubnetID(region), "image": w.image,
	}
}

func (w *world) replayer(t *testing.T, h http.Handler) *record.Replayer {
	t.Helper()
	signer, err := record.NewSigner(w.tenancy.ID+"/"+w.tenancy.UserID+"/"+w.tenancy.Fingerprint(), w.tenancy.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return &record.Replayer{Client: w.client(t, h), Known: w.known(), Signers: map[string]record.Signer{"tenancy": signer}, Patience: 3 * time.Second}
}

func (w *world) provider() common.ConfigurationProvider {
	return common.NewRawConfigurationProvider(w.tenancy.ID, w.tenancy.UserID, region, w.tenancy.Fingerprint(), w.tenancy.PrivateKeyPEM(), nil)
}

func newCompute(t *testing.T, w *world, web *http.Client) core.ComputeClient {
	t.Helper()
	c, err := core.NewComputeClientWithConfigurationProvider(w.provider())
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = web
	return c
}

// session is what a client does between launch and clean-up, with the real SDK.
func session(t *testing.T, w *world, web *http.Client) {
	t.Helper()
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	who, err := identity.NewIdentityClientWithConfigurationProvider(w.provider())
	must("identity", err)
	who.HTTPClient = web
	compute := newCompute(t, w, web)
	store, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(w.provider())
	must("storage", err)
	store.HTTPClient = web

	ads, err := who.ListAvailabilityDomains(ctx, identity.ListAvailabilityDomainsRequest{CompartmentId: &w.tenancy.ID})
	must("list ADs", err)
	launched, err := compute.LaunchInstance(ctx, core.LaunchInstanceRequest{LaunchInstanceDetails: core.LaunchInstanceDetails{
		AvailabilityDomain: ads.Items[1].Name, CompartmentId: &w.tenancy.CompartmentID, Shape: new("VM.Standard.A1.Flex"),
		ShapeConfig:       &core.LaunchInstanceShapeConfigDetails{Ocpus: new(float32(1)), MemoryInGBs: new(float32(6))},
		SourceDetails:     core.InstanceSourceViaImageDetails{ImageId: &w.image},
		CreateVnicDetails: &core.CreateVnicDetails{SubnetId: new(w.tenancy.SubnetID(region))},
		Metadata:          map[string]string{"ssh_authorized_keys": secretKey, "user_data": userData},
	}})
	must("launch", err)
	for state := launched.LifecycleState; state != core.InstanceLifecycleStateRunning; time.Sleep(10 * time.Millisecond) {
		got, err := compute.GetInstance(ctx, core.GetInstanceRequest{InstanceId: launched.Id})
		must("get instance", err)
		state = got.LifecycleState
	}
	bucket := objectstorage.CreateBucketDetails{Name: new("images"), CompartmentId: &w.tenancy.CompartmentID}
	created, err := store.CreateBucket(ctx, objectstorage.CreateBucketRequest{NamespaceName: &w.tenancy.Namespace, CreateBucketDetails: bucket})
	must("create bucket", err)
	_, err = store.PutObject(ctx, objectstorage.PutObjectRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ObjectName: new("dir/x.oci"),
		ContentLength: new(int64(20)), PutObjectBody: io.NopCloser(strings.NewReader("these are the bytes.")), ContentMD5: new("1hxex7BovPpER2idsYWAuQ==")})
	must("put", err)
	_, err = store.PutObject(ctx, objectstorage.PutObjectRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ObjectName: new("dir/x.oci"),
		ContentLength: new(int64(20)), PutObjectBody: io.NopCloser(strings.NewReader("these are the bytes.")), IfNoneMatch: new("*")})
	if err == nil {
		t.Fatal("overwritten") // a refusal is part of the session
	}
	par, err := store.CreatePreauthenticatedRequest(ctx, objectstorage.CreatePreauthenticatedRequestRequest{
		NamespaceName: &w.tenancy.Namespace, BucketName: new("images"),
		CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{
			Name: new("share"), ObjectName: new("dir/x.oci"), AccessType: objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread,
			TimeExpires: &common.SDKTime{Time: time.Now().Add(time.Hour)},
		}})
	must("create PAR", err)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://objectstorage."+region+".oraclecloud.com"+*par.AccessUri, nil)
	resp, err := web.Do(req)
	must("use PAR", err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	_, err = store.DeletePreauthenticatedRequest(ctx, objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ParId: par.Id})
	must("delete PAR", err)
	_, err = store.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ObjectName: new("dir/x.oci")})
	must("delete object", err)
	_, err = store.DeleteBucket(ctx, objectstorage.DeleteBucketRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), IfMatch: created.ETag})
	must("delete bucket", err)
	_, err = compute.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: launched.Id})
	must("terminate", err)
	for state := launched.LifecycleState; state != core.InstanceLifecycleStateTerminated; time.Sleep(10 * time.Millisecond) {
		got, err := compute.GetInstance(ctx, core.GetInstanceRequest{InstanceId: launched.Id})
		must("get instance", err)
		state = got.LifecycleState
	}
}
