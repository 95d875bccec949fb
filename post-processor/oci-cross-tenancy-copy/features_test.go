// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/armfree/packer-plugin-armfree/internal/imagecopy"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// dest is the destination of a template.
func dest(in map[string]interface{}) map[string]interface{} {
	return in["destination"].([]interface{})[0].(map[string]interface{})
}

// inBubble plays a test in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, v *virtual)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newVirtual(t)) })
}

// The outcome of each destination is in the report, and what succeeded is kept.
func TestReport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "copy.json")
	inBubble(t, func(t *testing.T, v *virtual) {
		in := v.settings("direct")
		other := maps.Clone(dest(in))
		other["image_name"] = "second"
		other["compartment_ocid"] = v.production.ChildCompartmentID
		in["destination"] = append(in["destination"].([]interface{}), other)
		in["report"] = path
		if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails, Message: "The archive is broken.", Times: 1}); err != nil {
			t.Fatal(err)
		}
		_, said, err := v.copy(t.Context(), t, in)
		if err == nil {
			t.Fatalf("no error\n%s", said)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var got reportFile
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got.OK || got.SourceImage != v.image || !strings.Contains(got.Error, "The archive is broken.") || len(got.Destinations) != 2 {
			t.Errorf("%s", b)
		}
		status := map[string]reportDestination{}
		for _, d := range got.Destinations {
			status[d.Status] = d
		}
		if f := status["failed"]; !strings.Contains(f.Error, "The archive is broken.") || f.Image != "" {
			t.Errorf("%+v", f)
		}
		c := status["copied"]
		if c.Route != "direct" || c.Region != farRegion || c.Tenancy != v.production.ID || c.Error != "" {
			t.Errorf("%+v", c)
		}
		v.mustLeave(t, c.Image, said)
		// The next run makes the one that is missing, and takes the other as it is.
		if _, said, err = v.copy(t.Context(), t, in); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		b, _ = os.ReadFile(path)
		if !strings.Contains(string(b), `"status": "existing"`) || !strings.Contains(string(b), `"ok": true`) || len(v.left()) != 2 {
			t.Errorf("%s\n%q", b, v.left())
		}
		// And one that cannot work says so, too.
		in["image_name_conflict"] = "fail"
		if _, _, err = v.copy(t.Context(), t, in); err == nil {
			t.Error("no error")
		}
		if b, _ = os.ReadFile(path); strings.Count(string(b), `"status": "not started"`) != 2 {
			t.Errorf("%s", b)
		}
	})
}

// A copy that has been made is not made again.
func TestCopiedTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		in := v.settings("")
		first, said, err := v.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		second, said, err := v.copy(t.Context(), t, in)
		if err != nil || second != first || !strings.Contains(said, "is a finished copy of "+v.image+" already") {
			t.Errorf("%s after %s, %v\n%s", second, first, err, said)
		}
		in["image_name_conflict"] = "replace"
		third, said, err := v.copy(t.Context(), t, in)
		if err != nil || third == first {
			t.Errorf("%s after %s, %v\n%s", third, first, err, said)
		}
		v.mustLeave(t, third, said)
		if n := v.CountRequests("ExportImage"); n != 2 {
			t.Errorf("%d exports", n)
		}
	})
}

// What people look images up by, and where an image comes from, is on the copy.
func TestWhatACopySaysOfItself(t *testing.T) {
	for _, tt := range []struct {
		name    string
		set     map[string]interface{}
		os, osv string
	}{
		{"as the source", nil, "Debian", "12"},
		{"as the template says", map[string]interface{}{"operating_system": "Custom Linux", "operating_system_version": "7"}, "Custom Linux", "7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				v.tagSource(t, map[string]string{"armfree": "build=b1 role=image", "armfree-validated": "goss v0.4.10 ok"})
				in := v.settings("direct")
				maps.Copy(in, tt.set)
				dest(in)["tags"] = map[string]interface{}{"team": "infra"}
				image, said, err := v.copy(t.Context(), t, in)
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				got := v.get(t, image)
				if *got.OperatingSystem != tt.os || *got.OperatingSystemVersion != tt.osv || got.FreeformTags["team"] != "infra" || got.FreeformTags["armfree-validated"] != "goss v0.4.10 ok" {
					t.Errorf("%+v", got)
				}
				for _, want := range []string{"role=import", "source=" + v.image, "origin=b1"} {
					if !strings.Contains(got.FreeformTags["armfree"], want) {
						t.Errorf("%q is not in %q", want, got.FreeformTags["armfree"])
					}
				}
			})
		})
	}
}

// Defined tags are applied, and one that the destination lacks is named before
// the export.
func TestDefinedTags(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		v.production.TagNamespaces = map[string][]string{"ops": {"cost"}}
		in := v.settings("direct")
		dest(in)["defined_tags_json"] = `{"ops": {"cost": "42"}}`
		image, said, err := v.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if got := v.get(t, image); got.DefinedTags["ops"]["cost"] != "42" {
			t.Errorf("%+v", got)
		}
		dest(in)["defined_tags_json"] = `{"Acme": {"a": "1"}, "ops": {"owner": "me"}}`
		_, said, err = v.copy(t.Context(), t, in)
		for _, want := range []string{`there is no tag namespace "Acme"`, `the tag namespace "ops" has no key "owner"`, "nothing was started"} {
			if err == nil || !strings.Contains(said, want) {
				t.Errorf("%q is not said: %v", want, err)
			}
		}
		if n := v.CountRequests("ExportImage"); n != 1 {
			t.Errorf("%d exports", n)
		}
	})
}

// keep_source_image = false removes the source, but only after everything else.
func TestSourceImageIsRemoved(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		in := v.settings("direct")
		in["keep_source_image"] = false
		if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails, Times: 1}); err != nil {
			t.Fatal(err)
		}
		if _, said, err := v.copy(t.Context(), t, in); err == nil || v.get(t, v.image).LifecycleState != "AVAILABLE" {
			t.Fatalf("%v\n%s", err, said)
		}
		p := &PostProcessor{Mask: new(mask.Masker), HTTP: v.http}
		if err := p.Configure(in); err != nil {
			t.Fatal(err)
		}
		var out inpacker.Output
		_, keep, force, err := p.PostProcess(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, &foreign{})
		if err != nil || keep || !force {
			t.Fatalf("%v, keep %t, force %t\n%s", err, keep, force, out.String())
		}
		for _, i := range v.Inventory().Tenancies[0].Regions[0].Images {
			t.Errorf("%+v is there", i)
		}
	})
}

// The route that a template names is taken, and where it names none a refused
// import goes another way, with the reason said.
func TestRoutes(t *testing.T) {
	refused := ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "InvalidParameter", Message: "Invalid sourceUri: another region", Times: 1}
	unread := ocisim.Fault{Kind: ocisim.FaultImportFails, Message: "The source cannot be read.", Times: 1}
	for _, tt := range []struct {
		name   string
		set    map[string]interface{}
		faults []ocisim.Fault
		op     string // that must be used
		says   []string
		fails  string
	}{
		{name: "copy-object", set: map[string]interface{}{"route": "copy-object"}, op: "CopyObject"},
		{name: "copy-object by name", set: map[string]interface{}{"route": "copy-object", "copy_bucket": "images"}, op: "CopyObject"},
		{name: "relay", set: map[string]interface{}{"route": "relay", "relay_bucket": "images"}, op: "UploadPart"},
		{name: "a namespace", set: map[string]interface{}{"route": "relay", "relay_bucket": "images", "relay_namespace": "NAMESPACE"}, op: "UploadPart"},
		{name: "refused, then copied", set: map[string]interface{}{"copy_bucket": "images", "relay_bucket": "images"}, faults: []ocisim.Fault{refused}, op: "CopyObject", says: []string{"was refused", "Invalid sourceUri: another region", "by the route copy-object"}},
		{name: "failed, then relayed", set: map[string]interface{}{"relay_bucket": "images"}, faults: []ocisim.Fault{unread}, op: "UploadPart", says: []string{"was refused", "The source cannot be read."}},
		{name: "not copied, but relayed", set: map[string]interface{}{"copy_bucket": "nowhere", "relay_bucket": "images"}, faults: []ocisim.Fault{refused}, op: "UploadPart", says: []string{"the route copy-object does not work", "there is no bucket \"nowhere\""}},
		{name: "direct and nothing else", set: map[string]interface{}{"route": "direct", "relay_bucket": "images"}, faults: []ocisim.Fault{refused}, fails: "another region"},
		{name: "no bucket for it", set: map[string]interface{}{"route": "relay", "relay_bucket": "nowhere"}, fails: "route relay: bucket: there is no bucket"},
		{name: "another's namespace", set: map[string]interface{}{"route": "relay", "relay_bucket": "images", "relay_namespace": "nsother"}, fails: "there is no bucket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				if err := v.AddFaults(tt.faults...); err != nil {
					t.Fatal(err)
				}
				in := v.settings("")
				maps.Copy(dest(in), tt.set)
				if dest(in)["relay_namespace"] == "NAMESPACE" {
					dest(in)["relay_namespace"] = v.production.Namespace
				}
				image, said, err := v.copy(t.Context(), t, in)
				for _, want := range tt.says {
					if !strings.Contains(said, want) {
						t.Errorf("%q is not said:\n%s", want, said)
					}
				}
				if tt.fails != "" {
					if err == nil || !strings.Contains(said, tt.fails) || len(v.left()) > 0 {
						t.Errorf("%v\n%q", err, v.left())
					}
					return
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				v.mustLeave(t, image, said)
				if v.CountRequests(tt.op) == 0 {
					t.Errorf("%s was not used", tt.op)
				}
			})
		})
	}
}

func TestMistakesOfRoutes(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		for want, set := range map[string]map[string]interface{}{
			"destination.relay_bucket must be set for the route relay":            {"route": "relay"},
			`destination.route must be direct, copy-object or relay, it is "air"`: {"route": "air"},
		} {
			in := v.settings("direct")
			maps.Copy(dest(in), set)
			if set["route"] == "relay" {
				delete(dest(in), "relay_bucket")
			}
			if err := new(Config).Prepare(in); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		in := v.settings("direct")
		in["destination"] = append(in["destination"].([]interface{}), dest(in))
		if _, said, err := v.copy(t.Context(), t, in); err == nil || !strings.Contains(said, "destination[0] and destination[1] are the same place") {
			t.Errorf("%v", err)
		}
	})
}

// HCP Packer gets every image.
func TestRegistry(t *testing.T) {
	a := &Artifact{
		source: "ocid1.image.oc1..s", places: []place{{"r1", "t1", "c1"}, {"r2", "t2", "c2"}},
		results: []imagecopy.Result{{Image: "ocid1.image.oc1..a", Name: "n1"}, {Image: "ocid1.image.oc1..b", Name: "n2"}},
	}
	images, ok := a.State(registryimage.ArtifactStateURI).([]*registryimage.Image)
	if !ok || len(images) != 2 || images[1].ImageID != "ocid1.image.oc1..b" || images[1].ProviderRegion != "r2" || images[1].SourceImageID != "ocid1.image.oc1..s" || images[1].Labels["tenancy_ocid"] != "t2" {
		t.Errorf("%+v", images)
	}
	if a.Id() != "ocid1.image.oc1..a,ocid1.image.oc1..b" || !strings.Contains(a.String(), "ocid1.image.oc1..b ('n2')") {
		t.Errorf("%s\n%s", a.Id(), a.String())
	}
	if a.State("else") != nil {
		t.Error("something else is known")
	}
}

// A link lives as long as the timeouts need, and no longer than the template says.
func TestLinksLiveNoLongerThanNeeded(t *testing.T) {
	for hours, want := range map[int]time.Duration{24: 2*time.Hour + linkMargin, 2: 2 * time.Hour} {
		inBubble(t, func(t *testing.T, v *virtual) {
			in := v.settings("direct")
			in["expires_in_hours"] = hours
			longest := time.Duration(0)
			v.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
				if strings.HasSuffix(r.URL.Path, "/images") && r.Method == http.MethodPost {
					for _, l := range v.links(t) {
						longest = max(longest, time.Until(l))
					}
				}
				return false
			})
			if _, said, err := v.copy(t.Context(), t, in); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if longest > want || longest < want-time.Minute {
				t.Errorf("%d hours: a link lives for %s, want %s", hours, longest, want)
			}
		})
	}
}
