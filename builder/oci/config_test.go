// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/zclconf/go-cty/cty"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
)

// keyPair is an API key and its fingerprint, made once.
var keyPair = func() func(t *testing.T) (string, string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return func(t *testing.T) (string, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		bad := oci.Credentials{Tenancy: "ocid1.tenancy.x", User: "ocid1.user.x", Fingerprint: "?", Region: "r", KeyPEM: text}
		_, print, ok := strings.Cut(bad.Problems(strings.Clone, strings.Clone)[0].Error(), "has the fingerprint ")
		if !ok {
			t.Fatal("the message about a wrong fingerprint does not name the right one")
		}
		return text, print
	}
}()

// good is a complete configuration.
func good(t *testing.T) map[string]interface{} {
	t.Setenv("HOME", t.TempDir()) // which may have an .oci/config
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "OCI_") {
			t.Setenv(name, "")
		}
	}
	key, print := keyPair(t)
	return map[string]interface{}{
		"tenancy_ocid": "ocid1.tenancy.oc1..t", "user_ocid": "ocid1.user.oc1..u", "fingerprint": print, "key": key,
		"region": "eu-frankfurt-1", "base_image_ocid": "ocid1.image.oc1..i", "subnet_ocid": "ocid1.subnet.oc1..s",
		"ssh_username": "debian",
	}
}

// builds are those of a build that makes no keys.
func (c *Config) builds() []oci.BuildConfig {
	all, err := c.Builds(c.given(), ocibuild.Keys{}, c.Bastion)
	if err != nil {
		panic(err)
	}
	return all
}

func TestDefaults(t *testing.T) {
	var c Config
	if _, err := c.Prepare(good(t)); err != nil {
		t.Fatal(err)
	}
	if c.Shape != "VM.Standard.A1.Flex" || c.CompartmentOCID != c.TenancyOCID || c.ImageCompartmentOCID != c.TenancyOCID ||
		!strings.HasPrefix(c.ImageName, "packer-") || c.CapacityTimeout != 6*time.Hour || c.CapacityInterval != 10*time.Second ||
		!slices.Equal(c.ImageShapes, []string{c.Shape}) {
		t.Errorf("defaults: %+v", c)
	}
	if want := []oci.Size{{Shape: c.Shape, OCPUs: 2, MemoryGB: 12}, {Shape: c.Shape, OCPUs: 1, MemoryGB: 6}}; !slices.Equal(c.builds()[0].Sizes, want) {
		t.Errorf("sizes %v", c.builds()[0].Sizes)
	}
	if b := c.builds(); len(b) != 1 || b[0].AssignPublicIP != nil || b[0].SizesNamed || b[0].FreeTier != oci.FreePrefer || b[0].Allowance != (oci.Allowance{OCPUs: 2, MemoryGB: 12, StorageGB: 200}) {
		t.Errorf("builds: %+v", b)
	}
	if p := c.policy(); p.NoAsking || p.SizeFirst || p.Jitter <= 0 {
		t.Errorf("policy: %+v", p)
	}
}

func TestEnvironment(t *testing.T) {
	in := good(t)
	for env, option := range map[string]string{
		"OCI_TENANCY_OCID": "tenancy_ocid", "OCI_USER_OCID": "user_ocid", "OCI_FINGERPRINT": "fingerprint",
		"OCI_API_PRIVATE_KEY": "key", "OCI_REGION": "region", "OCI_BASE_IMAGE_OCID": "base_image_ocid",
		"OCI_SUBNET_OCID": "subnet_ocid", "OCI_SSH_USERNAME": "ssh_username",
	} {
		v := in[option].(string)
		if option == "key" { // a CI system that flattens line ends
			v = strings.ReplaceAll(v, "\n", `\n`)
		}
		t.Setenv(env, v)
		delete(in, option)
	}
	t.Setenv("OCI_COMPARTMENT_OCID", "ocid1.compartment.oc1..c")
	t.Setenv("OCI_AVAILABILITY_DOMAIN", "Uocm:PHX-AD-2")
	var c Config
	if _, err := c.Prepare(in); err != nil {
		t.Fatal(err)
	}
	if b := c.builds()[0]; b.FirstDomain != "Uocm:PHX-AD-2" || b.AvailabilityDomain != "" {
		t.Errorf("OCI_AVAILABILITY_DOMAIN gives first %q, pinned %q", b.FirstDomain, b.AvailabilityDomain)
	}
	if c.CompartmentOCID != "ocid1.compartment.oc1..c" || c.Comm.SSHUsername != "debian" {
		t.Errorf("%+v", c)
	}
}

func TestSearchOptions(t *testing.T) {
	in := good(t)
	maps.Copy(in, map[string]interface{}{
		"shape_config": []map[string]interface{}{{"ocpus": 4}, {"ocpus": 1, "memory_in_gbs": 8, "shape": "VM.Standard.A2.Flex"}},
		"additional_region": []map[string]interface{}{{
			"region": "eu-amsterdam-1", "subnet_ocid": "ocid1.subnet.oc1..s2", "base_image_ocid": "ocid1.image.oc1..i2", "availability_domain": "x:AD-1",
		}},
		"availability_domain": "x:AD-3", "capacity_order": "size", "capacity_reports": "false", "capacity_round": "5m", "preemptible": true,
		"free_tier": "ignore", "free_allowance": map[string]interface{}{"ocpus": 4, "memory_in_gbs": "24"},
	})
	var c Config
	if _, err := c.Prepare(in); err != nil {
		t.Fatal(err)
	}
	want := []oci.Size{{Shape: "VM.Standard.A1.Flex", OCPUs: 4, MemoryGB: 24}, {Shape: "VM.Standard.A2.Flex", OCPUs: 1, MemoryGB: 8}}
	if !slices.Equal(c.builds()[0].Sizes, want) || !slices.Equal(c.ImageShapes, []string{"VM.Standard.A1.Flex", "VM.Standard.A2.Flex"}) {
		t.Errorf("sizes %v, shapes %q", c.builds()[0].Sizes, c.ImageShapes)
	}
	b := c.builds()
	if len(b) != 2 || b[0].Region != "eu-frankfurt-1" || b[0].AvailabilityDomain != "x:AD-3" || !b[0].SizesNamed || !b[0].Preemptible ||
		b[1].Region != "eu-amsterdam-1" || b[1].Subnet != "ocid1.subnet.oc1..s2" || b[1].BaseImage != "ocid1.image.oc1..i2" || b[1].AvailabilityDomain != "x:AD-1" ||
		b[1].Allowance != (oci.Allowance{OCPUs: 4, MemoryGB: 24, StorageGB: 200}) || b[1].FreeTier != oci.FreeIgnore {
		t.Errorf("builds: %+v", b)
	}
	if p := c.policy(); !p.NoAsking || !p.SizeFirst || p.Round != 5*time.Minute {
		t.Errorf("policy: %+v", p)
	}
	// One block, as oracle-oci's templates have it, in JSON a single object.
	in["shape_config"] = map[string]interface{}{"ocpus": "2", "memory_in_gbs": 6.5}
	if _, err := c.Prepare(in); err != nil || !slices.Equal(c.builds()[0].Sizes, []oci.Size{{Shape: "VM.Standard.A1.Flex", OCPUs: 2, MemoryGB: 6.5}}) {
		t.Errorf("%v; sizes %v", err, c.builds()[0].Sizes)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(garbage, []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0c2VjcmV0\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "user-data")
	if err := os.WriteFile(big, make([]byte, 40000), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		set  map[string]interface{}
		drop []string
		want string
	}{
		{drop: []string{"tenancy_ocid"}, want: "tenancy_ocid must be set"},
		{drop: []string{"user_ocid"}, want: "user_ocid must be set"},
		{drop: []string{"region"}, want: "region must be set (or the environment variable OCI_REGION)"},
		{drop: []string{"key"}, want: "key must be set (or key_file, or the environment variable OCI_API_PRIVATE_KEY)"},
		{drop: []string{"base_image_ocid"}, want: "base_image_ocid or base_image_filter must be set (or the environment variable OCI_BASE_IMAGE_OCID)"},
		{drop: []string{"subnet_ocid"}, want: "subnet_ocid must be set"},
		{drop: []string{"ssh_username"}, want: "ssh_username"},
		{set: map[string]interface{}{"fingerprint": "aa:bb"}, want: "has the fingerprint"},
		{set: map[string]interface{}{"user_ocid": "ocid1.tenancy.oc1..u"}, want: "user_ocid must be an OCID that begins with ocid1.user"},
		{set: map[string]interface{}{"base_image_ocid": "debian"}, want: "base_image_ocid must be an OCID that begins with ocid1.image"},
		{set: map[string]interface{}{"key": "", "key_file": filepath.Join(dir, "none")}, want: "key_file cannot be read"},
		{set: map[string]interface{}{"key": "", "key_file": garbage}, want: "key_file cannot be read"},
		{set: map[string]interface{}{"disk_size": 10}, want: "disk_size must be from 50"},
		{set: map[string]interface{}{"shape_config": map[string]interface{}{"memory_in_gbs": 6}}, want: "memory_in_gbs and baseline_ocpu_utilization need ocpus"},
		{set: map[string]interface{}{"shape_config": map[string]interface{}{"ocpus": -1}}, want: "must be positive"},
		{set: map[string]interface{}{"shape": "VM.Standard.A2.Flex"}, want: "ocpus must be set for VM.Standard.A2.Flex"},
		{set: map[string]interface{}{"image_name": strings.Repeat("x", 256)}, want: "image_name"},
		{set: map[string]interface{}{"user_data": "a", "user_data_file": big}, want: "exclude each other"},
		{set: map[string]interface{}{"user_data_file": filepath.Join(dir, "none")}, want: "user_data_file cannot be read"},
		{set: map[string]interface{}{"user_data_file": big}, want: "OCI takes at most"},
		{set: map[string]interface{}{"tags": map[string]string{"armfree": "x"}}, want: `tags: the key "armfree"`},
		{set: map[string]interface{}{"instance_tags": map[string]string{"k": strings.Repeat("x", 257)}}, want: "instance_tags: a key may have"},
		{set: map[string]interface{}{"capacity_timeout": "-1s"}, want: "capacity_timeout must not be negative"},
		{set: map[string]interface{}{"capacity_round": "-1s"}, want: "capacity_round must not be negative"},
		{set: map[string]interface{}{"trace_file": "no/such/folder/trace.json"}, want: "trace_file: there is no folder no/such/folder"},
		{set: map[string]interface{}{"trace_file": "."}, want: "trace_file: . is a folder"},
		{set: map[string]interface{}{"capacity_order": "cheap"}, want: `capacity_order must be "place" or "size", it is "cheap"`},
		{set: map[string]interface{}{"free_tier": "maybe"}, want: `free_tier must be "prefer", "require" or "ignore", it is "maybe"`},
		{set: map[string]interface{}{"free_tier": "require", "preemptible": true}, want: "preemptible machines are not part of the Always Free allowance"},
		{set: map[string]interface{}{"free_tier": "require", "capacity_reservation_ocid": "ocid1.capacityreservation.oc1..r"}, want: "reserved capacity is not part of"},
		{set: map[string]interface{}{"preemptible": true, "capacity_reservation_ocid": "ocid1.capacityreservation.oc1..r"}, want: "exclude each other"},
		{set: map[string]interface{}{"capacity_reservation_ocid": "r"}, want: "capacity_reservation_ocid must be an OCID that begins with ocid1.capacityreservation"},
		{set: map[string]interface{}{"free_allowance": map[string]interface{}{"ocpus": 4}}, want: "ocpus and memory_in_gbs must be set together"},
		{set: map[string]interface{}{"shape_config": []map[string]interface{}{{"ocpus": 1}, {"ocpus": 1, "memory_in_gbs": 6}}}, want: "is there twice"},
		{set: map[string]interface{}{"shape_config": []map[string]interface{}{{}}}, want: "ocpus must be set for VM.Standard.A1.Flex"},
		{set: region("eu-frankfurt-1", "ocid1.subnet.x", "ocid1.image.x"), want: "eu-frankfurt-1 is there twice"},
		{set: region("FRA", "ocid1.subnet.x", "ocid1.image.x"), want: "FRA is there twice"},
		{set: region("", "ocid1.subnet.x", "ocid1.image.x"), want: "additional_region: region must be set"},
		{set: region("eu-paris-1", "", "ocid1.image.x"), want: "subnet_ocid must be set for eu-paris-1"},
		{set: region("eu-paris-1", "ocid1.subnet.x", "ocid1.subnet.x"), want: "additional_region: base_image_ocid must be an OCID that begins with ocid1.image"},
		{set: map[string]interface{}{"capacity_timeuot": "1s"}, want: "capacity_timeuot"},
		{set: map[string]interface{}{"instance_timeout": "soon"}, want: "instance_timeout"},
		{set: map[string]interface{}{"disk_size": "large"}, want: "disk_size"},
		{set: map[string]interface{}{"subnet_ocid": map[string]string{"a": "b"}}, want: "subnet_ocid"},
		{set: map[string]interface{}{"shape": "VM.Standard.A2.Flex", "shape_config": map[string]interface{}{"ocpus": "two"}}, want: "ocpus"},
		{set: map[string]interface{}{"base_image_ocid": "", "base_image_filter": map[string]interface{}{"display_name": map[string]string{"a": "b"}}}, want: "display_name"},
		{set: map[string]interface{}{"instance_timeout": 300}, want: `instance_timeout is 300ns, which is too short; a number without a unit counts nanoseconds, so write "300s"`},
		{set: map[string]interface{}{"image_timeout": 3600000}, want: "image_timeout is 3.6ms"},
		{set: map[string]interface{}{"cleanup_timeout": "900ms"}, want: "cleanup_timeout is 900ms"},
		{set: map[string]interface{}{"capacity_timeout": 1}, want: "capacity_timeout is 1ns"},
		{set: map[string]interface{}{"capacity_interval": 10}, want: "capacity_interval is 10ns"},
		{set: map[string]interface{}{"capacity_round": 600}, want: "capacity_round is 600ns"},
		{set: map[string]interface{}{"ssh_timeout": 300}, want: "ssh_timeout is 300ns"},
		{set: map[string]interface{}{"oci_bastion": map[string]interface{}{"timeout": 600}}, want: "oci_bastion: timeout is 600ns"},
		{set: map[string]interface{}{"base_image_filter": map[string]interface{}{"display_name_search": "("}}, want: "base_image_filter: display_name_search is no regular expression"},
		{set: vnic("hostname_label", "-a"), want: "create_vnic_details: hostname_label must have"},
		{set: vnic("private_ip", "10.0.0"), want: `create_vnic_details: private_ip must be an IPv4 address, it is "10.0.0"`},
		{set: vnic("private_ip", "::1"), want: "create_vnic_details: private_ip must be an IPv4 address"},
		{set: vnic("nsg_ids", []string{nsg("1"), nsg("2"), nsg("3"), nsg("4"), nsg("5"), nsg("6")}), want: "OCI allows five network security groups, there are 6"},
		{set: vnic("nsg_ids", []string{nsg("1"), nsg("1")}), want: "create_vnic_details: nsg_ids: " + nsg("1") + " is there twice"},
		{set: vnic("nsg_ids", "group"), want: "create_vnic_details: nsg_ids must be an OCID"},
		{set: vnic("subnet_id", "ocid1.subnet.oc1..other"), want: "create_vnic_details: subnet_id is ocid1.subnet.oc1..other, and subnet_ocid is"},
		{set: vnic("display_name", strings.Repeat("x", 256)), want: "create_vnic_details: display_name must not be longer than 255"},
		{set: vnic("defined_tags_json", `["a"]`), want: "create_vnic_details: defined_tags_json must be a JSON object"},
		{set: vnic("defined_tags", map[string]interface{}{"ns": map[string]interface{}{"k": []string{"v"}}}), want: "create_vnic_details: defined_tags: the value of ns.k must be"},
		{set: map[string]interface{}{"assign_public_ip": true, "create_vnic_details": map[string]interface{}{"assign_public_ip": "false"}}, want: "assign_public_ip is true, and that of create_vnic_details is false"},
		{set: map[string]interface{}{"boot_volume_vpus_per_gb": 15}, want: "boot_volume_vpus_per_gb must be from 10 to 120"},
		{set: map[string]interface{}{"kms_key_ocid": "ocid1.vault.oc1..k"}, want: "kms_key_ocid must be an OCID that begins with ocid1.key"},
		{set: map[string]interface{}{"compartment_ocid": "main"}, want: `compartment_ocid must be the OCID of a compartment or of a tenancy, which begins with ocid1.compartment or ocid1.tenancy, it is "main"`},
		{set: map[string]interface{}{"image_compartment_ocid": "ocid1.image.oc1..c"}, want: "image_compartment_ocid must be the OCID of a compartment"},
		{set: map[string]interface{}{"base_image_filter": map[string]interface{}{"compartment_id": "main"}}, want: "base_image_filter: compartment_id must be the OCID of a compartment"},
		{set: map[string]interface{}{"defined_tags_json": "{"}, want: "defined_tags_json must be a JSON object"},
		{set: map[string]interface{}{"defined_tags_json": `{"ns":{"k":{"a":"b"}}}`}, want: "defined_tags_json: the value of ns.k must be a text, a number or a truth value"},
		{set: map[string]interface{}{"instance_defined_tags_json": `{"ns":{"k":null}}`}, want: "instance_defined_tags_json: the value of ns.k must be"},
		{set: map[string]interface{}{"defined_tags_json": `{"ns":{"k":"v"}}`, "defined_tags": map[string]interface{}{"ns": map[string]interface{}{"k": "v"}}}, want: "defined_tags and defined_tags_json exclude each other"},
		{set: map[string]interface{}{"oci_bastion": map[string]interface{}{"defined_tags_json": `{"ns":{"k":["v"]}}`}}, want: "oci_bastion: defined_tags_json: the value of ns.k"},
		{set: map[string]interface{}{"image_launch_mode": "native"}, want: "image_launch_mode must be NATIVE, EMULATED"},
		{set: map[string]interface{}{"image_launch_mode": "EMULATED"}, want: `image_launch_mode = "EMULATED" is for x86 shapes`},
		{set: map[string]interface{}{"nic_attachment_type": "virtio"}, want: "nic_attachment_type must be VFIO, E1000"},
		{set: map[string]interface{}{"nic_attachment_type": "E1000"}, want: `nic_attachment_type = "E1000" is for x86 shapes`},
		{set: map[string]interface{}{"image_firmware": "UEFI"}, want: "image_firmware must be BIOS, UEFI_64"},
		{set: map[string]interface{}{"image_firmware": "BIOS"}, want: `image_firmware = "BIOS" is for x86 shapes`},
		{set: map[string]interface{}{"image_name_conflict": "replace"}, want: "image_name_conflict must be allow, fail"},
		{set: map[string]interface{}{"image_name": "a", "image_name_prefix": "b"}, want: "image_name and image_name_prefix exclude each other"},
		{set: map[string]interface{}{"image_name_prefix": strings.Repeat("x", 241)}, want: "image_name must not be longer"},
		{set: map[string]interface{}{"instance_name": strings.Repeat("x", 256)}, want: "instance_name must not be longer than 255 characters"},
		{set: map[string]interface{}{"image_shapes": []string{""}}, want: `image_shapes must be names of shapes such as VM.Standard.A1.Flex, one is ""`},
		{set: map[string]interface{}{"image_shapes": "A1.Flex"}, want: `one is "A1.Flex"`},
		{set: map[string]interface{}{"image_shapes": "VM.Standard.A1.Flex,VM.Standard.E4.Flex"}, want: "image_shapes: VM.Standard.E4.Flex has another processor than VM.Standard.A1.Flex"},
		{set: map[string]interface{}{"shape_config": map[string]interface{}{"ocpus": 1, "baseline_ocpu_utilization": "BASELINE_1_2"}}, want: "VM.Standard.A1.Flex is never one"},
		{set: map[string]interface{}{"shape_config": map[string]interface{}{"ocpus": 1, "baseline_ocpu_utilization": "HALF"}}, want: "baseline_ocpu_utilization must be BASELINE_1_8"},
		{set: map[string]interface{}{"machine_lifetime": "2h", "user_data": `{"ignition":{}}`}, want: "machine_lifetime adds to the user data"},
		{set: map[string]interface{}{"machine_lifetime": "10m"}, want: "machine_lifetime must be at least 30m"},
		{set: map[string]interface{}{"machine_lifetime": "1h", "skip_machine_lifetime": true}, want: "machine_lifetime and skip_machine_lifetime exclude each other"},
		{set: map[string]interface{}{"ssh_pin_host_key": true, "user_data": `{"ignition":{}}`}, want: "ssh_pin_host_key adds to the user data"},
		{set: map[string]interface{}{"ssh_pin_host_key": true, "communicator": "winrm", "winrm_username": "opc"}, want: "ssh_pin_host_key is for SSH"},
		{set: map[string]interface{}{"user_data": "#!/bin/sh\n", "metadata": map[string]string{"user_data": "IyEvYmluL3NoCg=="}}, want: "user_data (or user_data_file) and the user_data of metadata exclude each other"},
		{set: map[string]interface{}{"metadata": map[string]string{"user_data": "#!/bin/sh\n"}}, want: "metadata: user_data must be in base64"},
		{set: map[string]interface{}{"temporary_key_pair_name": "a'; rm -rf /"}, want: "temporary_key_pair_name may have letters"},
		{set: map[string]interface{}{"temporary_key_pair_type": "dsa"}, want: "temporary_key_pair_type"},
		{set: map[string]interface{}{"temporary_key_pair_type": "ecdsa", "temporary_key_pair_bits": 2048}, want: "temporary_key_pair_bits must be 256, 384 or 521"},
		{set: map[string]interface{}{"ssh_port": 99999}, want: "ssh_port must be from 1 to 65535, it is 99999"},
		{set: map[string]interface{}{"ssh_agent_auth": true}, want: "ssh_agent_auth needs an SSH agent, and there is none: the environment variable SSH_AUTH_SOCK is not set"},
		{set: map[string]interface{}{"ssh_bastion_host": "bastion", "ssh_bastion_agent_auth": true}, want: "ssh_bastion_agent_auth needs an SSH agent"},
		{set: map[string]interface{}{"tags": tenTags()}, want: "tags: OCI allows 10 freeform tags, of which this plugin needs one; there are 10"},
		{set: map[string]interface{}{"security_token_file": "token", "fingerprint": ""}, want: "security_token_file and user_ocid exclude each other"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			in := good(t)
			t.Setenv("SSH_AUTH_SOCK", "")
			maps.Copy(in, tt.set)
			for _, d := range tt.drop {
				delete(in, d)
			}
			var c Config
			_, err := c.Prepare(in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v", err)
			}
			var all *packersdk.MultiError
			if !errors.As(err, &all) || len(all.Errors) != 1 || strings.Contains(strings.Replace(all.Errors[0].Error(), "\n  Note:", "", 1), "\n") {
				t.Errorf("one mistake, and not one sentence about it: %v", err)
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Error("the message quotes the key")
			}
		})
	}
}

// vnic is a template with one option of the network interface.
func vnic(option string, value interface{}) map[string]interface{} {
	return map[string]interface{}{"create_vnic_details": map[string]interface{}{option: value}}
}

func nsg(name string) string { return "ocid1.networksecuritygroup.oc1..g" + name }

// tenTags are as many as OCI allows.
func tenTags() map[string]string {
	tags := map[string]string{}
	for i := range 10 {
		tags[fmt.Sprint("t", i)] = ""
	}
	return tags
}

// What oracle-oci takes is taken, with a line where it does nothing.
func TestAcceptedWithAWarning(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   map[string]interface{}
		want  string
		check func(c *Config) bool
	}{
		{
			name: "a size of a shape that has one", set: map[string]interface{}{"shape": "BM.Standard.A1.160", "shape_config": map[string]interface{}{"ocpus": 4, "memory_in_gbs": 8}},
			want: "shape_config is for flexible shapes, and BM.Standard.A1.160 is not one", check: func(c *Config) bool {
				return slices.Equal(c.builds()[0].Sizes, []oci.Size{{Shape: "BM.Standard.A1.160"}})
			},
		},
		{
			name: "two of them", set: map[string]interface{}{"shape": "VM.Standard2.1", "shape_config": []map[string]interface{}{{"ocpus": 4}, {"memory_in_gbs": 8}}},
			want: "VM.Standard2.1 is not one", check: func(c *Config) bool { return len(c.builds()[0].Sizes) == 1 },
		},
		{
			name: "a token beside a whole user", set: map[string]interface{}{"security_token_file": "nowhere"}, want: "security_token_file is not used",
			check: func(c *Config) bool { return c.credentials.Kind == oci.APIKey && c.credentials.TokenFile == "" },
		},
		{name: "user data that gets no timer", set: map[string]interface{}{"user_data": "## template: jinja\n#cloud-config\n"}, want: "machine_lifetime does not end the machine", check: func(c *Config) bool { return c.MachineLifetime == 0 }},
		{
			name: "the same in metadata", want: "machine_lifetime does not end the machine",
			set: map[string]interface{}{"metadata": map[string]string{"user_data": base64.StdEncoding.EncodeToString([]byte("\x1f\x8b\x08"))}},
		},
		{name: "user data that leaves no room", set: map[string]interface{}{"user_data": "#!" + strings.Repeat("x", 22000)}, want: "so little room that nothing can be added"},
		{name: "user data without a timer, as asked", set: map[string]interface{}{"user_data": "{}", "skip_machine_lifetime": true}},
		{name: "a key's name of two words", set: map[string]interface{}{"temporary_key_pair_name": "packer {{timestamp}}"}},
		{name: "bits of a key that has as many as it has", set: map[string]interface{}{"temporary_key_pair_bits": 2048}},
		{name: "nine tags", set: map[string]interface{}{"tags": map[string]string{"1": "", "2": "", "3": "", "4": "", "5": "", "6": "", "7": "", "8": "", "9": ""}}},
		{
			name: "a filter of a compartment", set: map[string]interface{}{"base_image_ocid": "", "base_image_filter": map[string]interface{}{"compartment_id": "ocid1.compartment.oc1..c"}},
			check: func(c *Config) bool {
				return c.builds()[0].ImageFilter != nil && c.builds()[0].ImageFilter.Compartment == "ocid1.compartment.oc1..c"
			},
		},
		{
			name: "a filter of a shape", set: map[string]interface{}{"base_image_ocid": "", "base_image_filter": map[string]interface{}{"shape": "VM.Standard.A1.Flex"}},
			check: func(c *Config) bool { return c.builds()[0].ImageFilter.Shape == "VM.Standard.A1.Flex" },
		},
		{
			name: "a tenancy is a compartment", set: map[string]interface{}{"compartment_ocid": "ocid1.tenancy.oc1..t", "image_compartment_ocid": "ocid1.compartment.oc1..c"},
			check: func(c *Config) bool { return c.ImageCompartmentOCID == "ocid1.compartment.oc1..c" },
		},
		{name: "shapes with blanks", set: map[string]interface{}{"image_shapes": "VM.Standard.A1.Flex, BM.Standard.A1.160"}, check: func(c *Config) bool { return c.ImageShapes[1] == "BM.Standard.A1.160" }},
		{name: "a shape with Arm processors of another maker", set: map[string]interface{}{"image_shapes": "VM.Standard.A1.Flex,BM.GPU.GB200.4"}},
		{
			name: "tags as bytes", set: map[string]interface{}{"defined_tags": map[string]interface{}{"ns": map[string]interface{}{"k": []byte("v")}}},
			check: func(c *Config) bool { return c.DefinedTags["ns"]["k"] == "v" },
		},
		{
			name: "an image of another kind", set: map[string]interface{}{"shape": "VM.Standard2.1", "image_launch_mode": "EMULATED", "nic_attachment_type": "E1000", "image_firmware": "BIOS"},
			check: func(c *Config) bool { return c.builds()[0].Image.Firmware == "BIOS" },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := good(t)
			maps.Copy(in, tt.set)
			var c Config
			warnings, err := c.Prepare(in)
			if err != nil {
				t.Fatal(err)
			}
			if said := strings.Join(warnings, "\n"); !strings.Contains(said, tt.want) || tt.want == "" && said != "" {
				t.Errorf("warnings %q", warnings)
			}
			if tt.check != nil && !tt.check(&c) {
				t.Errorf("%+v", c.builds())
			}
		})
	}
}

// User data in base64 is that of what the machine reads, and any other text is
// user data itself: a word may be base64 by chance.
func TestUserDataInBase64(t *testing.T) {
	for _, plain := range []string{
		"#!/bin/sh\n", "#cloud-config\n", "{\"ignition\":{\"version\":\"3.4.0\"}}", "[settings]\nkernel = 1\n", "<powershell>x</powershell>", "version: v1alpha1\nmachine: größer\n", "\x1f\x8b\x08\x00",
	} {
		in := good(t)
		in["user_data"], in["skip_machine_lifetime"] = base64.StdEncoding.EncodeToString([]byte(plain)), true
		var c Config
		if _, err := c.Prepare(in); err != nil || string(c.builds()[0].UserData) != plain {
			t.Errorf("%q is encoded twice: %q, %v", plain, c.builds()[0].UserData, err)
		}
	}
	for _, word := range []string{"abcd", "abcdefgh", "YWJj", "deadbeefdeadbeef", "UserDataOfSomeSort12", "AAAA"} {
		in := good(t)
		in["user_data"] = word
		var c Config
		if _, err := c.Prepare(in); err != nil || string(c.builds()[0].UserData) != word {
			t.Errorf("%q is sent as if it were encoded: %q, %v", word, c.builds()[0].UserData, err)
		}
	}
}

// A user's cloud-init among the metadata runs beside the host key, or is sent as
// it is.
func TestUserDataInMetadata(t *testing.T) {
	in := good(t)
	script := base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho theirs\n"))
	in["metadata"], in["skip_machine_lifetime"] = map[string]string{"user_data": script, "k": "v"}, true
	var c Config
	if _, err := c.Prepare(in); err != nil || len(c.builds()[0].UserData) > 0 || c.Metadata["user_data"] != script {
		t.Errorf("%q, %v, %v", c.builds()[0].UserData, c.Metadata, err)
	}
	in["ssh_pin_host_key"] = true
	for range 2 {
		if _, err := c.Prepare(in); err != nil || string(c.builds()[0].UserData) != "#!/bin/sh\necho theirs\n" || c.Metadata["user_data"] != "" || c.Metadata["k"] != "v" {
			t.Errorf("with a host key: %q, %v, %v", c.builds()[0].UserData, c.Metadata, err)
		}
	}
}

// region is a template's additional region.
func region(name, subnet, image string) map[string]interface{} {
	return map[string]interface{}{"additional_region": []map[string]interface{}{{"region": name, "subnet_ocid": subnet, "base_image_ocid": image}}}
}

func TestAllMistakesAtOnce(t *testing.T) {
	in := good(t)
	in["disk_size"], in["fingerprint"], in["subnet_ocid"], in["image_timeout"] = 3, "aa", "x", "-2m"
	in["instance_timeout"], in["boot_volume_vpus_per_gb"], in["image_title"] = "soon", "many", "x" // which cannot be decoded
	var c Config
	_, err := c.Prepare(in)
	for _, want := range []string{"disk_size", "fingerprint", "subnet_ocid", "image_timeout", "instance_timeout", "boot_volume_vpus_per_gb", "image_title"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}

// Packer hands HCL over in another form.
func TestAllMistakesAtOnceInHCL(t *testing.T) {
	attrs := map[string]cty.Value{}
	for name, spec := range new(Builder).ConfigSpec() {
		attrs[name] = cty.NullVal(specType(spec))
	}
	for k, v := range good(t) {
		attrs[k] = cty.StringVal(v.(string))
	}
	attrs["instance_timeout"], attrs["image_timeout"], attrs["subnet_ocid"] = cty.StringVal("soon"), cty.StringVal("later"), cty.StringVal("x")
	_, _, err := (&Builder{Mask: new(mask.Masker)}).Prepare(cty.ObjectVal(attrs))
	var all *packersdk.MultiError
	if !errors.As(err, &all) || len(all.Errors) != 3 {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"instance_timeout", "image_timeout", "subnet_ocid"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}

func TestUnknownValuesPassValidation(t *testing.T) {
	in := good(t)
	in["base_image_ocid"], in["fingerprint"] = "<unknown>", "74D93920-ED26-11E3-AC10-0800200C9A66"
	var c Config
	if _, err := c.Prepare(in); err != nil {
		t.Error(err)
	}
}

func TestPreparedTwice(t *testing.T) {
	in := good(t)
	in["instance_tags"] = map[string]string{"a": ""}
	var c Config
	for range 2 {
		if _, err := c.Prepare(in); err != nil {
			t.Fatal(err)
		}
	}
	delete(in, "instance_tags")
	if _, err := c.Prepare(in); err != nil || len(c.InstanceTags) != 0 {
		t.Errorf("tags of an earlier preparation stay: %v, %v", c.InstanceTags, err)
	}
}
