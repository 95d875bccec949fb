// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
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
	if want := []oci.Size{{Shape: c.Shape, OCPUs: 2, MemoryGB: 12}, {Shape: c.Shape, OCPUs: 1, MemoryGB: 6}}; !slices.Equal(c.sizes(), want) {
		t.Errorf("sizes %v", c.sizes())
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
	if !slices.Equal(c.sizes(), want) || !slices.Equal(c.ImageShapes, []string{"VM.Standard.A1.Flex", "VM.Standard.A2.Flex"}) {
		t.Errorf("sizes %v, shapes %q", c.sizes(), c.ImageShapes)
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
	if _, err := c.Prepare(in); err != nil || !slices.Equal(c.sizes(), []oci.Size{{Shape: "VM.Standard.A1.Flex", OCPUs: 2, MemoryGB: 6.5}}) {
		t.Errorf("%v; sizes %v", err, c.sizes())
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
		{drop: []string{"tenancy_ocid", "compartment_ocid"}, want: "tenancy_ocid must be set"},
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
		{set: map[string]interface{}{"shape": "BM.Standard.A1.160", "shape_config": map[string]interface{}{"ocpus": 1}}, want: "is not one"},
		{set: map[string]interface{}{"image_name": strings.Repeat("x", 256)}, want: "image_name"},
		{set: map[string]interface{}{"user_data": "a", "user_data_file": big}, want: "exclude each other"},
		{set: map[string]interface{}{"user_data_file": filepath.Join(dir, "none")}, want: "user_data_file cannot be read"},
		{set: map[string]interface{}{"user_data_file": big}, want: "OCI takes at most"},
		{set: map[string]interface{}{"tags": map[string]string{"armfree": "x"}}, want: `tags: the key "armfree"`},
		{set: map[string]interface{}{"instance_tags": map[string]string{"k": strings.Repeat("x", 257)}}, want: "instance_tags: a key may have"},
		{set: map[string]interface{}{"capacity_timeout": "-1s"}, want: "capacity_timeout must not be negative"},
		{set: map[string]interface{}{"capacity_round": "-1s"}, want: "capacity_round must not be negative"},
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
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			in := good(t)
			maps.Copy(in, tt.set)
			for _, d := range tt.drop {
				delete(in, d)
			}
			var c Config
			_, err := c.Prepare(in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Error("the message quotes the key")
			}
		})
	}
}

// region is a template's additional region.
func region(name, subnet, image string) map[string]interface{} {
	return map[string]interface{}{"additional_region": []map[string]interface{}{{"region": name, "subnet_ocid": subnet, "base_image_ocid": image}}}
}

func TestAllMistakesAtOnce(t *testing.T) {
	in := good(t)
	in["disk_size"], in["fingerprint"], in["subnet_ocid"], in["image_timeout"] = 3, "aa", "x", "-2m"
	var c Config
	_, err := c.Prepare(in)
	for _, want := range []string{"disk_size", "fingerprint", "subnet_ocid", "image_timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
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
