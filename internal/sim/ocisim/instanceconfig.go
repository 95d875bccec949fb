// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "slices"

type instanceOptions struct {
	LegacyIMDSDisabled *bool `json:"areLegacyImdsEndpointsDisabled"`
}

type availabilityConfig struct {
	IsLiveMigrationPreferred *bool   `json:"isLiveMigrationPreferred"`
	RecoveryAction           *string `json:"recoveryAction"`
}

type agentConfig struct {
	IsMonitoringDisabled  *bool         `json:"isMonitoringDisabled"`
	IsManagementDisabled  *bool         `json:"isManagementDisabled"`
	AreAllPluginsDisabled *bool         `json:"areAllPluginsDisabled"`
	PluginsConfig         []agentPlugin `json:"pluginsConfig"`
}

type agentPlugin struct {
	Name         string `json:"name" oci:"required"`
	DesiredState string `json:"desiredState" oci:"required"`
}

// agentPlugins are those of Oracle Cloud Agent's documentation.
func agentPlugins() []string {
	return []string{"Bastion", "Block Volume Management", "Cloud Guard Workload Protection", "Compute HPC RDMA Authentication",
		"Compute HPC RDMA Auto-Configuration", "Compute Instance Monitoring", "Compute Instance Run Command",
		"Compute RDMA GPU Monitoring", "Custom Logs Monitoring", "Fleet Application Management Service", "Management Agent",
		"OS Management Hub Agent", "OS Management Service Agent", "Oracle Autonomous Linux", "Oracle Java Management Service",
		"Vulnerability Scanning", "WebLogic Management Service"}
}

// checkEnums also checks the names.
func (a *agentConfig) checkEnums() error {
	if a == nil {
		return nil
	}
	for n, plugin := range a.PluginsConfig {
		if err := checkEnums(enumField{"agentConfig.pluginsConfig.desiredState", &plugin.DesiredState, []string{"ENABLED", "DISABLED"}}); err != nil {
			return err
		}
		if !slices.Contains(agentPlugins(), plugin.Name) { // stricter than Oracle may be
			return errInvalid("Unknown plugin %q", plugin.Name)
		}
		if slices.ContainsFunc(a.PluginsConfig[:n], func(p agentPlugin) bool { return p.Name == plugin.Name }) {
			return errInvalid("Plugin %q is named twice", plugin.Name)
		}
	}
	return nil
}

// platformConfig is what the simulated shapes know of a platformConfig.
type platformConfig struct {
	Type               string `json:"type"`
	SecureBoot         *bool  `json:"isSecureBootEnabled"`
	TrustedPlatform    *bool  `json:"isTrustedPlatformModuleEnabled"`
	MeasuredBoot       *bool  `json:"isMeasuredBootEnabled"`
	MemoryEncryption   *bool  `json:"isMemoryEncryptionEnabled"`
	SymmetricThreading *bool  `json:"isSymmetricMultiThreadingEnabled"`
}

// planPlatform checks a platformConfig. There is a type of it for virtual
// machines with processors of AMD and of Intel, and none for those with Arm.
func (c *Cloud) planPlatform(_ *call, p *launchPlan) error {
	if absent(p.details.PlatformConfig) {
		p.details.PlatformConfig = nil
		return nil
	}
	var config platformConfig
	types := map[string]any{}
	for _, t := range []string{"AMD_MILAN_BM", "AMD_MILAN_BM_GPU", "AMD_ROME_BM", "AMD_ROME_BM_GPU", "GENERIC_BM",
		"INTEL_ICELAKE_BM", "INTEL_SKYLAKE_BM", "AMD_VM", "INTEL_VM"} {
		types[t] = &map[string]any{} // of no shape here
	}
	types["AMD_VM"] = &config
	kind, err := decodeUnion(p.details.PlatformConfig, "type", types)
	if err != nil {
		return err
	}
	if kind != "AMD_VM" || p.spec.arm() { // our wording
		return errInvalid("Shape %s does not support platformConfig of type %s", p.spec.name, kind)
	}
	return nil
}
