// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package either

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/awscfg"
	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// good is a complete configuration, as a JSON template has it.
func good(t *testing.T) set {
	t.Helper()
	tenancy, err := ocisim.NewTenancy("build", "eu-frankfurt-1")
	if err != nil {
		t.Fatal(err)
	}
	return set{
		"image_name": "debian-12-arm64",
		"oci": set{
			"tenancy_ocid": "ocid1.tenancy.oc1..t", "user_ocid": "ocid1.user.oc1..u", "fingerprint": tenancy.Fingerprint(), "key": tenancy.PrivateKeyPEM(),
			"region": "eu-frankfurt-1", "base_image_ocid": "ocid1.image.oc1..i", "subnet_ocid": "ocid1.subnet.oc1..s", "ssh_username": "ubuntu",
		},
		"aws": set{
			"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "region": "eu-central-1",
			"source_ami": "ami-0123456789abcdef0", "ssh_username": "admin",
		},
	}
}

// with changes options; "oci.x" is one of a block, and nil takes one away.
func with(in, change set) set {
	for name, value := range change {
		at := in
		if block, option, is := strings.Cut(name, "."); is {
			at = maps.Clone(in[block].(set))
			in[block], name = at, option
		}
		if at[name] = value; value == nil {
			delete(at, name)
		}
	}
	return in
}

func TestDefaults(t *testing.T) {
	var c Config
	if warnings, err := c.Prepare(good(t), set{"packer_build_name": "debian"}); err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if !slices.Equal(c.Prefer, []string{"oci", "aws"}) || c.prefers != 30*time.Minute || c.OCI.ImageName != "debian-12-arm64" || c.AWS.AMIName != "debian-12-arm64" {
		t.Errorf("%q, %s, %q, %q", c.Prefer, c.prefers, c.OCI.ImageName, c.AWS.AMIName)
	}
	if c.username("oci") != "ubuntu" || c.username("aws") != "admin" {
		t.Errorf("users %q, %q", c.username("oci"), c.username("aws"))
	}
	if p := c.policy(); p.Clouds["oci"] != (capacity.Terms{Interval: 10 * time.Second}) || p.Clouds["aws"] != (capacity.Terms{Interval: 2 * time.Second}) {
		t.Errorf("%+v", p.Clouds)
	}
	c = Config{}
	if _, err := c.Prepare(with(good(t), set{"capacity_interval": "5s", "capacity_timeout": "20m", "oci.capacity_reports": false})); err != nil {
		t.Fatal(err)
	}
	if p := c.policy(); p.Interval != 5*time.Second || p.Clouds["oci"].Interval != 0 || !p.NoAsking || c.prefers != 10*time.Minute {
		t.Errorf("%+v, %s", p, c.prefers)
	}
}

// What is said for both clouds is given to each, unless its block says it too.
func TestCommonOptions(t *testing.T) {
	var c Config
	in := with(good(t), set{
		"tags": map[string]string{"team": "infra", "os": "debian"}, "user_data": "#!/bin/sh\ntrue\n", "ssh_pin_host_key": true, "skip_create_image": true,
		"aws.tags": map[string]string{"os": "Debian 12"}, "aws.ami_name": "other", "oci.user_data": "#!/bin/sh\nfalse\n",
	})
	if _, err := c.Prepare(in); err != nil {
		t.Fatal(err)
	}
	if got := c.OCI; got.Tags["os"] != "debian" || got.Tags["team"] != "infra" || got.UserData != "#!/bin/sh\nfalse\n" || !got.PinHostKey || !got.SkipCreateImage || got.ImageName != "debian-12-arm64" {
		t.Errorf("oci: %+v", got.Options)
	}
	if got := c.AWS; got.ImageTags["os"] != "Debian 12" || got.ImageTags["team"] != "infra" || got.UserData != "#!/bin/sh\ntrue\n" || !got.PinHostKey || !got.SkipCreateAMI || got.AMIName != "other" {
		t.Errorf("aws: %+v", got.Options)
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change set
		want   []string
	}{
		{"no block", set{"oci": nil, "aws": nil}, []string{"a block oci { } or aws { } must be there, or both"}},
		{"an unknown cloud", set{"prefer": []string{"azure"}}, []string{`prefer must have "oci" and "aws" in some order, one is "azure"`}},
		{"a cloud twice", set{"prefer": []string{"oci", "oci"}}, []string{"prefer: oci is there twice"}},
		{"a cloud without its block", set{"prefer": []string{"aws"}, "aws": nil}, []string{"prefer names aws, and there is no block aws { }"}},
		{"no duration", set{"prefer_timeout": "soon"}, []string{`prefer_timeout must be a duration such as "30m", it is "soon"`}},
		{"a negative duration", set{"prefer_timeout": "-1s"}, []string{"prefer_timeout must be a duration"}},
		{"never asked", set{"prefer_timeout": "6h"}, []string{"prefer_timeout is 6h0m0s, and capacity_timeout is 6h0m0s: the second cloud would never be asked"}},
		{"mistakes in both blocks", set{"oci.subnet_ocid": nil, "aws.source_ami": "x", "capacity_order": "zone"}, []string{"oci: subnet_ocid must be set", "aws: source_ami must be an id", "capacity_order must be"}},
		{"an option that is none", set{"oci.subnet": "x", "aws.types": "y", "z": 1}, []string{`oci: `, `"subnet"`, `aws: `, `"types"`, `"z"`}},
		{"what cannot be decoded", set{"oci.disk_size": "large", "aws.instance_types": set{"a": 1}, "aws.source_ami": "x"}, []string{"oci: ", "disk_size", "aws: source_ami must be an id"}},
		{"misnomers", set{"oci.image_id": "x", "aws.ami_tags": map[string]string{"a": "b"}}, []string{"oci: there is no option image_id; did you mean base_image_ocid?", "aws: there is no option ami_tags"}},
		{"no user", set{"oci.ssh_username": nil}, []string{"oci: ssh_username must be set, in the block or outside"}},
		{"no user at all", set{"oci.ssh_username": nil, "aws.ssh_username": nil}, []string{"ssh_username"}},
		{"no credentials", set{"oci.key": nil, "aws.secret_key": nil}, []string{"oci: ", "aws: "}},
		{"no block but a text", set{"oci": "x", "prefer": set{}, "z": 1}, []string{"oci must be one block with options", `"z"`}},
		{"no image in one cloud", set{"oci.skip_create_image": true}, []string{"skip_create_image is for both clouds: set it outside"}},
		{"a tag that only AWS knows", set{"tags": map[string]string{"a": "{{ .SourceAMI }}"}}, []string{"tags: a = ", "belongs into the block aws"}},
		{"a key that is none", set{"ssh_private_key": "x"}, []string{"OCI_SSH_PRIVATE_KEY) must be the text of a private key"}},
		{"two blocks", set{"aws": []interface{}{set{}, set{}}}, []string{"aws must be one block with options"}},
		{"a name that AWS does not allow", set{"image_name": "a:b"}, []string{"aws: ami_name"}},
		{"retain without a series", set{"oci.retain": 2, "aws.retain": -1}, []string{"oci: retain needs image_series or image_name_prefix", "aws: retain must be 1 or more"}},
		{"a port", set{"ssh_port": 70000}, []string{"ssh_port must be from 1 to 65535"}},
		{"WinRM", set{"communicator": "winrm", "winrm_username": "a", "winrm_password": "b", "ssh_pin_host_key": true}, []string{"oci: ssh_pin_host_key is for SSH"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &Builder{Mask: new(mask.Masker)}
			_, _, err := b.Prepare(with(good(t), tt.change))
			if err == nil {
				t.Fatal("it is taken")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("nothing says %q: %v", want, err)
				}
			}
		})
	}
}

// What Packer does not know yet cannot be wrong.
func TestUnknownValues(t *testing.T) {
	const unknown = "<unknown>"
	for _, name := range []string{
		"prefer_timeout", "capacity_timeout", "capacity_interval", "image_name", "user_data", "user_data_file", "ssh_private_key", "ssh_timeout", "ssh_port",
		"oci.user_data", "oci.user_data_file", "oci.disk_size", "oci.assign_public_ip", "oci.subnet_ocid", "aws.user_data_file", "aws.source_ami", "aws.root_volume_size", "aws.encrypt_boot",
	} {
		t.Run(name, func(t *testing.T) {
			in := with(good(t), set{name: unknown, "ssh_pin_host_key": true, "aws.machine_lifetime": "2h"})
			if _, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in); err != nil {
				t.Error(err)
			}
		})
	}
	in := with(good(t), set{"prefer": []string{unknown, "oci"}})
	if _, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in); err != nil {
		t.Error(err)
	}
	in = with(good(t), set{"aws.ami_regions": []string{unknown}, "aws.encrypt_boot": true, "aws.kms_key_id": "alias/a", "aws.ami_users": []string{"123456789012"}})
	if _, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(in); err != nil {
		t.Error(err)
	}
}

// With a key pair the key is AWS's, whatever OCI's is.
func TestKeyPairGoesWithItsKey(t *testing.T) {
	keys := map[string]string{}
	for _, name := range []string{"OCI", "AWS"} {
		c := communicator.Config{Type: "ssh"}
		if _, err := sshkey.Prepare(&c); err != nil {
			t.Fatal(err)
		}
		keys[name] = string(c.SSHPrivateKey)
		t.Setenv(name+"_SSH_PRIVATE_KEY", keys[name])
	}
	for pair, want := range map[string]string{"": "OCI", "packer-key": "AWS"} {
		var c Config
		if _, err := c.Prepare(with(good(t), set{"ssh_keypair_name": pair})); err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(c.Comm.SSHPrivateKey)) != strings.TrimSpace(keys[want]) || c.username("oci") != "ubuntu" || c.username("aws") != "admin" {
			t.Errorf("with the key pair %q the key is not %s's", pair, want)
		}
	}
}

// A template in HCL has blocks.
func TestHCL(t *testing.T) {
	b := &Builder{Mask: new(mask.Masker)}
	tenancy := good(t)["oci"].(set)
	file, diags := hclparse.NewParser().ParseHCL([]byte(`
		image_name   = "debian-12-arm64"
		ssh_username = "debian"
		prefer       = ["aws", "oci"]
		oci {
			tenancy_ocid = "ocid1.tenancy.oc1..t"
			user_ocid    = "ocid1.user.oc1..u"
			fingerprint  = "`+tenancy["fingerprint"].(string)+`"
			key          = <<-END
`+tenancy["key"].(string)+`
END
			region          = "eu-frankfurt-1"
			base_image_ocid = "ocid1.image.oc1..i"
			subnet_ocid     = "ocid1.subnet.oc1..s"
			shape_config {
				ocpus = 1
			}
		}
		aws {
			access_key = "AKIAIOSFODNN7EXAMPLE"
			secret_key = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
			region     = "eu-central-1"
			source_ami = "ami-0123456789abcdef0"
			tags       = { base = "{{ .SourceAMI }} {{ .BuildRegion }}" }
		}`), "t.pkr.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	value, diags := hcldec.Decode(file.Body, b.ConfigSpec(), nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if _, _, err := b.Prepare(value, set{"packer_build_name": "debian", "packer_core_version": "1.15.0"}); err != nil {
		t.Fatal(err)
	}
	c := &b.config
	if c.OCI.ShapeConfig[0].Ocpus != 1 || c.AWS.ImageTags["base"] != "{{ .SourceAMI }} {{ .BuildRegion }}" || c.Prefer[0] != "aws" || c.username("oci") != "debian" || c.username("aws") != "debian" {
		t.Errorf("%+v", c)
	}
	builds, err := c.AWS.Builds(c.forAWS(), awsbuild.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	words, err := builds[0].Render(ec2.SourceImage{ID: "ami-1", Name: "debian"})
	if err != nil || words.ImageTags["base"] != "ami-1 eu-central-1" {
		t.Errorf("%v, %v", words, err)
	}
}

// captureOfAWS are the options about captures of the block aws.
func captureOfAWS() map[string]hcldec.Spec {
	return map[string]hcldec.Spec{"capture_to": nil, "capture_route": nil, "capture_compression": nil, "capture_clean": nil}
}

// Each block has exactly the options of the builder for its cloud, which has tests
// for each.
func TestBlocksHaveAllOptions(t *testing.T) {
	spec := new(Builder).ConfigSpec()
	for block, structs := range map[string][]map[string]hcldec.Spec{
		"oci": {new(ocicfg.Access).FlatMapstructure().HCL2Spec(), new(ocibuild.Options).FlatMapstructure().HCL2Spec(), new(ocibuild.Capture).FlatMapstructure().HCL2Spec()},
		"aws": {new(awscfg.Access).FlatMapstructure().HCL2Spec(), new(awsbuild.Options).FlatMapstructure().HCL2Spec(), captureOfAWS()},
	} {
		have := spec[block].(*hcldec.BlockSpec).Nested.(hcldec.ObjectSpec)
		want := map[string]bool{"ssh_username": true}
		for _, s := range structs {
			for name := range s {
				want[name] = true
			}
		}
		if got := slices.Sorted(maps.Keys(have)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%s has %q", block, got)
		}
	}
}

// The page of the builder names every option of its own, and leads to those of the
// blocks.
func TestEveryOptionIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/builders/armfree.mdx")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, m := range regexp.MustCompile(`@include '(builder/either/[^']+)'`).FindAllStringSubmatch(text, -1) {
		partial, err := os.ReadFile("../../docs-partials/" + m[1])
		if err != nil {
			t.Fatal(err)
		}
		text += string(partial)
	}
	for _, name := range []string{"oci", "aws", "prefer", "prefer_timeout", "image_name", "tags", "user_data", "user_data_file", "ssh_pin_host_key", "skip_create_image", "ssh_username"} {
		if !strings.Contains(text, "- `"+name+"` (") {
			t.Errorf("%s is not documented", name)
		}
	}
	for _, want := range []string{"(oci.mdx", "(aws.mdx", "internal/buildcfg/Limits-not-required.mdx", "packer-plugin-sdk/communicator/SSH-not-required.mdx"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing leads to %s", want)
		}
	}
	for _, name := range generatedNames() {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("build.%s is not documented", name)
		}
	}
}
