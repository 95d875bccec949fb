// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// export is a request for an image of the build account.
func (k *kit) export(change func(*ec2.ExportImageInput)) *ec2.ExportImageInput {
	in := &ec2.ExportImageInput{
		ImageId: aws.String(k.cloud.ImageID(region, "mine")), DiskImageFormat: types.DiskImageFormatVmdk,
		S3ExportLocation: &types.ExportTaskS3LocationRequest{S3Bucket: aws.String("exports"), S3Prefix: aws.String("x/")},
	}
	if change != nil {
		change(in)
	}
	return in
}

func newExportKit(t *testing.T, change func(*ec2sim.Config)) *kit {
	t.Helper()
	k := newKit(t, func(c *ec2sim.Config) {
		own := func(name string) ec2sim.BaseImage {
			return ec2sim.BaseImage{Name: name, Path: c.Images[0].Path, Owner: c.Accounts[0], Regions: []string{region}}
		}
		market, sealed := own("market"), own("sealed")
		market.ProductCode, sealed.Encrypted = "abc", true
		c.Images = append(c.Images, own("mine"), market, sealed)
		if change != nil {
			change(c)
		}
	})
	for name, at := range map[string]string{"exports": region, "elsewhere": "us-west-1"} {
		if err := k.cloud.AddBucket(k.build, at, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, bucket := range []string{"exports", "elsewhere"} {
		if err := k.cloud.AddExportRole(k.build, "to-"+bucket, bucket); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.cloud.AddExportRole(k.build, "vmimport", "exports"); err != nil {
		t.Fatal(err)
	}
	return k
}

// An export is what EC2 documents to refuse, or comes to its end.
func TestExportImageRefuses(t *testing.T) {
	k := newExportKit(t, nil)
	for name, tt := range map[string]struct {
		change func(*ec2.ExportImageInput)
		code   string
		status int
		part   string
	}{
		"marketplace": {func(in *ec2.ExportImageInput) { in.ImageId = aws.String(k.cloud.ImageID(region, "market")) }, "NotExportable", 400, "marketplace"},
		"encrypted":   {func(in *ec2.ExportImageInput) { in.ImageId = aws.String(k.cloud.ImageID(region, "sealed")) }, "InvalidParameter", 400, "encrypted EBS block devices"},
		"Debian's":    {func(in *ec2.ExportImageInput) { in.ImageId = &k.ami }, "NotExportable", 400, "not owned"},
		"no image":    {func(in *ec2.ExportImageInput) { in.ImageId = aws.String("ami-00000001") }, "InvalidAMIID.NotFound", 400, "ami-00000001"},
		"no bucket":   {func(in *ec2.ExportImageInput) { in.S3ExportLocation.S3Bucket = aws.String("none") }, "InvalidParameter", 400, "S3 bucket none"},
		"a bucket elsewhere": {func(in *ec2.ExportImageInput) {
			in.S3ExportLocation.S3Bucket, in.RoleName = aws.String("elsewhere"), aws.String("to-elsewhere")
		}, "InvalidParameter", 400, "not in the region"},
		"no role":                {func(in *ec2.ExportImageInput) { in.RoleName = aws.String("none") }, "InvalidParameter", 400, "service role none"},
		"a role that may not":    {func(in *ec2.ExportImageInput) { in.RoleName = aws.String("to-elsewhere") }, "InvalidParameter", 400, "sufficient permissions"},
		"a format of no service": {func(in *ec2.ExportImageInput) { in.DiskImageFormat = "QCOW2" }, "InvalidParameterValue", 400, "QCOW2"},
		"a tag for something else": {func(in *ec2.ExportImageInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeImage, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
		}, "InvalidParameterValue", 400, "not a valid taggable resource type"},
		"a rehearsal": {func(in *ec2.ExportImageInput) { in.DryRun = aws.Bool(true) }, "DryRunOperation", 412, "would have succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.client.ExportImage(t.Context(), k.export(tt.change))
			wantError(t, err, tt.status, tt.code, tt.part)
		})
	}
	if left := k.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	k = newExportKit(t, func(c *ec2sim.Config) { c.Switches.ARM64NotExportable = true })
	_, err := k.client.ExportImage(t.Context(), k.export(nil))
	wantError(t, err, 400, "NotExportable", "arm64")
}

// A task is known by its token, is one at a time for an image, and can be cancelled as
// long as it is active; nothing is written then.
func TestExportTask(t *testing.T) {
	k := newExportKit(t, nil)
	if err := k.cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: "ExportImage", State: "active", Delay: ec2sim.Duration(1 << 40), Times: 1}); err != nil {
		t.Fatal(err)
	}
	ask := k.export(func(in *ec2.ExportImageInput) { in.ClientToken = aws.String("t1") })
	task := must[*ec2.ExportImageOutput](t)(k.client.ExportImage(t.Context(), ask))
	again := must[*ec2.ExportImageOutput](t)(k.client.ExportImage(t.Context(), ask))
	if *again.ExportImageTaskId != *task.ExportImageTaskId || *task.Status != "active" || *task.RoleName != "vmimport" {
		t.Errorf("%+v and %+v", task, again)
	}
	_, err := k.client.ExportImage(t.Context(), k.export(nil))
	wantError(t, err, 400, "ResourceLimitExceeded", "under way")
	_, err = k.client.DescribeExportImageTasks(t.Context(), &ec2.DescribeExportImageTasksInput{Filters: filterBy("image-id", "ami-1")})
	wantError(t, err, 400, "InvalidParameterValue", "filter")
	_, err = k.clientOf(k.other, region).CancelExportTask(t.Context(), &ec2.CancelExportTaskInput{ExportTaskId: task.ExportImageTaskId})
	wantError(t, err, 400, "InvalidExportTaskID.NotFound", *task.ExportImageTaskId)
	if _, err := k.client.CancelExportTask(t.Context(), &ec2.CancelExportTaskInput{ExportTaskId: task.ExportImageTaskId}); err != nil {
		t.Fatal(err)
	}
	k.exportReaches(*task.ExportImageTaskId, "deleted")
	_, err = k.client.CancelExportTask(t.Context(), &ec2.CancelExportTaskInput{ExportTaskId: task.ExportImageTaskId})
	wantError(t, err, 400, "IncorrectState", "deleted")
	if left := k.left(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	task = must[*ec2.ExportImageOutput](t)(k.client.ExportImage(t.Context(), k.export(nil)))
	k.exportReaches(*task.ExportImageTaskId, "completed")
	if left := k.left(); len(left) != 1 || left[0] != "object exports/x/"+*task.ExportImageTaskId+".vmdk  in "+region+" of account build ()" {
		t.Errorf("left: %q", left)
	}
}

// exportReaches waits for the state of a task.
func (k *kit) exportReaches(id, state string) {
	k.t.Helper()
	eventually(k.t, "the export is "+state, func() bool {
		r := must[*ec2.DescribeExportImageTasksOutput](k.t)(k.client.DescribeExportImageTasks(k.t.Context(), &ec2.DescribeExportImageTasksInput{ExportImageTaskIds: []string{id}}))
		return *r.ExportImageTasks[0].Status == state
	})
}
