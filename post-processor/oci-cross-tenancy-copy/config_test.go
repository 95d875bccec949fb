// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// template is a complete configuration, in an environment that says nothing.
func template(t *testing.T) (*stage.Stage, map[string]interface{}) {
	t.Helper()
	t.Setenv("HOME", t.TempDir()) // which may have an .oci/config
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.Contains(name, "OCI_") {
			t.Setenv(name, "")
		}
	}
	s := stage.ForTest(t, stage.Options{})
	return s, settings(s)
}

// with is in with other settings; a nil value drops one. Names like
// "source.key" reach into blocks.
func with(in map[string]interface{}, set map[string]interface{}) map[string]interface{} {
	out := maps.Clone(in)
	source := maps.Clone(in["source"].(map[string]interface{}))
	dest := maps.Clone(in["destination"].([]interface{})[0].(map[string]interface{}))
	out["source"], out["destination"] = source, []interface{}{dest}
	for name, v := range set {
		m := out
		if rest, ok := strings.CutPrefix(name, "source."); ok {
			m, name = source, rest
		} else if rest, ok := strings.CutPrefix(name, "destination."); ok {
			m, name = dest, rest
		}
		if v == nil {
			delete(m, name)
		} else {
			m[name] = v
		}
	}
	return out
}

func TestDefaults(t *testing.T) {
	_, in := template(t)
	var c Config
	if err := c.Prepare(with(in, map[string]interface{}{"destination.compartment_ocid": nil})); err != nil {
		t.Fatal(err)
	}
	d := c.Destinations[0]
	if d.CompartmentOCID != d.TenancyOCID || !slices.Equal(d.ImageShapes, []string{"VM.Standard.A1.Flex"}) {
		t.Errorf("destination: compartment %s, shapes %q", d.CompartmentOCID, d.ImageShapes)
	}
	if c.ExpiresInHours != 24 || c.ExportTimeout != 2*time.Hour || c.ImportTimeout != 2*time.Hour || c.CleanupTimeout != 10*time.Minute {
		t.Errorf("defaults: %d, %s, %s, %s", c.ExpiresInHours, c.ExportTimeout, c.ImportTimeout, c.CleanupTimeout)
	}
}

// Timeouts that nobody chose fit into the life of a link.
func TestTimesFitIntoTheLink(t *testing.T) {
	_, in := template(t)
	for _, tt := range []struct {
		hours  int
		set    map[string]interface{}
		export time.Duration
		dest   time.Duration
	}{
		{1, nil, 45 * time.Minute, 45 * time.Minute},
		{2, map[string]interface{}{"export_timeout": "119m"}, 119 * time.Minute, 90 * time.Minute},
		{48, map[string]interface{}{"import_timeout": "5h"}, 2 * time.Hour, 5 * time.Hour},
		{48, map[string]interface{}{"import_timeout": "5h", "destination.import_timeout": "6h"}, 2 * time.Hour, 6 * time.Hour},
	} {
		set := map[string]interface{}{"expires_in_hours": tt.hours}
		maps.Copy(set, tt.set)
		var c Config
		if err := c.Prepare(with(in, set)); err != nil || c.ExportTimeout != tt.export || c.Destinations[0].ImportTimeout != tt.dest {
			t.Errorf("%v: %v; %s, %s", set, err, c.ExportTimeout, c.Destinations[0].ImportTimeout)
		}
	}
}

func TestEnvironment(t *testing.T) {
	s, _ := template(t)
	for prefix, tenancy := range map[string]*ocisim.Tenancy{"BUILD_": s.Build, "PROD_": s.Production} {
		t.Setenv(prefix+"OCI_TENANCY_OCID", tenancy.ID)
		t.Setenv(prefix+"OCI_USER_OCID", tenancy.UserID)
		t.Setenv(prefix+"OCI_FINGERPRINT", tenancy.Fingerprint())
		t.Setenv(prefix+"OCI_API_PRIVATE_KEY", strings.ReplaceAll(tenancy.PrivateKeyPEM(), "\n", `\n`))
		t.Setenv(prefix+"OCI_REGION", tenancy.HomeRegion)
	}
	t.Setenv("BUILD_OCI_BUCKET", "images")
	t.Setenv("BUILD_OCI_NAMESPACE", "ns")
	t.Setenv("PROD_OCI_COMPARTMENT_OCID", "ocid1.compartment.oc1..p")
	var c Config
	if err := c.Prepare(map[string]interface{}{}); err != nil {
		t.Fatal(err)
	}
	if c.Source.Bucket != "images" || c.Source.Namespace != "ns" || c.Source.Credentials().Tenancy != s.Build.ID {
		t.Errorf("source: %s, %s, %s", c.Source.Bucket, c.Source.Namespace, c.Source.Credentials().Tenancy)
	}
	if len(c.Destinations) != 1 {
		t.Fatalf("%d destinations", len(c.Destinations))
	}
	d := c.Destinations[0]
	if d.CompartmentOCID != "ocid1.compartment.oc1..p" || d.Credentials().Tenancy != s.Production.ID || d.Credentials().Region != s.Production.HomeRegion {
		t.Errorf("destination: %s, %s, %s", d.CompartmentOCID, d.Credentials().Tenancy, d.Credentials().Region)
	}
}

func TestMistakes(t *testing.T) {
	_, in := template(t)
	second := with(in, map[string]interface{}{"destination.user_ocid": "jane"})["destination"].([]interface{})[0]
	type set = map[string]interface{}
	for _, tt := range []struct {
		set  set
		want []string
	}{
		{set{"source.tenancy_ocid": nil}, []string{"source.tenancy_ocid must be set"}},
		{set{"source.key": nil}, []string{"source.key must be set (or source.key_file, or the environment variable BUILD_OCI_API_PRIVATE_KEY)"}},
		{set{"source.key": "c2VjcmV0"}, []string{"source.key cannot be read"}},
		{set{"source.bucket": nil}, []string{"source.bucket must be set (or the environment variable BUILD_OCI_BUCKET)"}},
		{set{"destination.region": nil}, []string{"destination.region must be set"}},
		{set{"destination.fingerprint": "aa:bb"}, []string{"destination.fingerprint is aa:bb, but the key given by destination.key has the fingerprint "}},
		{set{"destination": []interface{}{in["destination"].([]interface{})[0], second}}, []string{"destination[1].user_ocid must be an OCID"}},
		{set{"source_image_ocid": "ocid1.instance.oc1..i"}, []string{`source_image_ocid must be an OCID that begins with ocid1.image, it is "ocid1.instance.oc1..i"`}},
		{set{"dest_image_name": strings.Repeat("x", 256)}, []string{"dest_image_name must not be longer than 255 characters"}},
		{set{"object_name": strings.Repeat("x", 1025)}, []string{"object_name must be at most 1024 characters, without line ends"}},
		{set{"object_name": "a\nb"}, []string{"object_name must be at most"}},
		{set{"export_timeout": "-1s"}, []string{"export_timeout must not be negative"}},
		{set{"import_timeout": "-1s"}, []string{"import_timeout must not be negative"}},
		{set{"cleanup_timeout": "-1s"}, []string{"cleanup_timeout must not be negative"}},
		{set{"expires_in_hours": -1}, []string{"expires_in_hours must be positive"}},
		{set{"import_timeout": "24h"}, []string{"import_timeout is 24h0m0s, but expires_in_hours is 24"}},
		{set{"export_timeout": "2h", "expires_in_hours": 1}, []string{"export_timeout is 2h0m0s, but expires_in_hours is 1"}},
		{set{"destination.import_timeout": "3h", "expires_in_hours": 3}, []string{"destination.import_timeout is 3h0m0s, but expires_in_hours is 3"}},
		{set{"destination.import_timeout": "-1s"}, []string{"destination.import_timeout must not be negative"}},
		{set{"image_name_conflict": "ask"}, []string{`image_name_conflict must be skip, fail or replace, it is "ask"`}},
		{set{"retain": -1}, []string{"retain must be 1 or more, or left out to keep all copies; it is -1"}},
		{set{"destination.retain": -2}, []string{"destination.retain must be 1 or more, or left out to keep all copies; it is -2"}},
		{set{"import_timeout": "5"}, []string{`import_timeout must be a duration such as "30m", it is "5"`}},
		{set{"size_limit_in_gbs": -2}, []string{"size_limit_in_gbs must be positive, or -1 for no limit"}},
		{set{"report": "no/such/folder/report.json"}, []string{"report: there is no folder no/such/folder"}},
		{set{"destination.image_name": strings.Repeat("x", 256)}, []string{"destination.image_name must not be longer than 255 characters"}},
		{set{"destination.defined_tags_json": "[]"}, []string{"destination.defined_tags_json must be a JSON object of namespaces"}},
		{set{"destination.defined_tags_json": `{"ns": {"key": null}}`}, []string{"destination.defined_tags_json: the value of ns.key must be a text"}},
		{
			set{"source.region": nil, "source.bucket": nil, "destination.user_ocid": "u", "source_image_ocid": "x", "cleanup_timeout": "-1s", "expires_in_hours": -1},
			[]string{"source.region", "source.bucket", "destination.user_ocid", "source_image_ocid", "expires_in_hours", "cleanup_timeout"},
		},
	} {
		t.Run(tt.want[0], func(t *testing.T) {
			var c Config
			err := c.Prepare(with(in, tt.set))
			var multi *packersdk.MultiError
			if !errors.As(err, &multi) {
				t.Fatalf("got %v", err)
			}
			if len(multi.Errors) != len(tt.want) {
				t.Errorf("got %d problems: %v", len(multi.Errors), err)
			}
			for i, want := range tt.want {
				if i < len(multi.Errors) && !strings.HasPrefix(multi.Errors[i].Error(), want) {
					t.Errorf("got %q, want %q", multi.Errors[i], want)
				}
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Error("the message quotes the key")
			}
		})
	}
}

func TestMisspelledOptions(t *testing.T) {
	_, in := template(t)
	for _, name := range []string{"dest_image_nam", "source.buckett", "destination.compartement_ocid"} {
		var c Config
		err := c.Prepare(with(in, map[string]interface{}{name: "x"}))
		_, last, nested := strings.Cut(name, ".")
		if !nested {
			last = name
		}
		if err == nil || !strings.Contains(err.Error(), last) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnknownValuesPassValidation(t *testing.T) {
	_, in := template(t)
	for _, v := range []string{"<unknown>", "74D93920-ED26-11E3-AC10-0800200C9A66"} {
		var c Config
		if err := c.Prepare(with(in, map[string]interface{}{
			"source_image_ocid": v, "source.fingerprint": v, "source.bucket": v, "destination.tenancy_ocid": v, "dest_image_name": v,
		})); err != nil {
			t.Errorf("%s: %v", v, err)
		}
	}
}

func TestPreparedTwice(t *testing.T) {
	_, in := template(t)
	var c Config
	for range 2 {
		if err := c.Prepare(in); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.Destinations) != 1 {
		t.Errorf("%d destinations after preparing twice", len(c.Destinations))
	}
	again := with(in, map[string]interface{}{"destination.tags": nil, "dest_image_name": nil})
	if err := c.Prepare(again); err != nil || len(c.Destinations[0].Tags) != 0 || c.DestImageName != "" {
		t.Errorf("settings of an earlier preparation stay: %v, %q, %v", c.Destinations[0].Tags, c.DestImageName, err)
	}
}
