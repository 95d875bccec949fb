// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

const exportBucket = "armfree-exports"

// An AMI that the real Packer has built goes to OCI by way of S3, where nothing stays.
func TestAccStreamExport(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	s := stage.ForTest(t, stage.Options{})
	if err := s.AWS.Cloud.AddBucket(s.AWS.Build, stage.AWSRegion, exportBucket); err != nil {
		t.Fatal(err)
	}
	if err := s.AWS.Cloud.AddExportRole(s.AWS.Build, "vmimport", exportBucket); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	env := append(s.Env(), "AWS_SUBNET_ID=", "PKR_VAR_report="+report, asVariable(t, placeIn(s.Production, stage.ProductionRegion, "one")))
	said, err := packerBuild(t.Context(), p, env, "stream.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()), "-var", "export_bucket="+exportBucket)
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	o := readReport(t, report)
	if !o.OK || len(o.Destinations) != 1 || !strings.Contains(said, "EC2 has exported") || s.AWS.Cloud.CountRequests("GetSnapshotBlock") > 0 {
		t.Fatalf("%+v", o)
	}
	copied := o.Destinations[0].Image
	if left := s.Left(append(amiID.FindAllString(said, -1), copied)...); len(left) != 1 || !strings.HasPrefix(left[0], "snapshot ") {
		t.Errorf("beside the AMI, its snapshot and the copy there are %q", left)
	}
}

// The AWS CLI exports an image by hand, and reads it by ranges, from the simulated S3.
// qemu-img, where there is one, says that it is a disk.
func TestAccAWSCLIExport(t *testing.T) {
	acceptance(t)
	s := stage.ForTest(t, stage.Options{})
	aws := newCLI(t, s)
	aws.run("s3api", "create-bucket", "--bucket", exportBucket, "--create-bucket-configuration", "LocationConstraint="+stage.AWSRegion)
	aws.want(aws.text("LocationConstraint", "s3api", "get-bucket-location", "--bucket", exportBucket), stage.AWSRegion)
	aws.run("s3api", "create-bucket", "--bucket", "elsewhere", "--region", "us-east-1")
	aws.want(aws.text("LocationConstraint", "s3api", "get-bucket-location", "--bucket", "elsewhere", "--region", "us-east-1"), "None")
	aws.refused("IllegalLocationConstraintException", "s3api", "create-bucket", "--bucket", "nowhere")
	aws.run("s3api", "head-bucket", "--bucket", exportBucket)
	if err := s.AWS.Cloud.AddExportRole(s.AWS.Build, "vmimport", exportBucket); err != nil {
		t.Fatal(err)
	}
	export := func(image string, more ...string) []string {
		return append([]string{"ec2", "export-image", "--image-id", image, "--disk-image-format", "VMDK", "--s3-export-location", "S3Bucket=" + exportBucket + ",S3Prefix=by hand/"}, more...)
	}
	// Debian's own image is somebody else's.
	aws.refused("NotExportable", export(s.AWS.BaseImage)...)
	instance := aws.text("Instances[0].InstanceId", "ec2", "run-instances", "--image-id", s.AWS.BaseImage, "--instance-type", "t4g.micro")
	aws.until("running", "Reservations[0].Instances[0].State.Name", "ec2", "describe-instances", "--instance-ids", instance)
	image := aws.text("ImageId", "ec2", "create-image", "--instance-id", instance, "--name", "mine")
	aws.until("available", "Images[0].State", "ec2", "describe-images", "--image-ids", image)
	aws.refused("InvalidParameter", export(image, "--role-name", "nobody")...)
	aws.refused("DryRunOperation", export(image, "--dry-run")...)
	task := aws.text("ExportImageTaskId", export(image, "--tag-specifications", "ResourceType=export-image-task,Tags=[{Key=made,Value=by hand}]")...)
	aws.until("completed", "ExportImageTasks[0].Status", "ec2", "describe-export-image-tasks", "--export-image-task-ids", task)
	aws.want(aws.text("ExportImageTasks[0].[ImageId,S3ExportLocation.S3Bucket,S3ExportLocation.S3Prefix,Tags[0].Value]", "ec2", "describe-export-image-tasks", "--export-image-task-ids", task),
		strings.Join([]string{image, exportBucket, "by hand/", "by hand"}, "\t"))
	aws.want(aws.text("length(ExportImageTasks)", "ec2", "describe-export-image-tasks", "--filters", "Name=task-state,Values=active"), "0")
	aws.refused("IncorrectState", "ec2", "cancel-export-task", "--export-task-id", task)
	key := "by hand/" + task + ".vmdk"
	aws.want(aws.text("Contents[].Key", "s3api", "list-objects-v2", "--bucket", exportBucket, "--prefix", "by hand/"), key)
	size := aws.text("ContentLength", "s3api", "head-object", "--bucket", exportBucket, "--key", key)
	file := filepath.Join(t.TempDir(), "disk.vmdk")
	aws.want(aws.text("ContentRange", "s3api", "get-object", "--bucket", exportBucket, "--key", key, "--range", "bytes=0-511", file), "bytes 0-511/"+size)
	aws.want(aws.text("ContentLength", "s3api", "get-object", "--bucket", exportBucket, "--key", key, file), size)
	aws.refused("404", "s3api", "head-object", "--bucket", exportBucket, "--key", "none")
	checkVMDK(t, file)
	aws.refused("BucketNotEmpty", "s3api", "delete-bucket", "--bucket", exportBucket)
	aws.run("s3api", "delete-object", "--bucket", exportBucket, "--key", key)
	aws.run("s3api", "delete-bucket", "--bucket", exportBucket)
}

// checkVMDK asks qemu-img about a file.
func checkVMDK(t *testing.T, file string) {
	t.Helper()
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Log("qemu-img is not installed: the file is not held against QEMU's idea of it")
		return
	}
	for _, args := range [][]string{{"check", "-f", "vmdk", file}, {"info", "--output", "json", "-f", "vmdk", file}} {
		out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
		if err != nil {
			t.Errorf("qemu-img %q: %v\n%s", args, err, out)
		}
		if args[0] == "info" && !strings.Contains(string(out), fmt.Sprintf(`"virtual-size": %d`, 8<<30)) {
			t.Errorf("the disk is not one of 8 GiB:\n%s", out)
		}
	}
}
