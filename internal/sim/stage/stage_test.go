// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package stage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

const farRegion = "uk-london-1"

func provider(t *ocisim.Tenancy, region string) common.ConfigurationProvider {
	return common.NewRawConfigurationProvider(t.ID, t.UserID, region, t.Fingerprint(), t.PrivateKeyPEM(), nil)
}

func compute(t *testing.T, s *stage.Stage, region string) core.ComputeClient {
	t.Helper()
	c, err := core.NewComputeClientWithConfigurationProvider(provider(s.Build, region))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = s.Net.Client()
	return c
}

func launch(s *stage.Stage, region, image string, ocpus, memory float32) core.LaunchInstanceRequest {
	return core.LaunchInstanceRequest{LaunchInstanceDetails: core.LaunchInstanceDetails{
		AvailabilityDomain: &s.Build.AvailabilityDomains(region)[0], CompartmentId: &s.Build.CompartmentID,
		Shape:             common.String("VM.Standard.A1.Flex"),
		ShapeConfig:       &core.LaunchInstanceShapeConfigDetails{Ocpus: &ocpus, MemoryInGBs: &memory},
		SourceDetails:     core.InstanceSourceViaImageDetails{ImageId: &image},
		CreateVnicDetails: &core.CreateVnicDetails{SubnetId: common.String(s.Build.SubnetID(region))},
	}}
}

func wantRefused(t *testing.T, err error, status int, code, part string) {
	t.Helper()
	var refused common.ServiceError
	if !errors.As(err, &refused) || refused.GetHTTPStatusCode() != status || refused.GetCode() != code ||
		!strings.Contains(refused.GetMessage(), part) {
		t.Errorf("got %v, want %d %s %q", err, status, code, part)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// TestMoreRegions: every region of the build tenancy has an image of its own
// and a bucket, and none of them counts as left behind.
func TestMoreRegions(t *testing.T) {
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{farRegion}})
	ctx := context.Background()
	near, far := s.BaseImageIn(stage.BuildRegion), s.BaseImageIn(farRegion)
	if near == "" || near != s.BaseImage || far == "" || far == near || s.BaseImageIn(stage.ProductionRegion) != "" {
		t.Fatalf("base images: %q and %q", near, far)
	}
	if left := s.Left(); len(left) != 0 {
		t.Errorf("at first there is %q", left)
	}
	store, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(provider(s.Build, farRegion))
	if err != nil {
		t.Fatal(err)
	}
	store.HTTPClient = s.Net.Client()
	if _, err := store.GetBucket(ctx, objectstorage.GetBucketRequest{NamespaceName: &s.Build.Namespace,
		BucketName: common.String(stage.BucketName)}); err != nil {
		t.Error(err)
	}
	c := compute(t, s, farRegion)
	_, err = c.LaunchInstance(ctx, launch(s, farRegion, near, 1, 6))
	wantRefused(t, err, 404, "NotAuthorizedOrNotFound", "")
	i, err := c.LaunchInstance(ctx, launch(s, farRegion, far, 1, 6))
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Left(); len(left) < 2 || !strings.HasPrefix(left[0], "instance "+*i.Id+" in "+farRegion) {
		t.Errorf("left: %q", left)
	}
	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: i.Id}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() bool { return len(s.Left()) == 0 })
}

// TestReservationIsLeft: a capacity reservation costs money until it is gone.
func TestReservationIsLeft(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	ctx := context.Background()
	c := compute(t, s, stage.BuildRegion)
	r, err := c.CreateComputeCapacityReservation(ctx, core.CreateComputeCapacityReservationRequest{
		CreateComputeCapacityReservationDetails: core.CreateComputeCapacityReservationDetails{CompartmentId: &s.Build.CompartmentID,
			AvailabilityDomain: &s.Build.AvailabilityDomains(stage.BuildRegion)[0]}})
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Left(); len(left) != 1 || !strings.Contains(left[0], "capacity reservation "+*r.Id) {
		t.Errorf("left: %q", left)
	}
	if left := s.Left(*r.Id); len(left) != 0 {
		t.Errorf("left, although it is to stay: %q", left)
	}
	eventually(t, "it is gone", func() bool {
		_, _ = c.DeleteComputeCapacityReservation(ctx, core.DeleteComputeCapacityReservationRequest{CapacityReservationId: r.Id})
		return len(s.Left()) == 0
	})
}

// TestOneRegion is the stage without more regions.
func TestOneRegion(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	_, err := compute(t, s, farRegion).LaunchInstance(context.Background(), launch(s, farRegion, s.BaseImage, 1, 6))
	wantRefused(t, err, 401, "NotAuthenticated", "")
	if _, err := stage.New(context.Background(), stage.Options{Dir: t.TempDir(), MoreRegions: []string{"eu-nowhere-1"}}); err == nil ||
		!strings.Contains(err.Error(), "eu-nowhere-1") {
		t.Errorf("an unknown region: %v", err)
	}
}

// TestAlwaysFree builds an image in an account without a credit card, which
// has just enough for that.
func TestAlwaysFree(t *testing.T) {
	s := stage.ForTest(t, stage.Options{Adjust: func(build, _ *ocisim.Tenancy) { build.AlwaysFree = true }})
	ctx := context.Background()
	c := compute(t, s, stage.BuildRegion)
	_, err := c.LaunchInstance(ctx, launch(s, stage.BuildRegion, s.BaseImage, 3, 12))
	wantRefused(t, err, 400, "LimitExceeded", "standard-a1-core-count, standard-a1-core-regional-count")
	_, err = c.LaunchInstance(ctx, launch(s, stage.BuildRegion, s.BaseImage, 2, 13))
	wantRefused(t, err, 400, "LimitExceeded", "standard-a1-memory-count, standard-a1-memory-regional-count")
	i, err := c.LaunchInstance(ctx, launch(s, stage.BuildRegion, s.BaseImage, 2, 12))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := launch(s, stage.BuildRegion, s.BaseImage, 1, 1)
	elsewhere.AvailabilityDomain = &s.Build.AvailabilityDomains(stage.BuildRegion)[1]
	_, err = c.LaunchInstance(ctx, elsewhere) // the limit is the region's as well
	wantRefused(t, err, 400, "LimitExceeded", "exceeded: standard-a1-memory-regional-count, standard-a1-core-regional-count")
	eventually(t, "it runs", func() bool {
		got, err := c.GetInstance(ctx, core.GetInstanceRequest{InstanceId: i.Id})
		return err == nil && got.LifecycleState == core.InstanceLifecycleStateRunning
	})
	image, err := c.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &s.Build.CompartmentID, InstanceId: i.Id}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the image is made", func() bool {
		got, err := c.GetImage(ctx, core.GetImageRequest{ImageId: image.Id})
		return err == nil && got.LifecycleState == core.ImageLifecycleStateAvailable
	})
	if _, err := c.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: i.Id}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "only the image is left", func() bool { return len(s.Left(*image.Id)) == 0 })
}

// TestBastionThroughProxy: an SSH client that goes through the proxy reaches
// the jump host under Oracle's name for it, and no other port or host.
func TestBastionThroughProxy(t *testing.T) {
	s := stage.ForTest(t, stage.Options{PlatformImages: true})
	if s.Cloud.ImageID(s.Neighbour, stage.BuildRegion, "Oracle-Linux-9.7-aarch64-2026.01.31-0") == "" {
		t.Error("the neighbour sees no platform image")
	}
	connect := func(target string) (string, *bufio.Reader) {
		conn, err := net.Dial("tcp", s.Net.ProxyURL().Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target)
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line, r
	}
	status, r := connect("host.bastion.eu-frankfurt-1.oci.oraclecloud.com:22")
	if !strings.Contains(status, " 200 ") {
		t.Fatalf("got %q", status)
	}
	if _, err := r.ReadString('\n'); err != nil { // the end of the proxy's answer
		t.Fatal(err)
	}
	if banner, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(banner, "SSH-2.0-") {
		t.Errorf("the jump host says %q, %v", banner, err)
	}
	if left := s.Left(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestWaysInAreLeft: a group and a bastion that somebody forgets are left.
func TestWaysInAreLeft(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	ctx := context.Background()
	from := provider(s.Build, stage.BuildRegion)
	network, err := core.NewVirtualNetworkClientWithConfigurationProvider(from)
	if err != nil {
		t.Fatal(err)
	}
	network.HTTPClient = s.Net.Client()
	g, err := network.CreateNetworkSecurityGroup(ctx, core.CreateNetworkSecurityGroupRequest{
		CreateNetworkSecurityGroupDetails: core.CreateNetworkSecurityGroupDetails{CompartmentId: &s.Build.CompartmentID,
			VcnId: common.String(s.Build.VCNID(stage.BuildRegion))}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := bastion.NewBastionClientWithConfigurationProvider(from)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = s.Net.Client()
	b, err := c.CreateBastion(ctx, bastion.CreateBastionRequest{CreateBastionDetails: bastion.CreateBastionDetails{
		BastionType: common.String("STANDARD"), CompartmentId: &s.Build.CompartmentID, TargetSubnetId: common.String(s.Build.PrivateSubnetID(stage.BuildRegion))}})
	if err != nil {
		t.Fatal(err)
	}
	left := strings.Join(s.Left(), "\n")
	for _, want := range []string{"network security group " + *g.Id, "bastion " + *b.Id} {
		if !strings.Contains(left, want) {
			t.Errorf("%q is not among what is left: %s", want, left)
		}
	}
}
