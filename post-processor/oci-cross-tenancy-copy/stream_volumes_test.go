// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"bytes"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// withDevices registers an image of the AMI's snapshot with more devices.
func (f *flying) withDevices(t *testing.T, more ...ec2types.BlockDeviceMapping) {
	t.Helper()
	images, err := f.client().DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{f.ami}})
	if err != nil {
		t.Fatal(err)
	}
	img := images.Images[0]
	var tags []ec2types.Tag
	for k, v := range proven() {
		tags = append(tags, ec2types.Tag{Key: &k, Value: &v})
	}
	devices := []ec2types.BlockDeviceMapping{{DeviceName: img.RootDeviceName, Ebs: &ec2types.EbsBlockDevice{SnapshotId: img.BlockDeviceMappings[0].Ebs.SnapshotId}}}
	for _, d := range more {
		if d.Ebs != nil && d.Ebs.SnapshotId != nil {
			d.Ebs.SnapshotId = img.BlockDeviceMappings[0].Ebs.SnapshotId
		}
		devices = append(devices, d)
	}
	r, err := f.client().RegisterImage(t.Context(), &ec2.RegisterImageInput{
		Name: aws.String("debian-12-more"), Architecture: ec2types.ArchitectureValuesArm64, VirtualizationType: aws.String("hvm"), EnaSupport: aws.Bool(true),
		RootDeviceName: img.RootDeviceName, BlockDeviceMappings: devices, BootMode: ec2types.BootModeValuesUefi,
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeImage, Tags: tags}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.ami = *r.ImageId
	if err := ec2.NewImageAvailableWaiter(f.client()).Wait(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{f.ami}}, 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	f.wire.reset(nil)
}

// What is not copied is not deleted either: an image whose data volumes stay behind is
// not taken with keep_source_image = false.
func TestStreamKeepsOtherVolumes(t *testing.T) {
	for _, keep := range []bool{true, false} {
		inFlight(t, blocks(1), func(t *testing.T, f *flying) {
			f.withDevices(t, ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdb"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: aws.String("")}})
			in := f.settings()
			in["keep_source_image"] = keep
			image, said, err := f.copy(t.Context(), t, in)
			if keep {
				if err != nil || !strings.Contains(said, "has 2 volumes; only the root volume") {
					t.Fatalf("%v\n%s", err, said)
				}
				f.mustLeave(t, image, said)
				return
			}
			for _, want := range []string{"has 2 volumes, of which only the root volume", "keep_source_image = false", "nothing was started"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said: %v\n%s", want, err, said)
				}
			}
			if n := f.aws.CountRequests("DeregisterImage") + f.aws.CountRequests("DeleteSnapshot") + f.aws.CountRequests("ListSnapshotBlocks"); err == nil || n > 0 || len(f.left()) > 0 {
				t.Errorf("%d requests, left %q, %v", n, f.left(), err)
			}
		})
	}
}

// Which volume is the root is what the image says, and never a guess: a data volume would
// be copied without a word.
func TestStreamRootWithoutDevice(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		f.wire.reset(func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if !amazon(r) {
				return false
			}
			rec := httptest.NewRecorder()
			f.serve(rec, r)
			maps.Copy(w.Header(), rec.Header())
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			_, _ = w.Write(bytes.ReplaceAll(rec.Body.Bytes(), []byte("<rootDeviceName>/dev/xvda<"), []byte("<rootDeviceName>/dev/sda1<")))
			return true
		})
		_, said, err := f.copy(t.Context(), t, f.settings())
		if err == nil || !strings.Contains(said, "has no snapshot of its root volume /dev/sda1") || !strings.Contains(said, "nothing was started") {
			t.Errorf("%v\n%s", err, said)
		}
	})
}
