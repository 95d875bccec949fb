// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// settings is a template for a stage.
func settings(s *stage.Stage) set {
	return set{
		"access_key": s.AWS.Build.AccessKeyID, "secret_key": s.AWS.Build.SecretAccessKey, "region": stage.AWSRegion,
		"source_ami": s.AWS.BaseImage, "ssh_username": "admin", "ssh_port": s.AWS.Cloud.SSHPort(),
		"ami_name": "built", "capacity_interval": "20ms", "capacity_timeout": "2m", "ssh_timeout": "2m",
	}
}

// build runs the builder as Packer would.
func build(ctx context.Context, t *testing.T, s *stage.Stage, change set, h inpacker.Hook) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	maps.Copy(in, deep(change).(set)) // Packer's SDK changes what it decodes
	maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	ui := &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}
	if h == nil {
		h = touch
	}
	a, err := b.Run(ctx, ui, h)
	if err != nil {
		a = nil
	}
	return a, out.String(), err
}

// deep copies what a template consists of.
func deep(v interface{}) interface{} {
	switch v := v.(type) {
	case set:
		out := set{}
		for k, x := range v {
			out[k] = deep(x)
		}
		return out
	case []interface{}:
		out := make([]interface{}, len(v))
		for i, x := range v {
			out[i] = deep(x)
		}
		return out
	case []set:
		out := make([]set, len(v))
		for i, x := range v {
			out[i] = deep(x).(set)
		}
		return out
	case []string:
		return slices.Clone(v)
	case map[string]string:
		return maps.Clone(v)
	}
	return v
}

// built is build for one that must go well.
func built(t *testing.T, s *stage.Stage, change set, h inpacker.Hook) (packersdk.Artifact, string) {
	t.Helper()
	a, said, err := build(t.Context(), t, s, change, h)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return a, said
}

// touch is a provisioner that changes the disk.
func touch(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
	return comm.Upload("/home/admin/built", strings.NewReader("by armfree"), nil)
}

// client is the account's view of a region, by the SDK.
func client(s *stage.Stage, region string) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: region, HTTPClient: s.Net.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(s.AWS.Build.AccessKeyID, s.AWS.Build.SecretAccessKey, ""),
	})
}

// must is for calls that a test makes itself.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// imageIn is an image as its region shows it.
func imageIn(t *testing.T, s *stage.Stage, region, id string) types.Image {
	t.Helper()
	r := must[*ec2.DescribeImagesOutput](t)(client(s, region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{id}}))
	if len(r.Images) != 1 {
		t.Fatalf("%d images %s in %s", len(r.Images), id, region)
	}
	return r.Images[0]
}

// imagesOf are the images of an artifact, by region.
func imagesOf(a packersdk.Artifact) map[string]string {
	all := map[string]string{}
	if a != nil {
		for part := range strings.SplitSeq(a.Id(), ",") {
			region, id, _ := strings.Cut(part, ":")
			all[region] = id
		}
	}
	return all
}

// kept are the images of artifacts, and their snapshots.
func kept(t *testing.T, s *stage.Stage, artifacts ...packersdk.Artifact) (keep []string) {
	t.Helper()
	for _, a := range artifacts {
		for region, id := range imagesOf(a) {
			keep = append(keep, id)
			for _, d := range imageIn(t, s, region, id).BlockDeviceMappings {
				if d.Ebs != nil {
					keep = append(keep, aws.ToString(d.Ebs.SnapshotId))
				}
			}
		}
	}
	return keep
}

// left is what there is beside artifacts. EC2 deletes the volumes of a machine a
// little after it.
func left(t *testing.T, s *stage.Stage, artifacts ...packersdk.Artifact) (list []string) {
	t.Helper()
	keep := kept(t, s, artifacts...)
	for range 100 {
		list = s.Left(keep...)
		if !slices.ContainsFunc(list, func(l string) bool { return strings.HasPrefix(l, "volume ") && strings.HasSuffix(l, " (deleting)") }) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return list
}

// nothingLeft fails the test if there is more than artifacts.
func nothingLeft(t *testing.T, s *stage.Stage, artifacts ...packersdk.Artifact) {
	t.Helper()
	if l := left(t, s, artifacts...); len(l) > 0 {
		t.Errorf("left behind: %q", l)
	}
}

// running is the only machine that there is, in any region.
func running(t *testing.T, s *stage.Stage) (found types.Instance) {
	t.Helper()
	n := 0
	for _, region := range []string{stage.AWSRegion, "eu-west-1"} {
		r := must[*ec2.DescribeInstancesOutput](t)(client(s, region).DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{
			Filters: []types.Filter{{Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}}},
		}))
		for _, v := range r.Reservations {
			for _, i := range v.Instances {
				found = i
				n++
			}
		}
	}
	if n != 1 {
		t.Errorf("%d machines", n)
	}
	return found
}

func tagsOf(list []types.Tag) map[string]string {
	all := map[string]string{}
	for _, t := range list {
		all[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return all
}

// With nothing but what is needed: the key goes by user data, a group lets in the
// caller only, the metadata service is the second version's, the volume is gp3.
func TestBuild(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, said := built(t, s, set{
		"tags": map[string]string{"team": "infra", "empty": "", "from": "{{ .SourceAMIName }}"}, "snapshot_tags": map[string]string{"kept": "yes"},
		"run_tags": map[string]string{"a": "b"}, "run_volume_tags": map[string]string{"disk": "{{ .BuildRegion }}"},
	}, func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		i := running(t, s)
		tags := tagsOf(i.Tags)
		tag, err := owner.ParseTag(tags[owner.Key])
		if err != nil || tags["a"] != "b" || tags["Name"] != "" || tag.Role != owner.RoleInstance || tag.Expires.Before(time.Now()) {
			t.Errorf("tags of the machine: %v", tags)
		}
		if i.InstanceType != "t4g.micro" || i.KeyName != nil || i.MetadataOptions.HttpTokens != types.HttpTokensStateRequired || i.InstanceLifecycle != "" {
			t.Errorf("%s, key %v, metadata %+v, lifecycle %q", i.InstanceType, i.KeyName, i.MetadataOptions, i.InstanceLifecycle)
		}
		c := client(s, stage.AWSRegion)
		volumes := must[*ec2.DescribeVolumesOutput](t)(c.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})).Volumes
		if len(volumes) != 1 || volumes[0].VolumeType != types.VolumeTypeGp3 || *volumes[0].Size != 10 || tagsOf(volumes[0].Tags)["disk"] != stage.AWSRegion {
			t.Errorf("volumes: %+v", volumes)
		}
		groups := must[*ec2.DescribeSecurityGroupsOutput](t)(c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{
			GroupIds: []string{aws.ToString(i.SecurityGroups[0].GroupId)},
		})).SecurityGroups
		if len(i.SecurityGroups) != 1 || len(groups[0].IpPermissions) != 1 {
			t.Fatalf("groups: %+v", groups)
		}
		p := groups[0].IpPermissions[0]
		if len(p.IpRanges) != 1 || *p.IpRanges[0].CidrIp != "198.51.100.7/32" || len(p.Ipv6Ranges) != 0 || int(*p.FromPort) != s.AWS.Cloud.SSHPort() || *p.ToPort != *p.FromPort {
			t.Errorf("it lets in %+v", p)
		}
		return touch(ctx, ui, comm)
	})
	id := imagesOf(a)[stage.AWSRegion]
	if want := "AMIs were created:\n" + stage.AWSRegion + ": " + id + "\n"; a.String() != want || a.Id() != stage.AWSRegion+":"+id || a.BuilderId() != awsbuild.BuilderID {
		t.Errorf("the artifact is %q and says %q", a.Id(), a)
	}
	if meta, _ := a.State("atlas.artifact.metadata").(map[string]string); meta["region."+stage.AWSRegion] != id || a.State("region") != stage.AWSRegion || a.State("source_image_id") != s.AWS.BaseImage || a.State("image_name") != "built" {
		t.Errorf("states %v, %v, %v", meta, a.State("region"), a.State("source_image_id"))
	}
	img := imageIn(t, s, stage.AWSRegion, id)
	tags := tagsOf(img.Tags)
	tag, err := owner.ParseTag(tags[owner.Key])
	if err != nil || !tag.Expires.IsZero() || tag.Unfinished || tags["team"] != "infra" || tags["from"] != stage.AWSBaseImage || tags["a"] != "b" {
		t.Errorf("tags of the image: %v, %v", tags, err)
	}
	if _, is := tags["empty"]; !is || *img.Name != "built" || img.BootMode != types.BootModeValuesUefi || !*img.EnaSupport {
		t.Errorf("image %+v", img)
	}
	shot := must[*ec2.DescribeSnapshotsOutput](t)(client(s, stage.AWSRegion).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{
		SnapshotIds: []string{*img.BlockDeviceMappings[0].Ebs.SnapshotId},
	})).Snapshots[0]
	if tags := tagsOf(shot.Tags); tags["kept"] != "yes" || tags["team"] != "infra" || *shot.VolumeSize != 10 {
		t.Errorf("tags of the snapshot: %v", tags)
	}
	nothingLeft(t, s, a)
	for _, want := range []string{"Looking for a machine for up to 2m: 3 availability zones in eu-central-1, as t4g.micro", "launched", id + " is registered"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said:\n%s", want, said)
		}
	}

	// The image holds what the provisioner wrote, and starts again.
	var got bytes.Buffer
	none, said := built(t, s, set{"source_ami": id, "skip_create_ami": true}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download("/home/admin/built", &got)
	})
	if none != nil || got.String() != "by armfree" || !strings.Contains(said, "No image was made: skip_create_ami is set") {
		t.Errorf("the image holds %q; %v\n%s", &got, none, said)
	}
	nothingLeft(t, s, a)
	if err := a.Destroy(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
}

// The build's own key does not stay in the image.
func TestTemporaryKeyIsForgotten(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	const theirs = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzfSWZvo1iVNk3Y1pUM4LTbmZ2Kxl8rU5rXyoYlN6xv somebody else"
	const keys = "/home/admin/.ssh/authorized_keys"
	var now bytes.Buffer
	a, _ := built(t, s, nil, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		if err := comm.Download(keys, &now); err != nil {
			return err
		}
		return comm.Upload(keys, strings.NewReader(now.String()+theirs+"\n"), nil)
	})
	now.Reset()
	built(t, s, set{"source_ami": imagesOf(a)[stage.AWSRegion], "skip_create_ami": true}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		return comm.Download(keys, &now)
	})
	if got := now.String(); strings.Count(got, " packer-plugin-armfree") != 1 || !strings.Contains(got, theirs) {
		t.Errorf("the new machine lets in, beside its own build and somebody else:\n%s", got)
	}
}

// When only another region has room, the machine is found there and the image is
// made there.
func TestAnotherRegion(t *testing.T) {
	t.Parallel()
	const other = "eu-west-1"
	s := stage.ForTest(t, stage.Options{})
	full(t, s, stage.AWSRegion)
	more := []set{{"region": other, "source_ami": s.AWS.Cloud.ImageID(other, stage.AWSBaseImage)}}
	a, said := built(t, s, set{"additional_region": more}, nil)
	if ids := imagesOf(a); len(ids) != 1 || ids[other] == "" || a.State("region") != other {
		t.Errorf("artifact %q in %v", a, a.State("region"))
	}
	if want := "6 availability zones in eu-central-1, eu-west-1"; !strings.Contains(said, want) {
		t.Errorf("%q is not said:\n%s", want, said)
	}
	nothingLeft(t, s, a)
	if err := a.Destroy(); err != nil {
		t.Error(err)
	}
	nothingLeft(t, s)
}

func TestProvisionerFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	_, said, err := build(t.Context(), t, s, nil, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return io.ErrUnexpectedEOF })
	if err == nil || s.AWS.Cloud.CountRequests("CreateSnapshot") != 0 {
		t.Fatalf("error %v\n%s", err, said)
	}
	nothingLeft(t, s)
}

// With -on-error=ask a phase that failed can be run again; the build then never
// has two machines or two images.
func TestAskAndRetry(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	refuse := refusal("RunInstances", "InvalidAMIID.NotFound", "it is not there")
	refuse.Times = 1
	register := refusal("RegisterImage", "InvalidParameterValue", "no")
	register.Times = 1
	addFaults(t, s, refuse, register)
	in := settings(s)
	in["packer_on_error"] = "ask"
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: retry{}}, inpacker.Hook(touch))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if n := s.AWS.Cloud.CountRequests("RunInstances"); n != 2 {
		t.Errorf("%d launches\n%s", n, out.String())
	}
	nothingLeft(t, s, a)
	if t.Failed() {
		t.Log(out.String())
	}
}

// retry is a user who always says so.
type retry struct{}

func (retry) ReadString() (string, error) { return "r", nil }
func (retry) Close() error                { return nil }

// ssh_host is where the machine is reached, whatever its address.
func TestSSHHost(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	const host = "127.0.0.9" // where nobody is
	_, said, err := build(t.Context(), t, s, set{"ssh_host": host, "ssh_timeout": "1s"}, nil)
	if err == nil || !strings.Contains(err.Error(), " at "+host+" (the limit is the option \"ssh_timeout\")") || !strings.Contains(said, "Waiting for SSH at "+host) {
		t.Errorf("%v\n%s", err, said)
	}
	nothingLeft(t, s)
}

// What post-processors, provisioners and HCP Packer are told.
func TestGeneratedData(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	var seen map[string]interface{}
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	names, _, err := b.Prepare(settings(s))
	if err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, dataHook(func(data map[string]interface{}) { seen = data }))
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	given, _ := a.State("generated_data").(map[string]interface{})
	for _, name := range append(slices.Clone(names), "ID") {
		if seen[name] == nil || given[name] != seen[name] {
			t.Errorf("%s is %v for provisioners and %v for post-processors", name, seen[name], given[name])
		}
	}
	for name, want := range map[string]string{
		"BuildRegion": stage.AWSRegion, "SourceAMI": s.AWS.BaseImage, "SourceAMIName": stage.AWSBaseImage, "SourceAMIOwner": "136693071363",
		"InstanceType": "t4g.micro", "Market": "on-demand", "Vcpus": "2", "MemoryInGiBs": "1",
	} {
		if seen[name] != want {
			t.Errorf("%s is %v, want %s", name, seen[name], want)
		}
	}
	if !strings.HasPrefix(seen["AvailabilityZone"].(string), stage.AWSRegion) || seen["SourceAMICreationDate"] == "" {
		t.Errorf("%v", seen)
	}
}

// dataHook sees what provisioners find in build.*.
type dataHook func(map[string]interface{})

func (h dataHook) Run(_ context.Context, _ string, _ packersdk.Ui, _ packersdk.Communicator, data interface{}) error {
	m, _ := data.(map[string]interface{})
	h(m)
	return nil
}
