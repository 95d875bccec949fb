// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

type set = map[string]interface{}

// clean empties the environment of what Prepare reads, and gives it a home
// without AWS's files.
func clean(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "ACTIONS_") {
			t.Setenv(name, "")
		}
	}
}

// good is a complete configuration.
func good(t *testing.T) set {
	clean(t)
	return set{
		"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", "region": "eu-central-1",
		"source_ami": "ami-0123456789abcdef0", "ssh_username": "admin", "ami_name": "debian-12-arm64",
	}
}

// with is a complete configuration with other options; nil takes one away.
func with(t *testing.T, change set) set {
	in := good(t)
	maps.Copy(in, change)
	maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
	return in
}

// prepared is a configuration that has no mistakes, and its builds.
func prepared(t *testing.T, in ...interface{}) (*Config, []ec2.BuildConfig) {
	t.Helper()
	c := new(Config)
	if _, err := c.Prepare(in...); err != nil {
		t.Fatal(err)
	}
	return c, builds(t, c)
}

// publicKey stands for the key that a build makes.
const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzfSWZvo1iVNk3Y1pUM4LTbmZ2Kxl8rU5rXyoYlN6xv packer-plugin-armfree"

func builds(t *testing.T, c *Config) []ec2.BuildConfig {
	t.Helper()
	keys := awsbuild.Keys{}
	if c.Comm.Type == "ssh" && c.Comm.SSHPassword == "" && !c.Comm.SSHAgentAuth {
		keys.Public = publicKey
	}
	if c.PinHostKey {
		key, err := sshkey.NewHostKey()
		if err != nil {
			t.Fatal(err)
		}
		keys.Host = &key
	}
	all, err := c.Builds(c.given(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDefaults(t *testing.T) {
	c, all := prepared(t, good(t))
	if len(all) != 1 {
		t.Fatalf("%d builds", len(all))
	}
	b := all[0]
	if !slices.Equal(b.Types, []string{"t4g.micro", "t4g.small"}) || b.TypesNamed || !slices.Equal(b.Markets, []ec2.Market{ec2.OnDemand}) || b.FreeTier != ec2.FreePrefer || b.Allowance.StorageGB != 30 || b.Allowance.Types != nil {
		t.Errorf("search: %+v", b)
	}
	if b.Root != (ec2.RootVolume{SizeGB: 10, Type: "gp3"}) || b.Metadata != (ec2.MetadataOptions{TokensNeeded: true, HopLimit: 1}) || b.Shutdown != "terminate" || b.Unlimited || b.Lifetime != 24*time.Hour || b.Reservation.Preference != "none" {
		t.Errorf("machine: %+v", b.MachineConfig)
	}
	if n := b.Network; n.PublicIP != nil || n.Subnets != nil || n.SubnetFilter != nil || n.VPCFilter != nil || n.From != "" || n.SecurityGroupFilter != nil || n.Temporary.Port != 22 || n.Temporary.Sources != nil {
		t.Errorf("network: %+v", n)
	}
	if i := b.Image; i.Method != ec2.BySnapshot || !i.NameMustBeFree || i.Replace || i.Encrypt != nil || i.IMDSv2 || i.Copies != nil || i.Name != "debian-12-arm64" {
		t.Errorf("image: %+v", i)
	}
	if c.CapacityInterval != 2*time.Second || c.CapacityTimeout != 6*time.Hour || b.InstanceTimeout != 15*time.Minute || b.ImageTimeout != time.Hour {
		t.Errorf("limits: %+v", c.Limits)
	}
	for _, want := range []string{"ssh_authorized_keys:\n  - " + publicKey, "merge_how: list(append)", "#cloud-boothook", "systemd-run --on-active=86400 systemctl poweroff || shutdown -P +1440", "multipart/mixed"} {
		if !strings.Contains(string(b.UserData), want) {
			t.Errorf("user data lacks %q:\n%s", want, b.UserData)
		}
	}
	w, err := b.Render(ec2.SourceImage{})
	if err != nil || len(w.RunTags)+len(w.VolumeTags)+len(w.SpotTags) != 0 {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestEnvironment(t *testing.T) {
	private, public := newSSHKey(t)
	in := good(t)
	for env, option := range map[string]string{
		"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key", "AWS_REGION": "region", "AWS_SOURCE_AMI": "source_ami", "AWS_SSH_USERNAME": "ssh_username",
	} {
		t.Setenv(env, in[option].(string))
		delete(in, option)
	}
	t.Setenv("AWS_SUBNET_ID", "subnet-0123456789abcdef0,subnet-1123456789abcdef0")
	t.Setenv("AWS_SSH_KEYPAIR_NAME", "packer-graviton-key")
	t.Setenv("AWS_SSH_PRIVATE_KEY", strings.ReplaceAll(private, "\n", `\n`))
	t.Setenv("AWS_SSH_PUBLIC_KEY", public)
	c, all := prepared(t, in)
	b := all[0]
	if c.credentials.AccessKey != "AKIAIOSFODNN7EXAMPLE" || b.Region != "eu-central-1" || b.Source.ID != "ami-0123456789abcdef0" || b.Source.From != "the environment variable AWS_SOURCE_AMI" ||
		len(b.Network.Subnets) != 2 || b.Network.From != "the environment variable AWS_SUBNET_ID" || b.KeyName != "packer-graviton-key" || c.Comm.SSHUsername != "admin" || string(c.Comm.SSHPrivateKey) != private {
		t.Errorf("%+v", b)
	}
	if strings.Contains(string(b.UserData), "ssh_authorized_keys") || !strings.Contains(string(b.UserData), "#cloud-boothook") {
		t.Errorf("user data %q", b.UserData)
	}

	// What the template says is never in conflict with it.
	for name, change := range map[string]set{
		"a zone": {"availability_zone": "eu-central-1a"}, "a filter": {"subnet_filter": set{"filters": set{"tag:a": "b"}}}, "a VPC": {"vpc_id": "vpc-0123456789abcdef0"},
		"a password": {"ssh_password": "secret"}, "a source": {"source_ami_ssm_parameter": "/aws/service/debian/release/12/latest/arm64"},
		"keys": {"access_key": "AKIA", "secret_key": "other"},
	} {
		t.Run(name, func(t *testing.T) {
			more := maps.Clone(in)
			maps.Copy(more, change)
			c, all := prepared(t, more)
			switch b := all[0]; name {
			case "a zone", "a filter", "a VPC":
				if len(b.Network.Subnets) > 0 {
					t.Errorf("subnets %q", b.Network.Subnets)
				}
			case "a password":
				if b.KeyName != "" || len(c.Comm.SSHPrivateKey) > 0 {
					t.Errorf("key pair %q", b.KeyName)
				}
			case "a source":
				if b.Source.ID != "" || b.Source.Parameter == "" {
					t.Errorf("source %+v", b.Source)
				}
			case "keys":
				if c.credentials.SecretKey != "other" {
					t.Errorf("%+v", c.credentials)
				}
			}
		})
	}

	// The key of the template belongs to no key pair of the environment.
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	in["ssh_private_key_file"] = file
	if _, all := prepared(t, in); all[0].KeyName != "" {
		t.Errorf("key pair %q", all[0].KeyName)
	}
}

func TestSearchOptions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		set     set
		types   []string
		markets []ec2.Market
		price   string
	}{
		{"one type", set{"instance_type": "c7g.medium"}, []string{"c7g.medium"}, []ec2.Market{ec2.OnDemand}, ""},
		{"types", set{"instance_types": []string{"t4g.small", "c7g.medium"}}, []string{"t4g.small", "c7g.medium"}, []ec2.Market{ec2.OnDemand}, ""},
		{"types as CSV", set{"instance_types": "t4g.small, c7g.medium"}, []string{"t4g.small", "c7g.medium"}, []ec2.Market{ec2.OnDemand}, ""},
		{"no price", set{"instance_type": "t4g.small", "spot_price": ""}, []string{"t4g.small"}, []ec2.Market{ec2.OnDemand}, ""},
		{"price 0", set{"instance_type": "t4g.small", "spot_price": "0"}, []string{"t4g.small"}, []ec2.Market{ec2.OnDemand}, ""},
		{"price auto", set{"instance_type": "t4g.small", "spot_price": "auto"}, []string{"t4g.small"}, []ec2.Market{ec2.Spot}, ""},
		{"a price", set{"instance_type": "t4g.small", "spot_price": "0.004"}, []string{"t4g.small"}, []ec2.Market{ec2.Spot}, "0.004"},
		{"a price as a number", set{"spot_price": 0.25}, []string{"t4g.micro", "t4g.small"}, []ec2.Market{ec2.Spot}, "0.25"},
		{"spot types", set{"instance_type": "", "spot_instance_types": []string{"t4g.small", "m7g.medium"}, "spot_price": "auto"}, []string{"t4g.small", "m7g.medium"}, []ec2.Market{ec2.Spot}, ""},
		{"spot then on demand", set{"markets": []string{"spot", "on-demand"}}, []string{"t4g.micro", "t4g.small"}, []ec2.Market{ec2.Spot, ec2.OnDemand}, ""},
		{"both, with a price", set{"markets": "on-demand,spot", "spot_price": "0.01"}, []string{"t4g.micro", "t4g.small"}, []ec2.Market{ec2.OnDemand, ec2.Spot}, "0.01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, all := prepared(t, with(t, tt.set))
			if b := all[0]; !slices.Equal(b.Types, tt.types) || !slices.Equal(b.Markets, tt.markets) || b.Spot.MaxPrice != tt.price {
				t.Errorf("types %q, markets %q, price %q", b.Types, b.Markets, b.Spot.MaxPrice)
			}
		})
	}
}

// What has an id belongs to a region; what is found is found in each.
func TestAdditionalRegions(t *testing.T) {
	_, all := prepared(t, with(t, set{
		"subnet_id": "subnet-00000001", "security_group_id": "sg-00000001", "availability_zone": "eu-central-1b", "ssh_keypair_name": "k", "ssh_private_key": keyText(t),
		"ami_regions": []string{"us-east-1", "eu-central-1", "eu-west-1"}, "encrypt_boot": true, "kms_key_id": "alias/main", "region_kms_key_ids": set{"us-east-1": "alias/us"},
		"additional_region": []set{
			{"region": "eu-west-1", "source_ami": "ami-00000002", "subnet_ids": []string{"subnet-00000002", "subnet-00000003"}, "ssh_keypair_name": "k2", "kms_key_id": "alias/west", "security_group_ids": []string{"sg-00000002"}},
			{"region": "us-east-1", "source_ami": "ami-00000003", "vpc_id": "vpc-00000003", "availability_zones": []string{"us-east-1a", "us-east-1c"}},
		},
	}))
	if len(all) != 3 {
		t.Fatalf("%d builds", len(all))
	}
	type summary struct {
		Source, Key, VPC, KMS, From string
		Subnets, Groups, Zones      []string
		Copies                      []string
		Delivered                   bool
	}
	var got []summary
	for _, b := range all {
		s := summary{b.Source.ID, b.KeyName, b.Network.VPC, b.Image.KMSKey, b.Network.From, b.Network.Subnets, b.Network.SecurityGroups, b.Zones, nil, strings.Contains(string(b.UserData), "ssh_authorized_keys")}
		for _, c := range b.Image.Copies {
			s.Copies = append(s.Copies, c.Region+" "+c.KMSKey)
		}
		got = append(got, s)
	}
	want := []summary{
		{"ami-0123456789abcdef0", "k", "", "alias/main", "subnet_id", []string{"subnet-00000001"}, []string{"sg-00000001"}, []string{"eu-central-1b"}, []string{"us-east-1 alias/us", "eu-west-1 alias/west"}, false},
		{"ami-00000002", "k2", "", "alias/west", "additional_region: subnet_id", []string{"subnet-00000002", "subnet-00000003"}, []string{"sg-00000002"}, nil, []string{"us-east-1 alias/us", "eu-central-1 alias/main"}, false},
		{"ami-00000003", "", "vpc-00000003", "alias/us", "additional_region: vpc_id", nil, nil, []string{"us-east-1a", "us-east-1c"}, []string{"eu-central-1 alias/main", "eu-west-1 alias/west"}, true},
	}
	if g, w := dump(got), dump(want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
	_, all = prepared(t, with(t, set{
		"source_ami": nil, "source_ami_filter": set{"filters": set{"name": "debian-12-arm64-*"}, "owners": "136693071363", "most_recent": "true"},
		"subnet_filter": set{"filters": set{"tag:use": "packer"}}, "additional_region": set{"region": "eu-west-1"},
	}))
	if b := all[1]; b.Source.Filter == nil || b.Network.SubnetFilter == nil || b.Network.From != "subnet_filter" || b.Region != "eu-west-1" {
		t.Errorf("%+v", b)
	}
}

// dump writes a value so that two can be compared.
func dump(v interface{}) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestPreparedTwice(t *testing.T) {
	in := with(t, set{"run_tags": set{"a": ""}})
	c := new(Config)
	for range 2 {
		if _, err := c.Prepare(maps.Clone(in)); err != nil {
			t.Fatal(err)
		}
	}
	delete(in, "run_tags")
	if _, err := c.Prepare(in); err != nil || len(c.RunTags) != 0 {
		t.Errorf("tags of an earlier preparation stay: %v, %v", c.RunTags, err)
	}
}

func TestUnknownValuesPassValidation(t *testing.T) {
	for _, option := range []string{
		"access_key", "region", "source_ami", "subnet_id", "vpc_id", "security_group_id", "instance_type", "ami_name", "spot_price", "deprecate_at", "kms_key_id", "availability_zone", "custom_endpoint_ec2", "profile", "ami_description",
	} {
		for _, v := range []string{"<unknown>", "74D93920-ED26-11E3-AC10-0800200C9A66"} {
			if _, err := new(Config).Prepare(with(t, set{option: v})); err != nil {
				t.Errorf("%s: %v", option, err)
			}
		}
	}
}
