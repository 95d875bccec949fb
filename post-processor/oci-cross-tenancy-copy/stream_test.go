// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// An AMI arrives in two places byte by byte, as an image that boots by UEFI on A1.
func TestStreamAMI(t *testing.T) {
	inFlight(t, blocks(30), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.settings()
		other := maps.Clone(dest(in))
		other["image_name"], other["compartment_ocid"] = "second", f.production.ChildCompartmentID
		in["destination"] = append(in["destination"].([]interface{}), other)
		ids, said, err := f.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		for _, want := range []string{`of the tenancy that the block source or the environment names`, "of " + f.ami + " in eu-central-1 into the object armfree-copy-", "at ", " MB/s", "Copied " + f.ami + " in eu-central-1 to 2 destinations"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not said:\n%s", want, said)
			}
		}
		for i, id := range strings.Split(ids, ",") {
			img := f.get(t, id)
			if img.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 || *img.OperatingSystem != "Debian" || *img.OperatingSystemVersion != "12" || *img.DisplayName != []string{"copied", "second"}[i] {
				t.Errorf("%+v", img)
			}
			for key, want := range map[string]string{"armfree-validated": "true tests=9", "armfree": "source=" + f.ami + " form=oci origin=b1"} {
				if got := img.FreeformTags[key]; !strings.Contains(got, want) || strings.Contains(got, "state=") {
					t.Errorf("the tag %s is %q", key, got)
				}
			}
			shapes, err := f.compute(t, f.production).ListImageShapeCompatibilityEntries(t.Context(), core.ListImageShapeCompatibilityEntriesRequest{ImageId: &id})
			if err != nil || !slices.ContainsFunc(shapes.Items, func(e core.ImageShapeCompatibilitySummary) bool { return *e.Shape == preflight.DefaultShape }) {
				t.Errorf("shapes %+v, %v", shapes.Items, err)
			}
		}
		files := f.imported(t)
		if len(files) != 2 {
			t.Fatalf("files %q", files)
		}
		for _, file := range files {
			sameDisk(t, f.disk, file)
		}
		if left := f.left(); len(left) != 2 {
			t.Errorf("left: %q", left)
		}
	})
}

// proven are the tags of an AMI that may be copied.
func proven() map[string]string {
	return map[string]string{"armfree": "build=b1 role=image", "armfree:build": "b1", "armfree-validated": "true tests=9 sha256=x oci-bootable=true"}
}

// An AMI that has no proof that it boots on OCI is refused before anything of it is
// read, unless the template says otherwise.
func TestProof(t *testing.T) {
	for name, tt := range map[string]struct {
		tag   string
		allow bool
		fails bool
		says  string
	}{
		"proven":              {tag: "true tests=9 sha256=x oci-bootable=true"},
		"stale":               {tag: "stale tests=9 sha256=x oci-bootable=true", fails: true, says: "something ran on its machine after the check"},
		"stale, but allowed":  {tag: "stale tests=9 sha256=x oci-bootable=true", allow: true, says: "allow_unproven_image lets it pass"},
		"no tag":              {fails: true, says: "it has no tag \"armfree-validated\""},
		"not about booting":   {tag: "true tests=9 sha256=x", fails: true, says: "does not speak of a gossfile \"oci-bootable\""},
		"failed":              {tag: "false tests=9 sha256=x oci-bootable=true", fails: true, says: "did not pass"},
		"reported":            {tag: "reported tests=9 sha256=x", fails: true, says: "did not pass"},
		"no tag, but allowed": {allow: true, says: "allow_unproven_image lets it pass"},
		"failed, but allowed": {tag: "false tests=9 sha256=x", allow: true, says: "did not pass"},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				if tt.tag != "" {
					f.tag(t, map[string]string{"armfree-validated": tt.tag})
				}
				in := f.settings()
				in["allow_unproven_image"] = tt.allow
				image, said, err := f.copy(t.Context(), t, in)
				if (err != nil) != tt.fails || !strings.Contains(said, tt.says) {
					t.Fatalf("%v, want %q\n%s", err, tt.says, said)
				}
				if !tt.fails {
					f.mustLeave(t, image, said)
					return
				}
				if !strings.Contains(said, "nothing was started") || !strings.Contains(said, "allow_unproven_image = true") {
					t.Error(said)
				}
				if n := f.aws.CountRequests("ListSnapshotBlocks"); n != 0 || len(f.left()) > 0 || f.CountRequests("PutObject") > 0 {
					t.Errorf("%d reads, left %q", n, f.left())
				}
			})
		})
	}
}

// Where nobody is named for the bucket, it is one of the first destination's.
func TestBucketOfTheDestination(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.settings()
		in["source"] = map[string]interface{}{"bucket": "images"}
		image, said, err := f.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		f.mustLeave(t, image, said)
		if !strings.Contains(said, `the bucket "images" in sa-saopaulo-1 of the first destination's tenancy`) {
			t.Error(said)
		}
		puts := 0
		for _, r := range f.Requests() {
			if r.Op == "UploadPart" {
				puts++
				if !strings.Contains(r.Path, "/n/"+f.production.Namespace+"/") {
					t.Errorf("a part went to %s", r.Path)
				}
			}
		}
		if puts == 0 {
			t.Error("nothing was uploaded")
		}
	})
	_, in := template(t)
	for _, set := range []map[string]interface{}{
		{"source": nil}, {"source_image_ocid": nil, "source_ami": "ami-0123456789abcdef0"},
	} {
		bad := with(in, set)
		bad["source"] = map[string]interface{}{"region": "eu-frankfurt-1"}
		var c Config
		err := c.Prepare(bad)
		if err == nil || !strings.Contains(err.Error(), "source.bucket must be set") || strings.Contains(err.Error(), "source.tenancy_ocid") != (set["source_ami"] == nil) {
			t.Errorf("%v: %v", set, err)
		}
	}
}

// What builders for AWS made is copied from the region where it was made, or from that
// of the template, by whom the template or the environment names.
func TestStreamArtifacts(t *testing.T) {
	for name, tt := range map[string]struct {
		builder, kind string // BuilderId, and the type that Packer tells beforehand
		id            string // of the artifact; AMI is replaced
		made, region  string // what the artifact and the template say
		environment   bool
		says          string // "": it goes well
	}{
		"armfree-aws":              {builder: "armfree.aws", kind: "armfree-aws", id: "eu-central-1:AMI", made: awsRegion},
		"armfree-aws with copies":  {builder: "armfree.aws", kind: "armfree-aws", id: "af-south-1:ami-00000001,eu-central-1:AMI", made: awsRegion},
		"the template's region":    {builder: "armfree.aws", kind: "armfree-aws", id: "af-south-1:ami-00000001,eu-central-1:AMI", made: "af-south-1", region: awsRegion},
		"armfree, built on AWS":    {builder: "armfree.aws", kind: "armfree", id: "eu-central-1:AMI", made: awsRegion},
		"by the environment":       {builder: "armfree.aws", kind: "armfree", id: "eu-central-1:AMI", made: awsRegion, environment: true},
		"amazon-ebs":               {builder: "mitchellh.amazonebs", kind: "amazon-ebs", id: "eu-central-1:AMI"},
		"amazon-ebssurrogate":      {builder: "mitchellh.amazon.ebssurrogate", kind: "amazon-ebssurrogate", id: "eu-central-1:AMI"},
		"amazon-chroot":            {builder: "mitchellh.amazon.chroot", kind: "amazon-chroot", id: "eu-central-1:AMI"},
		"an AMI that is not there": {builder: "mitchellh.amazonebs", kind: "amazon-ebs", id: "eu-central-1:ami-00000001", says: "there is no image ami-00000001 in eu-central-1"},
		"nobody who could sign in": {builder: "armfree.aws", kind: "armfree", id: "eu-central-1:AMI", says: "nobody can sign in"},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.settings()
				delete(in, "source_ami")
				in["packer_builder_type"] = tt.kind
				access := in["aws"].(map[string]interface{})
				delete(access, "region")
				if tt.region != "" {
					access["region"] = tt.region
				}
				if tt.environment {
					t.Setenv("AWS_ACCESS_KEY_ID", f.account.AccessKeyID)
					t.Setenv("AWS_SECRET_ACCESS_KEY", f.account.SecretAccessKey)
				}
				if tt.environment || tt.says == "nobody can sign in" {
					in["aws"] = map[string]interface{}{"skip_metadata_api_check": true}
				}
				a := &foreign{builder: tt.builder, id: strings.ReplaceAll(tt.id, "AMI", f.ami), region: tt.made}
				image, said, err := f.after(t.Context(), t, in, a)
				if (err != nil) != (tt.says != "") || !strings.Contains(said, tt.says) {
					t.Fatalf("%v, want %q\n%s", err, tt.says, said)
				}
				if !a.held {
					t.Error("the artifact was not asked to survive a failure")
				}
				if err == nil {
					f.mustLeave(t, image, said)
				}
			})
		})
	}
}

// The AMI goes with its snapshot once every destination has its copy, if that is
// wanted, and not before.
func TestStreamRemovesSource(t *testing.T) {
	for _, fails := range []bool{false, true} {
		inFlight(t, blocks(1), func(t *testing.T, f *flying) {
			f.tag(t, proven())
			if fails {
				if err := f.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails}); err != nil {
					t.Fatal(err)
				}
			}
			in := f.settings()
			in["keep_source_image"] = false
			_, said, err := f.copy(t.Context(), t, in)
			if (err != nil) != fails || fails && !strings.Contains(said, "The AMI "+f.ami+" in eu-central-1 is kept: the copy can be run again with source_ami") {
				t.Fatalf("%v\n%s", err, said)
			}
			images, err := f.client().DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			if err != nil {
				t.Fatal(err)
			}
			shots, err := f.client().DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
			if err != nil {
				t.Fatal(err)
			}
			there := len(images.Images) + len(shots.Snapshots)
			if want := map[bool]int{false: 0, true: 2}[fails]; there != want {
				t.Errorf("%d of the image and its snapshot are there\n%s", there, said)
			}
		})
	}
}

// An AMI that no machine on Ampere could be made of is refused, with every reason,
// before anything is started.
func TestStreamUnfit(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*ec2sim.BaseImage)
		tags   map[string]string
		says   []string
	}{
		"for another processor": {change: func(b *ec2sim.BaseImage) { b.Arch = "x86_64" }, says: []string{"is for x86_64; Ampere shapes run arm64 only"}},
		"by BIOS as well":       {change: func(b *ec2sim.BaseImage) { b.Arch, b.BootMode = "x86_64", "legacy-bios" }, says: []string{"is for x86_64", "has the boot mode legacy-bios"}},
		"too large":             {change: func(b *ec2sim.BaseImage) { b.SizeGiB = 401 }, says: []string{"has a disk of 401 GiB; OCI imports up to 400"}},
		"unfinished":            {tags: map[string]string{"armfree": "build=b1 role=image state=unfinished"}, says: []string{"is not finished"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlyingWith(t, blocks(1), tt.change)
				tags := proven()
				maps.Copy(tags, tt.tags)
				f.tag(t, tags)
				_, said, err := f.copy(t.Context(), t, f.settings())
				if err == nil {
					t.Fatal("no error")
				}
				for _, want := range append(tt.says, "nothing was started") {
					if !strings.Contains(said, want) {
						t.Errorf("%q is not said:\n%s", want, said)
					}
				}
				if n := f.aws.CountRequests("ListSnapshotBlocks"); n > 0 || len(f.left()) > 0 {
					t.Errorf("%d lists, left %q", n, f.left())
				}
			})
		})
	}
}

// An encrypted AMI is read with the key that the account may use, and its volume is
// plain on OCI: which encrypts every volume by itself.
func TestStreamEncrypted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlyingWith(t, blocks(1), func(b *ec2sim.BaseImage) { b.Encrypted = true })
		f.tag(t, proven())
		image, said, err := f.copy(t.Context(), t, f.settings())
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		f.mustLeave(t, image, said)
		sameDisk(t, f.disk, f.imported(t)[0])
	})
}

// An AMI takes every route, in every compression and in both forms.
func TestStreamRoutes(t *testing.T) {
	for _, tt := range []struct{ route, compression, form string }{
		{"copy-object", "zstd", ""}, {"relay", "deflate", "oci"}, {"direct", "none", ""}, {"", "", ""},
		{"copy-object", "", "vmdk"}, {"relay", "deflate", "vmdk"}, {"direct", "", "vmdk"}, {"", "deflate", "vmdk"},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.by(way{tt.form, tt.route})
				in["compression"] = tt.compression
				image, said, err := f.copy(t.Context(), t, in)
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				f.mustLeave(t, image, said)
				files := f.imported(t)
				if len(files) != 1 {
					t.Fatalf("files %q", files)
				}
				sameDisk(t, f.disk, files[0])
				if tt.form == "vmdk" {
					return // the cloud has made a qcow2 file of it
				}
				head := make([]byte, 105)
				file, err := os.Open(files[0])
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				if _, err := file.ReadAt(head, 0); err != nil {
					t.Fatal(err)
				}
				// Where a qcow2 file says that it is not compressed as it used to be.
				if zstd := head[79]&8 != 0; zstd != (tt.compression == "zstd" || tt.compression == "") {
					t.Errorf("compressed by zstd: %t", zstd)
				}
			})
		})
	}
}
