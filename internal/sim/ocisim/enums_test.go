// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestEnumsOfLaunch: a value that the API does not define is refused, also one
// that this simulator would not look at otherwise.
func TestEnumsOfLaunch(t *testing.T) {
	k := newKit(t, nil)
	body := func(change string) string {
		whole := map[string]any{
			"availabilityDomain": k.build.AvailabilityDomains(homeRegion)[0], "compartmentId": k.build.CompartmentID, "shape": a1,
			"shapeConfig": map[string]any{"ocpus": 2}, "sourceDetails": map[string]any{"sourceType": "image", "imageId": k.base},
			"createVnicDetails": map[string]any{"subnetId": k.build.SubnetID(homeRegion)},
		}
		if err := json.Unmarshal([]byte(change), &whole); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, tc := range []struct {
		change string
		status int
		part   string
	}{
		{`{"availabilityConfig":{"recoveryAction":"STOP_INSTANCE"}, "launchOptions":{"networkType":"PARAVIRTUALIZED","bootVolumeType":"NVME"},
			"agentConfig":{"pluginsConfig":[{"name":"Bastion","desiredState":"DISABLED"}]}, "shapeConfig":{"ocpus":2,"baselineOcpuUtilization":"BASELINE_1_1"},
			"preemptibleInstanceConfig":{"preemptionAction":{"type":"TERMINATE"}}}`, 200, ""},
		{`{"availabilityConfig":{"recoveryAction":"REBOOT"}}`, 400, "recoveryAction"},
		{`{"availabilityConfig":{"recoveryAction":"stop_instance"}}`, 400, "recoveryAction"},
		{`{"agentConfig":{"pluginsConfig":[{"name":"Bastion","desiredState":"OFF"}]}}`, 400, "desiredState"},
		{`{"shapeConfig":{"ocpus":2,"baselineOcpuUtilization":"BASELINE_1_3"}}`, 400, "Unknown shapeConfig.baselineOcpuUtilization"},
		{`{"shapeConfig":{"ocpus":2,"baselineOcpuUtilization":"BASELINE_1_8"}}`, 400, "does not support baselineOcpuUtilization"},
		{`{"shapeConfig":{"ocpus":2,"resourceManagement":"LAZY"}}`, 400, "resourceManagement"},
		{`{"shapeConfig":{"ocpus":2,"resourceManagement":"STATIC"}}`, 501, "resourceManagement"},
		{`{"shapeConfig":{"ocpus":2,"localVolumeSizeInGBs":100}}`, 501, "localVolumeSizeInGBs"},
		{`{"preemptibleInstanceConfig":{"preemptionAction":{"type":"STOP"}}}`, 400, "preemptionAction"},
		{`{"launchOptions":{"networkType":"VIRTIO"}}`, 400, "networkType"},
		{`{"launchOptions":{"firmware":"COREBOOT"}}`, 400, "firmware"},
		{`{"launchOptions":{"bootVolumeType":"FLOPPY"}}`, 400, "bootVolumeType"},
		{`{"launchOptions":{"remoteDataVolumeType":"FLOPPY"}}`, 400, "remoteDataVolumeType"},
		{`{"launchMode":"PARAVIRTUALIZED"}`, 400, "CannotParseRequest"}, // of images and instances, not of launches
	} {
		status, answer, _ := k.rawFor(k.build, "POST", iaas+"/instances", body(tc.change)).send(k)
		if status != tc.status || !strings.Contains(answer, tc.part) {
			t.Errorf("%s: got %d %s, want %d %s", tc.change, status, answer, tc.status, tc.part)
		}
	}
	if n := len(k.home().Instances); n != 1 {
		t.Errorf("there are %d instances", n)
	}
}

// TestEnumsElsewhere has the values of query parameters and other bodies.
func TestEnumsElsewhere(t *testing.T) {
	k := newKit(t, nil)
	id := *k.launched().Id
	report := fmt.Sprintf(`{"compartmentId":%q,"availabilityDomain":%q,"shapeAvailabilities":[{"instanceShape":%q,"instanceShapeConfig":{"ocpus":1,"baselineOcpuUtilization":"%%s"}}]}`,
		k.build.ID, k.build.AvailabilityDomains(homeRegion)[0], a1)
	const identity = "https://identity.us-ashburn-1.oraclecloud.com/20160918/compartments"
	for _, tc := range []struct {
		method, url, body string
		status            int
		part              string
	}{
		{"GET", iaas + "/instances?lifecycleState=CREATING_IMAGE&sortBy=DISPLAYNAME&sortOrder=DESC", "", 200, ""},
		{"GET", iaas + "/instances?lifecycleState=DELETED", "", 400, "lifecycleState"},
		{"GET", iaas + "/instances?lifecycleState=running", "", 400, "lifecycleState"},
		{"GET", iaas + "/instances?sortBy=displayName", "", 400, "sortBy"},
		{"GET", iaas + "/instances?sortOrder=desc", "", 400, "sortOrder"},
		{"GET", iaas + "/images?lifecycleState=DISABLED", "", 200, ""},
		{"GET", iaas + "/images?lifecycleState=CREATING", "", 400, "lifecycleState"},
		{"GET", iaas + "/images?sortBy=NAME", "", 400, "sortBy"},
		{"GET", iaas + "/subnets?lifecycleState=RUNNING", "", 400, "lifecycleState"},
		{"GET", iaas + "/subnets?sortBy=CIDR", "", 400, "sortBy"},
		{"GET", iaas + "/vcns?lifecycleState=RUNNING", "", 400, "lifecycleState"},
		{"GET", iaas + "/vcns?sortOrder=UP", "", 400, "sortOrder"},
		{"GET", iaas + "/computeImageCapabilitySchemas?sortBy=NAME", "", 400, "sortBy"},
		{"GET", iaas + "/workRequests/x/errors?sortOrder=UP", "", 400, "sortOrder"},
		{"GET", identity + "?lifecycleState=active", "", 200, ""},
		{"GET", identity + "?lifecycleState=OPEN", "", 400, "lifecycleState"},
		{"DELETE", iaas + "/instances/" + id + "?preserveBootVolume=yes", "", 400, "preserveBootVolume"},
		{"DELETE", iaas + "/instances/" + id + "?recycleLevel=HALF", "", 400, "recycleLevel"},
		{"POST", iaas + "/instances/" + id + "?action=JUMP", "", 400, "action"},
		{"POST", iaas + "/instances/" + id + "?action=DIAGNOSTICREBOOT", "", 501, "DIAGNOSTICREBOOT"},
		{"PUT", iaas + "/instances/" + id, `{"agentConfig":{"pluginsConfig":[{"name":"x","desiredState":"OFF"}]}}`, 400, "desiredState"},
		{"POST", iaas + "/computeCapacityReports", fmt.Sprintf(report, "BASELINE_1_2"), 200, ""},
		{"POST", iaas + "/computeCapacityReports", fmt.Sprintf(report, "HALF"), 400, "baselineOcpuUtilization"},
	} {
		url := tc.url
		if tc.method == "GET" && !strings.Contains(url, "Schemas") && !strings.Contains(url, "workRequests") {
			url += "&compartmentId=" + k.build.ID
		}
		status, answer, _ := k.rawFor(k.build, tc.method, url, tc.body).send(k)
		if status != tc.status || !strings.Contains(answer, tc.part) || (status == 400 && !strings.Contains(answer, "InvalidParameter")) {
			t.Errorf("%s %s: got %d %s, want %d %s", tc.method, tc.url, status, answer, tc.status, tc.part)
		}
	}
}
