// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
)

// TestInstanceShowsWhatWasAsked: GetInstance answers what the launch said, and
// the machine's metadata service obeys it.
func TestInstanceShowsWhatWasAsked(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	yes, no := common.Bool(true), common.Bool(false)
	key := k.build.KMSKeyID(homeRegion)
	launchOptions := &core.LaunchOptions{NetworkType: core.LaunchOptionsNetworkTypeVfio, BootVolumeType: core.LaunchOptionsBootVolumeTypeIscsi,
		Firmware: core.LaunchOptionsFirmwareUefi64, RemoteDataVolumeType: core.LaunchOptionsRemoteDataVolumeTypeIscsi,
		IsPvEncryptionInTransitEnabled: yes, IsConsistentVolumeNamingEnabled: yes}
	instanceOptions := &core.InstanceOptions{AreLegacyImdsEndpointsDisabled: yes}
	extended := map[string]any{"nested": map[string]any{"a": []any{1.0, "b"}}}
	i, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.SourceDetails = core.InstanceSourceViaImageDetails{ImageId: &k.base, BootVolumeSizeInGBs: common.Int64(60),
			BootVolumeVpusPerGB: common.Int64(20), KmsKeyId: &key}
		d.IsPvEncryptionInTransitEnabled, d.LaunchOptions, d.InstanceOptions = yes, launchOptions, instanceOptions
		d.AvailabilityConfig = &core.LaunchInstanceAvailabilityConfigDetails{IsLiveMigrationPreferred: no,
			RecoveryAction: core.LaunchInstanceAvailabilityConfigDetailsRecoveryActionStopInstance}
		d.AgentConfig = &core.LaunchInstanceAgentConfigDetails{IsManagementDisabled: no, IsMonitoringDisabled: yes, AreAllPluginsDisabled: yes,
			PluginsConfig: []core.InstanceAgentPluginConfigDetails{{Name: common.String("Compute Instance Monitoring"),
				DesiredState: core.InstanceAgentPluginConfigDetailsDesiredStateDisabled}}}
		d.ExtendedMetadata = extended
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
	for what, pair := range map[string][2]any{
		"launchOptions":   {got.LaunchOptions, launchOptions},
		"launchMode":      {got.LaunchMode, core.InstanceLaunchModeCustom},
		"instanceOptions": {got.InstanceOptions, instanceOptions},
		"availabilityConfig": {got.AvailabilityConfig, &core.InstanceAvailabilityConfig{IsLiveMigrationPreferred: no,
			RecoveryAction: core.InstanceAvailabilityConfigRecoveryActionStopInstance}},
		"agentConfig": {got.AgentConfig, &core.InstanceAgentConfig{IsManagementDisabled: no, IsMonitoringDisabled: yes, AreAllPluginsDisabled: yes,
			PluginsConfig: []core.InstanceAgentPluginConfigDetails{{Name: common.String("Compute Instance Monitoring"),
				DesiredState: core.InstanceAgentPluginConfigDetailsDesiredStateDisabled}}}},
		"extendedMetadata": {got.ExtendedMetadata, extended},
		"sourceDetails": {got.SourceDetails, core.InstanceSourceViaImageDetails{ImageId: &k.base, BootVolumeSizeInGBs: common.Int64(60),
			BootVolumeVpusPerGB: common.Int64(20), KmsKeyId: &key}},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s is %+v, want %+v", what, pair[0], pair[1])
		}
	}
	boots, err := c.ListBootVolumeAttachments(ctx, core.ListBootVolumeAttachmentsRequest{
		AvailabilityDomain: got.AvailabilityDomain, CompartmentId: got.CompartmentId, InstanceId: got.Id})
	if err != nil || len(boots.Items) != 1 || !*boots.Items[0].IsPvEncryptionInTransitEnabled {
		t.Fatalf("attachments: %+v, %v", boots.Items, err)
	}
	volume, err := k.volumes(k.build, homeRegion).GetBootVolume(ctx, core.GetBootVolumeRequest{BootVolumeId: boots.Items[0].BootVolumeId})
	if err != nil || *volume.KmsKeyId != key || *volume.VpusPerGB != 20 || *volume.SizeInGBs != 60 {
		t.Errorf("boot volume: %+v, %v", volume.BootVolume, err)
	}
	for path, want := range map[string]int{"/opc/v1/instance/": 404, "/opc/v1/": 404, "/opc/v2/instance/": 200} {
		if status, _ := k.imds(path); status != want {
			t.Errorf("%s answers %d, want %d", path, status, want)
		}
	}
	if _, text := k.imds("/opc/v2/instance/agentConfig/allPluginsDisabled"); text != "true" {
		t.Errorf("the agent is told %q", text)
	}
	_, err = c.GetWindowsInstanceInitialCredentials(ctx, core.GetWindowsInstanceInitialCredentialsRequest{InstanceId: got.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}

// TestInstanceDefaults: what nobody asked for is not made up.
func TestInstanceDefaults(t *testing.T) {
	k := newKit(t, nil)
	i := k.launched()
	if i.InstanceOptions.AreLegacyImdsEndpointsDisabled != nil || i.AgentConfig.AreAllPluginsDisabled != nil || i.AvailabilityConfig.RecoveryAction != "" ||
		i.LaunchMode != core.InstanceLaunchModeParavirtualized || i.PlatformConfig != nil ||
		i.SourceDetails.(core.InstanceSourceViaImageDetails).KmsKeyId != nil || *i.SourceDetails.(core.InstanceSourceViaImageDetails).BootVolumeVpusPerGB != 10 {
		t.Errorf("the instance is %+v", i)
	}
	if status, text := k.imds("/opc/v1/instance/id"); status != 200 || text != *i.Id {
		t.Errorf("IMDSv1 answers %d %s", status, text)
	}
}

// imds asks the metadata service of the machine that started last.
func (k *kit) imds(path string) (int, string) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "http://169.254.169.254"+path, nil)
	r.Header.Set("Authorization", "Bearer Oracle")
	k.driver.last().spec.Metadata.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// TestDetailsRefused has what a launch cannot say.
func TestDetailsRefused(t *testing.T) {
	k := newKit(t, withPlatformImages)
	x86 := k.cloud.ImageID(k.build, homeRegion, "Canonical-Ubuntu-24.04-2026.01.31-0")
	ad := k.build.AvailabilityDomains(homeRegion)[0]
	body := func(more string) string {
		return fmt.Sprintf(`{"availabilityDomain":%q,"compartmentId":%q,"shape":%q,"shapeConfig":{"ocpus":1},"createVnicDetails":{"subnetId":%q},`,
			ad, k.build.CompartmentID, a1, k.build.SubnetID(homeRegion)) + more + "}"
	}
	image := func(more string) string {
		return body(fmt.Sprintf(`"sourceDetails":{"sourceType":"image","imageId":%q%s}`, k.base, more))
	}
	also := func(more string) string {
		return body(fmt.Sprintf(`"sourceDetails":{"sourceType":"image","imageId":%q},`, k.base) + strings.TrimSuffix(more, "}"))
	}
	amd := func(config string) string {
		text := strings.ReplaceAll(body(fmt.Sprintf(`"sourceDetails":{"sourceType":"image","imageId":%q},"platformConfig":%s`, x86, config)), a1, "VM.Standard.E4.Flex")
		return text
	}
	for _, tc := range []struct {
		name, body string
		status     int
		part       string
	}{
		{"somebody's key", image(fmt.Sprintf(`,"kmsKeyId":%q`, k.stranger.KMSKeyID(homeRegion))), 404, "NotAuthorizedOrNotFound"},
		{"another region's key", image(fmt.Sprintf(`,"kmsKeyId":%q`, k.build.KMSKeyID("us-phoenix-1"))), 404, "NotAuthorizedOrNotFound"},
		{"an unknown key", image(`,"kmsKeyId":"ocid1.key.oc1.iad.vault.no"`), 404, "NotAuthorizedOrNotFound"},
		{"a vault for a key", image(`,"kmsKeyId":"ocid1.vault.oc1.iad.x"`), 400, "is not the OCID of a key"},
		{"an empty key", image(`,"kmsKeyId":""`), 400, "is not the OCID of a key"},
		{"performance between the steps", image(`,"bootVolumeVpusPerGB":15`), 400, "bootVolumeVpusPerGB"},
		{"lower cost for a boot volume", image(`,"bootVolumeVpusPerGB":0`), 400, "bootVolumeVpusPerGB"},
		{"performance beyond the last step", image(`,"bootVolumeVpusPerGB":130`), 400, "bootVolumeVpusPerGB"},
		{"an image filter", image(`,"instanceSourceImageFilterDetails":{}`), 501, "instanceSourceImageFilterDetails"},
		{"a boot volume", body(`"sourceDetails":{"sourceType":"bootVolume","bootVolumeId":"x"}`), 501, "bootVolume"},
		{"two images", also(`"imageId":"ocid1.image.oc1.iad.no"}`), 400, "do not match"},
		{"both encrypted and not", also(`"isPvEncryptionInTransitEnabled":true,"launchOptions":{"isPvEncryptionInTransitEnabled":false}}`), 400, "in-transit encryption"},
		{"an emulated network card", also(`"launchOptions":{"networkType":"E1000"}}`), 400, "does not support networkType E1000"},
		{"an emulated disk", also(`"launchOptions":{"bootVolumeType":"IDE"}}`), 400, "does not support bootVolumeType IDE"},
		{"accelerated networking", also(`"launchOptions":{"networkType":"ACCELERATEDPV"}}`), 400, "does not support networkType ACCELERATEDPV"},
		{"an unknown launch option", also(`"launchOptions":{"nicType":"VFIO"}}`), 400, "CannotParseRequest"},
		{"an unknown instance option", also(`"instanceOptions":{"areLegacyIMDSEndpointsDisabled":true}}`), 400, "CannotParseRequest"},
		{"a text for a truth", also(`"instanceOptions":{"areLegacyImdsEndpointsDisabled":"true"}}`), 400, "CannotParseRequest"},
		{"a plugin that is not there", also(`"agentConfig":{"pluginsConfig":[{"name":"Bastions","desiredState":"DISABLED"}]}}`), 400, `Unknown plugin`},
		{"a plugin twice", also(`"agentConfig":{"pluginsConfig":[{"name":"Bastion","desiredState":"DISABLED"},{"name":"Bastion","desiredState":"ENABLED"}]}}`), 400, "twice"},
		{"a plugin without a name", also(`"agentConfig":{"pluginsConfig":[{"desiredState":"DISABLED"}]}}`), 400, "MissingParameter"},
		{"metadata beyond the limit", also(`"extendedMetadata":{"x":"` + strings.Repeat("x", 32000) + `"}}`), 400, "32000"},
		{"a dedicated host", also(`"dedicatedVmHostId":"ocid1.dedicatedvmhost.oc1.iad.no"}`), 404, "NotAuthorizedOrNotFound"},
		{"platform configuration on Arm", also(`"platformConfig":{"type":"AMD_VM","isSecureBootEnabled":true}}`), 400, "does not support platformConfig of type AMD_VM"},
		{"platform configuration of another type", amd(`{"type":"INTEL_VM"}`), 400, "does not support platformConfig of type INTEL_VM"},
		{"platform configuration without a type", amd(`{"isSecureBootEnabled":true}`), 400, "MissingParameter"},
		{"platform configuration of no type", amd(`{"type":"ARM_VM"}`), 400, "Unknown type"},
		{"platform configuration with an unknown field", amd(`{"type":"AMD_VM","numaNodesPerSocket":"NPS1"}`), 400, "CannotParseRequest"},
		{"platform configuration on AMD", amd(`{"type":"AMD_VM","isSecureBootEnabled":true}`), 200, `"platformConfig":{"type":"AMD_VM","isSecureBootEnabled":true}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, answer, _ := k.rawFor(k.build, "POST", iaas+"/instances", tc.body).send(k)
			if status != tc.status || !strings.Contains(answer, tc.part) {
				t.Errorf("got %d %s, want %d %s", status, answer, tc.status, tc.part)
			}
		})
	}
	if n := len(k.home().Instances); n != 1 {
		t.Errorf("there are %d instances", n)
	}
}

// TestLaunchModes: the mode of an image decides about the devices of its
// machines, and a machine with an Arm processor has no emulated ones.
func TestLaunchModes(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	for _, tc := range []struct {
		mode    core.CreateImageDetailsLaunchModeEnum
		network core.LaunchOptionsNetworkTypeEnum
		boot    core.LaunchOptionsBootVolumeTypeEnum
		refused string // by a launch on A1
	}{
		{"", "PARAVIRTUALIZED", "PARAVIRTUALIZED", ""},
		{"PARAVIRTUALIZED", "PARAVIRTUALIZED", "PARAVIRTUALIZED", ""},
		{"CUSTOM", "PARAVIRTUALIZED", "PARAVIRTUALIZED", ""},
		{"NATIVE", "VFIO", "ISCSI", ""},
		{"EMULATED", "E1000", "SCSI", "does not support"},
		{"ACCELERATEDPV", "ACCELERATEDPV", "PARAVIRTUALIZED", "does not support networkType ACCELERATEDPV"},
	} {
		t.Run(string(tc.mode), func(t *testing.T) {
			// Names may repeat.
			made, err := c.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
				CompartmentId: &k.build.CompartmentID, InstanceId: i.Id, LaunchMode: tc.mode, DisplayName: common.String("same")}})
			if err != nil {
				t.Fatal(err)
			}
			got := k.imageReaches(c, *made.Id, core.ImageLifecycleStateAvailable)
			want := core.ImageLaunchModeEnum(tc.mode)
			if want == "" {
				want = core.ImageLaunchModeParavirtualized
			}
			if got.LaunchMode != want || got.LaunchOptions.NetworkType != tc.network || got.LaunchOptions.BootVolumeType != tc.boot ||
				got.LaunchOptions.Firmware != core.LaunchOptionsFirmwareUefi64 {
				t.Errorf("the image is %s with %+v", got.LaunchMode, got.LaunchOptions)
			}
			k.reaches(c, *i.Id, core.InstanceLifecycleStateRunning)
			launched, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
				d.SourceDetails = core.InstanceSourceViaImageDetails{ImageId: made.Id}
			}))
			if tc.refused != "" {
				wantServiceError(t, err, 400, "InvalidParameter", tc.refused)
			} else if err != nil || launched.LaunchOptions.NetworkType != tc.network {
				t.Errorf("launched %+v, %v", launched.LaunchOptions, err)
			}
			// What is launched goes on without its image.
			if _, err := c.DeleteImage(ctx, core.DeleteImageRequest{ImageId: made.Id}); err != nil {
				t.Error(err)
			}
		})
	}
	status, answer, _ := k.rawFor(k.build, "POST", iaas+"/images",
		fmt.Sprintf(`{"compartmentId":%q,"instanceId":%q,"launchMode":"VDPA"}`, k.build.CompartmentID, *i.Id)).send(k)
	if status != 400 || !strings.Contains(answer, "Unknown launchMode VDPA") {
		t.Errorf("got %d %s", status, answer)
	}
}

// TestImageCompartment: an image may be in another compartment than its
// machine, and is in that one's list only.
func TestImageCompartment(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.compute(k.build, homeRegion)
	i := k.launched()
	made, err := c.CreateImage(ctx, core.CreateImageRequest{CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &k.build.ChildCompartmentID, InstanceId: i.Id, DisplayName: common.String("below")}})
	if err != nil {
		t.Fatal(err)
	}
	k.imageReaches(c, *made.Id, core.ImageLifecycleStateAvailable)
	listed := func(compartment string) int {
		got, err := c.ListImages(ctx, core.ListImagesRequest{CompartmentId: &compartment, DisplayName: common.String("below")})
		if err != nil {
			t.Fatal(err)
		}
		return len(got.Items)
	}
	if a, b, r := listed(k.build.CompartmentID), listed(k.build.ChildCompartmentID), listed(k.build.ID); a != 0 || b != 1 || r != 0 {
		t.Errorf("listed %d times here, %d below, %d in the root", a, b, r)
	}
	if _, err := c.ChangeImageCompartment(ctx, core.ChangeImageCompartmentRequest{ImageId: made.Id, RequestMetadata: once(),
		ChangeImageCompartmentDetails: core.ChangeImageCompartmentDetails{CompartmentId: &k.build.ID}}); err != nil {
		t.Fatal(err)
	}
	if b, r := listed(k.build.ChildCompartmentID), listed(k.build.ID); b != 0 || r != 1 {
		t.Errorf("moved, it is listed %d times below and %d times in the root", b, r)
	}
	_, err = c.ChangeImageCompartment(ctx, core.ChangeImageCompartmentRequest{ImageId: made.Id, RequestMetadata: once(),
		ChangeImageCompartmentDetails: core.ChangeImageCompartmentDetails{CompartmentId: &k.stranger.ID}})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	_, err = c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(), CreateImageDetails: core.CreateImageDetails{
		CompartmentId: &k.stranger.CompartmentID, InstanceId: i.Id}})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
}
