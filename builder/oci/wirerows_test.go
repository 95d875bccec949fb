// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// rows are the options that OCI is told of.
func (s *wireSet) rows(t *testing.T) []onWire {
	return slices.Concat(s.machineRows(t), s.sshRows(t), s.filterRows(), s.networkRows(), s.searchRows(), s.imageRows(), s.bastionRows())
}

func (s *wireSet) machineRows(t *testing.T) []onWire {
	file := filepath.Join(s.files, "user-data")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	encoded := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	wants := func(path string, value any) map[string]any { return map[string]any{path: value} }
	tags := options{"ns": options{"k": "v"}}
	untimed := options{"skip_machine_lifetime": true}
	return []onWire{
		{options: []string{"compartment_ocid"}, set: options{"compartment_ocid": s.build.ChildCompartmentID}, op: launch, want: wants("compartmentId", s.build.ChildCompartmentID)},
		{options: []string{"base_image_ocid"}, set: options{"base_image_ocid": s.ubuntu}, op: launch, want: wants("sourceDetails/imageId", s.ubuntu)},
		{options: []string{"disk_size"}, set: options{"disk_size": "60"}, op: launch, want: wants("sourceDetails/bootVolumeSizeInGBs", 60.0)},
		{options: []string{"boot_volume_vpus_per_gb"}, set: options{"boot_volume_vpus_per_gb": 20}, op: launch, want: wants("sourceDetails/bootVolumeVpusPerGB", 20.0)},
		{options: []string{"kms_key_ocid"}, set: options{"kms_key_ocid": s.build.KMSKeyID(near)}, op: launch, want: wants("sourceDetails/kmsKeyId", s.build.KMSKeyID(near))},
		{options: []string{"instance_name"}, set: options{"instance_name": "a: b*"}, op: launch, want: wants("displayName", "a: b*")},
		{options: []string{"instance_tags"}, set: options{"instance_tags": map[string]string{"team": ""}}, op: launch, want: wants("freeformTags/team", "")},
		{options: []string{"instance_defined_tags_json"}, set: options{"instance_defined_tags_json": `{"ns":{"k":"v"}}`}, op: launch, want: wants("definedTags/ns/k", "v")},
		{options: []string{"instance_defined_tags"}, set: options{"instance_defined_tags": tags}, op: launch, want: wants("definedTags/ns/k", "v")},
		{options: []string{"metadata"}, set: options{"metadata": map[string]string{"k": "v"}}, op: launch, want: wants("metadata/k", "v")},
		{options: []string{"user_data"}, with: untimed, set: options{"user_data": "#!/bin/sh\n"}, op: launch, want: wants("metadata/user_data", encoded("#!/bin/sh\n"))},
		{options: []string{"user_data"}, with: untimed, set: options{"user_data": encoded("#!/bin/sh\n")}, op: launch, want: wants("metadata/user_data", encoded("#!/bin/sh\n"))},
		// A word that happens to be base64 is no encoded user data.
		{options: []string{"user_data"}, set: options{"user_data": "abcdefgh"}, op: launch, want: wants("metadata/user_data", encoded("abcdefgh"))},
		{options: []string{"user_data"}, set: options{"user_data": encoded(`{"ignition":{}}`)}, op: launch, want: wants("metadata/user_data", encoded(`{"ignition":{}}`))},
		{
			options: []string{"metadata", "ssh_pin_host_key"}, with: options{"communicator": "ssh"}, op: launch, until: launch,
			set: options{"ssh_pin_host_key": true, "metadata": map[string]string{"user_data": encoded("#!/bin/sh\ntheirs\n")}}, want: wants("metadata/user_data", holds("theirs")),
		},
		{options: []string{"user_data_file"}, with: untimed, set: options{"user_data_file": file}, op: launch, want: wants("metadata/user_data", encoded("#!/bin/sh\n:\n"))},
		{
			options: []string{"ssh_pin_host_key"}, with: options{"communicator": "ssh"}, set: options{"ssh_pin_host_key": true}, op: launch, until: launch,
			want: wants("metadata/user_data", holds("PRIVATE KEY")),
		},
		{options: []string{"machine_lifetime"}, set: options{"machine_lifetime": "90m"}, op: launch, want: wants("metadata/user_data", holds("--on-active=5400 systemctl poweroff"))},
		{
			options: []string{"machine_lifetime"}, set: options{"machine_lifetime": "90m", "metadata": map[string]string{"user_data": encoded("#!/bin/sh\ntheirs\n")}},
			op: launch, want: wants("metadata/user_data", holds("--on-active=5400 systemctl poweroff")),
		},
		{options: []string{"skip_machine_lifetime"}, set: options{"skip_machine_lifetime": true}, op: launch, want: wants("metadata/user_data", nil)},
		{
			options: []string{"instance_options_are_legacy_imds_endpoints_disabled"}, set: options{"instance_options_are_legacy_imds_endpoints_disabled": "false"},
			op: launch, want: wants("instanceOptions/areLegacyImdsEndpointsDisabled", false),
		},
		{options: []string{"agent_plugins"}, set: options{"agent_plugins": "true"}, op: launch, want: wants("agentConfig/areAllPluginsDisabled", false)},
	}
}

func (s *wireSet) sshRows(t *testing.T) []onWire {
	private, public := newSSHKey(t, "")
	file := filepath.Join(s.files, "id_ed25519")
	if err := os.WriteFile(file, []byte(private), 0o600); err != nil {
		t.Fatal(err)
	}
	theirs := map[string]any{theirKeys: begins(strings.TrimSpace(public))}
	kind := func(name string) map[string]any {
		return map[string]any{theirKeys: publicKey(func(key ssh.PublicKey, _ string) bool { return key.Type() == name })}
	}
	with := options{"communicator": "ssh"}
	return []onWire{
		{options: []string{"communicator"}, set: with, op: launch, until: launch, want: kind(ssh.KeyAlgoED25519)},
		{options: []string{"ssh_private_key"}, with: with, set: options{"ssh_private_key": private}, op: launch, until: launch, want: theirs},
		{options: []string{"ssh_private_key", "ssh_public_key"}, with: with, set: options{"ssh_private_key": private, "ssh_public_key": public}, op: launch, until: launch, want: theirs},
		{options: []string{"ssh_private_key_file"}, with: with, set: options{"ssh_private_key_file": file}, op: launch, until: launch, want: theirs},
		{options: []string{"temporary_key_pair_type"}, with: with, set: options{"temporary_key_pair_type": "ecdsa"}, op: launch, until: launch, want: kind(ssh.KeyAlgoECDSA521)},
		{
			options: []string{"temporary_key_pair_type", "temporary_key_pair_bits"}, with: with, set: options{"temporary_key_pair_type": "rsa", "temporary_key_pair_bits": "3072"}, op: launch, until: launch,
			want: map[string]any{theirKeys: publicKey(func(key ssh.PublicKey, _ string) bool {
				crypto, ok := key.(ssh.CryptoPublicKey)
				if !ok {
					return false
				}
				public, ok := crypto.CryptoPublicKey().(*rsa.PublicKey)
				return ok && public.N.BitLen() == 3072
			})},
		},
		{options: []string{"ssh_password"}, with: with, set: options{"ssh_password": "x"}, op: launch, until: launch, want: map[string]any{theirKeys: nil}},
		{options: []string{"ssh_agent_auth"}, with: with, set: options{"ssh_agent_auth": "true"}, op: launch, until: launch, want: map[string]any{theirKeys: nil}},
		{
			options: []string{"temporary_key_pair_name"}, with: with, set: options{"temporary_key_pair_name": "mine"}, op: launch, until: launch,
			want: map[string]any{theirKeys: publicKey(func(_ ssh.PublicKey, comment string) bool { return comment == "mine" })},
		},
	}
}

func (s *wireSet) filterRows() []onWire {
	const list = "GET /images"
	alone := func(option string, value any, query string) onWire {
		return onWire{
			options: []string{"base_image_filter." + option}, set: options{"base_image_ocid": "", "base_image_filter": options{option: value}},
			op: list, want: map[string]any{"?" + query: value, "?sortBy": "TIMECREATED"},
		}
	}
	block := func(more options) options {
		f := options{"operating_system": "Canonical Ubuntu"}
		maps.Copy(f, more)
		return options{"base_image_ocid": "", "base_image_filter": f}
	}
	row := func(option string, value any, query string) onWire {
		return onWire{
			options: []string{"base_image_filter." + option}, with: block(nil), set: block(options{option: value}),
			op: list, want: map[string]any{"?" + query: value},
		}
	}
	return []onWire{
		row("compartment_id", s.build.ChildCompartmentID, "compartmentId"),
		alone("compartment_id", s.build.CompartmentID, "compartmentId"),
		alone("shape", defaultShape, "shape"),
		row("display_name", "Canonical-Ubuntu-24.04-aarch64-2025.12.31-0", "displayName"),
		row("operating_system_version", "24.04", "operatingSystemVersion"),
		// The image is for the shape, not the machine; so one that has both.
		{
			options: []string{"base_image_filter.shape"}, with: block(nil), set: block(options{"shape": otherShape}),
			op: list, want: map[string]any{"?shape": otherShape},
		},
		{
			options: []string{"base_image_filter", "base_image_filter.operating_system"}, set: block(nil),
			op: list, want: map[string]any{"?operatingSystem": "Canonical Ubuntu"},
		},
		{
			options: []string{"base_image_filter.display_name_search"}, with: block(nil), set: block(options{"display_name_search": `^Canonical-Ubuntu-24\.04-aarch64-2025\.12`}),
			op: launch, want: map[string]any{"sourceDetails/imageId": s.ubuntu},
		},
	}
}

func (s *wireSet) networkRows() []onWire {
	const vnic = "createVnicDetails/"
	row := func(option string, value any, path string, want any) onWire {
		return onWire{
			options: []string{"create_vnic_details", "create_vnic_details." + option}, set: options{"create_vnic_details": options{option: value}},
			op: launch, want: map[string]any{vnic + path: want},
		}
	}
	inside := s.build.PrivateSubnetID(near)
	with := func(r onWire, with options) onWire {
		r.with = with
		return r
	}
	return []onWire{
		{options: []string{"subnet_ocid"}, with: options{"assign_public_ip": false}, set: options{"subnet_ocid": inside}, op: launch, want: map[string]any{vnic + "subnetId": inside}},
		{options: []string{"assign_public_ip"}, set: options{"assign_public_ip": "false"}, op: launch, want: map[string]any{vnic + "assignPublicIp": false}},
		// Empty, as a variable without a value is, means what the subnet does.
		{options: []string{"assign_public_ip"}, set: options{"assign_public_ip": ""}, op: launch, want: map[string]any{vnic + "assignPublicIp": nil}},
		{options: []string{"assign_public_ip"}, set: options{"assign_public_ip": nil}, op: launch, want: map[string]any{vnic + "assignPublicIp": nil}},
		with(row("assign_public_ip", "false", "assignPublicIp", false), options{"assign_public_ip": ""}),
		{
			options: []string{"use_private_ip"}, with: options{"create_vnic_details": options{"private_ip": "127.80.0.77"}}, set: options{"use_private_ip": "true"},
			op: launch, says: "address 127.80.0.77",
		},
		row("display_name", "nic", "displayName", "nic"),
		row("hostname_label", "host-1", "hostnameLabel", "host-1"),
		row("nsg_ids", s.group, "nsgIds", []any{s.group}),
		row("private_ip", "127.80.0.77", "privateIp", "127.80.0.77"),
		row("skip_source_dest_check", "true", "skipSourceDestCheck", true),
		with(row("subnet_id", inside, "subnetId", inside), options{"subnet_ocid": "", "assign_public_ip": false, "create_vnic_details": options{"subnet_id": s.build.SubnetID(near)}}),
		row("tags", map[string]string{"team": ""}, "freeformTags", map[string]any{"team": ""}),
		row("defined_tags_json", `{"ns":{"k":"v"}}`, "definedTags", map[string]any{"ns": map[string]any{"k": "v"}}),
		row("defined_tags", options{"ns": options{"k": "v"}}, "definedTags", map[string]any{"ns": map[string]any{"k": "v"}}),
	}
}

func (s *wireSet) searchRows() []onWire {
	const reports = "POST /computeCapacityReports"
	first := options{"shape_config": options{"ocpus": 2}}
	form := func(option string, value any, path string, want any) onWire {
		f := options{"ocpus": 2}
		f[option] = value
		return onWire{options: []string{"shape_config." + option}, with: first, set: options{"shape_config": f}, op: launch, want: map[string]any{path: want}}
	}
	// The first region is full, so that only the other one is asked for a machine.
	full := []ocisim.Fault{{Kind: ocisim.FaultCapacity, Region: near}}
	there := options{"region": otherRegion, "subnet_ocid": s.build.SubnetID(otherRegion), "base_image_ocid": s.ImageID(s.build, otherRegion, baseName)}
	also := func(more options) options {
		r := maps.Clone(there)
		maps.Copy(r, more)
		return options{"additional_region": []options{r}}
	}
	another := func(option string, value any, path string, want any) onWire {
		return onWire{
			options: []string{"additional_region." + option}, with: also(nil), set: also(options{option: value}), faults: full,
			op: launch, want: map[string]any{path: want},
		}
	}
	absent := []ocisim.Fault{{Kind: ocisim.FaultCapacity, MinOCPUs: 2, AD: "AD-1"}}
	small := options{"free_allowance": options{"ocpus": "1", "memory_in_gbs": 6}}
	thereADs := s.build.AvailabilityDomains(otherRegion)
	ubuntuThere := s.ImageID(s.build, otherRegion, "Canonical-Ubuntu-24.04-aarch64-2025.12.31-0")
	return []onWire{
		{options: []string{"availability_domain"}, set: options{"availability_domain": s.ads[2]}, op: launch, want: map[string]any{"availabilityDomain": s.ads[2]}},
		{options: []string{"region"}, set: there, op: launch, want: map[string]any{"host": "iaas." + otherRegion + ".oraclecloud.com"}},
		{
			options: []string{"shape"}, with: options{"base_image_ocid": s.ubuntu, "shape_config": options{"ocpus": 2}}, set: options{"shape": otherShape},
			op: launch, want: map[string]any{"shape": otherShape},
		},
		{options: []string{"shape_config", "shape_config.ocpus"}, set: options{"shape_config": options{"ocpus": "1.0"}}, op: launch, want: map[string]any{"shapeConfig/ocpus": 1.0, "shapeConfig/memoryInGBs": 6.0}},
		form("memory_in_gbs", "9", "shapeConfig/memoryInGBs", 9.0),
		form("baseline_ocpu_utilization", "BASELINE_1_1", "shapeConfig/baselineOcpuUtilization", "BASELINE_1_1"),
		form("shape", otherShape, "shape", otherShape),
		{options: []string{"capacity_reports"}, set: options{"capacity_reports": "false"}, op: reports, gone: true},
		{options: []string{"capacity_order"}, faults: absent, set: options{"capacity_order": "size"}, op: launch, want: map[string]any{"shapeConfig/ocpus": 2.0}},
		{options: []string{"capacity_reservation_ocid"}, set: options{"capacity_reservation_ocid": s.reservation}, op: launch, want: map[string]any{"capacityReservationId": s.reservation, "availabilityDomain": s.ads[1]}},
		{options: []string{"preemptible"}, set: options{"preemptible": "true"}, op: launch, want: map[string]any{"preemptibleInstanceConfig/preemptionAction/type": "TERMINATE"}},
		{options: []string{"free_allowance", "free_allowance.ocpus", "free_allowance.memory_in_gbs"}, set: small, op: launch, want: map[string]any{"shapeConfig/ocpus": 1.0}},
		{options: []string{"free_allowance.storage_in_gbs"}, with: options{"free_tier": "require"}, set: options{"free_allowance": options{"storage_in_gbs": 20}}, fails: "free_tier = \"require\" forbids"},
		{options: []string{"free_tier"}, with: small, set: options{"free_tier": "ignore"}, op: launch, want: map[string]any{"shapeConfig/ocpus": 2.0}},
		{options: []string{"free_tier"}, with: first, set: options{"free_tier": "require", "shape_config": options{"ocpus": 3}}, fails: "free_tier = \"require\" forbids"},
		{
			options: []string{"additional_region", "additional_region.region", "additional_region.subnet_ocid"}, set: also(nil), faults: full, alone: true,
			op: launch, want: map[string]any{"host": "iaas." + otherRegion + ".oraclecloud.com", "createVnicDetails/subnetId": s.build.SubnetID(otherRegion)},
		},
		another("base_image_ocid", ubuntuThere, "sourceDetails/imageId", ubuntuThere),
		another("nsg_ids", []string{s.groupThere}, "createVnicDetails/nsgIds", []any{s.groupThere}),
		another("availability_domain", thereADs[2], "availabilityDomain", thereADs[2]),
	}
}

func (s *wireSet) imageRows() []onWire {
	with := options{"skip_create_image": false}
	row := func(option string, value any, path string, want any) onWire {
		return onWire{options: []string{option}, with: with, set: options{option: value}, op: making, want: map[string]any{path: want}}
	}
	noName := options{"skip_create_image": false, "image_name": ""}
	return []onWire{
		{options: []string{"skip_create_image"}, with: with, set: options{"skip_create_image": "true"}, op: making, gone: true},
		row("image_compartment_ocid", s.build.ChildCompartmentID, "compartmentId", s.build.ChildCompartmentID),
		row("image_name", "a name", "displayName", "a name"),
		{options: []string{"image_name_prefix"}, with: noName, set: options{"image_name_prefix": "debian"}, op: making, want: map[string]any{"displayName": begins("debian-2")}},
		row("tags", map[string]string{"team": ""}, "freeformTags/team", ""),
		row("defined_tags_json", `{"ns":{"k":"v"}}`, "definedTags/ns/k", "v"),
		row("defined_tags", options{"ns": options{"k": "v"}}, "definedTags/ns/k", "v"),
		row("image_launch_mode", "PARAVIRTUALIZED", "launchMode", "PARAVIRTUALIZED"),
		{
			options: []string{"nic_attachment_type"}, with: with, set: options{"nic_attachment_type": "VFIO"},
			op: schemas, want: map[string]any{"schemaData/Network.AttachmentType/defaultValue": "VFIO"},
		},
		{
			options: []string{"image_firmware"}, with: with, set: options{"image_firmware": "UEFI_64"},
			op: schemas, want: map[string]any{"schemaData/Compute.Firmware/defaultValue": "UEFI_64"},
		},
		{options: []string{"image_shapes"}, with: with, set: options{"image_shapes": defaultShape + "," + bareShape}, op: addShape},
		{options: []string{"image_remove_other_shapes"}, with: with, set: options{"image_remove_other_shapes": "false"}, op: "DELETE /images/*/shapes/VM.Standard2.1", gone: true},
		{options: []string{"packer_force"}, with: options{"skip_create_image": false, "image_name": baseName}, set: options{"packer_force": true}, op: "DELETE /images/*"},
		{options: []string{"image_name_conflict"}, with: options{"skip_create_image": false, "image_name": baseName}, set: options{"image_name_conflict": "fail"}, fails: "there is an image \"" + baseName + "\" already"},
	}
}

func (s *wireSet) bastionRows() []onWire {
	block := func(more options) options {
		b := options{"timeout": "5m"}
		maps.Copy(b, more)
		return options{"communicator": "ssh", "subnet_ocid": s.build.PrivateSubnetID(near), "assign_public_ip": "", "oci_bastion": b}
	}
	row := func(option string, value any, op, path string, want any) onWire {
		return onWire{options: []string{"oci_bastion." + option}, with: block(nil), set: block(options{option: value}), op: op, until: op, want: map[string]any{path: want}}
	}
	return []onWire{
		{
			options: []string{"oci_bastion"}, with: options{"assign_public_ip": ""}, set: block(nil), op: newBastion, until: newBastion,
			want: map[string]any{"targetSubnetId": s.build.PrivateSubnetID(near)},
		},
		row("bastion_ocid", s.bastion, newSession, "bastionId", s.bastion),
		row("client_cidr_blocks", "127.0.0.0/8", newBastion, "clientCidrBlockAllowList", []any{"127.0.0.0/8"}),
		row("session_ttl", "45m", newSession, "sessionTtlInSeconds", 2700.0),
		row("tags", map[string]string{"team": ""}, newBastion, "freeformTags/team", ""),
		row("defined_tags_json", `{"ns":{"k":"v"}}`, newBastion, "definedTags/ns/k", "v"),
		row("defined_tags", options{"ns": options{"k": "v"}}, newBastion, "definedTags/ns/k", "v"),
	}
}
