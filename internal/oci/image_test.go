// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

func TestCompleteImage(t *testing.T) {
	bare := func(i *ocisim.BaseImage) { i.Shapes = []string{"VM.Standard2.1"} }
	for _, tt := range []struct {
		name   string
		sim    simOptions
		shapes []string
		fails  string
		adds   int
		marked int
	}{
		{name: "an imported image without the entry", sim: simOptions{base: bare}, shapes: []string{a1}, adds: 1},
		{name: "several shapes", sim: simOptions{base: bare}, shapes: []string{a1, "VM.Standard.A2.Flex"}, adds: 2},
		{
			name: "BIOS", sim: simOptions{base: func(i *ocisim.BaseImage) { i.Firmware = machine.BIOS }}, shapes: []string{a1},
			fails: "has the firmware BIOS; ARM64 machines start only with UEFI_64, it would never boot",
		},
		{
			name: "no firmware told", shapes: []string{a1}, fails: "has the firmware none",
			sim: simOptions{wrap: rewrite("/images/", func(b string) string { return strings.ReplaceAll(b, `"firmware":"UEFI_64"`, `"firmware":null`) })},
		},
		{
			name: "the entry does not stay", shapes: []string{a1}, adds: 1,
			sim:   simOptions{base: bare, wrap: rewrite("/shapes", func(string) string { return `[{"imageId":"i","shape":"VM.Standard2.1"}]` })},
			fails: "still cannot start on " + a1 + " although that was added; it can start on: VM.Standard2.1",
		},
		{
			name: "no entry at all stays", shapes: []string{a1}, adds: 1,
			sim:   simOptions{base: bare, wrap: rewrite("/shapes", func(string) string { return `[]` })},
			fails: "it can start on: none",
		},
		{
			name: "only one of two stays", shapes: []string{a1, "VM.Standard.A2.Flex"}, adds: 1,
			sim:   simOptions{base: bare, wrap: rewrite("/shapes", func(string) string { return `[{"imageId":"i","shape":"` + a1 + `"}]` })},
			fails: "still cannot start on VM.Standard.A2.Flex",
		},
		{
			name: "adding is refused", shapes: []string{a1}, adds: 1,
			sim:   simOptions{base: bare, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "AddImageShapeCompatibilityEntry", Status: 400, Code: "InvalidParameter", Message: "no"}}},
			fails: "add shape " + a1 + " to image",
		},
		{
			name: "adding hiccups", shapes: []string{a1}, adds: 3,
			sim: simOptions{base: bare, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "AddImageShapeCompatibilityEntry", Status: 409, Code: "IncorrectState", Message: "busy", Times: 2}}},
		},
		{name: "no shapes asked for", sim: simOptions{base: bare}},
		{
			// A sweep would delete it.
			name: "it may not be marked as finished", fails: "what is not counts as a leftover: this user may not update images",
			sim:    simOptions{base: bare, faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "UpdateImage", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."}}},
			marked: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, tt.sim)
				c := s.client(t, s.build)
				o := owner.NewBuild(time.Now(), time.Hour)
				err := c.completeImage(t.Context(), s.mine, completion{
					shapes: tt.shapes, tags: finished(o, owner.RoleImage, "", map[string]string{"team": "infra"}), patience: patience{limit: repeatFor},
				})
				if n := s.CountRequests("AddImageShapeCompatibilityEntry"); n != tt.adds {
					t.Errorf("%d entries added, want %d", n, tt.adds)
				}
				if tt.fails != "" {
					if err == nil || !strings.Contains(err.Error(), tt.fails) {
						t.Errorf("%v, want %q", err, tt.fails)
					}
					if s.CountRequests("UpdateImage") != tt.marked {
						t.Error("marked as finished all the same")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				has, err := c.imageShapes(t.Context(), s.mine)
				for _, shape := range tt.shapes {
					if !slices.Contains(has, shape) {
						t.Errorf("shapes %q, %v", has, err)
					}
				}
				for _, i := range s.Inventory().Tenancies[0].Regions[0].Images {
					if i.ID == s.mine && (i.FreeformTags["team"] != "infra" || !strings.Contains(i.FreeformTags[owner.Key], "build="+o.ID+" ")) {
						t.Errorf("tags %v", i.FreeformTags)
					}
				}
			})
		})
	}
}

func TestArmShape(t *testing.T) {
	for shape, want := range map[string]bool{
		"VM.Standard.A1.Flex": true, "VM.Standard.A2.Flex": true, "BM.Standard.A1.160": true, "BM.Standard.A4.48": true,
		"VM.Standard2.1": false, "VM.Standard.E4.Flex": false, "VM.Standard.E2.1.Micro": false, "VM.GPU.A10.1": false, "BM.GPU.A100-v2.8": false, "": false, "VM.Standard.A": false,
	} {
		if Ampere(shape) != want {
			t.Errorf("%s: %t", shape, !want)
		}
	}
}

// Lists are read to their last page, and a page that fails is asked for again.
func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failed := false
		three := func(pages ...any) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				p := 0
				switch r.URL.Query().Get("page") {
				case "p1":
					p = 1
				case "p2":
					p = 2
				}
				if p == 1 && !failed {
					failed = true
					refuse(w, 503, "ServiceUnavailable", "down")
					return
				}
				if p < 2 {
					w.Header().Set("Opc-Next-Page", []string{"p1", "p2"}[p])
				}
				answer(w, 200, pages[p])
			}
		}
		image := func(id, token, state string) core.Image {
			return core.Image{Id: &id, LifecycleState: core.ImageLifecycleStateEnum(state), FreeformTags: owner.Tag{Build: "b", Role: "r", Attempt: token}.With(nil)}
		}
		c := wire(t, three(
			[]core.Image{image("i-1", "other", "AVAILABLE"), image("i-2", "t", "DELETED")},
			[]core.Image{},
			[]core.Image{image("i-3", "t", "IMPORTING"), image("i-4", "", "AVAILABLE")},
		))
		if ids, err := c.imagesOf(t.Context(), "c", "t"); err != nil || !slices.Equal(ids, []string{"i-3"}) || !failed {
			t.Errorf("images %q, %v, failed %t", ids, err, failed)
		}
		instance := func(id, token, state string) core.Instance {
			return core.Instance{Id: &id, LifecycleState: core.InstanceLifecycleStateEnum(state), FreeformTags: owner.Tag{Build: "b", Role: "r", Attempt: token}.With(nil)}
		}
		failed = false
		b := buildOver(wire(t, three(
			[]core.Instance{instance("m-1", "t", "TERMINATED"), instance("m-2", "other", "RUNNING")},
			[]core.Instance{instance("m-3", "t", "TERMINATING")},
			[]core.Instance{instance("m-4", "t", "PROVISIONING")},
		)), nil)
		if ids, err := b.Find(t.Context(), "t"); err != nil || !slices.Equal(ids, []string{"m-4"}) {
			t.Errorf("machines %q, %v", ids, err)
		}
		failed = false
		shape := func(s string) core.ImageShapeCompatibilitySummary {
			return core.ImageShapeCompatibilitySummary{Shape: &s}
		}
		c = wire(t, three([]any{shape("a")}, []any{shape("b")}, []any{shape("c")}))
		if has, err := c.imageShapes(t.Context(), "i"); err != nil || !slices.Equal(has, []string{"a", "b", "c"}) {
			t.Errorf("shapes %q, %v", has, err)
		}
	})
}

// An image that becomes available although its work failed is no image.
func TestAvailableButFailed(t *testing.T) {
	for _, tt := range []struct {
		name, status, says string
		lateBy             int // looks before the work request is told
		state              string
	}{
		{name: "failed", state: "AVAILABLE", status: "FAILED", says: "export image i-1: No space. (Oops)"},
		{name: "cancelled", state: "AVAILABLE", status: "CANCELED", says: "No space."},
		{name: "succeeded", state: "AVAILABLE", status: "SUCCEEDED"},
		{name: "still under way", state: "AVAILABLE", status: "IN_PROGRESS", lateBy: 5},
		{name: "deleted", state: "DELETED", status: "FAILED", says: "export image i-1: No space. (Oops)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks := 0
				c := wire(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case strings.HasSuffix(r.URL.Path, "/errors"):
						answer(w, 200, []map[string]string{{"code": "Oops", "message": "No space.", "timestamp": "2026-01-01T00:00:00Z"}})
					case strings.Contains(r.URL.Path, "/workRequests/"):
						status := tt.status
						if looks++; looks > tt.lateBy && tt.lateBy > 0 {
							status = "SUCCEEDED"
						}
						answer(w, 200, map[string]any{"id": "w-1", "status": status, "operationType": "ExportImage", "compartmentId": "c", "resources": []any{}, "percentComplete": 1, "timeAccepted": "2026-01-01T00:00:00Z"})
					default:
						answer(w, 200, core.Image{LifecycleState: core.ImageLifecycleStateEnum(tt.state)})
					}
				})
				err := c.awaitImage(t.Context(), "export image", "i-1", "w-1", 0, "", nil)
				if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
					t.Errorf("%v, want %q", err, tt.says)
				}
				if tt.lateBy > 0 && looks <= tt.lateBy {
					t.Errorf("done after %d looks", looks)
				}
			})
		})
	}
}
