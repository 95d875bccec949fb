// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// settings is a template for a stage.
func settings(s *stage.Stage) map[string]interface{} {
	access := func(t *ocisim.Tenancy) map[string]interface{} {
		return map[string]interface{}{
			"tenancy_ocid": t.ID, "user_ocid": t.UserID, "fingerprint": t.Fingerprint(), "key": t.PrivateKeyPEM(), "region": t.HomeRegion,
		}
	}
	source := access(s.Build)
	source["bucket"] = stage.BucketName
	dest := access(s.Production)
	dest["compartment_ocid"] = s.Production.CompartmentID
	dest["tags"] = map[string]interface{}{"team": "infra"}
	return map[string]interface{}{
		"source_image_ocid": s.BaseImage, "dest_image_name": "copied",
		"source": source, "destination": []interface{}{dest},
	}
}

// foreign is the artifact of another builder; it records what happens to it.
type foreign struct {
	builder, id string
	region      string // what State says
	held        bool
}

func (f *foreign) BuilderId() string { return f.builder }
func (*foreign) Files() []string     { return nil }
func (f *foreign) Id() string        { return f.id }
func (*foreign) String() string      { return "an artifact" }
func (*foreign) Destroy() error      { return nil }
func (f *foreign) State(name string) interface{} {
	f.held = f.held || name == "armfree.hold"
	if name == "region" && f.region != "" {
		return f.region
	}
	return nil
}

// run copies as Packer would.
func run(ctx context.Context, t *testing.T, s *stage.Stage, in map[string]interface{}, a *foreign) (packersdk.Artifact, string, error) {
	t.Helper()
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if err := p.Configure(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	if a == nil {
		a = &foreign{}
	}
	got, keep, force, err := p.PostProcess(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, a)
	if !keep || !force {
		t.Error("the source image is not kept")
	}
	said := out.String()
	if err != nil {
		said += err.Error()
		got = nil
	}
	if strings.Contains(said, "/p/") {
		t.Errorf("a pre-authenticated request's URL was printed:\n%s", said)
	}
	return got, said, err
}

// An image that was made in another region than the template's is exported
// there.
func TestCopyFromAnAdditionalRegion(t *testing.T) {
	const other = "uk-london-1"
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{other}})
	in := settings(s)
	delete(in, "source_image_ocid")
	a, said, err := run(t.Context(), t, s, in, &foreign{builder: "armfree.oci", id: s.BaseImageIn(other), region: other})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if want := "The image is in uk-london-1, so it travels through the bucket \"images\" there"; !strings.Contains(said, want) {
		t.Errorf("%q is not said:\n%s", want, said)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestCopy(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	in := settings(s)
	delete(in, "source_image_ocid")
	from := &foreign{builder: "armfree.oci", id: s.BaseImage}
	a, said, err := run(t.Context(), t, s, in, from)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if !from.held {
		t.Error("the builder's artifact was not asked to survive a failure")
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	images := s.Cloud.Inventory().Tenancies[1].Regions[0].Images
	if len(images) != 1 {
		t.Fatalf("images in production: %+v", images)
	}
	if i := images[0]; i.ID != a.Id() || i.Name != "copied" || i.State != "AVAILABLE" || i.FreeformTags["team"] != "infra" || !strings.HasPrefix(i.FreeformTags["armfree"], "build=") || strings.Contains(i.FreeformTags["armfree"], "state=") {
		t.Errorf("image: %+v", i)
	}
	if err := a.Destroy(); err != nil || len(s.Left(a.Id())) > 0 || len(s.Cloud.Inventory().Tenancies[1].Regions[0].Images) != 1 {
		t.Errorf("Destroy touched the copy: %v", err)
	}
}

func TestBadDays(t *testing.T) {
	tests := []struct {
		name   string
		faults []ocisim.Fault
		change map[string]interface{}
		from   *foreign
		adjust func(build, production *ocisim.Tenancy)
		says   []string
		fails  bool
	}{
		{name: "export without an object", faults: []ocisim.Fault{{Kind: ocisim.FaultExportLost}}, says: []string{"export"}, fails: true},
		{name: "import ends deleted", faults: []ocisim.Fault{{Kind: ocisim.FaultImportFails}}, says: []string{"import image", "destination sa-saopaulo-1", "is kept"}, fails: true},
		{name: "import without shapes", faults: []ocisim.Fault{{Kind: ocisim.FaultNoShapes}}},
		{name: "502 after the export took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: "ExportImage", Status: 502, Times: 1}}},
		{name: "502 after the import took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: "CreateImage", Status: 502, Times: 1}}},
		{name: "the connection breaks after the import took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "CreateImage", Times: 1}}},
		{name: "the reply to a link is lost", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: "CreatePreauthenticatedRequest", Times: 1}}},
		{name: "a malformed header on every import request", faults: []ocisim.Fault{{Kind: ocisim.FaultMalformedHeader, Op: "CreateImage"}}},
		{name: "a malformed header on every export request", faults: []ocisim.Fault{{Kind: ocisim.FaultMalformedHeader, Op: "ExportImage"}}},
		{name: "import conflict", faults: []ocisim.Fault{{Kind: ocisim.FaultImageConflict, Times: 1}}},
		{name: "flaky Object Storage", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "HeadObject", Status: 503, Code: "ServiceUnavailable", Times: 1}, {Kind: ocisim.FaultStatus, Op: "DeleteObject", Status: 500, Code: "InternalServerError", Times: 1}}},
		{name: "no room for images", adjust: func(_, p *ocisim.Tenancy) { p.Limits["custom-image-count"] = 0 }, says: []string{"custom-image-count", "nothing was started"}, fails: true},
		{name: "foreign image", change: map[string]interface{}{"source_image_ocid": "FOREIGN"}, says: []string{"there is no image", "nothing was started"}, fails: true},
		{name: "foreign compartment", change: map[string]interface{}{"compartment_ocid": "BUILD"}, says: []string{"there is no compartment", "nothing was started"}, fails: true},
		{name: "no such bucket", change: map[string]interface{}{"bucket": "nowhere"}, says: []string{"there is no bucket", "nothing was started"}, fails: true},
		{name: "not an image", change: map[string]interface{}{"source_image_ocid": ""}, from: &foreign{builder: "mitchellh.amazonebs", id: "ami-1"}, says: []string{"which names no AMI"}, fails: true},
		{name: "not an image at all", change: map[string]interface{}{"source_image_ocid": ""}, from: &foreign{builder: "packer.docker", id: "x"}, says: []string{"is no image", "source_ami"}, fails: true},
		{name: "oracle-oci's artifact", change: map[string]interface{}{"source_image_ocid": ""}, from: &foreign{builder: "packer.oracle.oci", id: "BASE"}},
		{name: "an import that is too slow", faults: []ocisim.Fault{{Kind: ocisim.FaultSlow, State: "IMPORTING", Delay: ocisim.Duration(3 * time.Second)}}, change: map[string]interface{}{"import_timeout": "500ms"}, says: []string{"import_timeout"}, fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Adjust: tt.adjust})
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			in := settings(s)
			for k, v := range tt.change {
				switch v {
				case "FOREIGN":
					v = s.Foreign
				case "BUILD":
					v = s.Build.CompartmentID
				}
				switch k {
				case "bucket":
					in["source"].(map[string]interface{})[k] = v
				case "compartment_ocid":
					in["destination"].([]interface{})[0].(map[string]interface{})[k] = v
				default:
					in[k] = v
				}
			}
			if tt.from != nil && tt.from.id == "BASE" {
				tt.from.id = s.BaseImage
			}
			a, said, err := run(t.Context(), t, s, in, tt.from)
			if (err != nil) != tt.fails {
				t.Fatalf("error: %v\n%s", err, said)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			keep := ""
			if a != nil {
				keep = a.Id()
			}
			if left := s.Left(keep); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// One destination that fails does not stop the others.
func TestSeveralDestinations(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultImportFails, Tenancy: "neighbour"}); err != nil {
		t.Fatal(err)
	}
	in := settings(s)
	other := maps.Clone(in["destination"].([]interface{})[0].(map[string]interface{}))
	n := s.Neighbour
	other["tenancy_ocid"], other["user_ocid"], other["fingerprint"], other["key"], other["region"] = n.ID, n.UserID, n.Fingerprint(), n.PrivateKeyPEM(), n.HomeRegion
	other["compartment_ocid"] = n.CompartmentID
	in["destination"] = []interface{}{other, in["destination"].([]interface{})[0]}
	_, said, err := run(t.Context(), t, s, in, nil)
	if err == nil || !strings.Contains(err.Error(), "destination eu-frankfurt-1") || strings.Contains(err.Error(), "destination sa-saopaulo-1") {
		t.Fatalf("error: %v\n%s", err, said)
	}
	images := s.Cloud.Inventory().Tenancies[1].Regions[0].Images
	if len(images) != 1 || images[0].State != "AVAILABLE" || !strings.Contains(said, images[0].ID) {
		t.Errorf("images in production: %+v\n%s", images, said)
	}
	if left := s.Left(images[0].ID); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if n := s.Cloud.CountRequests("ExportImage"); n != 1 {
		t.Errorf("%d exports for two destinations", n)
	}
}

// A copy says whose its things are, before there is the first of them.
func TestSaysItsID(t *testing.T) {
	noted := ""
	var out inpacker.Output
	s := stage.ForTest(t, stage.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, object, ok := strings.Cut(r.URL.Path, "/o/"); ok && r.Method == http.MethodPut && noted == "" {
				noted = object + "\n" + out.String()
			}
			next.ServeHTTP(w, r)
		})
	}})
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if err := p.Configure(settings(s)); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := p.PostProcess(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, &foreign{}); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^Copy ([a-z2-7]{16})$`).FindStringSubmatch(noted)
	if m == nil || !strings.HasPrefix(noted, "armfree-"+m[1]+"-copy-") {
		t.Errorf("when the note was written: %q", noted)
	}
}

// A copy that is cancelled at any request ends soon, with nothing left.
func TestCancelAnywhere(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	if _, said, err := run(t.Context(), t, s, settings(s), nil); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	for _, m := range tripwire.Moments(s.Cloud.Requests(), func(r ocisim.Request) string { return r.Op }) {
		if m.Op == "CreateBucket" {
			continue // the stage's own
		}
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{Wrap: w.Wrap})
			w.Watch(s.Cloud)
			a, said, err := run(ctx, t, s, settings(s), nil)
			keep := ""
			if err == nil {
				keep = a.Id() // cancelled while it tidied up: too late to matter
			}
			if left := s.Left(keep); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			at, ok := w.Pulled()
			if !ok {
				t.Fatal("the copy did not come so far")
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s", d)
			}
		})
	}
}
