// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// A machine and an image may go through states that nobody expects, and a request
// may get no answer in between: the wait goes on until the end is there, which a
// machine's is within two seconds, and says how far an image is.
func TestWaitGoesThroughStates(t *testing.T) {
	const machine, image = "instances/i-1", "images/i-1"
	for _, tt := range []struct {
		name   string
		path   string
		states []string // one each minute
		says   string
		fails  string
		late   time.Duration // how late the end may be seen
	}{
		{name: "a machine", path: machine, states: []string{"PROVISIONING", "STARTING", "RUNNING"}, says: "Still waiting for machine i-1 to run (1m", late: 2 * time.Second},
		{name: "a machine that is moved", path: machine, states: []string{"PROVISIONING", "MOVING", "RUNNING"}, late: 2 * time.Second},
		{name: "a machine of which somebody makes an image", path: machine, states: []string{"STARTING", "CREATING_IMAGE", "RUNNING"}, late: 2 * time.Second},
		{name: "a machine without an answer for a minute", path: machine, states: []string{"PROVISIONING", "cut", "502", "429", "RUNNING"}, late: 2 * time.Second},
		{name: "a machine that is stopped", path: machine, states: []string{"PROVISIONING", "STOPPED"}, fails: "it was accepted and then became STOPPED"},
		{name: "an image", path: image, states: []string{"PROVISIONING", "PROVISIONING", "PROVISIONING", "AVAILABLE"}, says: ", 42 %)", late: 12 * time.Second},
		{name: "an image that is exported", path: image, states: []string{"PROVISIONING", "EXPORTING", "IMPORTING", "AVAILABLE"}, late: 12 * time.Second},
		{name: "an image without an answer for minutes", path: image, states: []string{"PROVISIONING", "cut", "502", "504", "AVAILABLE"}, late: 12 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				ends := time.Duration(len(tt.states)-1) * time.Minute
				b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, "/workRequests/") {
						status := "IN_PROGRESS"
						if time.Since(begin) >= ends {
							status = "SUCCEEDED"
						}
						answer(w, 200, map[string]any{"id": "w-1", "status": status, "operationType": "CreateImage", "compartmentId": "c", "resources": []any{}, "percentComplete": 42, "timeAccepted": "2026-01-01T00:00:00Z"})
						return
					}
					if !strings.HasSuffix(r.URL.Path, tt.path) {
						refuse(w, 404, "NotAuthorizedOrNotFound", "no")
						return
					}
					switch state := tt.states[min(int(time.Since(begin)/time.Minute), len(tt.states)-1)]; state {
					case "cut":
						raw(w, "")
					case "429", "502", "504":
						status := 0
						_, _ = fmt.Sscan(state, &status)
						refuse(w, status, "Busy", "busy")
					default:
						answer(w, 200, map[string]any{"id": "i-1", "lifecycleState": state})
					}
				}), func(c *BuildConfig) { c.InstanceTimeout = time.Hour })
				var said strings.Builder
				b.say = func(f string, a ...any) { fmt.Fprintf(&said, f+"\n", a...) }
				work := "w-1"
				b.remember("i-1", &work)
				var err error
				if tt.path == machine {
					err = b.AwaitMachine(t.Context(), "i-1")
				} else {
					err = b.awaitImage(t.Context(), "make image", "i-1", work, b.cfg.ImageTimeout, "image_timeout", func(d time.Duration) { b.say("waiting (%s%s)", d, b.percent(t.Context(), work)) })
				}
				if tt.fails != "" {
					if err == nil || !strings.Contains(err.Error(), tt.fails) {
						t.Errorf("%v", err)
					}
					return
				}
				if late := time.Since(begin) - ends; err != nil || late < 0 || late > tt.late {
					t.Errorf("%v, seen %s late", err, late)
				}
				if !strings.Contains(said.String(), tt.says) {
					t.Errorf("%q is not said:\n%s", tt.says, &said)
				}
			})
		})
	}
}

// A list may begin with an empty page.
func TestEmptyFirstPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := func(w http.ResponseWriter, r *http.Request, items ...map[string]string) {
			if r.URL.Query().Get("page") == "" {
				w.Header().Set("Opc-Next-Page", "2")
				items = nil
			}
			if items == nil {
				items = []map[string]string{}
			}
			answer(w, 200, items)
		}
		b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.Path, "/vnicAttachments"):
				list(w, r, map[string]string{"vnicId": "v-1", "lifecycleState": "ATTACHED"})
			case strings.Contains(r.URL.Path, "/bootVolumeAttachments"):
				list(w, r, map[string]string{"bootVolumeId": "b-1"})
			case strings.Contains(r.URL.Path, "/vnics/"):
				answer(w, 200, map[string]any{"isPrimary": true, "privateIp": "10.0.0.7", "publicIp": "203.0.113.7"})
			default:
				answer(w, 200, map[string]string{"id": "i-1", "availabilityDomain": "x:AD-1"})
			}
		}), nil)
		if addr, err := b.Address(t.Context(), "i-1"); err != nil || addr != "203.0.113.7" {
			t.Errorf("address %q, %v", addr, err)
		}
		if vols, err := b.bootVolumes(t.Context(), "i-1", b.cfg.Compartment); err != nil || fmt.Sprint(vols) != "[b-1]" {
			t.Errorf("boot volumes %q, %v", vols, err)
		}
	})
}

// Regions and realms that came after the peer's SDK of 2022: a request goes to the
// realm that the region is in.
func TestRegionsOfToday(t *testing.T) {
	for region, host := range map[string]string{
		"eu-frankfurt-1": "iaas.eu-frankfurt-1.oraclecloud.com",
		"mx-monterrey-1": "iaas.mx-monterrey-1.oraclecloud.com",
		"eu-frankfurt-2": "iaas.eu-frankfurt-2.oraclecloud.eu",
		"eu-madrid-2":    "iaas.eu-madrid-2.oraclecloud.eu",
		"ap-suwon-1":     "iaas.ap-suwon-1.oraclecloud35.com",
	} {
		asked := ""
		c := clientOver(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.Host
			return nil, fmt.Errorf("nobody is there")
		})})
		c, err := c.principal.Client(region)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.compute.GetInstance(t.Context(), core.GetInstanceRequest{InstanceId: &region, RequestMetadata: once()}); err == nil || asked != host {
			t.Errorf("%s: asked %q, want %q", region, asked, host)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What OCI refuses is said in one line, once, with what to look up; Oracle's SDK
// makes ten lines of advice of it.
func TestRefusalIsOneLine(t *testing.T) {
	for _, status := range []int{400, 401, 404, 409, 429, 500} {
		b := buildOver(wire(t, func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, status, "SomeCode", "What OCI says.")
		}), nil)
		_, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1")
		if err == nil {
			t.Fatal("launched")
		}
		text := err.Error()
		if strings.Contains(text, "\n") || strings.Count(text, "What OCI says.") != 1 || !strings.Contains(text, fmt.Sprintf("(%d SomeCode, request r-1)", status)) {
			t.Errorf("%q", text)
		}
	}
}
