// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// Options as templates write them, and what the adapter is told.
func TestMachineAndImageOptions(t *testing.T) {
	in := good(t)
	delete(in, "subnet_ocid")
	delete(in, "base_image_ocid")
	maps.Copy(in, map[string]interface{}{
		// As JSON templates have it: strings for everything.
		"disk_size": "60", "boot_volume_vpus_per_gb": "20", "kms_key_ocid": "ocid1.key.oc1..k", "use_private_ip": "true", "agent_plugins": "true",
		"instance_options_are_legacy_imds_endpoints_disabled": "false", "skip_create_image": "", "image_launch_mode": "PARAVIRTUALIZED", "nic_attachment_type": "VFIO",
		"base_image_filter": map[string]interface{}{"operating_system": "Canonical Ubuntu", "operating_system_version": "24.04", "display_name_search": "^Canonical", "display_name": nil},
		"create_vnic_details": map[string]interface{}{
			"subnet_id": "ocid1.subnet.oc1..v", "assign_public_ip": "false", "nsg_ids": []string{"ocid1.networksecuritygroup.oc1..n"}, "hostname_label": "h",
			"private_ip": "10.0.0.9", "skip_source_dest_check": true, "display_name": "nic", "tags": map[string]string{"a": ""}, "defined_tags_json": `{"ns":{"k":"v"}}`,
		},
		"instance_defined_tags_json": `{"ns":{"k":"v"}}`, "defined_tags": map[string]map[string]interface{}{"ns": {"k": "v"}},
		"metadata": map[string]string{"k": "v"}, "skip_machine_lifetime": true, "user_data": "IyEvYmluL3NoCg==", // "#!/bin/sh\n"
		"image_name_prefix": "debian", "image_name_conflict": "fail", "image_remove_other_shapes": false, "packer_force": false,
		"shape_config": map[string]interface{}{"ocpus": "2", "memory_in_gbs": "12", "baseline_ocpu_utilization": "BASELINE_1_1"},
	})
	var c Config
	if _, err := c.Prepare(in); err != nil {
		t.Fatal(err)
	}
	b := c.builds()[0]
	no, yes := false, true
	want := oci.MachineConfig{
		ImageFilter: &oci.ImageFilter{OS: "Canonical Ubuntu", OSVersion: "24.04", NameSearch: "^Canonical"},
		DiskGB:      60, DiskVPUs: 20, KMSKey: "ocid1.key.oc1..k", Subnet: "ocid1.subnet.oc1..v", AssignPublicIP: &no, UsePrivateIP: true,
		VNICName: "nic", Hostname: "h", NSGs: []string{"ocid1.networksecuritygroup.oc1..n"}, PrivateIP: "10.0.0.9", SkipSourceDestCheck: &yes,
		VNICTags: map[string]string{"a": ""}, VNICDefinedTags: oci.DefinedTags{"ns": {"k": "v"}}, InstanceDefinedTags: oci.DefinedTags{"ns": {"k": "v"}},
		Metadata: map[string]string{"k": "v"}, UserData: []byte("#!/bin/sh\n"), LegacyIMDS: true, AgentPlugins: true,
	}
	if got, want := dump(b.MachineConfig), dump(want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !strings.HasPrefix(b.Image.Name, "debian-2") || len(b.Image.Name) != len("debian-20261126001500") {
		t.Errorf("name %q", b.Image.Name)
	}
	if b.Image.Series == "" {
		t.Error("images of a prefix are no series")
	}
	b.Image.Name, b.Image.Series = "", ""
	image := oci.ImageConfig{
		Compartment: c.TenancyOCID, NameMustBeFree: true, DefinedTags: oci.DefinedTags{"ns": {"k": "v"}}, Shapes: []string{"VM.Standard.A1.Flex"},
		KeepOtherShapes: true, LaunchMode: "PARAVIRTUALIZED", NICAttachment: "VFIO",
	}
	if got, want := dump(b.Image), dump(image); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if b.Sizes[0].Baseline != "BASELINE_1_1" {
		t.Errorf("sizes %+v", b.Sizes)
	}
	in["packer_force"] = "true"
	if _, err := c.Prepare(in); err != nil || !c.builds()[0].Image.Replace || c.builds()[0].Image.NameMustBeFree {
		t.Errorf("-force: %v, %+v", err, c.builds()[0].Image)
	}
	// A word that happens to be base64 is no encoded user data.
	in["user_data"] = "abcd"
	if _, err := c.Prepare(in); err != nil || string(c.builds()[0].UserData) != "abcd" {
		t.Errorf("user data %q, %v", c.builds()[0].UserData, err)
	}
}

// newSSHKey is a key pair as ssh-keygen makes it.
func newSSHKey(t *testing.T, passphrase string) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	} else {
		block, err = ssh.MarshalPrivateKey(key, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(line))
}

// An SSH key comes as text from a template, HCL or JSON, or from the environment,
// with its line ends in whatever form.
func TestSSHKeyAsText(t *testing.T) {
	private, public := newSSHKey(t, "")
	_, other := newSSHKey(t, "")
	locked, _ := newSSHKey(t, "secret")
	flat := strings.ReplaceAll(private, "\n", `\n`)
	hcl := func(t *testing.T, set map[string]string) cty.Value {
		attrs := map[string]cty.Value{}
		for name, spec := range new(Builder).ConfigSpec() {
			attrs[name] = cty.NullVal(specType(spec))
		}
		for k, v := range good(t) {
			attrs[k] = cty.StringVal(v.(string))
		}
		for k, v := range set {
			attrs[k] = cty.StringVal(v)
		}
		return cty.ObjectVal(attrs)
	}
	for _, tt := range []struct {
		name  string
		set   map[string]string
		env   map[string]string
		fails string
		own   bool // the build makes a key
	}{
		{name: "none", own: true},
		{name: "private", set: map[string]string{"ssh_private_key": private}},
		{name: "flat", set: map[string]string{"ssh_private_key": flat}},
		{name: "both", set: map[string]string{"ssh_private_key": private, "ssh_public_key": public}},
		{name: "from the environment", env: map[string]string{"OCI_SSH_PRIVATE_KEY": flat, "OCI_SSH_PUBLIC_KEY": public}},
		{name: "not from the environment", set: map[string]string{"ssh_password": "x"}, env: map[string]string{"OCI_SSH_PRIVATE_KEY": "nonsense"}, own: true},
		{name: "not a pair", set: map[string]string{"ssh_private_key": private, "ssh_public_key": other}, fails: "ssh_public_key is not the public half"},
		{name: "no key", set: map[string]string{"ssh_private_key": "secret nonsense"}, fails: "it cannot be read"},
		{name: "no public key", set: map[string]string{"ssh_private_key": private, "ssh_public_key": "nonsense"}, fails: "a line as authorized_keys has it"},
		{name: "with a passphrase", set: map[string]string{"ssh_private_key": locked}, fails: "has a passphrase"},
	} {
		for _, asJSON := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				var raw interface{} = hcl(t, tt.set)
				if asJSON {
					m := good(t)
					for k, v := range tt.set {
						m[k] = v
					}
					raw = m
				}
				for k, v := range tt.env {
					t.Setenv(k, v)
				}
				b := &Builder{Mask: new(mask.Masker)}
				_, _, err := b.Prepare(raw)
				if tt.fails != "" {
					if err == nil || !strings.Contains(err.Error(), tt.fails) || strings.Contains(err.Error(), "secret nonsense") {
						t.Errorf("%v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := string(b.config.Comm.SSHPrivateKey); (got != private) != tt.own {
					t.Errorf("key %q", got)
				}
				if masked := b.Mask.Text("x " + private); !tt.own && strings.Contains(masked, strings.Split(private, "\n")[1]) {
					t.Error("the key is not masked")
				}
			})
		}
	}
}

// What never was an option is said to be another one.
func TestMisnomers(t *testing.T) {
	tests := map[string]string{
		"config_file": "access_cfg_file", "config_file_profile": "access_cfg_file_account", "private_key_file": "key_file", "private_key_path": "key_file",
		"image_ocid": "base_image_ocid", "image_id": "base_image_ocid", "base_image": "base_image_ocid", "compartment_id": "compartment_ocid",
		"tenancy_id": "tenancy_ocid", "user_id": "user_ocid", "subnet_id": "subnet_ocid", "freeform_tags": "tags (of the image) or instance_tags",
		"ocpus": "shape_config {", "memory_in_gbs": "shape_config {", "boot_volume_size_in_gbs": "disk_size",
	}
	for name, kind := range misnomers() {
		want, ok := tests[name]
		if !ok {
			t.Errorf("%s is not tested", name)
		}
		in := good(t)
		in[name] = "x"
		if kind.Kind() == reflect.Map {
			in[name] = map[string]string{"a": "b"}
		}
		var c Config
		if _, err := c.Prepare(in); err == nil || !strings.Contains(err.Error(), "there is no option "+name+"; did you mean "+want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// With -debug the temporary key is in a file while the build runs, and gone after.
func TestDebugKey(t *testing.T) {
	t.Chdir(t.TempDir())
	s := stage.ForTest(t, stage.Options{})
	in := settings(s)
	in["packer_debug"], in["packer_build_name"], in["skip_create_image"] = true, "armfree-oci.x", true
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	_, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: retry{}}, inpacker.Hook(func(context.Context, packersdk.Ui, packersdk.Communicator) error {
		found, _ := filepath.Glob("*.pem")
		if len(found) != 1 || found[0] != "oci_armfree-oci.x.pem" {
			t.Fatalf("files %q", found)
		}
		if i, err := os.Stat(found[0]); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", i, err)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			return err
		}
		_, err = ssh.ParsePrivateKey(text)
		return err
	}))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if left, _ := filepath.Glob("*"); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// What post-processors, provisioners and HCP Packer are told.
func TestGeneratedData(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	var seen map[string]interface{}
	in := settings(s)
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	names, _, err := b.Prepare(in)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, dataHook(func(data map[string]interface{}) { seen = data }))
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	given, _ := a.State("generated_data").(map[string]interface{})
	for _, name := range append(names, "ID") {
		if seen[name] == nil || given[name] != seen[name] {
			t.Errorf("%s is %v for provisioners and %v for post-processors", name, seen[name], given[name])
		}
	}
	if seen["Region"] != stage.BuildRegion || seen["Shape"] != "VM.Standard.A1.Flex" || seen["Ocpus"] != "2" {
		t.Errorf("%v", seen)
	}
	img, ok := a.State(registryimage.ArtifactStateURI).(*registryimage.Image)
	if !ok || img.ImageID != a.Id() || img.ProviderRegion != stage.BuildRegion || img.SourceImageID != s.BaseImage || img.ProviderName == "" || img.Labels["Shape"] != "VM.Standard.A1.Flex" {
		t.Errorf("HCP is told %+v", img)
	}
}

// dataHook sees what provisioners find in build.*.
type dataHook func(map[string]interface{})

func (h dataHook) Run(_ context.Context, _ string, _ packersdk.Ui, _ packersdk.Communicator, data interface{}) error {
	m, _ := data.(map[string]interface{})
	h(m)
	return nil
}

// dump writes a value so that two can be compared, pointers by what they point at.
func dump(v interface{}) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// specType is the type of an option.
func specType(s hcldec.Spec) cty.Type {
	return hcldec.ImpliedType(s)
}
