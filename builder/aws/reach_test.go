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

	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// written is a build that JSON can write: functions cannot be written.
type written struct {
	ec2.BuildConfig
	Render *bool
}

// told is all that the adapter is told.
type told struct {
	Build       written
	Other       written // of the second region
	Words       ec2.Words
	Credentials ec2.Credentials
	UserData    string
}

// tell is what the adapter is told of a template, as one tree.
func tell(t *testing.T, in set) map[string]interface{} {
	t.Helper()
	c, all := prepared(t, in)
	out := told{Build: written{BuildConfig: all[0]}, Credentials: c.credentials, UserData: string(all[0].UserData)}
	var err error
	out.Words, err = all[0].Render(ec2.SourceImage{ID: "ami-1", Name: "n", Owner: "o", OwnerName: "on", CreationDate: "d", Tags: map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) > 1 {
		out.Other = written{BuildConfig: all[1]}
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]interface{}
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// at follows a path in a tree.
func at(tree interface{}, path string) interface{} {
	for _, name := range strings.Split(path, ".") {
		switch node := tree.(type) {
		case map[string]interface{}:
			tree = node[name]
		case []interface{}:
			if len(node) == 0 {
				return nil
			}
			tree = node[0].(map[string]interface{})[name]
		default:
			return nil
		}
	}
	return tree
}

// reach is an option, and where its value arrives.
type reach struct {
	option string
	value  interface{}
	more   set    // what it needs beside it
	path   string // in told
	want   interface{}
}

func reaches(t *testing.T) []reach {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n# hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	profiles := filepath.Join(t.TempDir(), "profiles")
	if err := os.WriteFile(profiles, []byte("[other]\naws_access_key_id = A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	role := set{"role_arn": "arn:aws:iam::123456789012:role/p"}
	filter := set{"filters": set{"name": "a"}, "filter": []set{{"name": "x", "value": "b,c"}}, "owners": []string{"self"}, "most_recent": true, "include_deprecated": true}
	some := func(v ...interface{}) []interface{} { return v }
	device := set{"device_name": "/dev/sdf", "volume_size": 1, "volume_type": "gp3", "iops": 3000, "throughput": 125, "encrypted": true, "kms_key_id": "k", "snapshot_id": "snap-00000001", "delete_on_termination": false}
	deviceWant := set{"Device": "/dev/sdf", "SizeGB": 1.0, "Type": "gp3", "IOPS": 3000.0, "Throughput": 125.0, "Encrypted": true, "KMSKey": "k", "Snapshot": "snap-00000001", "KeepVolume": true, "NoDevice": false, "VirtualName": ""}
	other := set{"additional_region": set{"region": "eu-west-1", "source_ami": "ami-00000002"}}
	spot := set{"spot_price": "auto"}
	blocks := []set{{"key": "k", "value": ""}, {"name": "{{ .SourceAMI }}", "value": "{{ .BuildRegion }}"}}
	blockWant := set{"k": "", "ami-1": "eu-central-1"}
	return []reach{
		{"access_key", "AKIAX", nil, "Credentials.AccessKey", "AKIAX"},
		{"secret_key", "s3cret", nil, "Credentials.SecretKey", "s3cret"},
		{"token", "t0ken", nil, "Credentials.Token", "t0ken"},
		{"profile", "other", set{"access_key": nil, "secret_key": nil, "shared_credentials_file": profiles}, "Credentials.Profile", "other"},
		{"shared_credentials_file", profiles, nil, "Credentials.SharedFile", profiles},
		{"region", "us-gov-west-1", nil, "Build.Region", "us-gov-west-1"},
		{"assume_role", role, nil, "Credentials.Roles.ARN", role["role_arn"]},
		{"assume_role_with_web_identity", set{"role_arn": role["role_arn"], "web_identity_token": "t"}, set{"access_key": nil, "secret_key": nil}, "Credentials.WebIdentity.Token", "t"},
		{"custom_endpoint_ec2", "http://127.0.0.1:1", nil, "Credentials.Endpoint", "http://127.0.0.1:1"},
		{"insecure_skip_tls_verify", true, nil, "Credentials.SkipTLS", true},
		{"max_retries", 3, nil, "Credentials.MaxRetries", 3.0},
		{"skip_credential_validation", true, nil, "Credentials.SkipCheck", true},
		{"skip_metadata_api_check", true, nil, "Credentials.NoIMDS", true},
		{"decode_authorization_messages", true, nil, "Credentials.DecodeMessages", true},

		{"instance_type", "c7g.medium", nil, "Build.Types", some("c7g.medium")},
		{"instance_types", []string{"a1.medium", "t4g.nano"}, nil, "Build.Types", some("a1.medium", "t4g.nano")},
		{"spot_instance_types", "t4g.nano", spot, "Build.Types", some("t4g.nano")},
		{"markets", []string{"spot", "on-demand"}, nil, "Build.Markets", some("spot", "on-demand")},
		{"spot_price", "0.01", nil, "Build.Spot.MaxPrice", "0.01"},
		{"spot_allocation_strategy", "lowest-price", nil, "Build.Spot.Strategy", "lowest-price"},
		{"availability_zone", "eu-central-1b", nil, "Build.Zones", some("eu-central-1b")},
		{"availability_zones", []string{"eu-central-1b", "eu-central-1a"}, nil, "Build.Zones", some("eu-central-1b", "eu-central-1a")},
		{"additional_region", other["additional_region"], nil, "Other.Region", "eu-west-1"},
		{"skip_region_validation", true, nil, "Build.SkipRegionCheck", true},
		{"free_tier", "ignore", nil, "Build.FreeTier", "ignore"},
		{"free_allowance", set{"storage_in_gbs": 5, "instance_types": "t4g.small"}, nil, "Build.Allowance", set{"Types": some("t4g.small"), "StorageGB": 5.0}},

		{"subnet_id", "subnet-00000001", nil, "Build.Network.Subnets", some("subnet-00000001")},
		{"subnet_ids", "subnet-00000001,subnet-00000002", nil, "Build.Network.Subnets", some("subnet-00000001", "subnet-00000002")},
		{"subnet_filter", set{"filters": set{"a": "b,c"}, "most_free": true}, nil, "Build.Network.SubnetFilter", set{"Filters": set{"a": some("b", "c")}, "MostFree": true, "Random": false}},
		{"vpc_id", "vpc-00000001", nil, "Build.Network.VPC", "vpc-00000001"},
		{"vpc_filter", set{"filters": set{"is-default": "true"}}, nil, "Build.Network.VPCFilter", set{"is-default": some("true")}},
		{"associate_public_ip_address", false, nil, "Build.Network.PublicIP", false},
		{"security_group_id", "sg-00000001", nil, "Build.Network.SecurityGroups", some("sg-00000001")},
		{"security_group_ids", []string{"sg-00000001"}, nil, "Build.Network.SecurityGroups", some("sg-00000001")},
		{"security_group_filter", set{"filter": set{"name": "tag:a", "value": "b"}}, nil, "Build.Network.SecurityGroupFilter", set{"tag:a": some("b")}},
		{"temporary_security_group_source_cidrs", "10.0.0.0/8,::/0", nil, "Build.Network.Temporary.Sources", some("10.0.0.0/8", "::/0")},
		{"temporary_security_group_source_public_ip", false, nil, "Build.Network.Temporary.Sources", some("0.0.0.0/0")},

		{"source_ami", "ami-0000000f", nil, "Build.Source.ID", "ami-0000000f"},
		{"source_ami", "resolve:ssm:/a/b", nil, "Build.Source.Parameter", "/a/b"},
		{"source_ami_filter", filter, nil, "Build.Source.Filter", set{"Filters": set{"name": some("a"), "x": some("b", "c")}, "Owners": some("self"), "MostRecent": true, "IncludeDeprecated": true}},
		{"source_ami_ssm_parameter", "/a/b", set{"source_ami": nil}, "Build.Source.Parameter", "/a/b"},
		{"root_volume_size", 12, nil, "Build.Root.SizeGB", 12.0},
		{"root_volume_type", "gp2", nil, "Build.Root.Type", "gp2"},
		{"launch_block_device_mappings", device, nil, "Build.Volumes", some(deviceWant)},
		{"iam_instance_profile", "p", nil, "Build.Profile", "p"},
		{"skip_profile_validation", true, nil, "Build.SkipProfileCheck", true},
		{"temporary_iam_instance_profile_policy_document", set{"Statement": set{"Action": "s3:Get*", "Resource": "*"}}, nil, "Build.Policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*"],"Resource":["*"]}]}`},
		{"user_data", "{ }", nil, "UserData", "{ }"},
		{"user_data_file", file, set{"communicator": "none"}, "Build.Lifetime", float64(24 * time.Hour)},
		{"metadata_options", set{"http_tokens": "optional", "http_put_response_hop_limit": 2, "instance_metadata_tags": "enabled"}, nil, "Build.Metadata", set{"Disabled": false, "TokensNeeded": false, "HopLimit": 2.0, "Tags": true}},
		{"shutdown_behavior", "stop", nil, "Build.Shutdown", "stop"},
		{"skip_machine_lifetime", true, nil, "Build.Lifetime", 0.0},
		{"machine_lifetime", "3h", nil, "Build.Lifetime", float64(3 * time.Hour)},
		{"disable_stop_instance", true, nil, "Build.StopsItself", true},
		{"enable_unlimited_credits", true, nil, "Build.Unlimited", true},
		{"placement", set{"host_id": "h-00000001"}, nil, "Build.Placement.HostID", "h-00000001"},
		{"tenancy", "dedicated", nil, "Build.Placement.Tenancy", "dedicated"},
		{"capacity_reservation_preference", "open", nil, "Build.Reservation.Preference", "open"},
		{"capacity_reservation_id", "cr-00000001", nil, "Build.Reservation", set{"Preference": "", "ID": "cr-00000001", "GroupARN": ""}},
		{"capacity_reservation_group_arn", "arn:aws:x", nil, "Build.Reservation.GroupARN", "arn:aws:x"},
		{"ssh_interface", "private_dns", nil, "Build.Interface", "private_dns"},
		{"ssh_key_delivery", "key_pair", nil, "Build.ImportKey", publicKey},
		{"ssh_keypair_name", "k", set{"ssh_agent_auth": true}, "Build.KeyName", "k"},

		{"ami_name", "x-y", nil, "Build.Image.Name", "x-y"},
		{"ami_description", "of {{ .SourceAMIName }}", nil, "Words.Description", "of n"},
		{"image_method", "image", nil, "Build.Image.Method", "image"},
		{"image_method", "ami", nil, "Build.Image.Method", "snapshot"},
		{"skip_create_ami", true, nil, "Build.Image.Skip", true},
		{"ami_regions", "us-east-1,eu-central-1", nil, "Build.Image.Copies", some(set{"Region": "us-east-1", "Encrypt": nil, "KMSKey": ""})},
		{"snapshot_copy_duration_minutes", 30, nil, "Build.Image.CopyMinutes", 30.0},
		{"skip_save_build_region", true, set{"ami_regions": "us-east-1"}, "Build.Image.SkipBuildRegion", true},
		{"encrypt_boot", true, nil, "Build.Root.Encrypted", true},
		{"encrypt_boot", false, nil, "Build.Image.Encrypt", false},
		{"kms_key_id", "alias/a", nil, "Build.Root.KMSKey", "alias/a"},
		{"kms_key_id", "alias/a", set{"launch_block_device_mappings": set{"device_name": "/dev/sdf", "volume_size": 1}}, "Build.Volumes.KMSKey", "alias/a"},
		{"region_kms_key_ids", set{"us-east-1": "alias/u"}, set{"ami_regions": "us-east-1"}, "Build.Image.Copies", some(set{"Region": "us-east-1", "Encrypt": true, "KMSKey": "alias/u"})},
		{"force_deregister", true, nil, "Build.Image.Replace", true},
		{"packer_force", true, nil, "Build.Image.Replace", true},
		{"retain", 3, set{"image_series": "x"}, "Build.Image.Retain", 3.0},
		{"image_series", "x", nil, "Build.Image.Series", owner.Series("x")},
		{"force_delete_snapshot", true, set{"force_deregister": true}, "Build.Image.ReplaceSnapshots", true},
		{"imds_support", "v2.0", nil, "Build.Image.IMDSv2", true},
		{"ami_block_device_mappings", set{"device_name": "/dev/sdb", "virtual_name": "ephemeral0"}, nil, "Build.Image.Devices.VirtualName", "ephemeral0"},
		{"ami_users", "123456789012", nil, "Build.Image.Share.Users", some("123456789012")},
		{"ami_groups", "all", nil, "Build.Image.Share.Groups", some("all")},
		{"ami_org_arns", []string{"arn:aws:organizations::123456789012:organization/o-1"}, nil, "Build.Image.Share.Organizations", some("arn:aws:organizations::123456789012:organization/o-1")},
		{"ami_ou_arns", []string{"arn:aws:organizations::123456789012:ou/o-1/ou-1"}, nil, "Build.Image.Share.Units", some("arn:aws:organizations::123456789012:ou/o-1/ou-1")},
		{"snapshot_users", "123456789012", nil, "Build.Image.Share.SnapshotUsers", some("123456789012")},
		{"snapshot_groups", "all", nil, "Build.Image.Share.SnapshotGroups", some("all")},
		{"deprecate_at", "720h", nil, "Build.Image.DeprecateAfter", float64(720 * time.Hour)},
		{"deregistration_protection", set{"enabled": true, "with_cooldown": true}, nil, "Build.Image.Cooldown", true},

		{"run_tags", set{"Name": "mine", "a": ""}, nil, "Words.RunTags", set{"Name": "mine", "a": ""}},
		{"run_tag", set{"key": "Name", "value": "mine"}, nil, "Words.ImageTags", set{"Name": "mine"}},
		{"run_volume_tags", set{"a": "{{ .SourceAMIOwner }}"}, nil, "Words.VolumeTags", set{"a": "o"}},
		{"run_volume_tag", blocks, nil, "Words.VolumeTags", blockWant},
		{"spot_tags", set{"a": "{{ .SourceAMIOwnerName }}"}, nil, "Words.SpotTags", set{"a": "on"}},
		{"spot_tag", blocks, nil, "Words.SpotTags", blockWant},
		{"tags", set{"Name": "", "a": "{{ .SourceAMITags.k }}"}, nil, "Words.ImageTags", set{"Name": "", "a": "v"}},
		{"tag", blocks, set{"skip_ami_run_tags": true}, "Words.ImageTags", blockWant},
		{"snapshot_tags", set{"Name": "{{ .SourceAMICreationDate }}"}, nil, "Words.SnapshotTags", set{"Name": "d"}},
		{"snapshot_tag", blocks, set{"skip_ami_run_tags": true}, "Words.SnapshotTags", blockWant},
		{"skip_ami_run_tags", true, set{"run_tags": set{"a": "b"}}, "Words.ImageTags", set{}},
	}
}

func TestOptionsReachTheAdapter(t *testing.T) {
	for _, r := range reaches(t) {
		t.Run(r.option, func(t *testing.T) {
			in := set{r.option: r.value}
			maps.Copy(in, r.more)
			tree := tell(t, with(t, in))
			if got := at(tree, r.path); dump(got) != dump(r.want) {
				t.Errorf("%s is %s, want %s", r.path, dump(got), dump(r.want))
			}
		})
	}
}

// Names and keys that are made cannot be in a table.
func TestOptionsThatMakeSomething(t *testing.T) {
	_, all := prepared(t, with(t, set{"ami_name": nil, "ami_name_prefix": "debian", "ssh_pin_host_key": true, "deprecate_at": "2035-06-01T12:00:00Z"}))
	b := all[0]
	if !strings.HasPrefix(b.Image.Name, "debian-2") || len(b.Image.Name) != len("debian-20261126001500") {
		t.Errorf("name %q", b.Image.Name)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("IyEvYmluL3NoCiMgaGVsbG8K\n"), 0o600); err != nil { // "#!/bin/sh\n# hello\n"
		t.Fatal(err)
	}
	if _, all := prepared(t, with(t, set{"user_data_file": file})); !strings.Contains(string(all[0].UserData), "#!/bin/sh\n# hello\n") {
		t.Errorf("user data:\n%s", all[0].UserData)
	}
	if !strings.Contains(string(b.UserData), "ed25519_private") {
		t.Errorf("user data:\n%s", b.UserData)
	}
	if !b.Image.DeprecateAt.Equal(time.Date(2035, 6, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("deprecated at %s", b.Image.DeprecateAt)
	}
}

// Every option of the template is in one of the tables of these tests.
func TestNoOptionIsForgotten(t *testing.T) {
	known := []string{"ami_name_prefix", "ssh_pin_host_key", "check_destination"}
	known = append(known, "capture_to", "capture_route", "capture_compression", "capture_clean") // for OCI's adapter; see TestCapture
	for _, r := range reaches(t) {
		known = append(known, r.option)
	}
	for name := range ignored() {
		known = append(known, name)
	}
	known = append(known, refused()...)
	for name := range misnomers() {
		known = append(known, name)
	}
	for name := range new(communicator.Config).FlatMapstructure().HCL2Spec() {
		known = append(known, name)
	}
	limits := []string{"capacity_timeout", "capacity_interval", "capacity_round", "capacity_order", "instance_timeout", "image_timeout", "cleanup_timeout", "trace_file"}
	known = append(known, limits...)
	spec := new(Builder).ConfigSpec()
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "packer_") {
			t.Errorf("%s is in no table", name)
		}
	}
	for _, name := range known {
		if spec[name] == nil {
			t.Errorf("there is no option %s", name)
		}
	}
	// Each block of another region has all that a region needs of its own.
	in := with(t, set{"ssh_agent_auth": true, "ssh_keypair_name": "k", "additional_region": set{
		"region": "eu-west-1", "source_ami": "ami-00000002", "availability_zone": "eu-west-1a", "subnet_id": "subnet-00000001", "vpc_id": "vpc-00000001",
		"security_group_id": "sg-00000001", "ssh_keypair_name": "k2", "kms_key_id": "alias/w",
	}})
	o := tell(t, in)["Other"]
	for path, want := range map[string]string{
		"Source.ID": `"ami-00000002"`, "Zones": `["eu-west-1a"]`, "Network.Subnets": `["subnet-00000001"]`, "Network.VPC": `"vpc-00000001"`,
		"Network.SecurityGroups": `["sg-00000001"]`, "KeyName": `"k2"`, "Image.KMSKey": `"alias/w"`, "Root.KMSKey": `"alias/w"`,
	} {
		if got := dump(at(o, path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
