// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hcldec"

	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
)

// proof says which tests show what an option does, or why no test of this
// builder has to.
type proof struct {
	by  []func(*testing.T)
	why string
}

func by(tests ...func(*testing.T)) proof { return proof{by: tests} }

// proofs are those of the options that are not in the table of
// TestOptionsOnTheWire.
func proofs() map[string]proof {
	const (
		sdk     = "Packer's SDK connects; the builder hands its configuration over as it is"
		windows = "Packer's SDK connects; the builder makes images of Linux, and makes no password"
	)
	all := map[string]proof{
		"packer_build_name":          by(TestDebugKey),
		"packer_debug":               by(TestDebugKey),
		"packer_on_error":            by(TestAskAndRetry),
		"packer_user_variables":      by(TestSecretsAreMasked),
		"packer_sensitive_variables": by(TestSecretsAreMasked),
		"packer_builder_type":        {why: "set by Packer; the builder is the same under every name"},
		"packer_core_version":        {why: "set by Packer; the builder does the same with every version"},

		"retain": by(TestRetain, TestRetainBlind), "image_series": by(TestRetain),

		"ssh_host":                  by(TestSSHHost),
		"ssh_username":              by(TestPostProcessorsSeeTheConnection),
		"ssh_port":                  by(TestPostProcessorsSeeTheConnection),
		"ssh_clear_authorized_keys": by(TestTemporaryKeyIsForgotten),
		"ssh_keypair_name":          {why: "OCI has no key pairs with names; no effect, as with oracle-oci"},

		"image_method": by(TestCapture, TestCaptureIsNotNeeded, TestCaptureMistakes), "capture_bucket": by(TestCapture, TestCaptureFails), "capture_route": by(TestCapture, TestCaptureDirect),
		"capture_namespace": by(TestCaptureOptionsOnTheWire), "capture_compression": by(TestCaptureOptionsOnTheWire), "capture_clean": by(TestCaptureOptionsOnTheWire),

		"tenancy_ocid": by(TestAccessOnTheWire), "user_ocid": by(TestAccessOnTheWire), "fingerprint": by(TestAccessOnTheWire),
		"key": by(TestAccessOnTheWire), "key_file": by(TestAccessOnTheWire), "pass_phrase": by(TestAccessOnTheWire),
		"access_cfg_file": by(TestAccessOnTheWire), "access_cfg_file_account": by(TestAccessOnTheWire), "security_token_file": by(TestAccessOnTheWire),
		"use_resource_principal":    by(TestAccessOnTheWire),
		"use_instance_principals":   by(TestBuildWithoutAKey),
		"use_oke_workload_identity": by(TestAccessByThePlatform), // on the wire in internal/oci: TestEveryKindSignsIn
		"oidc":                      by(TestAccessOnTheWire, TestBlockOfAnExchange), "oidc.domain_url": by(TestAccessOnTheWire), "oidc.client_id": by(TestAccessOnTheWire),
		"oidc.client_secret": by(TestAccessOnTheWire), "oidc.token": by(TestAccessOnTheWire), "oidc.token_file": by(TestAccessOnTheWire),
		"oidc.audience": by(TestBuildWithoutAKey),

		"capacity_timeout": by(TestTimes), "capacity_interval": by(TestTimes), "capacity_round": by(TestTimes),
		"instance_timeout": by(TestTimes), "image_timeout": by(TestTimes), "skip_termination_wait": by(TestTimes), "cleanup_timeout": by(TestTimes), "trace_file": by(TestTraceFile),
		"oci_bastion.timeout": by(TestBastionBadDays),
	}
	for name := range new(preflight.Place).FlatMapstructure().HCL2Spec() {
		all["check_destination."+name] = proof{why: "the same part of a template as a destination of the post-processor, which has the tests"}
	}
	for name := range new(ocicfg.OIDC).FlatMapstructure().HCL2Spec() {
		all["check_destination.oidc."+name] = proof{why: "as above"}
	}
	for name := range new(preflight.VerifyMachine).FlatMapstructure().HCL2Spec() {
		all["check_destination.verify."+name] = by(TestCheckDestinationVerify, TestMistakesOfCheckDestination)
	}
	for _, part := range []struct {
		name string
		spec map[string]hcldec.Spec
	}{
		{"shape_config", new(ocibuild.ShapeConfig).FlatMapstructure().HCL2Spec()}, {"free_allowance", new(ocibuild.FreeAllowance).FlatMapstructure().HCL2Spec()},
		{"oci_bastion", new(ocibuild.Bastion).FlatMapstructure().HCL2Spec()},
	} {
		for name := range part.spec {
			all["check_destination.verify."+part.name+"."+name] = proof{why: "the same part of a template as that of the builder, which has the tests"}
		}
	}
	all["check_destination"] = by(TestCheckDestination)
	all["check_destination.verify.oci_bastion.defined_tags"] = proof{why: "JSON's form of defined_tags_json, as above"}
	all["check_destination.verify"] = by(TestCheckDestinationVerify)
	for _, name := range strings.Fields(`pause_before_connecting ssh_ciphers ssh_key_exchange_algorithms ssh_certificate_file ssh_pty
		ssh_timeout ssh_wait_timeout ssh_disable_agent_forwarding ssh_handshake_attempts ssh_bastion_host ssh_bastion_port ssh_bastion_agent_auth
		ssh_bastion_username ssh_bastion_password ssh_bastion_interactive ssh_bastion_private_key_file ssh_bastion_certificate_file
		ssh_file_transfer_method ssh_proxy_host ssh_proxy_port ssh_proxy_username ssh_proxy_password ssh_keep_alive_interval
		ssh_read_write_timeout ssh_remote_tunnels ssh_local_tunnels`) {
		all[name] = proof{why: sdk}
	}
	for name := range new(Builder).ConfigSpec() {
		if strings.HasPrefix(name, "winrm_") {
			all[name] = proof{why: windows}
		}
	}
	for name := range misnomers() {
		all[name] = by(TestMisnomers)
	}
	return all
}

// misnomers are the options that never existed, by their names.
func misnomers() map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[ocibuild.Misnomers]()) {
		all[f.Tag.Get("mapstructure")] = f.Type
	}
	return all
}

// optionNames are all options: those of HCL templates, by their specification, and
// those of JSON templates alone. One of a block is named after it:
// "shape_config.ocpus".
func optionNames(t *testing.T) []string {
	t.Helper()
	var names []string
	var spec func(prefix string, s map[string]hcldec.Spec)
	spec = func(prefix string, s map[string]hcldec.Spec) {
		for name, option := range s {
			names = append(names, prefix+name)
			var nested hcldec.Spec
			switch b := option.(type) {
			case *hcldec.AttrSpec:
				continue
			case *hcldec.BlockSpec:
				nested = b.Nested
			case *hcldec.BlockListSpec:
				nested = b.Nested
			}
			fields, ok := nested.(hcldec.ObjectSpec)
			if !ok {
				t.Fatalf("%s is a %T, which this test does not know", prefix+name, option)
			}
			spec(prefix+name+".", fields)
		}
	}
	spec("", new(Builder).ConfigSpec())
	var json func(prefix string, of reflect.Type)
	json = func(prefix string, of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || !strings.HasPrefix(of.PkgPath(), "github.com/armfree/packer-plugin-armfree/") {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			name, more, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
			if f.Tag.Get("mapstructure-to-hcl2") == ",skip" {
				names = append(names, prefix+name)
			}
			if more == "squash" {
				json(prefix, f.Type)
			} else if name != "" {
				json(prefix+name+".", f.Type)
			}
		}
	}
	json("", reflect.TypeFor[Config]())
	slices.Sort(names)
	return slices.Compact(names)
}

// No option is without a test that shows its effect, most of them on the wire; and
// nothing is claimed for an option that does not exist.
func TestEveryOptionIsProven(t *testing.T) {
	proven := proofs()
	for name, p := range proven {
		if len(p.by) == 0 && p.why == "" {
			t.Errorf("%s: neither a test nor a reason", name)
		}
	}
	for _, r := range newWireSet(t).rows(t) {
		for _, name := range r.options {
			if _, twice := proven[name]; twice && len(proven[name].by) > 0 && reflect.ValueOf(proven[name].by[0]).Pointer() != reflect.ValueOf(TestOptionsOnTheWire).Pointer() {
				t.Errorf("%s is on the wire: it needs no other proof", name)
			}
			proven[name] = by(TestOptionsOnTheWire)
		}
	}
	names := optionNames(t)
	if len(names) < 150 || !slices.Contains(names, "create_vnic_details.defined_tags") {
		t.Fatalf("only %d options are found: %q", len(names), names)
	}
	for _, name := range names {
		if _, ok := proven[name]; !ok {
			t.Errorf("%s: no test shows what it does; add a row to TestOptionsOnTheWire", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(proven)) {
		if !slices.Contains(names, name) {
			t.Errorf("%s: there is no such option", name)
		}
	}
}

var (
	included   = regexp.MustCompile(`(?m)^@include '([^']+)'$`)
	documented = regexp.MustCompile("(?m)^- `([a-z0-9_]+)` ")
)

// The page of the builder has every option: its text, and what it includes. A
// partial that nobody includes is not seen by users.
func TestEveryOptionIsDocumented(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read("docs/builders/oci.mdx")
	partials := included.FindAllStringSubmatch(page, -1)
	shown := map[string]bool{}
	note := func(text string) {
		for _, m := range documented.FindAllStringSubmatch(text, -1) {
			shown[m[1]] = true
		}
	}
	note(page)
	for _, m := range partials {
		if strings.HasPrefix(m[1], "packer-plugin-sdk/") {
			continue // of Packer's own documentation
		}
		note(read("docs-partials/" + m[1]))
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "docs-partials", "*", "oc*", "*-*required.mdx"))
	if err != nil || len(files) < 13 {
		t.Fatalf("%d partials, %v", len(files), err)
	}
	for _, f := range files {
		folder, file := filepath.Split(f)
		if name := filepath.ToSlash(filepath.Join(filepath.Base(filepath.Dir(filepath.Clean(folder))), filepath.Base(folder), file)); !strings.HasPrefix(name, "post-processor/") && !slices.ContainsFunc(partials, func(m []string) bool { return m[1] == name }) {
			t.Errorf("%s is not in the page", name)
		}
	}
	// What is said by Packer's documentation of its communicators, to nobody, or
	// with the option that is the same for HCL.
	theirs := regexp.MustCompile(`^(packer_|ssh_|winrm_|temporary_key_pair_|communicator$|pause_before_connecting$)|(^|\.|_)defined_tags$`)
	mine := []string{"ssh_private_key", "ssh_public_key", "ssh_pin_host_key"}
	for _, name := range optionNames(t) {
		if _, never := misnomers()[name]; never || theirs.MatchString(name) && !slices.Contains(mine, name) {
			continue
		}
		if leaf := name[strings.LastIndex(name, ".")+1:]; !shown[leaf] {
			t.Errorf("%s is not in docs/builders/oci.mdx", name)
		}
	}
	for _, want := range []string{"communicator/Config-not-required", "communicator/SSH-not-required", "communicator/SSH-Private-Key-File-not-required"} {
		if !strings.Contains(page, "@include 'packer-plugin-sdk/"+want+".mdx'") {
			t.Errorf("%s is not included", want)
		}
	}
}
