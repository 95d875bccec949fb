// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// importKey makes a key pair of the user's, and returns its id and private key.
func importKey(t *testing.T, s *stage.Stage, name string) (id, private string) {
	t.Helper()
	private, public := newSSHKey(t)
	r := must[*ec2.ImportKeyPairOutput](t)(client(s, stage.AWSRegion).ImportKeyPair(t.Context(), &ec2.ImportKeyPairInput{KeyName: &name, PublicKeyMaterial: []byte(public)}))
	return aws.ToString(r.KeyPairId), private
}

// ops are the operations of the log, in order.
func ops(s *stage.Stage) (list []string) {
	for _, r := range s.AWS.Cloud.Requests() {
		list = append(list, r.Op)
	}
	return list
}

// A key pair that exists, with its private key: nothing is made for it.
func TestKeyPairByName(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	id, private := importKey(t, s, "packer-graviton-key")
	a, _ := built(t, s, set{"ssh_keypair_name": "packer-graviton-key", "ssh_private_key": private}, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		if i := running(t, s); aws.ToString(i.KeyName) != "packer-graviton-key" {
			t.Errorf("key pair %q", aws.ToString(i.KeyName))
		}
		return touch(ctx, ui, comm)
	})
	if l := s.Left(append(kept(t, s, a), id)...); len(l) > 0 {
		t.Errorf("left behind: %q", l)
	}
	if slices.Contains(ops(s)[1:], "ImportKeyPair") {
		t.Error("a key pair was made")
	}
	// One that is not there is said before anything starts.
	_, _, err := build(t.Context(), t, s, set{"ssh_keypair_name": "nobodys", "ssh_private_key": private, "ami_name": "another"}, nil)
	if err == nil || !strings.Contains(err.Error(), `ssh_keypair_name: there is no key pair "nobodys" in `+stage.AWSRegion) || s.AWS.Cloud.CountRequests("RunInstances") != 1 {
		t.Errorf("%v", err)
	}
}

// The build's key as a key pair of EC2, which goes again.
func TestTemporaryKeyPair(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, _ := built(t, s, set{"ssh_key_delivery": "key_pair", "machine_lifetime": "1h"}, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		if i := running(t, s); !strings.HasPrefix(aws.ToString(i.KeyName), "packer-plugin-armfree") && !strings.HasPrefix(aws.ToString(i.KeyName), "armfree") {
			t.Errorf("key pair %q", aws.ToString(i.KeyName))
		}
		return touch(ctx, ui, comm)
	})
	if s.AWS.Cloud.CountRequests("ImportKeyPair") != 1 || s.AWS.Cloud.CountRequests("DeleteKeyPair") != 1 {
		t.Errorf("%q", ops(s))
	}
	nothingLeft(t, s, a)
}

// A spot machine is asked for as one, and its image is EC2's work: it cannot be
// stopped.
func TestSpot(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, said := built(t, s, set{"spot_price": "auto", "spot_tags": map[string]string{"s": "t"}}, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		i := running(t, s)
		if i.InstanceLifecycle != types.InstanceLifecycleTypeSpot || i.SpotInstanceRequestId == nil {
			t.Fatalf("%+v", i)
		}
		r := must[*ec2.DescribeSpotInstanceRequestsOutput](t)(client(s, stage.AWSRegion).DescribeSpotInstanceRequests(ctx, &ec2.DescribeSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{*i.SpotInstanceRequestId}}))
		if tags := tagsOf(r.SpotInstanceRequests[0].Tags); tags["s"] != "t" || tags["armfree"] == "" {
			t.Errorf("tags of the request: %v", tags)
		}
		return touch(ctx, ui, comm)
	})
	for _, want := range []string{"t4g.micro as a spot machine in eu-central-1 is not free: spot machines are not part of the free tier (from $0.0", " spot: launched"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}
	if all := ops(s); slices.Contains(all, "StopInstances") || slices.Contains(all, "RegisterImage") || !slices.Contains(all, "CreateImage") {
		t.Errorf("%q", all)
	}
	nothingLeft(t, s, a)
	holds(t, s, imagesOf(a)[stage.AWSRegion])
}

// holds looks for what the provisioner wrote, in a machine of the image.
func holds(t *testing.T, s *stage.Stage, image string) {
	t.Helper()
	var got bytes.Buffer
	_, said := built(t, s, set{"source_ami": image, "skip_create_ami": true, "ami_name": "other"}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download("/home/admin/built", &got)
	})
	if got.String() != "by armfree" {
		t.Errorf("the image holds %q\n%s", &got, said)
	}
}

// Where there is no spot machine, one on demand will do, if the template says so.
func TestSpotThenOnDemand(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	addFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultCapacity, Market: "spot"})
	a, said := built(t, s, set{"markets": []string{"spot", "on-demand"}, "instance_type": "t4g.small"}, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		if i := running(t, s); i.InstanceLifecycle != "" {
			t.Errorf("%+v", i)
		}
		return touch(ctx, ui, comm)
	})
	if !strings.Contains(said, "t4g.small 2 vCPU/2 GiB, spot: no capacity") && !strings.Contains(said, "spot: no capacity") {
		t.Errorf("it is not said that there is no spot machine:\n%s", said)
	}
	nothingLeft(t, s, a)
}

// EC2 makes the image, of a machine that was stopped.
func TestImageByEC2(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, _ := built(t, s, set{"image_method": "image", "imds_support": "v2.0", "ami_description": "of {{ .SourceAMI }}"}, nil)
	img := imageIn(t, s, stage.AWSRegion, imagesOf(a)[stage.AWSRegion])
	if all := ops(s); slices.Contains(all, "CreateSnapshot") || slices.Contains(all, "RegisterImage") || slices.Index(all, "StopInstances") > slices.Index(all, "CreateImage") {
		t.Errorf("%q", all)
	}
	if img.ImdsSupport != types.ImdsSupportValuesV20 || aws.ToString(img.Description) != "of "+s.AWS.BaseImage {
		t.Errorf("%+v", img)
	}
	nothingLeft(t, s, a)
	holds(t, s, *img.ImageId)
}

// Copies in other regions have all that the first image has: tags, sharing, an end,
// protection.
func TestCopies(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	regions := []string{"eu-central-1", "eu-west-1", "us-east-1"}
	other := s.AWS.Neighbour.ID
	a, said := built(t, s, set{
		"ami_regions": regions[1:], "tags": map[string]string{"where": "{{ .BuildRegion }}"}, "snapshot_tags": map[string]string{"kept": "yes"},
		"ami_users": []string{other}, "snapshot_users": []string{other}, "ami_org_arns": []string{"arn:aws:organizations::123456789012:organization/o-abcdefghij"},
		"deprecate_at": "720h", "deregistration_protection": set{"enabled": true}, "imds_support": "v2.0",
	}, nil)
	ids := imagesOf(a)
	if got := slices.Sorted(maps.Keys(ids)); !slices.Equal(got, regions) {
		t.Fatalf("images in %q\n%s", got, said)
	}
	if want := strings.Join([]string{regions[0] + ":" + ids[regions[0]], regions[1] + ":" + ids[regions[1]], regions[2] + ":" + ids[regions[2]]}, ","); a.Id() != want {
		t.Errorf("id %q, want %q", a.Id(), want)
	}
	for region, id := range ids {
		img := imageIn(t, s, region, id)
		tags := tagsOf(img.Tags)
		at, err := time.Parse("2006-01-02T15:04:05.000Z", aws.ToString(img.DeprecationTime))
		if tags["where"] != regions[0] || strings.Contains(tags["armfree"], "expires=") || *img.Name != "built" || img.ImdsSupport != types.ImdsSupportValuesV20 ||
			err != nil || time.Until(at) < 719*time.Hour || time.Until(at) > 721*time.Hour || !strings.HasPrefix(aws.ToString(img.DeregistrationProtection), "enabled") {
			t.Errorf("%s: tags %v, deprecated at %v (%v), protection %q", region, tags, at, err, aws.ToString(img.DeregistrationProtection))
		}
		c := client(s, region)
		shared := must[*ec2.DescribeImageAttributeOutput](t)(c.DescribeImageAttribute(t.Context(), &ec2.DescribeImageAttributeInput{ImageId: &id, Attribute: types.ImageAttributeNameLaunchPermission})).LaunchPermissions
		if len(shared) != 2 {
			t.Errorf("%s: shared with %+v", region, shared)
		}
		shot := img.BlockDeviceMappings[0].Ebs.SnapshotId
		may := must[*ec2.DescribeSnapshotAttributeOutput](t)(c.DescribeSnapshotAttribute(t.Context(), &ec2.DescribeSnapshotAttributeInput{SnapshotId: shot, Attribute: types.SnapshotAttributeNameCreateVolumePermission})).CreateVolumePermissions
		if len(may) != 1 || *may[0].UserId != other {
			t.Errorf("%s: the snapshot is shared with %+v", region, may)
		}
		is := must[*ec2.DescribeSnapshotsOutput](t)(c.DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*shot}})).Snapshots[0]
		if tags := tagsOf(is.Tags); tags["kept"] != "yes" || tags["where"] != regions[0] || strings.Contains(tags["armfree"], "expires=") {
			t.Errorf("%s: tags of the snapshot: %v", region, tags)
		}
	}
	nothingLeft(t, s, a)
	if err := a.Destroy(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
}

// The image is only in other regions.
func TestSkipBuildRegion(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, _ := built(t, s, set{"ami_regions": []string{"eu-west-1"}, "skip_save_build_region": true}, nil)
	if ids := imagesOf(a); len(ids) != 1 || ids["eu-west-1"] == "" {
		t.Errorf("%v", ids)
	}
	nothingLeft(t, s, a)
}

// Encrypted from the launch on: the image needs no copy, a copy has the key of its
// region.
func TestEncryption(t *testing.T) {
	t.Parallel()
	const here, there = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-000000000000"
	s := stage.ForTest(t, stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.KMSKeys = []string{here, there} }})
	a, said := built(t, s, set{"encrypt_boot": true, "kms_key_id": here, "ami_regions": []string{"eu-west-1"}, "region_kms_key_ids": map[string]string{"eu-west-1": there}}, nil)
	for region, key := range map[string]string{stage.AWSRegion: here, "eu-west-1": there} {
		img := imageIn(t, s, region, imagesOf(a)[region])
		shot := must[*ec2.DescribeSnapshotsOutput](t)(client(s, region).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*img.BlockDeviceMappings[0].Ebs.SnapshotId}})).Snapshots[0]
		if !*shot.Encrypted || !strings.HasSuffix(aws.ToString(shot.KmsKeyId), key) {
			t.Errorf("%s: encrypted %t by %s\n%s", region, *shot.Encrypted, aws.ToString(shot.KmsKeyId), said)
		}
	}
	if n := s.AWS.Cloud.CountRequests("CopyImage"); n != 1 {
		t.Errorf("%d copies", n)
	}
	nothingLeft(t, s, a)
}

// An image of the same name is a mistake, or goes when the new one is finished and
// not before.
func TestForceDeregister(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	first, _ := built(t, s, set{"ami_regions": []string{"eu-west-1"}}, nil)
	_, _, err := build(t.Context(), t, s, nil, nil)
	if err == nil || !strings.Contains(err.Error(), `ami_name: there is an image "built" in eu-central-1 already (`+imagesOf(first)[stage.AWSRegion]+"); choose another name, or replace it by force_deregister = true") {
		t.Errorf("%v", err)
	}
	// A build that fails takes nothing away.
	_, _, err = build(t.Context(), t, s, set{"force_deregister": true}, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return context.DeadlineExceeded })
	if err == nil {
		t.Error("it went well")
	}
	nothingLeft(t, s, first)
	before := len(ops(s))
	second, said := built(t, s, set{"ami_regions": []string{"eu-west-1"}, "force_deregister": true, "force_delete_snapshot": true}, nil)
	all := ops(s)[before:]
	if slices.Index(all, "DeregisterImage") < slices.Index(all, "CopyImage") || slices.Index(all, "DeregisterImage") < slices.Index(all, "RegisterImage") {
		t.Errorf("%q", all)
	}
	for region, id := range imagesOf(second) {
		if img := imageIn(t, s, region, id); *img.Name != "built" || id == imagesOf(first)[region] {
			t.Errorf("%s: %s\n%s", region, *img.Name, said)
		}
	}
	nothingLeft(t, s, second)
	third, _ := built(t, s, set{"packer_force": true}, nil) // in one region only, without the snapshots
	n := 0
	for _, l := range left(t, s, third) {
		if !strings.HasPrefix(l, "snapshot ") && !strings.Contains(l, imagesOf(second)["eu-west-1"]) {
			t.Errorf("left behind: %s", l)
		}
		n++
	}
	if n != 3 {
		t.Errorf("left behind: %q", left(t, s, third))
	}
}

// A new image that does not get the name of the one that it replaces fails the build,
// which says what is called what; it is not lost as well.
func TestForceDeregisterWithoutTheName(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault ec2sim.Fault
		says  string
		old   bool // is still there
	}{
		{
			name:  "it cannot be registered again",
			fault: ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RegisterImage", Skip: 1, Status: 400, Code: "ResourceLimitExceeded", Message: "too many images"},
			says:  ", is gone. ",
		},
		{name: "the older one cannot go", fault: denied("DeregisterImage"), says: "and the older one still has it. ", old: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			first, _ := built(t, s, nil, nil)
			old := imagesOf(first)[stage.AWSRegion]
			addFaults(t, s, tt.fault)
			a, said, err := build(t.Context(), t, s, set{"force_deregister": true, "force_delete_snapshot": true}, nil)
			if err == nil || a != nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), `has not got the name "built": it is called "armfree-`) || !strings.Contains(said, old) {
				t.Fatalf("%v\n%s", err, said)
			}
			s.AWS.Cloud.ResetFaults()
			images := must[*ec2.DescribeImagesOutput](t)(client(s, stage.AWSRegion).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})).Images
			news := 0
			for _, i := range images {
				switch {
				case *i.ImageId == old:
					if !tt.old {
						t.Error("the old image is still there")
					}
				case strings.Contains(err.Error(), *i.ImageId):
					news++
				default:
					t.Errorf("image %s", *i.ImageId)
				}
			}
			if news != 1 {
				t.Errorf("%d new images\n%v\n%s", news, err, said)
			}
			for _, l := range left(t, s) {
				if !strings.HasPrefix(l, "image ") && !strings.HasPrefix(l, "snapshot ") {
					t.Errorf("left behind: %s", l)
				}
			}
		})
	}
}

// A machine that got its host key through cloud-init is connected to, and runs the
// user's own user data all the same; nothing else is connected to.
func TestPinnedHostKey(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	var got bytes.Buffer
	_, said := built(t, s, set{
		"ssh_pin_host_key": true, "skip_create_ami": true, "user_data": "#!/bin/sh\necho ran > /run/user-data\n",
	}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download("/run/user-data", &got)
	})
	if got.String() != "ran\n" {
		t.Errorf("%q\n%s", &got, said)
	}
	nothingLeft(t, s)
}

// More disks: the image has them too, one stays when the machine is gone.
func TestDisks(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, said := built(t, s, set{
		"launch_block_device_mappings": []set{
			{"device_name": "/dev/xvda", "volume_size": 12, "volume_type": "gp3", "throughput": 200, "delete_on_termination": true},
			{"device_name": "/dev/sdf", "volume_size": 5, "volume_type": "gp3", "delete_on_termination": true},
			{"device_name": "/dev/sdg", "volume_size": 6, "volume_type": "gp3", "delete_on_termination": true},
		},
		"ami_block_device_mappings": []set{{"device_name": "/dev/sdg", "no_device": true}, {"device_name": "/dev/sdf", "volume_size": 7, "volume_type": "gp3"}},
	}, nil)
	img := imageIn(t, s, stage.AWSRegion, imagesOf(a)[stage.AWSRegion])
	sizes := map[string]int32{}
	for _, d := range img.BlockDeviceMappings {
		sizes[*d.DeviceName] = *d.Ebs.VolumeSize
	}
	if !maps.Equal(sizes, map[string]int32{"/dev/xvda": 12, "/dev/sdf": 7}) {
		t.Errorf("the image has %v\n%s", sizes, said)
	}
	nothingLeft(t, s, a)
}

// A subnet without public addresses, in the VPC of whoever builds.
func TestPrivateAddress(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	_, said, err := build(t.Context(), t, s, set{"associate_public_ip_address": false, "ssh_timeout": "2s"}, nil)
	if err == nil || !strings.Contains(said, "its temporary security group lets in the VPC, ") && !strings.Contains(said, "address 1") {
		t.Errorf("%v\n%s", err, said)
	}
	nothingLeft(t, s)
}

// Subnets that give no public addresses, and a template that says nothing of it: the
// group lets in who comes from the VPC and from private networks, and nobody else.
func TestPrivateSubnet(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{AWSInside: true})
	subnet, err := s.AWS.Cloud.AddSubnet(s.AWS.Build, stage.AWSRegion, ec2sim.Subnet{AZ: "eu-central-1a"})
	if err != nil {
		t.Fatal(err)
	}
	var from []string
	_, said := built(t, s, set{"subnet_id": subnet, "skip_create_ami": true, "ssh_timeout": "20s"}, func(ctx context.Context, _ packersdk.Ui, _ packersdk.Communicator) error {
		r, err := client(s, stage.AWSRegion).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("tag-key"), Values: []string{owner.Key}}}})
		for _, g := range r.SecurityGroups {
			for _, p := range g.IpPermissions {
				for _, x := range p.IpRanges {
					from = append(from, *x.CidrIp)
				}
			}
		}
		return err
	})
	if slices.Sort(from); !slices.Equal(from, []string{"10.0.0.0/8", "100.64.0.0/10", "127.96.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}) {
		t.Errorf("lets in %q\n%s", from, said)
	}
	nothingLeft(t, s)
}

// With -debug the temporary key is in a file while the build runs, and gone after.
func TestDebugKey(t *testing.T) {
	t.Chdir(t.TempDir())
	s := stage.ForTest(t, stage.Options{})
	in := settings(s)
	maps.Copy(in, set{"packer_debug": true, "packer_build_name": "armfree-aws.x", "skip_create_ami": true})
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	_, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: retry{}}, inpacker.Hook(func(context.Context, packersdk.Ui, packersdk.Communicator) error {
		if found := glob(t); len(found) != 1 || found[0] != "ec2_armfree-aws.x.pem" {
			t.Errorf("files %q", found)
		}
		return nil
	}))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if found := glob(t); len(found) > 0 {
		t.Errorf("left %q", found)
	}
}
