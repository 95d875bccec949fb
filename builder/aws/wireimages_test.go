// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func (s *wireSet) imageRows() []onWire {
	image := set{"skip_create_ami": false}
	copied := set{"skip_create_ami": false, "ami_regions": []string{far}}
	const launchers, volumes = "ModifyImageAttribute", "ModifySnapshotAttribute"
	day := time.Now().Add(720 * time.Hour).UTC().Format("2006-01-02")
	return []onWire{
		{options: []string{"ami_name"}, with: image, set: set{"ami_name": "another"}, op: registers, want: wants("Name", "another")},
		{options: []string{"ami_name_prefix"}, with: image, set: set{"ami_name": nil, "ami_name_prefix": "debian"}, op: registers, want: wants("Name", contains("debian-2"))},
		{options: []string{"ami_description"}, with: image, set: set{"ami_description": "of {{ .SourceAMIOwner }}"}, op: registers, want: wants("Description", "of "+ec2sim.DebianAccount)},
		{options: []string{"image_method"}, with: image, set: set{"image_method": "image"}, op: "CreateImage", want: wants("Name", "built")},
		{options: []string{"skip_create_ami"}, with: image, set: set{"skip_create_ami": "true"}, op: "CreateSnapshot", gone: true},
		{options: []string{"ami_regions"}, with: image, set: set{"ami_regions": far}, op: "CopyImage", want: wants("SourceRegion", near)},
		{options: []string{"snapshot_copy_duration_minutes"}, with: copied, set: set{"snapshot_copy_duration_minutes": 30}, op: "CopyImage", want: wants("SnapshotCopyCompletionDurationMinutes", "30")},
		{options: []string{"skip_save_build_region"}, with: copied, set: set{"skip_save_build_region": true}, op: registers, want: wants("Name", contains("armfree-"))},
		{options: []string{"encrypt_boot"}, set: set{"encrypt_boot": true}, op: runs, want: wants("device:/dev/xvda/Ebs.Encrypted", "true")},
		{options: []string{"kms_key_id"}, set: set{"kms_key_id": keyHere}, op: runs, want: wants("device:/dev/xvda/Ebs.KmsKeyId", keyHere)},
		{options: []string{"region_kms_key_ids"}, with: copied, set: set{"region_kms_key_ids": map[string]string{far: keyThere}}, op: "CopyImage", want: wants("KmsKeyId", keyThere)},
		{options: []string{"imds_support"}, with: image, set: set{"imds_support": "v2.0"}, op: registers, want: wants("ImdsSupport", "v2.0")},
		{options: []string{"ami_users"}, with: image, set: set{"ami_users": "123456789012"}, op: launchers, want: wants("LaunchPermission.Add.1.UserId", "123456789012")},
		{options: []string{"ami_groups"}, with: image, set: set{"ami_groups": "all"}, op: launchers, want: wants("LaunchPermission.Add.1.Group", "all")},
		{options: []string{"ami_org_arns"}, with: image, set: set{"ami_org_arns": "arn:aws:organizations::123456789012:organization/o-abcdefghij"}, op: launchers, want: wants("LaunchPermission.Add.1.OrganizationArn", "arn:aws:organizations::123456789012:organization/o-abcdefghij")},
		{options: []string{"ami_ou_arns"}, with: image, set: set{"ami_ou_arns": "arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-1234-abcdefgh"}, op: launchers, want: wants("LaunchPermission.Add.1.OrganizationalUnitArn", "arn:aws:organizations::123456789012:ou/o-abcdefghij/ou-1234-abcdefgh")},
		{options: []string{"snapshot_users"}, with: image, set: set{"snapshot_users": []string{"123456789012"}}, op: volumes, want: wants("CreateVolumePermission.Add.1.UserId", "123456789012")},
		{options: []string{"snapshot_groups"}, with: image, set: set{"snapshot_groups": "all"}, op: volumes, want: wants("CreateVolumePermission.Add.1.Group", "all")},
		{options: []string{"deprecate_at"}, with: image, set: set{"deprecate_at": "720h"}, op: "EnableImageDeprecation", want: wants("DeprecateAt", contains(day))},
		{options: []string{"deregistration_protection", "deregistration_protection.enabled"}, with: image, set: set{"deregistration_protection": set{"enabled": true}}, op: "EnableImageDeregistrationProtection", want: wants("ImageId", contains("ami-"))},
		{
			options: []string{"deregistration_protection.with_cooldown"}, with: set{"skip_create_ami": false, "deregistration_protection": set{"enabled": true}},
			set: set{"deregistration_protection": set{"enabled": true, "with_cooldown": true}}, op: "EnableImageDeregistrationProtection", want: wants("WithCooldown", "true"), stays: true,
		},
	}
}

func (s *wireSet) tagRows() []onWire {
	image := set{"skip_create_ami": false}
	spot := set{"spot_price": "auto"}
	block := []set{{"key": "k", "value": "of {{ .SourceAMIOwner }}"}}
	named := []set{{"name": "k", "value": "v"}}
	const of = "of " + ec2sim.DebianAccount
	var rows []onWire
	for _, r := range []struct {
		many, one, op, resource string
		with                    set
	}{
		{"run_tags", "run_tag", runs, "instance", nil},
		{"run_tags", "run_tag", "CreateSecurityGroup", "security-group", nil},
		{"run_volume_tags", "run_volume_tag", runs, "volume", nil},
		{"spot_tags", "spot_tag", runs, "spot-instances-request", spot},
		{"tags", "tag", registers, "image", image},
		{"snapshot_tags", "snapshot_tag", "CreateSnapshot", "snapshot", image},
	} {
		path := "tag:" + r.resource + "/k"
		rows = append(rows,
			onWire{options: []string{r.many}, with: r.with, set: set{r.many: map[string]string{"k": ""}}, op: r.op, want: wants(path, "")},
			onWire{options: []string{r.one, r.one + ".key", r.one + ".value"}, with: r.with, set: set{r.one: block}, op: r.op, want: wants(path, of)},
			onWire{options: []string{r.one + ".name"}, with: r.with, set: set{r.one: named}, op: r.op, want: wants(path, "v")},
		)
	}
	return append(rows, onWire{
		options: []string{"skip_ami_run_tags"}, with: set{"skip_create_ami": false, "run_tags": map[string]string{"k": "v"}}, set: set{"skip_ami_run_tags": true}, op: registers, want: wants("tag:image/k", nil),
	})
}

func (s *wireSet) accessRows() []onWire {
	role := func(more set) set {
		r := set{"role_arn": "arn:aws:iam::" + s.account.ID + ":role/builders"}
		for k, v := range more {
			r[k] = v
		}
		return set{"assume_role": []set{r}}
	}
	assumed := func(name string, value any, path string, want any) onWire {
		return onWire{options: []string{"assume_role." + name}, with: role(nil), set: role(set{name: value}), op: "AssumeRole", want: wants(path, want), fails: "AccessDenied", alone: true}
	}
	web := func(more set) set {
		r := set{"role_arn": "arn:aws:iam::" + s.account.ID + ":role/builders", "web_identity_token": "a.b.c"}
		for k, v := range more {
			r[k] = v
		}
		return set{"access_key": nil, "secret_key": nil, "assume_role_with_web_identity": []set{r}}
	}
	federated := func(name string, value any, path string, want any) onWire {
		return onWire{options: []string{"assume_role_with_web_identity." + name}, with: web(nil), set: web(set{name: value}), op: "AssumeRoleWithWebIdentity", want: wants(path, want), fails: "no keys to sign with", alone: true}
	}
	other := s.IssueSession(s.account, 12*time.Hour)
	return []onWire{
		{options: []string{"region"}, set: set{"region": far, "source_ami": s.ImageID(far, newer)}, op: runs, want: wants("host", "ec2."+far+".amazonaws.com")},
		{options: []string{"access_key", "secret_key", "token"}, set: set{"access_key": other.AccessKeyID, "secret_key": other.SecretAccessKey, "token": other.SessionToken}, op: runs, want: wants("key", contains(other.SessionToken))},
		{options: []string{"custom_endpoint_ec2"}, set: set{"custom_endpoint_ec2": "http://127.0.0.1:1"}, op: runs, want: wants("host", "127.0.0.1:1")},
		{options: []string{"skip_credential_validation"}, set: set{"skip_credential_validation": true}, op: "GetCallerIdentity", gone: true},
		{
			options: []string{"max_retries"}, faults: []ec2sim.Fault{{Kind: ec2sim.FaultStatus, Op: "DescribeSubnets", Status: 503, Code: "Unavailable", Message: "no", Times: 4}},
			set: set{"max_retries": 2}, fails: "(503 Unavailable",
		},
		{
			options: []string{"decode_authorization_messages"}, faults: []ec2sim.Fault{denied(runs)}, set: set{"decode_authorization_messages": true}, op: "DecodeAuthorizationMessage",
			want: wants("EncodedMessage", contains("abcDEF")), fails: "not authorized", alone: true,
		},
		{options: []string{"assume_role", "assume_role.role_arn"}, set: role(nil), op: "AssumeRole", want: wants("RoleArn", contains(":role/builders")), fails: "AccessDenied"},
		assumed("session_name", "me", "RoleSessionName", "me"),
		assumed("external_id", "x-1", "ExternalId", "x-1"),
		assumed("duration_seconds", 1800, "DurationSeconds", "1800"),
		assumed("policy", `{"Version":"2012-10-17","Statement":[]}`, "Policy", `{"Version":"2012-10-17","Statement":[]}`),
		assumed("policy_arns", []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, "PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
		assumed("tags", map[string]string{"k": "v"}, "Tags.member.1.Value", "v"),
		assumed("transitive_tag_keys", []string{"k"}, "TransitiveTagKeys.member.1", "k"),
		{options: []string{"assume_role_with_web_identity", "assume_role_with_web_identity.role_arn", "assume_role_with_web_identity.web_identity_token"}, set: web(nil), op: "AssumeRoleWithWebIdentity", want: wants("WebIdentityToken", "a.b.c"), fails: "no keys to sign with"},
		federated("session_name", "me", "RoleSessionName", "me"),
		federated("duration_seconds", 1800, "DurationSeconds", "1800"),
		federated("policy", `{"Version":"2012-10-17","Statement":[]}`, "Policy", `{"Version":"2012-10-17","Statement":[]}`),
		federated("policy_arns", []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}, "PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnlyAccess"),
	}
}
