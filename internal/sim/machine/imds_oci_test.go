// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOCIMetadata(t *testing.T) {
	info := InstanceInfo{ID: "ocid1.instance.oc1..a", DisplayName: "build", Region: "eu-frankfurt-1", Shape: "VM.Standard.A1.Flex",
		AvailabilityDomain: "aBcD:EU-FRANKFURT-1-AD-2", OCPUs: 2, MemoryGB: 12,
		Metadata: map[string]string{"ssh_authorized_keys": "ssh-ed25519 AAAA <k>"},
		VNICs:    []VNICInfo{{ID: "ocid1.vnic.oc1..v", PrivateIP: "10.0.0.5"}}}
	legacyOff := info
	legacyOff.LegacyDisabled = true
	for _, tc := range []struct {
		name    string
		info    InstanceInfo
		method  string
		path    string
		header  string // "Name: value", several by "; "
		status  int
		contain string
	}{
		{"whole instance", info, "GET", "/opc/v2/instance/", "Authorization: Bearer Oracle", 200, `"ssh_authorized_keys": "ssh-ed25519 AAAA <k>"`},
		{"without the last slash", info, "GET", "/opc/v2/instance", "Authorization: Bearer Oracle", 200, `"ociAdName": "eu-frankfurt-1-ad-2"`},
		{"leaf is bare text", info, "GET", "/opc/v2/instance/metadata/ssh_authorized_keys", "Authorization: Bearer Oracle", 200, "ssh-ed25519 AAAA <k>"},
		{"number", info, "GET", "/opc/v2/instance/shapeConfig/ocpus", "Authorization: Bearer Oracle", 200, "2"},
		{"vnics", info, "GET", "/opc/v2/vnics/", "Authorization: Bearer Oracle", 200, `"privateIp": "10.0.0.5"`},
		{"one of a vnic", info, "GET", "/opc/v2/vnics/0/privateIp", "Authorization: Bearer Oracle", 200, "10.0.0.5"},
		{"root", info, "GET", "/opc/v2/", "Authorization: Bearer Oracle", 200, "instance/\nvnics/\n"},
		{"legacy", info, "GET", "/opc/v1/instance/id", "", 200, "ocid1.instance.oc1..a"},
		{"legacy disabled", legacyOff, "GET", "/opc/v1/instance/id", "", 404, ""},
		{"v2 without the header", info, "GET", "/opc/v2/instance/", "", 403, ""},
		{"v2 with another header", info, "GET", "/opc/v2/instance/", "Authorization: Bearer Amazon", 403, ""},
		{"forwarded", info, "GET", "/opc/v2/instance/", "Authorization: Bearer Oracle; X-Forwarded-For: 10.0.0.9", 403, ""},
		{"unknown key", info, "GET", "/opc/v2/instance/nothing", "Authorization: Bearer Oracle", 404, ""},
		{"below a leaf", info, "GET", "/opc/v2/instance/id/x", "Authorization: Bearer Oracle", 404, ""},
		{"vnic that is not there", info, "GET", "/opc/v2/vnics/1", "Authorization: Bearer Oracle", 404, ""},
		{"another cloud's path", info, "GET", "/latest/meta-data/", "", 404, ""},
		{"write", info, "PUT", "/opc/v2/instance/", "Authorization: Bearer Oracle", 405, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, "http://169.254.169.254"+tc.path, nil)
			for _, h := range strings.Split(tc.header, "; ") {
				if name, value, ok := strings.Cut(h, ": "); ok {
					r.Header.Set(name, value)
				}
			}
			w := httptest.NewRecorder()
			OCIMetadata(tc.info).ServeHTTP(w, r)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.contain) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if tc.status == http.StatusOK && !strings.HasSuffix(tc.path, "/") && strings.HasPrefix(tc.contain, "ssh") && w.Body.String() != tc.contain {
				t.Errorf("a leaf has more than its value: %q", w.Body)
			}
		})
	}
}
