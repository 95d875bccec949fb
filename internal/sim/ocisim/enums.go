// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

// enumField is a field of a request's body that can have certain values only.
type enumField struct {
	name    string
	value   *string
	allowed []string
}

// checkEnums refuses values that the API does not define. The real service
// does so too, while its SDKs pass them on in some languages. Absent fields are
// fine; the texts are our wording.
func checkEnums(fields ...enumField) error {
	for _, f := range fields {
		if f.value != nil && !oneOf(*f.value, f.allowed) {
			return errInvalid("Unknown %s %q: it is not one of %q", f.name, *f.value, f.allowed)
		}
	}
	return nil
}

func baselines() []string { return []string{"BASELINE_1_8", "BASELINE_1_2", "BASELINE_1_1"} }

// checkEnums checks all of a launch's.
func (d launchDetails) checkEnums() error {
	var fields []enumField
	if d.ShapeConfig != nil {
		fields = append(fields,
			enumField{"shapeConfig.baselineOcpuUtilization", d.ShapeConfig.Baseline, baselines()},
			enumField{"shapeConfig.resourceManagement", d.ShapeConfig.ResourceManagement, []string{"DYNAMIC", "STATIC"}})
	}
	if d.AvailabilityConfig != nil {
		fields = append(fields, enumField{"availabilityConfig.recoveryAction", d.AvailabilityConfig.RecoveryAction,
			[]string{"RESTORE_INSTANCE", "STOP_INSTANCE"}})
	}
	if d.Preemptible != nil {
		fields = append(fields, enumField{"preemptionAction.type", &d.Preemptible.Action.Type, []string{"TERMINATE"}})
	}
	if o := d.LaunchOptions; o != nil {
		volumes := append(volumeTypes(), "NVME")
		fields = append(fields,
			enumField{"launchOptions.bootVolumeType", nullable(o.BootVolumeType), volumes},
			enumField{"launchOptions.remoteDataVolumeType", nullable(o.RemoteDataVolumeType), volumes},
			enumField{"launchOptions.firmware", nullable(o.Firmware), []string{"BIOS", "UEFI_64"}},
			enumField{"launchOptions.networkType", nullable(o.NetworkType), []string{"E1000", "VFIO", "PARAVIRTUALIZED", "ACCELERATEDPV"}})
	}
	if err := checkEnums(fields...); err != nil {
		return err
	}
	return d.AgentConfig.checkEnums()
}
