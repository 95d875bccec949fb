// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// plantOCI puts decoys of every kind that a sweep removes into the build tenancy's bucket
// and the production tenancy, whose machines do not take what the build may have.
func plantOCI(t *testing.T, s *stage.Stage) {
	t.Helper()
	as := func(who *ocisim.Tenancy) common.ConfigurationProvider {
		return common.NewRawConfigurationProvider(who.ID, who.UserID, who.HomeRegion, who.Fingerprint(), who.PrivateKeyPEM(), nil)
	}
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	o, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(as(s.Build))
	must(err)
	o.HTTPClient = s.Net.Client()
	ns, bucket := &s.Build.Namespace, common.String(stage.BucketName)
	objects := append(decoyNames(owner.RoleImage, ".oci"), decoyNames(owner.RoleCopy, "")[2:]...)
	for _, name := range append(objects, "theirs.txt", "armfree-copy-mine.oci", "armfree-copy-a-b", "debian.oci") {
		_, err := o.PutObject(ctx, objectstorage.PutObjectRequest{NamespaceName: ns, BucketName: bucket, ObjectName: &name, ContentLength: common.Int64(1), PutObjectBody: io.NopCloser(strings.NewReader("x"))})
		must(err)
	}
	for _, name := range decoyNames(owner.RoleImage, ".oci") {
		_, err := o.CreateMultipartUpload(ctx, objectstorage.CreateMultipartUploadRequest{NamespaceName: ns, BucketName: bucket, CreateMultipartUploadDetails: objectstorage.CreateMultipartUploadDetails{Object: &name}})
		must(err)
	}
	for _, name := range append(decoyNames(owner.RoleImport, ""), decoyNames(owner.RoleExport, "")...) {
		_, err := o.CreatePreauthenticatedRequest(ctx, objectstorage.CreatePreauthenticatedRequestRequest{
			NamespaceName: ns, BucketName: bucket, CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{
				Name: &name, ObjectName: common.String("theirs.txt"), AccessType: objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread,
				TimeExpires: &common.SDKTime{Time: time.Now().Add(30 * 24 * time.Hour)},
			},
		})
		must(err)
	}

	c, err := core.NewComputeClientWithConfigurationProvider(as(s.Production))
	must(err)
	c.HTTPClient = s.Net.Client()
	at, compartment := stage.ProductionRegion, &s.Production.CompartmentID
	base := s.Cloud.ImageID(s.Production, at, "Canonical-Ubuntu-24.04-aarch64-2026.01.31-0")
	var instances []string
	for n := range 4 {
		i, err := c.LaunchInstance(ctx, core.LaunchInstanceRequest{LaunchInstanceDetails: core.LaunchInstanceDetails{
			AvailabilityDomain: &s.Production.AvailabilityDomains(at)[0], CompartmentId: compartment, Shape: common.String("VM.Standard.A1.Flex"),
			ShapeConfig:   &core.LaunchInstanceShapeConfigDetails{Ocpus: common.Float32(1), MemoryInGBs: common.Float32(1)},
			SourceDetails: core.InstanceSourceViaImageDetails{ImageId: &base}, FreeformTags: markOf(owner.RoleInstance, n),
			CreateVnicDetails: &core.CreateVnicDetails{SubnetId: common.String(s.Production.SubnetID(at))},
		}})
		must(err)
		instances = append(instances, *i.Id)
	}
	bastions, err := bastion.NewBastionClientWithConfigurationProvider(as(s.Production))
	must(err)
	bastions.HTTPClient = s.Net.Client()
	for n, name := range []string{"theirs", "alive", "banana", "none", "stays"} {
		_, err := bastions.CreateBastion(ctx, bastion.CreateBastionRequest{CreateBastionDetails: bastion.CreateBastionDetails{
			BastionType: common.String("STANDARD"), Name: &name, CompartmentId: compartment, TargetSubnetId: common.String(s.Production.SubnetID(at)),
			ClientCidrBlockAllowList: []string{"198.51.100.0/24"}, FreeformTags: markOf(owner.RoleBastion, n),
		}})
		must(err)
	}

	global, err := c.ListComputeGlobalImageCapabilitySchemas(ctx, core.ListComputeGlobalImageCapabilitySchemasRequest{})
	must(err)
	// The first is finished, and its schema would be a leftover without it.
	tags := append([]map[string]string{{owner.Key: owner.Tag{Build: "bbbbbbbbbbbbbbbb", Role: owner.RoleImage}.String()}}, marks(owner.RoleImage)...)
	var wg sync.WaitGroup
	for at := range instances {
		wg.Go(func() {
			for n := at; n < len(tags); n += len(instances) {
				mark := expired(owner.RoleSchema)
				if n > 0 {
					mark = markOf(owner.RoleSchema, n)
				}
				if err := plantImage(ctx, c, *compartment, instances[at], *global.Items[0].CurrentVersionName, tags[n], mark); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// plantImage makes an image of a machine, and its schema.
func plantImage(ctx context.Context, c core.ComputeClient, compartment, instance, version string, tags, schema map[string]string) error {
	never := common.NoRetryPolicy()
	atOnce := common.RequestMetadata{RetryPolicy: &never}
	var img core.CreateImageResponse
	// A machine is imaged once at a time, and when it runs.
	if err := insist(func() (err error) {
		img, err = c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: atOnce, CreateImageDetails: core.CreateImageDetails{CompartmentId: &compartment, InstanceId: &instance, FreeformTags: tags}})
		return err
	}); err != nil {
		return err
	}
	return insist(func() error {
		_, err := c.CreateComputeImageCapabilitySchema(ctx, core.CreateComputeImageCapabilitySchemaRequest{RequestMetadata: atOnce, CreateComputeImageCapabilitySchemaDetails: core.CreateComputeImageCapabilitySchemaDetails{
			CompartmentId: &compartment, ImageId: img.Id, ComputeGlobalImageCapabilitySchemaVersionName: &version, FreeformTags: schema,
			SchemaData: map[string]core.ImageCapabilitySchemaDescriptor{"Compute.Firmware": core.EnumStringImageCapabilitySchemaDescriptor{
				Values: []string{"BIOS", "UEFI_64"}, DefaultValue: common.String("UEFI_64"), Source: core.ImageCapabilitySchemaDescriptorSourceImage,
			}},
		}})
		return err
	})
}

// insist does something until it works.
func insist(do func() error) (err error) {
	for range 200 {
		if err = do(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}
