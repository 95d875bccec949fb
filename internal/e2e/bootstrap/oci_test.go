// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package bootstrap tests the script that prepares a tenancy of OCI, with a double
// of OCI CLI. It is apart from the other tests because each call of the double
// starts this test's program: without an SDK in it, it starts at once.
package bootstrap

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const bootstrapOCI = "../../../example/bootstrap/oci/bootstrap.sh"

// oracle runs the script for OCI with a double of OCI CLI.
type oracle struct {
	t     *testing.T
	file  string // state of the double
	env   []string
	calls int // seen so far
}

func newOracle(t *testing.T) *oracle {
	t.Helper()
	for _, tool := range []string{"sh", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	program := "#!/bin/sh\nexec '" + self + "' -test.run '^TestFakeOCI$' -- \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "oci"), []byte(program), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	o := &oracle{t: t, file: filepath.Join(t.TempDir(), "state.json")}
	o.env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "FAKE_OCI=" + o.file}
	return o
}

// try runs the script, and returns what it says.
func (o *oracle) try(args ...string) (string, error) {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), "sh", append(append([]string{bootstrapOCI}, args...), "--tenancy", "ocid1.tenancy.oc1..t", "--region", fakeRegion, "--pause", "0")...)
	cmd.Env = o.env
	said, err := cmd.CombinedOutput()
	return string(said), err
}

// run runs the script, which must succeed and say these parts.
func (o *oracle) run(args []string, parts ...string) string {
	o.t.Helper()
	said, err := o.try(args...)
	if err != nil {
		o.t.Fatalf("%q: %v\n%s", args, err, said)
	}
	for _, p := range parts {
		if !strings.Contains(said, p) {
			o.t.Errorf("%q is not in:\n%s", p, said)
		}
	}
	return said
}

func (o *oracle) state() (f fakeOCI) {
	o.t.Helper()
	text, err := os.ReadFile(o.file)
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return f
}

// changed lists the calls since the last look that change something.
func (o *oracle) changed() (list []string) {
	o.t.Helper()
	all := o.state().Calls
	for _, args := range all[o.calls:] {
		end := slices.IndexFunc(args[2:], func(a string) bool { return strings.HasPrefix(a, "--") })
		if args[0] != "--region" {
			continue // the first one of all
		}
		words := strings.Join(args[2:2+end], " ")
		if verb := words[strings.LastIndex(words, " ")+1:]; verb != "list" && verb != "list-users" && verb != "get" {
			list = append(list, words)
		}
	}
	o.calls = len(all)
	return list
}

// wants compares the calls that changed something since the last look.
func (o *oracle) wants(what string, want ...string) {
	o.t.Helper()
	if got := o.changed(); !slices.Equal(got, want) {
		o.t.Errorf("%s made the calls\n%s\nand not\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestBootstrapOCI(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	dir := t.TempDir()
	secrets := filepath.Join(dir, "secrets")

	o.run([]string{"plan", "--secrets", secrets}, "would make the compartment armfree-build", "would make the policy armfree-build",
		"would make the rules: SSH from 0.0.0.0/0", "would make the subnet armfree-build-private", "would make an API key, and write it to "+secrets)
	o.wants("a plan")

	first := o.run([]string{"apply", "--secrets", secrets, "--ssh-from", "192.0.2.0/24"}, "OCI_COMPARTMENT_OCID     ocid1.compartment.oc1..1", "OCI_API_PRIVATE_KEY      secret",
		"BUILD_OCI_NAMESPACE      space")
	tries := slices.DeleteFunc(o.changed(), func(c string) bool { return strings.HasPrefix(c, "network vcn") || strings.HasPrefix(c, "os bucket") })
	want := []string{
		"iam compartment create", "iam group create", "iam user create", "iam group add-user", "iam policy create",
		"network internet-gateway create", "network security-list create", "network route-table create", "network subnet create",
		"network nat-gateway create", "network route-table create", "network subnet create", "iam user api-key upload",
	}
	if !slices.Equal(tries, want) {
		t.Errorf("calls\n%s\nand not\n%s", strings.Join(tries, "\n"), strings.Join(want, "\n"))
	}
	checkTenancy(t, o.state())

	for _, key := range []string{checkOCISecrets(t, secrets), "PRIVATE KEY"} {
		if strings.Contains(first, key) {
			t.Error("a key was printed")
		}
	}
	o.run([]string{"apply", "--secrets", secrets + "2", "--ssh-from", "192.0.2.0/24"}, "nothing to do", "there is an API key")
	o.wants("a second apply")
	if _, err := os.Stat(secrets + "2"); err == nil {
		t.Error("a key was written twice")
	}
	o.run([]string{"apply", "--ssh-from", "198.51.100.7/32", "--with", "bastion"}, "done: let in SSH from 198.51.100.7/32 instead of 192.0.2.0/24", "done: change the policy")
	o.wants("a change", "iam policy update", "network security-list update")
	o.run([]string{"apply", "--ssh-from", "198.51.100.7/32", "--with", "bastion", "--new-api-key", "--secrets", secrets + "3"}, "done: make an API key")
	o.wants("another key", "iam user api-key upload")

	o.run([]string{"undo", "--dry-run"}, "would remove the network armfree-build", "would remove the compartment armfree-build")
	o.wants("a dry run")
	o.run([]string{"undo"}, "done: remove the compartment")
	if left := o.state().Things; len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	o.changed()
	o.run([]string{"undo"}, "nothing to do")
	o.wants("a second undo")
}

// checkTenancy looks at what was made.
func checkTenancy(t *testing.T, f fakeOCI) {
	t.Helper()
	by := map[string][]thing{}
	for _, x := range f.Things {
		by[x.Kind] = append(by[x.Kind], x)
		if x.Kind != "membership" && x.Kind != "api-key" && x.Tag != "armfree-build" {
			t.Errorf("%s %s has the tag %q", x.Kind, x.Name, x.Tag)
		}
	}
	for kind, n := range map[string]int{"compartment": 1, "group": 1, "user": 1, "policy": 1, "bucket": 1, "vcn": 1, "internet-gateway": 1, "nat-gateway": 1, "route-table": 2, "subnet": 2, "security-list": 1, "api-key": 1, "membership": 1} {
		if len(by[kind]) != n {
			t.Fatalf("%d of %s", len(by[kind]), kind)
		}
	}
	// Each subnet goes out by its own gateway.
	for i, way := range []string{"internet-gateway", "nat-gateway"} {
		if table := by["route-table"][i]; !strings.Contains(table.Text, by[way][0].ID) || !strings.Contains(by["subnet"][i].Text, table.ID) || !strings.Contains(by["subnet"][i].Text, by["security-list"][0].ID) {
			t.Errorf("%s: %+v, %+v", way, table, by["subnet"][i])
		}
	}
	var statements []string
	if err := json.Unmarshal([]byte(by["policy"][0].Text), &statements); err != nil {
		t.Fatal(err)
	}
	home := by["compartment"][0].ID
	for _, s := range statements {
		if !strings.HasPrefix(s, "Allow group armfree-build to ") || strings.Contains(s, "@") || !strings.Contains(s, "in compartment id "+home) && !strings.HasSuffix(s, "in tenancy") {
			t.Errorf("statement %q", s)
		}
	}
	if len(statements) != 10 || by["bucket"][0].In != home || by["vcn"][0].In != home {
		t.Errorf("%d statements; bucket in %s, network in %s", len(statements), by["bucket"][0].In, by["vcn"][0].In)
	}
}

// checkOCISecrets looks at a file of secrets and returns a line of the key.
func checkOCISecrets(t *testing.T, file string) string {
	t.Helper()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secrets: %v, %v", info, err)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `. "$1"; printf '%s\n%s' "$OCI_FINGERPRINT" "$OCI_API_PRIVATE_KEY"`, "sh", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	fingerprint, key, _ := strings.Cut(string(out), "\n")
	block, _ := pem.Decode([]byte(key))
	if block == nil || !strings.Contains(fingerprint, ":") {
		t.Fatalf("fingerprint %q, %d characters of a key", fingerprint, len(key))
	}
	if _, err := x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		t.Error(err)
	}
	return strings.Split(key, "\n")[1]
}

// The tenancy that images are copied to gets a user, and no network and no bucket.
func TestBootstrapOCIProduction(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	o.run([]string{"apply", "--role", "production", "--compartment", "ocid1.tenancy.oc1..t", "--email", "me@example.com"}, "PROD_OCI_USER_OCID", "no API key is made")
	o.wants("an apply", "iam group create", "iam user create", "iam group add-user", "iam policy create")
	o.run([]string{"apply", "--role", "production", "--compartment", "ocid1.tenancy.oc1..t"}, "nothing to do")
	o.wants("a second apply")
	o.run([]string{"apply", "--role", "production", "--compartment", "ocid1.tenancy.oc1..t", "--with", "verify"}, "done: change the policy")
	for _, x := range o.state().Things {
		if x.Kind == "policy" && (!strings.Contains(x.Text, "manage instance-family") || !strings.Contains(x.Text, "use virtual-network-family")) {
			t.Errorf("the policy says %s", x.Text)
		}
	}
	o.wants("an apply with another feature", "iam policy update")
	o.run([]string{"undo", "--role", "production", "--compartment", "ocid1.tenancy.oc1..t"})
	if left := o.state().Things; len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// The script touches nothing that it did not make, and refuses what it does not
// understand before it asks for anything.
func TestBootstrapOCIRefuses(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	others := fakeOCI{Things: []thing{{Kind: "compartment", ID: "ocid1.compartment.oc1..theirs", Name: "theirs", Tag: "none"}, {Kind: "group", ID: "ocid1.group.oc1..g", Name: "g", Tag: "none"}}}
	text, err := json.Marshal(others)
	if err == nil {
		err = os.WriteFile(o.file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for says, args := range map[string][]string{
		"the compartment theirs exists, and was not made by this script": {"apply", "--name", "theirs"},
		"the group g exists, and was not made by this script":            {"undo", "--name", "g"},
		"--with verify goes with --role production":                      {"plan", "--with", "verify"},
		"--role: build or production":                                    {"plan", "--role", "staging"},
		"there is no option --nonsense":                                  {"plan", "--nonsense", "x"},
		"--ssh-from: ":                                                   {"plan", "--ssh-from", "everywhere"},
		"--name: ":                                                       {"plan", "--name", "a'b"},
		"there is no feature sport":                                      {"plan", "--with", "sport"},
	} {
		if said, err := o.try(args...); err == nil || !strings.Contains(said, says) {
			t.Errorf("%q: %v\n%s", args, err, said)
		}
	}
	o.wants("refusals")
}
