// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"strings"
	"testing"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// captureIn leaves an object in the bucket of a tenancy, as a capture does that ran in a
// cloud.
func captureIn(t *testing.T, s *stage.Stage, cloud, proof string) *ocibuild.Captured {
	t.Helper()
	client, err := oci.NewClient(oci.Credentials{
		Tenancy: s.Build.ID, User: s.Build.UserID, Fingerprint: s.Build.Fingerprint(), KeyPEM: s.Build.PrivateKeyPEM(), Region: stage.BuildRegion,
	}, oci.Options{HTTP: s.Net.Client()})
	if err != nil {
		t.Fatal(err)
	}
	bucket := &oci.Bucket{Client: client, Namespace: s.Build.Namespace, Bucket: stage.BucketName}
	var id owner.Build
	id.ID = "b1"
	c, err := bucket.Capture(t.Context(), id, oci.CaptureName("x", id), false, 0, func(string) {})
	if err == nil {
		err = c.Part(t.Context(), 1, []byte("no archive, which only an import would see"))
	}
	if err != nil {
		t.Fatal(err)
	}
	sum, size, err := c.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &ocibuild.Captured{
		Region: stage.BuildRegion, Namespace: s.Build.Namespace, Bucket: stage.BucketName, Object: c.Object(), Checksum: sum, Size: size,
		Name: "captured", System: "Debian\n12", Cloud: cloud, Proof: proof, Remove: func(context.Context) error { return nil },
	}
}

// An object with other bytes is another one, which is not taken for a copy that was begun.
func TestCapturedKey(t *testing.T) {
	var keys []string
	for _, sum := range []string{"", "a-1", "b-1"} {
		keys = append(keys, (&captured{name: "x", checksum: sum}).subject("").key(&Config{}))
	}
	if keys[0] == keys[1] || keys[1] == keys[2] {
		t.Errorf("%q", keys)
	}
}

// A disk that was captured on AWS needs the proof that it boots on OCI, as an AMI does;
// one that was captured on OCI does not. Without it nothing is started, and the object
// stays.
func TestCapturedProof(t *testing.T) {
	const refused = "nothing proves that the captured disk armfree-capture-x-b1.oci boots on OCI: "
	for _, tt := range []struct {
		name, cloud, proof string
		allow              bool
		says               string
		fails              bool // for want of a proof, and not at the import
	}{
		{name: "on OCI", cloud: "oci"},
		{name: "on OCI by an older build", cloud: ""},
		{name: "proven", cloud: "aws", proof: "true tests=9 sha256=x oci-bootable=true"},
		{name: "not checked", cloud: "aws", says: refused + `its build has no tag "armfree-validated"`, fails: true},
		{name: "not checked, but allowed", cloud: "aws", allow: true, says: "allow_unproven_image lets it pass"},
		{name: "stale", cloud: "aws", proof: "stale tests=9 sha256=x oci-bootable=true", says: refused + "something ran on its machine after the check", fails: true},
		{name: "not about booting", cloud: "aws", proof: "true tests=9 sha256=x", says: refused + "its tag \"armfree-validated\" does not speak of a gossfile \"oci-bootable\"", fails: true},
		{name: "failed", cloud: "aws", proof: "false tests=9 sha256=x oci-bootable=true", says: "did not pass", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, in := template(t)
			delete(in, "source_image_ocid")
			in["packer_builder_type"], in["allow_unproven_image"] = "armfree-aws", tt.allow
			a := captureIn(t, s, tt.cloud, tt.proof)
			said, err := copyCaptured(t, s, in, a)
			if err == nil || !strings.Contains(said, tt.says) || strings.Contains(said, "nothing proves") != tt.fails {
				t.Errorf("%v\n%s", err, said)
			}
			imports := s.Cloud.CountRequests("CreateImage")
			if tt.fails && imports > 0 || !tt.fails && imports == 0 {
				t.Errorf("%d imports\n%s", imports, said)
			}
			if !strings.Contains(said, "The object "+a.Object+" is kept: the copy can be run again with source_object") {
				t.Error(said)
			}
			if left := s.Left(stage.BucketName + "/" + a.Object); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func copyCaptured(t *testing.T, s *stage.Stage, in map[string]interface{}, a packersdk.Artifact) (said string, err error) {
	t.Helper()
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if err := p.Configure(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	_, _, _, err = p.PostProcess(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, a)
	if err != nil {
		out.Write([]byte(err.Error())) //nolint:errcheck // to memory
	}
	return out.String(), err
}

// Behind armfree-aws nobody has to be named for AWS, since there may be no AMI; whoever is
// named is looked at. Where nobody is named for the bucket either, it is read by whoever
// signs in to the first destination.
func TestCapturedCredentials(t *testing.T) {
	s, in := template(t)
	delete(in, "source_image_ocid")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	in["packer_builder_type"] = "armfree-aws"
	in["source"] = map[string]interface{}{"bucket": stage.BucketName}
	said, err := copyCaptured(t, s, in, captureIn(t, s, "aws", "true tests=9 sha256=x oci-bootable=true"))
	if err == nil || !strings.Contains(said, `is read from the bucket "images" in eu-frankfurt-1 by who signs in to the first destination`) {
		t.Errorf("%v\n%s", err, said)
	}
	for kind, says := range map[string]string{"armfree-aws": "", "amazon-ebs": "nobody can sign in"} {
		in["packer_builder_type"] = kind
		var c Config
		if err := c.Prepare(in); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	in["packer_builder_type"], in["aws"] = "armfree-aws", map[string]interface{}{"access_key": "AKIA1"}
	var c Config
	if err := c.Prepare(in); err == nil || !strings.Contains(err.Error(), "aws.secret_key must be set") {
		t.Error(err)
	}
}
