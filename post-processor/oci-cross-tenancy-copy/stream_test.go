// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/core"
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
		for _, want := range []string{"of " + f.ami + " into the object armfree-copy-", "at ", " MB/s", "Copied " + f.ami + " to 2 destinations"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not said:\n%s", want, said)
			}
		}
		for i, id := range strings.Split(ids, ",") {
			img := f.get(t, id)
			if img.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 || *img.OperatingSystem != "Debian" || *img.OperatingSystemVersion != "12" || *img.DisplayName != []string{"copied", "second"}[i] {
				t.Errorf("%+v", img)
			}
			for key, want := range map[string]string{"armfree-validated": "true tests=9", "armfree": "source=" + f.ami + " origin=b1"} {
				if got := img.FreeformTags[key]; !strings.Contains(got, want) || strings.Contains(got, "state=") {
					t.Errorf("the tag %s is %q", key, got)
				}
			}
			shapes, err := f.compute(t, f.production).ListImageShapeCompatibilityEntries(t.Context(), core.ListImageShapeCompatibilityEntriesRequest{ImageId: &id})
			if err != nil || !slices.ContainsFunc(shapes.Items, func(e core.ImageShapeCompatibilitySummary) bool { return *e.Shape == defaultShape }) {
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
	return map[string]string{"armfree": "build=b1 role=image", "armfree-validated": "true tests=9 sha256=x oci-bootable=true"}
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
		"stale":               {tag: "stale tests=9 sha256=x oci-bootable=true", says: "Something ran on the machine"},
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
