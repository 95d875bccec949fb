// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
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

// rewrite changes what Amazon answers.
func (f *flying) rewrite(change func([]byte) []byte) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if !amazon(r) {
			return false
		}
		rec := httptest.NewRecorder()
		f.serve(rec, r)
		maps.Copy(w.Header(), rec.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.Code)
		_, _ = w.Write(change(rec.Body.Bytes()))
		return true
	}
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

// Volumes that are made empty with each machine are named: nothing of them is copied, and
// a machine that mounts them does not boot without.
func TestStreamNamesBlankVolumes(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.withDevices(t, ec2types.BlockDeviceMapping{DeviceName: aws.String("/dev/sdc"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(20)}})
		f.wire.reset(f.rewrite(func(b []byte) []byte { // the simulator has no instance stores
			return bytes.ReplaceAll(b, []byte("<blockDeviceMapping>"), []byte("<blockDeviceMapping><item><deviceName>/dev/sdb</deviceName><virtualName>ephemeral0</virtualName></item>"))
		}))
		_, said, err := f.copy(t.Context(), t, f.settings())
		if want := "volumes that hold nothing yet (/dev/sdb is the instance store ephemeral0, /dev/sdc has 20 GiB)"; err != nil || !strings.Contains(said, want) {
			t.Errorf("%v, want %q\n%s", err, want, said)
		}
	})
}

// Which volume is the root is what the image says, and never a guess: a data volume would
// be copied without a word.
func TestStreamRootWithoutDevice(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		f.wire.reset(f.rewrite(func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("<rootDeviceName>/dev/xvda<"), []byte("<rootDeviceName>/dev/sda1<"))
		}))
		_, said, err := f.copy(t.Context(), t, f.settings())
		if err == nil || !strings.Contains(said, "has no snapshot of its root volume /dev/sda1") || !strings.Contains(said, "nothing was started") {
			t.Errorf("%v\n%s", err, said)
		}
	})
}

// A snapshot of which EC2 does not say how much is written may be as large as its volume.
func TestStreamLimitWithoutFullSize(t *testing.T) {
	for limit, fails := range map[int]bool{7: true, 8: false, -1: false} {
		inFlight(t, blocks(1), func(t *testing.T, f *flying) {
			f.tag(t, proven())
			said := regexp.MustCompile("<fullSnapshotSizeInBytes>[0-9]+</fullSnapshotSizeInBytes>")
			f.wire.reset(f.rewrite(func(b []byte) []byte { return said.ReplaceAll(b, nil) }))
			in := f.settings()
			in["size_limit_in_gbs"] = limit
			_, text, err := f.copy(t.Context(), t, in)
			if (err != nil) != fails || fails && !strings.Contains(text, "has 8 GB, and the limit is 7") {
				t.Errorf("limit %d: %v\n%s", limit, err, text)
			}
		})
	}
}

// counted is an object that takes everything.
type counted struct {
	imagestream.Object
	n int
}

func (c *counted) Part(_ context.Context, _ int, data []byte) error {
	c.n += len(data)
	return nil
}

// Whatever was said of the size beforehand, no more than the limit is uploaded.
func TestUploadEndsAtLimit(t *testing.T) {
	under := &counted{}
	o := &limitedObject{Object: under, left: 100, gigabytes: 7}
	for i, want := range []bool{true, true, false, false} {
		err := o.Part(t.Context(), i+1, make([]byte, 50))
		if (err == nil) != want || !want && !strings.Contains(err.Error(), "size_limit_in_gbs: the image takes more than 7 GB") {
			t.Errorf("part %d: %v", i, err)
		}
	}
	if under.n != 100 {
		t.Errorf("%d bytes", under.n)
	}
}
