// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// at is the value at a path of a decoded JSON body: "sourceDetails.imageId".
func at(body any, path string) any {
	for _, key := range strings.Split(path, ".") {
		m, ok := body.(map[string]any)
		if !ok {
			return nil
		}
		body = m[key]
	}
	return body
}

// Every option of a machine, as it goes over the wire; and what is left to OCI is
// not in the request at all.
func TestLaunchOnTheWire(t *testing.T) {
	yes, no := true, false
	offer := capacity.Offer{Region: simRegion, Zone: "x:AD-1", Shape: a1, OCPUs: 2, MemoryGB: 12}
	tags := DefinedTags{"ns": {"key": "value"}}
	type wants map[string]any // nil: is not there
	for _, tt := range []struct {
		name   string
		change func(*BuildConfig)
		offer  func(*capacity.Offer)
		want   wants
	}{
		{
			name: "as little as possible",
			change: func(c *BuildConfig) {
				c.AssignPublicIP = nil
			},
			want: wants{
				"availabilityDomain": "x:AD-1", "compartmentId": "ocid1.compartment.oc1..c", "shape": a1,
				"shapeConfig": map[string]any{"ocpus": 2.0, "memoryInGBs": 12.0}, "faultDomain": nil, "displayName": nil, "definedTags": nil,
				"sourceDetails":             map[string]any{"sourceType": "image", "imageId": "ocid1.image.oc1..base"},
				"createVnicDetails":         map[string]any{"subnetId": "ocid1.subnet.oc1..s"},
				"instanceOptions":           map[string]any{"areLegacyImdsEndpointsDisabled": true},
				"agentConfig":               map[string]any{"areAllPluginsDisabled": true},
				"preemptibleInstanceConfig": nil, "capacityReservationId": nil, "metadata": map[string]any{},
			},
		},
		{name: "in a fault domain", offer: func(o *capacity.Offer) { o.FaultDomain = "FAULT-DOMAIN-2" }, want: wants{"faultDomain": "FAULT-DOMAIN-2"}},
		{name: "a fixed shape", offer: func(o *capacity.Offer) { o.Shape, o.OCPUs, o.MemoryGB = "BM.Standard.A1.160", 0, 0 }, want: wants{"shape": "BM.Standard.A1.160", "shapeConfig": nil}},
		{name: "burstable", change: func(c *BuildConfig) { c.Sizes[0].Baseline = "BASELINE_1_2" }, want: wants{"shapeConfig.baselineOcpuUtilization": "BASELINE_1_2"}},
		{
			name: "the boot volume", change: func(c *BuildConfig) { c.DiskGB, c.DiskVPUs, c.KMSKey = 60, 20, "ocid1.key.oc1..k" },
			want: wants{"sourceDetails.bootVolumeSizeInGBs": 60.0, "sourceDetails.bootVolumeVpusPerGB": 20.0, "sourceDetails.kmsKeyId": "ocid1.key.oc1..k"},
		},
		{
			name: "the VNIC", change: func(c *BuildConfig) {
				c.AssignPublicIP, c.VNICName, c.Hostname, c.NSGs, c.PrivateIP = &no, "nic", "host-1", []string{"ocid1.networksecuritygroup.a", "ocid1.networksecuritygroup.b"}, "10.0.0.9"
				c.SkipSourceDestCheck, c.VNICTags, c.VNICDefinedTags = &yes, map[string]string{"a": ""}, tags
			},
			want: wants{"createVnicDetails": map[string]any{
				"subnetId": "ocid1.subnet.oc1..s", "assignPublicIp": false, "displayName": "nic", "hostnameLabel": "host-1", "privateIp": "10.0.0.9",
				"nsgIds": []any{"ocid1.networksecuritygroup.a", "ocid1.networksecuritygroup.b"}, "skipSourceDestCheck": true,
				"freeformTags": map[string]any{"a": ""}, "definedTags": map[string]any{"ns": map[string]any{"key": "value"}},
			}},
		},
		{
			name: "names and tags", change: func(c *BuildConfig) {
				c.InstanceName, c.InstanceTags, c.InstanceDefinedTags = "a: b*", map[string]string{"team": ""}, tags
			},
			want: wants{"displayName": "a: b*", "freeformTags.team": "", "definedTags.ns.key": "value"},
		},
		{
			name: "metadata", change: func(c *BuildConfig) {
				c.Metadata = map[string]string{"ssh_authorized_keys": "theirs", "k": "v"}
				c.SSHPublicKey, c.UserData = "ours", []byte("#!/bin/sh\n")
			},
			want: wants{"metadata": map[string]any{"ssh_authorized_keys": "theirs\nours", "k": "v", "user_data": base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n"))}},
		},
		{name: "the key alone", change: func(c *BuildConfig) { c.SSHPublicKey = "ours" }, want: wants{"metadata": map[string]any{"ssh_authorized_keys": "ours"}}},
		{name: "the old metadata service", change: func(c *BuildConfig) { c.LegacyIMDS = true }, want: wants{"instanceOptions.areLegacyImdsEndpointsDisabled": false}},
		{name: "the agent's plugins", change: func(c *BuildConfig) { c.AgentPlugins = true }, want: wants{"agentConfig.areAllPluginsDisabled": false}},
		{name: "preemptible", change: func(c *BuildConfig) { c.Preemptible = true }, want: wants{"preemptibleInstanceConfig": map[string]any{"preemptionAction": map[string]any{"type": "TERMINATE", "preserveBootVolume": false}}}},
		{name: "reserved", change: func(c *BuildConfig) { c.Reservation = "ocid1.capacityreservation.r" }, want: wants{"capacityReservationId": "ocid1.capacityreservation.r"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body any
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				raw, err := io.ReadAll(r.Body)
				if err == nil {
					err = json.Unmarshal(raw, &body)
				}
				if err != nil {
					t.Error(err)
				}
				if got := r.Header.Get("Opc-Retry-Token"); got != "token-1" {
					t.Errorf("retry token %q", got)
				}
				answer(w, 200, map[string]string{"id": "i-1"})
			}), tt.change)
			o := offer
			if tt.offer != nil {
				tt.offer(&o)
			}
			if _, err := b.Launch(t.Context(), o, "token-1"); err != nil {
				t.Fatal(err)
			}
			if tag := fmt.Sprint(at(body, "freeformTags.armfree")); !strings.Contains(tag, "build=b1 role=instance") || !strings.Contains(tag, "attempt=token-1") {
				t.Errorf("our tag: %q", tag)
			}
			for path, want := range tt.want {
				if got := at(body, path); !reflect.DeepEqual(got, want) {
					t.Errorf("%s is %v, want %v", path, got, want)
				}
			}
		})
	}
}

// The newest image that matches is taken, from whatever page.
func TestImageFilter(t *testing.T) {
	type image struct {
		ID          string `json:"id"`
		DisplayName string `json:"displayName"`
	}
	for _, tt := range []struct {
		name   string
		filter ImageFilter
		pages  [][]image
		found  string
		query  map[string]string
		says   string
	}{
		{
			name: "the newest", filter: ImageFilter{OS: "Canonical Ubuntu", OSVersion: "24.04"},
			pages: [][]image{{{"i-3", "Ubuntu-3"}, {"i-2", "Ubuntu-2"}}}, found: "i-3",
			query: map[string]string{
				"compartmentId": "ocid1.compartment.oc1..c", "operatingSystem": "Canonical Ubuntu", "operatingSystemVersion": "24.04", "shape": a1,
				"lifecycleState": "AVAILABLE", "sortBy": "TIMECREATED", "sortOrder": "DESC", "displayName": "",
			},
		},
		{
			name: "by a regular expression, on the second page", filter: ImageFilter{NameSearch: `^Debian-12-\d+$`},
			pages: [][]image{{{"i-9", "Debian-12-x"}, {"i-8", "my Debian-12-1"}}, {{"i-7", "Debian-12-7"}, {"i-6", "Debian-12-6"}}}, found: "i-7",
		},
		{
			name: "by name, of another compartment and shape", filter: ImageFilter{Name: "base", Compartment: "ocid1.compartment.other", Shape: "VM.Standard.A2.Flex"},
			pages: [][]image{{{"i-1", "base"}}}, found: "i-1",
			query: map[string]string{"compartmentId": "ocid1.compartment.other", "displayName": "base", "shape": "VM.Standard.A2.Flex"},
		},
		{name: "none", filter: ImageFilter{OS: "Oracle Linux"}, says: `there is no available image in eu-frankfurt-1 with operating_system = "Oracle Linux", shape = "VM.Standard.A1.Flex"`},
		{name: "Debian", filter: ImageFilter{OS: "Debian", OSVersion: "12"}, says: "OCI has no platform image of Debian: import one, with UEFI_64"},
		{name: "nothing without an id", filter: ImageFilter{NameSearch: "x"}, pages: [][]image{{{"", "x"}}, {{"i-1", "x"}}}, found: "i-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			calls := 0
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				for k, v := range tt.query {
					if q.Get(k) != v {
						t.Errorf("%s is %q, want %q", k, q.Get(k), v)
					}
				}
				if calls++; calls < len(tt.pages) {
					w.Header().Set("Opc-Next-Page", fmt.Sprint(calls))
				}
				var list []map[string]any
				if calls <= len(tt.pages) {
					for _, i := range tt.pages[calls-1] {
						m := map[string]any{"displayName": i.DisplayName}
						if i.ID != "" {
							m["id"] = i.ID
						}
						list = append(list, m)
					}
				}
				if list == nil {
					list = []map[string]any{}
				}
				answer(w, 200, list)
			}), func(c *BuildConfig) { c.BaseImage, c.ImageFilter = "", &tt.filter })
			s := &survey{b: b}
			err := s.findImage(t.Context())
			if b.BaseImage() != tt.found || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("found %q, %v", b.BaseImage(), err)
			}
		})
	}
}
