// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"

	"github.com/armfree/packer-plugin-armfree/internal/capturecfg"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// proof says which tests show what an option does, or why no test of this builder
// has to.
type proof struct {
	by  []func(*testing.T)
	why string
}

func by(tests ...func(*testing.T)) proof { return proof{by: tests} }

// proofs are those of the options that are not in the table of TestOptionsOnTheWire.
func proofs() map[string]proof {
	const (
		sdk     = "Packer's SDK connects; the builder hands its configuration over as it is"
		windows = "there is no Windows for Graviton; the communicator is refused, see TestMistakes"
	)
	all := map[string]proof{
		"packer_build_name": by(TestDebugKey), "packer_debug": by(TestDebugKey), "packer_on_error": by(TestAskAndRetry), "packer_force": by(TestForceDeregister),
		"packer_user_variables":      {why: "the masker's; builder/oci has the test, and main wires both builders alike"},
		"packer_sensitive_variables": {why: "the masker's; builder/oci has the test, and main wires both builders alike"},
		"packer_builder_type":        {why: "set by Packer; the builder is the same under every name"},
		"packer_core_version":        {why: "set by Packer; the builder does the same with every version"},

		"ssh_host": by(TestSSHHost), "ssh_username": by(TestBuild), "ssh_clear_authorized_keys": {why: "phase.Provision's, for every builder; builder/oci has the test"},
		"ssh_public_key":          by(TestMistakes), // it must be that of the private key, and changes nothing else
		"temporary_key_pair_name": {why: "the name of the key in the machine, for every builder; builder/oci has the test"},

		"profile": by(TestOptionsReachTheAdapter), "shared_credentials_file": by(TestOptionsReachTheAdapter), // on the wire in internal/ec2
		"insecure_skip_tls_verify":                              by(TestOptionsReachTheAdapter),
		"skip_metadata_api_check":                               by(TestOptionsReachTheAdapter),
		"assume_role_with_web_identity.web_identity_token_file": {why: "read for every exchange: internal/ec2 has the test"},
		"assume_role_with_web_identity.audience":                {why: "asks GitHub for a token: internal/ec2 has the test"},
		"force_deregister":                                      by(TestForceDeregister),
		"force_delete_snapshot":                                 by(TestForceDeregister),
		"retain":                                                by(TestRetain, TestRetainBlind),
		"image_series":                                          by(TestRetain),
		"ami_block_device_mappings.kms_key_id":                  by(TestMistakes),
		"spot_allocation_strategy":                              by(TestOptionsReachTheAdapter), // a hint at most, as its text says
		"subnet_filter.random":                                  {why: "an order of no meaning: there is nothing to see"},
		"capacity_order":                                        {why: "the order of the search: internal/capacity and internal/ec2 (plans) have the tests"},
		"additional_region.ssh_keypair_name":                    by(TestNoOptionIsForgotten),
		"capacity_timeout":                                      by(TestTimes), "capacity_interval": by(TestTimes), "capacity_round": by(TestTimes), "instance_timeout": by(TestTimes), "image_timeout": by(TestTimes), "cleanup_timeout": by(TestTimes), "trace_file": by(TestTraceFile),
	}
	for name := range new(capturecfg.To).FlatMapstructure().HCL2Spec() {
		all["capture_to."+name] = proof{why: "who signs in to OCI, as for the builder oci, which has the tests"}
	}
	for name := range new(ocicfg.OIDC).FlatMapstructure().HCL2Spec() {
		all["capture_to.oidc."+name] = proof{why: "as above"}
	}
	for _, name := range strings.Fields("tenancy_ocid user_ocid fingerprint key region bucket namespace") {
		all["capture_to."+name] = by(TestCapture, TestCaptureFails, TestCaptureFromEnvironment)
	}
	all["capture_to"], all["capture_route"] = by(TestCapture, TestCaptureMistakes), by(TestCapture, TestCaptureDirect)
	all["capture_compression"], all["capture_clean"] = by(TestCaptureOptionsOnTheWire), by(TestCapture, TestCaptureOptionsOnTheWire)
	for name := range new(preflight.Place).FlatMapstructure().HCL2Spec() {
		all["check_destination."+name] = proof{why: "the same part of a template as a destination of the post-processor, which has the tests"}
	}
	for name := range new(ocicfg.OIDC).FlatMapstructure().HCL2Spec() {
		all["check_destination.oidc."+name] = proof{why: "as above"}
	}
	for _, part := range []struct {
		name string
		spec map[string]hcldec.Spec
	}{
		{"", new(preflight.VerifyMachine).FlatMapstructure().HCL2Spec()}, {"shape_config.", new(ocibuild.ShapeConfig).FlatMapstructure().HCL2Spec()},
		{"free_allowance.", new(ocibuild.FreeAllowance).FlatMapstructure().HCL2Spec()}, {"oci_bastion.", new(ocibuild.Bastion).FlatMapstructure().HCL2Spec()},
	} {
		for name := range part.spec {
			all["check_destination.verify."+part.name+name] = proof{why: "the same part of a template as in the builder oci, which has the tests"}
		}
	}
	all["check_destination"], all["check_destination.verify"] = by(TestCheckDestination), by(TestCheckDestination)
	for _, name := range strings.Fields(`pause_before_connecting ssh_ciphers ssh_key_exchange_algorithms ssh_certificate_file ssh_pty
		ssh_timeout ssh_wait_timeout ssh_disable_agent_forwarding ssh_handshake_attempts ssh_bastion_port ssh_bastion_agent_auth
		ssh_bastion_username ssh_bastion_password ssh_bastion_interactive ssh_bastion_private_key_file ssh_bastion_certificate_file
		ssh_file_transfer_method ssh_proxy_port ssh_proxy_username ssh_proxy_password ssh_keep_alive_interval
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
	for name := range ignored() {
		all[name] = by(TestIgnoredOptions)
	}
	for _, name := range refused() {
		all[name] = by(TestMistakes)
	}
	return all
}

// within are blocks whose options have no effect of their own: they are refused,
// or have none, as a whole.
func within(name string) bool {
	block, _, nested := strings.Cut(name, ".")
	_, no := ignored()[block]
	_, never := misnomers()[block]
	return nested && (no || never || slices.Contains(refused(), block))
}

// optionNames are all options, by the specification for HCL templates. One of a
// block is named after it: "metadata_options.http_tokens".
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
	onTheWire := reflect.ValueOf(TestOptionsOnTheWire).Pointer()
	for _, r := range newWireSet(t, wireFiles(t)).rows(t) {
		for _, name := range r.options {
			if p, twice := proven[name]; twice && (len(p.by) == 0 || reflect.ValueOf(p.by[0]).Pointer() != onTheWire) {
				t.Errorf("%s is on the wire: it needs no other proof", name)
			}
			proven[name] = by(TestOptionsOnTheWire)
		}
	}
	names := optionNames(t)
	if len(names) < 250 || !slices.Contains(names, "metadata_options.http_tokens") {
		t.Fatalf("only %d options are found: %q", len(names), names)
	}
	for _, name := range names {
		if _, ok := proven[name]; !ok && !within(name) {
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
	documented = regexp.MustCompile("(?m)^- `([A-Za-z0-9_]+)` ")
)

// The page of the builder has every option: its text, and what it includes.
func TestEveryOptionIsDocumented(t *testing.T) {
	read := func(path string) string {
		return string(must[[]byte](t)(os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(path)))))
	}
	page := read("docs/builders/aws.mdx")
	shown := map[string]bool{}
	note := func(text string) {
		for _, m := range documented.FindAllStringSubmatch(text, -1) {
			shown[m[1]] = true
		}
	}
	note(page)
	for _, m := range included.FindAllStringSubmatch(page, -1) {
		if !strings.HasPrefix(m[1], "packer-plugin-sdk/") { // of Packer's own documentation
			note(read("docs-partials/" + m[1]))
		}
	}
	theirs := regexp.MustCompile(`^(packer_|ssh_|winrm_|temporary_key_pair_|communicator$|pause_before_connecting$)`)
	mine := []string{"ssh_private_key", "ssh_public_key", "ssh_pin_host_key", "ssh_interface", "ssh_key_delivery"}
	for _, name := range optionNames(t) {
		_, never := misnomers()[name]
		_, no := ignored()[name]
		if never || no || within(name) || slices.Contains(refused(), name) || theirs.MatchString(name) && !slices.Contains(mine, name) {
			continue
		}
		leaf := name[strings.LastIndex(name, ".")+1:]
		if leaf != name && slices.Contains([]string{"key", "name", "value"}, leaf) {
			continue // the text of the block has them
		}
		if !shown[leaf] {
			t.Errorf("%s is not in docs/builders/aws.mdx", name)
		}
	}
	for _, want := range []string{"communicator/Config-not-required", "communicator/SSH-not-required", "communicator/SSH-Private-Key-File-not-required"} {
		if !strings.Contains(page, "@include 'packer-plugin-sdk/"+want+".mdx'") {
			t.Errorf("%s is not included", want)
		}
	}
}

// What options say about time, in a bubble's time: how long a build waits, and how
// often it asks. Each is counted with the option and without it.
func TestTimes(t *testing.T) {
	t.Parallel()
	full := []ec2sim.Fault{{Kind: ec2sim.FaultCapacity}}
	slow := func(op, state string) []ec2sim.Fault {
		return []ec2sim.Fault{{Kind: ec2sim.FaultSlow, Op: op, State: state, Delay: lasts(5 * time.Hour)}}
	}
	minutes := func(_ []sent, took time.Duration) int { return int(took.Minutes()) }
	launches := func(list []sent, _ time.Duration) (n int) {
		for _, s := range list {
			if s.op == runs {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		option, value string
		faults        []ec2sim.Fault
		with          set
		measure       func(list []sent, took time.Duration) int
		// from and to are what the option makes of it; without it there is more.
		from, to, without int
		says              string
	}{
		{option: "capacity_timeout", value: "1h", faults: full, with: set{"capacity_timeout": "", "capacity_interval": "5m"}, measure: minutes, from: 59, to: 61, without: 6*60 - 2, says: `capacity_timeout = "1h"`},
		{option: "capacity_interval", value: "1m", faults: full, with: set{"capacity_timeout": "20m"}, measure: launches, from: 18, to: 22, without: 100},
		{option: "capacity_round", value: "7m", faults: full, with: set{"capacity_timeout": "21m"}, measure: launches, from: 6, to: 30, without: 100},
		{option: "instance_timeout", value: "3m", with: set{"capacity_timeout": "1m", "instance_type": "t4g.micro"}, faults: slow(runs, "pending"), measure: minutes, from: 3, to: 8, without: 15, says: "timed out after 3m0s waiting for instance"},
		{option: "image_timeout", value: "30m", with: set{"skip_create_ami": false}, faults: slow("CreateSnapshot", "pending"), measure: minutes, from: 30, to: 45, without: 60, says: "timed out after 30m0s waiting for snapshot"},
		{option: "cleanup_timeout", value: "4m", faults: slow("TerminateInstances", "shutting-down"), measure: minutes, from: 4, to: 9, without: 10, says: "could not be terminated, please do so by hand"},
	} {
		t.Run(tt.option, func(t *testing.T) {
			t.Parallel()
			files := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := newWireSet(t, files)
				measure := func(change set) (int, string) {
					begin := time.Now()
					list, said, err := s.requests(t, onWire{faults: tt.faults}, tt.with, change)
					if err != nil {
						said += err.Error()
					}
					return tt.measure(list, time.Since(begin)), said
				}
				n, said := measure(set{tt.option: tt.value})
				if n < tt.from || n > tt.to {
					t.Errorf("%d, want %d to %d\n%s", n, tt.from, tt.to, said)
				}
				if !strings.Contains(said, tt.says) {
					t.Errorf("%q is not said:\n%s", tt.says, said)
				}
				s.ResetFaults()
				time.Sleep(12 * time.Hour) // of the bubble: what lingers is gone
				if n, said := measure(nil); n < tt.without {
					t.Errorf("%d without it, want at least %d\n%s", n, tt.without, said)
				}
			})
		})
	}
}
