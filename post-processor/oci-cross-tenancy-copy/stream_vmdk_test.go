// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// asked keeps the bodies of requests that begin an import.
type asked struct {
	mu     sync.Mutex
	bodies []string
}

func (a *asked) see(t *testing.T) func(http.ResponseWriter, *http.Request, int) bool {
	return func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/images") {
			return false
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(text))
		a.mu.Lock()
		defer a.mu.Unlock()
		a.bodies = append(a.bodies, string(text))
		return false
	}
}

// secretPart is what a link has that differs each time.
var secretPart = regexp.MustCompile(`/p/[^/]+/`)

// A VMDK says nothing of itself, so the import does: what it is, what it holds, and that it
// starts by UEFI from paravirtualized devices. The image that comes of it is like any
// other copy.
func TestStreamVMDK(t *testing.T) {
	inFlight(t, blocks(30), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.by(way{"vmdk", "direct"})
		other := maps.Clone(dest(in))
		other["image_name"], other["compartment_ocid"] = "second", f.production.ChildCompartmentID
		in["destination"] = append(in["destination"].([]interface{}), other)
		in["operating_system"], in["operating_system_version"] = "Debian GNU/Linux", "12.9"
		var a asked
		f.wire.reset(a.see(t))
		ids, said, err := f.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		object := regexp.MustCompile(`into the object (armfree-copy-\w+-\w+\.vmdk)\n`).FindStringSubmatch(said)
		if object == nil {
			t.Fatalf("no object is named\n%s", said)
		}
		if len(a.bodies) != 2 {
			t.Fatalf("imports %q", a.bodies)
		}
		for _, body := range a.bodies {
			var got struct {
				Source  json.RawMessage `json:"imageSourceDetails"`
				Mode    string          `json:"launchMode"`
				Options json.RawMessage `json:"launchOptions"`
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			source := fmt.Sprintf(`{"operatingSystem":"Debian GNU/Linux","operatingSystemVersion":"12.9","sourceImageType":"VMDK","sourceType":"objectStorageUri",`+
				`"sourceUri":"https://objectstorage.%s.oraclecloud.com/p/.../n/%s/b/images/o/%s"}`, homeRegion, f.build.Namespace, object[1])
			if s := secretPart.ReplaceAllString(string(got.Source), "/p/.../"); s != source {
				t.Errorf("the source is %s\nwant          %s", s, source)
			}
			const options = `{"firmware":"UEFI_64","bootVolumeType":"PARAVIRTUALIZED","networkType":"PARAVIRTUALIZED","remoteDataVolumeType":"PARAVIRTUALIZED",` +
				`"isPvEncryptionInTransitEnabled":false,"isConsistentVolumeNamingEnabled":false}`
			if got.Mode != "CUSTOM" || string(got.Options) != options || strings.Contains(body, "null") {
				t.Errorf("the import is %s", body)
			}
		}
		for _, id := range strings.Split(ids, ",") {
			img := f.get(t, id)
			if o := img.LaunchOptions; o.Firmware != core.LaunchOptionsFirmwareUefi64 || o.BootVolumeType != core.LaunchOptionsBootVolumeTypeParavirtualized || o.NetworkType != core.LaunchOptionsNetworkTypeParavirtualized {
				t.Errorf("%+v", o)
			}
			if *img.OperatingSystem != "Debian GNU/Linux" || *img.OperatingSystemVersion != "12.9" || !strings.Contains(img.FreeformTags["armfree"], "source="+f.ami) || strings.Contains(img.FreeformTags["armfree"], "state=") {
				t.Errorf("%+v", img)
			}
			shapes, err := f.compute(t, f.production).ListImageShapeCompatibilityEntries(t.Context(), core.ListImageShapeCompatibilityEntriesRequest{ImageId: &id})
			if err != nil || !slices.ContainsFunc(shapes.Items, func(e core.ImageShapeCompatibilitySummary) bool { return *e.Shape == preflight.DefaultShape }) {
				t.Errorf("shapes %+v, %v", shapes.Items, err)
			}
		}
		for _, file := range f.imported(t) {
			sameDisk(t, f.disk, file)
		}
		if left := f.left(); len(left) != 2 {
			t.Errorf("left: %q", left)
		}
	})
}

// What the import did not make of it is found out: an image that starts by BIOS does not
// stay.
func TestStreamVMDKByBIOS(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		f.wire.reset(func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/images/") {
				return false
			}
			seen := httptest.NewRecorder()
			f.serve(seen, r)
			maps.Copy(w.Header(), seen.Header())
			w.Header().Del("Content-Length")
			w.WriteHeader(seen.Code)
			_, _ = w.Write(bytes.ReplaceAll(seen.Body.Bytes(), []byte("UEFI_64"), []byte("BIOS")))
			return true
		})
		_, said, err := f.copy(t.Context(), t, f.by(way{"vmdk", "direct"}))
		if err == nil || !strings.Contains(said, "has the firmware BIOS; ARM64 machines start only with UEFI_64") {
			t.Errorf("%v\n%s", err, said)
		}
		if left := f.left(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A service that does not know the field says so, and nothing stays; nor of an import that
// comes to nothing. The field is the same by every route, so that no other one is tried; nor
// is it about links.
func TestStreamVMDKRefused(t *testing.T) {
	const field, broken = "Unrecognized field launchOptions", "The VMDK is broken."
	for name, tt := range map[string]struct {
		fault ocisim.Fault
		route string
		final bool
	}{
		"the field":           {ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "InvalidParameter", Message: field}, "", true},
		"the field, unread":   {ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "CannotParseRequest", Message: field}, "", true},
		"the mode":            {ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "InvalidParameter", Message: "Unknown launchMode CUSTOM"}, "", true},
		"the field, by relay": {ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "InvalidParameter", Message: field}, "relay", true},
		"the link":            {ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateImage", Status: 400, Code: "InvalidParameter", Message: "Invalid sourceUri"}, "", false},
		"the import":          {ocisim.Fault{Kind: ocisim.FaultImportFails, Message: broken}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				if err := f.AddFaults(tt.fault); err != nil {
					t.Fatal(err)
				}
				in := f.by(way{"vmdk", tt.route})
				dest(in)["relay_bucket"] = "images"
				_, said, err := f.copy(t.Context(), t, in)
				times := map[bool]int{true: 1, false: 2}[tt.final]
				if err == nil || strings.Count(err.Error(), tt.fault.Message) != times || tt.route == "" && strings.Contains(said, "by the route relay") == tt.final {
					t.Errorf("%v\n%s", err, said)
				}
				if tt.final && (!strings.Contains(said, `image_format = "oci"`) || strings.Contains(said, help.Links.URL())) {
					t.Errorf("it does not say what to do, or is said to be about links:\n%s", said)
				}
				if left := f.left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			})
		})
	}
}

// Another form is another image: a finished copy in the one is not taken for a copy in the
// other, and the source does not go for it.
func TestStreamAnotherForm(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		as := func(form string, options map[string]interface{}) (string, string, error) {
			in := f.settings()
			maps.Copy(in, options)
			if form != "" {
				in["image_format"] = form
			}
			f.wire.reset(nil)
			return f.copy(t.Context(), t, in)
		}
		archive, said, err := as("", nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		refused := func(form, there string, says ...string) {
			t.Helper()
			_, said, err := as(form, map[string]interface{}{"keep_source_image": false})
			for _, want := range append(says, there, "nothing was started", `image_name_conflict = "replace"`) {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%q: %q is not said: %v\n%s", form, want, err, said)
				}
			}
			f.mustLeave(t, there, said)
			if slices.Contains(f.wire.ops, "POST /20160918/images") || !f.there(t) {
				t.Errorf("%q: the AMI is there: %t; %q", form, f.there(t), f.wire.ops)
			}
		}
		same := func(form, there string) {
			t.Helper()
			if again, said, err := as(form, nil); err != nil || again != there {
				t.Errorf("%q: %s after %s, %v\n%s", form, again, there, err, said)
			}
		}
		same("", archive)
		same("oci", archive)
		refused("vmdk", archive, `by image_format = "oci"`, `not by "vmdk"`)
		vmdk, said, err := as("vmdk", map[string]interface{}{"image_name_conflict": "replace"})
		if err != nil || vmdk == archive {
			t.Fatalf("%s after %s, %v\n%s", vmdk, archive, err, said)
		}
		f.mustLeave(t, vmdk, said)
		same("vmdk", vmdk)
		refused("", vmdk, `by image_format = "vmdk"`, `not by "oci"`)
		refused("oci", vmdk, `by image_format = "vmdk"`, `not by "oci"`)

		// One that does not say it was made before there was a choice, or by this very copy.
		img := f.get(t, vmdk)
		tags := img.FreeformTags
		tags["armfree"] = strings.Replace(tags["armfree"], " form=vmdk", "", 1)
		if _, err := f.compute(t, f.production).UpdateImage(t.Context(), core.UpdateImageRequest{ImageId: &vmdk, UpdateImageDetails: core.UpdateImageDetails{FreeformTags: tags}}); err != nil {
			t.Fatal(err)
		}
		same("", vmdk)
		same("vmdk", vmdk)
		refused("oci", vmdk, `without a note of its image_format`, `not by "oci"`)
		// Nor is it known once it has been verified.
		verified := dest(f.by(way{"", "verify"}))
		if again, said, err := as("", map[string]interface{}{"destination": []interface{}{verified}}); err != nil || again != vmdk || !strings.Contains(said, "is verified") {
			t.Errorf("%s, %v\n%s", again, err, said)
		}
		if tag := f.get(t, vmdk).FreeformTags["armfree"]; strings.Contains(tag, "form=") || !strings.Contains(tag, "verified=") {
			t.Errorf("the tag is %q", tag)
		}
	})
}

// there says whether the AMI is.
func (f *flying) there(t *testing.T) bool {
	t.Helper()
	images, err := f.client().DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		t.Fatal(err)
	}
	return len(images.Images) > 0
}

// A copy of a VMDK is started, kept for the series, and not made twice.
func TestStreamVMDKIsACopyLikeAnyOther(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.by(way{"vmdk", "verify"})
		in["image_series"], in["retain"] = "mine", 1
		first, said, err := f.copy(t.Context(), t, in)
		if err != nil || !strings.Contains(said, "imported and verified") {
			t.Fatalf("%v\n%s", err, said)
		}
		f.mustLeave(t, first, said)
		if again, said, err := f.copy(t.Context(), t, in); err != nil || again != first {
			t.Errorf("%s after %s, %v\n%s", again, first, err, said)
		}
		in["dest_image_name"] = "second"
		second, said, err := f.copy(t.Context(), t, in)
		if err != nil || second == first {
			t.Fatalf("%s after %s, %v\n%s", second, first, err, said)
		}
		f.mustLeave(t, second, said)
	})
}

// What is brought nearer to a destination has a name of this plugin's, also if the template
// names the object itself.
func TestStreamVMDKByAnotherName(t *testing.T) {
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.by(way{"vmdk", "relay"})
		in["object_name"] = "mine"
		f.wire.reset(nil)
		image, said, err := f.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		relayed := regexp.MustCompile(`/u/armfree-copy-\w+-\w+\.vmdk\.1$`)
		if !slices.ContainsFunc(f.wire.ops, relayed.MatchString) {
			t.Errorf("no object of this plugin's name was relayed: %q", f.wire.ops)
		}
		f.mustLeave(t, image, said)
	})
}

// What a copy of a VMDK leaves that was killed on its way, and that nobody runs again, is
// known to the sweep by its name: the object and parts of it, in either bucket.
func TestStreamVMDKLeftovers(t *testing.T) {
	for _, by := range streamWays()[1:] {
		for i, op := range streamMoments(t, by) {
			if !strings.Contains(op, "/b/images/u/") && op != "POST /20160918/images" && !strings.HasSuffix(op, "/actions/copyObject") {
				continue // from the first part on, up to the image
			}
			t.Run(fmt.Sprintf("%s %d %s", by, i, op), func(t *testing.T) {
				inFlight(t, blocks(1), func(t *testing.T, f *flying) {
					f.tag(t, proven())
					ctx, cancel := context.WithCancel(t.Context())
					f.wire.reset(f.killAfter(i, cancel))
					_, _, _ = f.copy(ctx, t, f.by(by))
					f.wire.reset(nil)
					before := f.left()
					time.Sleep(48 * time.Hour)
					for _, place := range []struct {
						of     *ocisim.Tenancy
						region string
					}{{f.build, homeRegion}, {f.build, farRegion}, {f.production, farRegion}} {
						c, err := oci.NewClient(oci.Credentials{
							Tenancy: place.of.ID, User: place.of.UserID, Fingerprint: place.of.Fingerprint(), KeyPEM: place.of.PrivateKeyPEM(), Region: place.region,
						}, oci.Options{HTTP: f.http})
						if err != nil {
							t.Fatal(err)
						}
						w := sweep.Sweep{
							Cloud: &oci.Leftovers{Client: c, Compartments: []string{place.of.CompartmentID}, Buckets: true},
							Rules: sweep.Rules{Grace: sweep.DefaultGrace},
						}
						if r, err := w.Run(t.Context()); err != nil || len(r.Left) > 0 {
							t.Errorf("%v, left %v", err, r.Left)
						}
					}
					if left := f.left(); len(left) > 0 {
						t.Errorf("of %q there is still %q", before, left)
					}
					if len(before) == 0 {
						t.Error("there was nothing to remove")
					}
				})
			})
		}
	}
}
