// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Every option for AMIs is refused beside capture, in one sentence; and everything about
// captures without it.
func TestCaptureMistakes(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	prepare := func(change set) error {
		in := settings(s)
		maps.Copy(in, deep(change).(set))
		maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
		_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
		return err
	}
	wants := func(t *testing.T, err error, texts ...string) {
		t.Helper()
		var list *packersdk.MultiError
		if err == nil || !errors.As(err, &list) || len(list.Errors) != len(texts) {
			t.Fatalf("not %d mistakes: %v", len(texts), err)
		}
		for i, want := range texts {
			if !strings.Contains(list.Errors[i].Error(), want) {
				t.Errorf("%q is not said: %v", want, list.Errors[i])
			}
		}
	}
	for name, value := range map[string]interface{}{
		"ami_description": "x", "retain": 2, "image_series": "x", "ami_regions": []string{"eu-west-1"}, "snapshot_copy_duration_minutes": 15,
		"encrypt_boot": true, "kms_key_id": "alias/a", "region_kms_key_ids": map[string]string{near: "alias/a"}, "force_deregister": true, "force_delete_snapshot": true,
		"imds_support": "v2.0", "ami_block_device_mappings": []set{{"device_name": "/dev/sdf", "volume_size": 1}}, "ami_users": []string{"123456789012"},
		"ami_groups": []string{"all"}, "ami_org_arns": []string{"arn:aws:organizations::123456789012:organization/o-1"},
		"ami_ou_arns": []string{"arn:aws:organizations::123456789012:ou/o-1/ou-1"}, "snapshot_users": []string{"123456789012"}, "snapshot_groups": []string{"all"},
		"deprecate_at": "720h", "deregistration_protection": set{"enabled": true}, "tags": map[string]string{"a": "b"}, "tag": []set{{"key": "a", "value": "b"}},
		"snapshot_tags": map[string]string{"a": "b"}, "snapshot_tag": []set{{"key": "a", "value": "b"}}, "skip_ami_run_tags": true,
	} {
		t.Run(name, func(t *testing.T) {
			change := set{"image_method": "capture", "capture_to": to(s), name: value}
			if name == "retain" {
				change["image_series"] = "x" // which it needs
			}
			wants(t, prepare(change), "makes no AMI and no snapshot, so that "+strings.TrimSuffix(name, "_tag"))
		})
	}
	t.Run("skip_save_build_region", func(t *testing.T) {
		wants(t, prepare(set{"image_method": "capture", "capture_to": to(s), "skip_save_build_region": true, "ami_regions": []string{far}}), "so that ami_regions, skip_save_build_region would have no effect")
	})
	for _, tt := range []struct {
		name   string
		change set
		says   []string
	}{
		{"no bucket", set{"image_method": "capture"}, []string{"needs a block capture_to { } that names the bucket"}},
		{"a block without a bucket", set{"image_method": "capture", "capture_to": set{"region": stage.BuildRegion}}, []string{
			"capture_to.tenancy_ocid must be set", "capture_to.user_ocid must be set", "capture_to.fingerprint must be set", "capture_to.key", "capture_to.bucket must be set (or the environment variable BUILD_OCI_BUCKET)",
		}},
		{"no SSH", set{"image_method": "capture", "capture_to": to(s), "communicator": "none"}, []string{`image_method = "capture" needs SSH, and communicator is "none"`}},
		{"a terminal", set{"image_method": "capture", "capture_to": to(s), "ssh_pty": true}, []string{"needs a connection without a terminal, and ssh_pty is set"}},
		{"a stop", set{"image_method": "capture", "capture_to": to(s), "disable_stop_instance": true}, []string{"reads the disk of a machine that runs"}},
		{"a large disk", set{"image_method": "capture", "capture_to": to(s), "root_volume_size": 401}, []string{"root_volume_size is 401 GiB, and OCI imports captured disks of up to 400"}},
		{"unknown words", set{"image_method": "capture", "capture_to": to(s), "capture_route": "pigeon", "capture_compression": "lzma"}, []string{
			`capture_route must be "auto" or "relay", it is "pigeon"`, `capture_compression must be zstd, deflate or none, it is "lzma"`,
		}},
		{"an AMI", set{"capture_to": to(s), "capture_clean": false, "capture_route": "relay", "capture_compression": "none"}, []string{
			`capture_to, capture_route, capture_compression, capture_clean are for captured disks, and image_method is "snapshot": set it to "capture"`,
		}},
		{"an AMI by CreateImage", set{"image_method": "image", "capture_clean": true}, []string{`capture_clean is for captured disks, and image_method is "image"`}},
		{"all at once", set{"image_method": "capture", "capture_to": to(s), "ami_users": []string{"123456789012"}, "encrypt_boot": true, "ssh_pty": true, "disable_stop_instance": true}, []string{
			"so that encrypt_boot, ami_users would have no effect", "disable_stop_instance", "ssh_pty",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { wants(t, prepare(tt.change), tt.says...) })
	}
	for name, change := range map[string]set{
		"ami": {"image_method": "ami"}, "a prefix": {"image_method": "capture", "capture_to": to(s), "ami_name": nil, "ami_name_prefix": "p"},
		"run tags": {"image_method": "capture", "capture_to": to(s), "run_tags": map[string]string{"a": "b"}},
	} {
		if err := prepare(change); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for method, want := range map[string]int{"capture": 1, "ami": 0} {
		in := settings(s)
		if in["image_method"], in["packer_force"] = method, true; want > 0 {
			in["capture_to"] = to(s)
		}
		_, said, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in)
		if err != nil || strings.Count(strings.Join(said, "\n"), "packer build -force has no effect") != want {
			t.Errorf("%s: %q, %v", method, said, err)
		}
	}
}

// What the block leaves out comes from the environment, also if there is no block at all.
func TestCaptureFromEnvironment(t *testing.T) {
	s := quiet(t, nil)
	for name, v := range map[string]string{
		"BUILD_OCI_TENANCY_OCID": s.Build.ID, "BUILD_OCI_USER_OCID": s.Build.UserID, "BUILD_OCI_FINGERPRINT": s.Build.Fingerprint(),
		"BUILD_OCI_API_PRIVATE_KEY": s.Build.PrivateKeyPEM(), "BUILD_OCI_REGION": stage.BuildRegion, "BUILD_OCI_BUCKET": stage.BucketName, "BUILD_OCI_NAMESPACE": s.Build.Namespace,
	} {
		t.Setenv(name, v)
	}
	a, said, err := captureBuild(t.Context(), t, s, set{"capture_to": nil}, nil)
	if err != nil || a.State(ocibuild.StateBucket) != stage.BucketName {
		t.Fatalf("%v\n%s", err, said)
	}
	if n := s.Cloud.CountRequests("GetNamespace"); n > 0 {
		t.Errorf("the namespace was asked for %d times", n)
	}
}

// Secrets of the block are masked, whether or not they are used.
func TestCaptureSecrets(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	for _, method := range []string{"capture", "snapshot"} {
		in := settings(s)
		in["image_method"], in["capture_to"] = method, to(s)
		var c Config
		_, err := c.Prepare(in)
		if (err == nil) != (method == "capture") || !slices.ContainsFunc(c.secrets(), func(x string) bool { return strings.Contains(x, "PRIVATE KEY") }) {
			t.Errorf("%s: %v, %d secrets", method, err, len(c.secrets()))
		}
	}
}
