// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/provisioner/goss"
)

const aSubnet = "ocid1.subnet.oc1.sa-saopaulo-1.aaaa"

// configured is what becomes of a block verify.
func configured(t *testing.T, in map[string]interface{}, block map[string]interface{}) (*PostProcessor, error) {
	t.Helper()
	in = with(in, map[string]interface{}{"destination.verify": block})
	p := &PostProcessor{Mask: new(mask.Masker), Goss: func() packersdk.Provisioner { return new(goss.Provisioner) }}
	return p, p.Configure(in)
}

func TestMistakesOfVerify(t *testing.T) {
	_, in := template(t)
	file, _ := gossfiles(t)
	bad := filepath.Join(t.TempDir(), "bad.goss.yaml")
	if err := os.WriteFile(bad, []byte("file:\n  /x: {exists: [}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		set  map[string]interface{}
		says []string // nothing: it is good
	}{
		{name: "good"},
		{name: "gossfiles", set: map[string]interface{}{"tests": []string{file}, "min_tests": 1, "strict": true}},
		{name: "nothing", set: map[string]interface{}{"subnet_ocid": nil, "ssh_username": nil}, says: []string{
			"destination.verify.subnet_ocid must be set (or the environment variable PROD_OCI_SUBNET_OCID)", "destination.verify.ssh_username must be set",
		}},
		{name: "not a subnet", set: map[string]interface{}{"subnet_ocid": "subnet-1"}, says: []string{"destination.verify.subnet_ocid"}},
		{name: "not known yet", set: map[string]interface{}{"subnet_ocid": "<unknown>", "shape": "<unknown>", "shape_config": []interface{}{map[string]interface{}{"ocpus": 1}}}},
		{name: "a shape that the image is not for", set: map[string]interface{}{"shape": "VM.Standard.A2.Flex", "shape_config": []interface{}{map[string]interface{}{"ocpus": 1}}}, says: []string{"destination.verify.shape: the image cannot start on VM.Standard.A2.Flex"}},
		{name: "a size that is none", set: map[string]interface{}{"shape_config": []interface{}{map[string]interface{}{"memory_in_gbs": 4}}}, says: []string{"destination.verify.shape_config: memory_in_gbs"}},
		{name: "what is free", set: map[string]interface{}{"free_tier": "always"}, says: []string{`destination.verify.free_tier must be "prefer"`}},
		{name: "on_failure", set: map[string]interface{}{"on_failure": "shrug"}, says: []string{`destination.verify.on_failure must be delete or keep, it is "shrug"`}},
		{name: "groups", set: map[string]interface{}{"nsg_ids": []string{"a", "b", "c", "d", "e", "f"}}, says: []string{"OCI allows five network security groups", "destination.verify.nsg_ids"}},
		{name: "times", set: map[string]interface{}{"ssh_timeout": "-1s", "test_timeout": "3ms"}, says: []string{"destination.verify.ssh_timeout must not be negative", "destination.verify.test_timeout is 3ms"}},
		{name: "a port", set: map[string]interface{}{"ssh_port": 99999}, says: []string{"destination.verify.ssh_port must be from 1 to 65535"}},
		{name: "a bastion without a host", set: map[string]interface{}{"ssh_bastion_username": "me"}, says: []string{"which is not set"}},
		{name: "two ways", set: map[string]interface{}{"oci_bastion": map[string]interface{}{}, "ssh_bastion_host": "b", "ssh_bastion_username": "me", "ssh_bastion_private_key_file": file}, says: []string{"oci_bastion and ssh_bastion_host exclude each other"}},
		{name: "a bastion and a public address", set: map[string]interface{}{"oci_bastion": map[string]interface{}{}, "assign_public_ip": true}, says: []string{"destination.verify.oci_bastion: assign_public_ip must be false"}},
		{name: "a key that is not there", set: map[string]interface{}{"ssh_private_key_file": "/no/such/key"}, says: []string{"destination.verify.ssh_private_key_file"}},
		{name: "no such gossfiles", set: map[string]interface{}{"tests": []string{"/no/such/file.yaml", "/no/other.yaml"}}, says: []string{"* destination.verify.tests: stat /no/such/file.yaml", "* destination.verify.tests: stat /no/other.yaml"}},
		{name: "a gossfile that is none", set: map[string]interface{}{"goss_file": bad}, says: []string{"destination.verify.", "bad.goss.yaml"}},
		{name: "variables for nothing", set: map[string]interface{}{"vars": "{}"}, says: []string{"destination.verify.tests, goss_file or goss_files must be set"}},
		{name: "with mistakes elsewhere", set: map[string]interface{}{"on_failure": "x", "tests": []string{"/no/such"}}, says: []string{"on_failure", "/no/such"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			block := map[string]interface{}{"subnet_ocid": aSubnet, "ssh_username": "debian"}
			for k, v := range tt.set {
				if block[k] = v; v == nil {
					delete(block, k)
				}
			}
			_, err := configured(t, in, block)
			if len(tt.says) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.says {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not said: %v", want, err)
				}
			}
		})
	}
}

func TestDefaultsOfVerify(t *testing.T) {
	_, in := template(t)
	t.Setenv("PROD_OCI_SUBNET_OCID", aSubnet)
	t.Setenv("OCI_SSH_USERNAME", "debian")
	t.Setenv("OCI_AVAILABILITY_DOMAIN", "of another tenancy")
	t.Setenv("OCI_COMPARTMENT_OCID", "ocid1.compartment.oc1..other")
	p, err := configured(t, in, map[string]interface{}{})
	if err != nil {
		t.Fatal(err)
	}
	v := p.config.Destinations[0].Verify
	if v.SubnetOCID != aSubnet || v.SSHUsername != "debian" || v.SSHTimeout != 10*time.Minute || v.CapacityTimeout != time.Hour || v.OnFailure != "delete" || p.checkers[0] != nil {
		t.Errorf("%+v", v)
	}
	if comm, errs := v.communicator(); len(errs) > 0 || comm.SSHPort != 22 || comm.Type != "ssh" {
		t.Errorf("%+v, %v", comm, errs)
	}
	// A bastion means a private address.
	p, err = configured(t, in, map[string]interface{}{"oci_bastion": map[string]interface{}{}})
	if err != nil {
		t.Fatal(err)
	}
	if v := p.config.Destinations[0].Verify; !v.UsePrivateIP || !v.AssignPublicIP.False() || v.Bastion.Timeout != 10*time.Minute {
		t.Errorf("%+v", v)
	}
}

// What an image is verified by is the same for the same checks, and another for
// others, however the gossfiles are named.
func TestWhatVerifies(t *testing.T) {
	_, in := template(t)
	by := func(block map[string]interface{}) string {
		t.Helper()
		all := map[string]interface{}{"subnet_ocid": aSubnet, "ssh_username": "debian"}
		maps.Copy(all, block)
		p, err := configured(t, in, all)
		if err != nil {
			t.Fatal(err)
		}
		by, err := p.config.Destinations[0].Verify.by(p.checkers[0])
		if err != nil || len(by) != 12 {
			t.Fatalf("%q, %v", by, err)
		}
		return by
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"a.yaml": "file: {}\n", "b.yaml": "file: {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	with := func(more map[string]interface{}) map[string]interface{} {
		all := map[string]interface{}{"goss_files": []string{filepath.Join(dir, "*.yaml")}, "vars_inline": map[string]string{"a": "1", "b": "2"}}
		maps.Copy(all, more)
		return all
	}
	names := []string{
		by(nil), by(map[string]interface{}{"shape_config": []interface{}{map[string]interface{}{"ocpus": 2, "memory_in_gbs": 8}}}), by(with(nil)),
		by(with(map[string]interface{}{"vars_inline": map[string]string{"a": "1", "b": "3"}})), by(with(map[string]interface{}{"min_tests": 2})),
	}
	if by(with(map[string]interface{}{"retry_timeout": "9m"})) != names[2] {
		t.Error("patience changes what is checked")
	}
	if err := os.WriteFile(filepath.Join(dir, "b.yaml"), []byte("file: {/x: {exists: true}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	names = append(names, by(with(nil)))
	slices.Sort(names)
	if n := len(slices.Compact(slices.Clone(names))); n != 6 {
		t.Errorf("%d names in %q", n, names)
	}
}
