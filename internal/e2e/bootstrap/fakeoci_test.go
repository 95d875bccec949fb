// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package bootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// fakeOCI is a double of OCI CLI, as far as the bootstrap uses it: it refuses
// commands and options that OCI CLI does not have, remembers what was made, and
// removes nothing that is still in use. It is kept in a file between calls.
type fakeOCI struct {
	Things []thing    `json:"things"`
	Calls  [][]string `json:"calls"`
	Made   int        `json:"made"`
	// Unknown is how many calls about a compartment that was just made fail.
	Unknown int `json:"unknown"`
}

type thing struct{ Kind, ID, Name, Tag, In, Text string }

const fakeHome, fakeRegion = "eu-frankfurt-1", "eu-zurich-1"

// fakeCommands has the options of each command beside those that all have; those
// with a star are required.
func fakeCommands() map[string]string {
	const list, make, network, wait = "compartment-id* name all", "compartment-id* name* description* freeform-tags", "compartment-id* vcn-id* display-name freeform-tags wait-for-state", "force wait-for-state"
	all := map[string]string{
		"iam region-subscription list": "tenancy-id*", "os ns get": "",
		"iam compartment list": list, "iam group list": list, "iam user list": list, "iam policy list": list,
		"iam compartment create": make + " wait-for-state", "iam group create": make, "iam user create": make + " email", "iam policy create": make + " statements*",
		"iam policy get": "policy-id*", "iam policy update": "policy-id* statements* version-date* force", "iam group list-users": "compartment-id* group-id* all",
		"iam group add-user": "user-id* group-id*", "iam group remove-user": "compartment-id* user-id* group-id* force",
		"iam user api-key list": "user-id*", "iam user api-key upload": "user-id* key-file*", "iam user api-key delete": "user-id* fingerprint* force",
		"iam compartment delete": "compartment-id* force", "iam group delete": "group-id* force", "iam user delete": "user-id* force", "iam policy delete": "policy-id* force",
		"os bucket get": "namespace-name* bucket-name*", "os bucket create": "namespace-name* compartment-id* name* freeform-tags", "os bucket delete": "namespace-name* bucket-name* force",
		"network vcn create":              "compartment-id* cidr-blocks display-name dns-label freeform-tags wait-for-state",
		"network internet-gateway create": network + " is-enabled*", "network nat-gateway create": network,
		"network route-table create": network + " route-rules*", "network security-list create": network + " ingress-security-rules* egress-security-rules*",
		"network subnet create":     network + " cidr-block dns-label prohibit-public-ip-on-vnic route-table-id security-list-ids",
		"network security-list get": "security-list-id*", "network security-list update": "security-list-id* ingress-security-rules force",
		"network vcn list": "compartment-id* display-name all",
	}
	for kind, id := range map[string]string{"vcn": "vcn-id", "subnet": "subnet-id", "route-table": "rt-id", "security-list": "security-list-id", "internet-gateway": "ig-id", "nat-gateway": "nat-gateway-id"} {
		all["network "+kind+" delete"] = id + "* " + wait
		if kind != "vcn" {
			all["network "+kind+" list"] = "compartment-id* vcn-id display-name all"
		}
	}
	return all
}

// TestFakeOCI is that program, where the environment says so, and no test.
func TestFakeOCI(t *testing.T) {
	file := os.Getenv("FAKE_OCI")
	if file == "" {
		return // it is run by the tests of the bootstrap for OCI
	}
	var f fakeOCI
	if text, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
	}
	args := os.Args[slices.Index(os.Args, "--")+1:]
	f.Calls = append(f.Calls, args)
	out, err := f.call(args)
	text, jerr := json.Marshal(f)
	if jerr == nil {
		jerr = os.WriteFile(file, text, 0o600)
	}
	if jerr != nil {
		t.Fatal(jerr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if out != "" {
		fmt.Println(out)
	}
	os.Exit(0)
}

// status is an error of the service, as OCI CLI prints it.
func status(code int, message string) error {
	return fmt.Errorf("ServiceError:\n{\n    \"message\": %q,\n    \"status\": %d\n}", message, code)
}

// call is one call of the program.
func (f *fakeOCI) call(args []string) (string, error) {
	var words []string
	o := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, is := strings.CutPrefix(args[i], "--")
		switch {
		case !is:
			words = append(words, args[i])
		case name == "all" || name == "force" || name == "raw-output":
			o[name] = "yes"
		case i+1 == len(args):
			return "", fmt.Errorf("error: --%s needs a value", name)
		default:
			i++
			o[name] = args[i]
		}
	}
	command := strings.Join(words, " ")
	options, known := fakeCommands()[command]
	if !known {
		return "", fmt.Errorf("error: no such command: %q", command)
	}
	has := strings.Fields(strings.ReplaceAll(options, "*", "") + " region raw-output query")
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if !slices.Contains(has, name) {
			return "", fmt.Errorf("error: no such option: --%s of %s", name, command)
		}
	}
	for _, name := range strings.Fields(options) {
		if must, is := strings.CutSuffix(name, "*"); is {
			if _, given := o[must]; !given {
				return "", fmt.Errorf("error: missing option --%s of %s", must, command)
			}
		}
	}
	region := fakeRegion
	if words[0] == "iam" {
		region = fakeHome
	}
	if command != "iam region-subscription list" && o["region"] != region {
		return "", status(404, "NotAuthorizedOrNotFound: "+command+" in "+o["region"])
	}
	if strings.HasPrefix(o["compartment-id"], "ocid1.compartment.") && f.Unknown > 0 {
		f.Unknown--
		return "", status(404, "NotAuthorizedOrNotFound")
	}
	kind, verb := words[len(words)-2], words[len(words)-1]
	switch verb {
	case "list", "list-users", "get":
		return f.read(command, kind, o)
	case "create", "upload":
		return f.create(kind, o)
	case "add-user":
		f.Things = append(f.Things, thing{Kind: "membership", ID: o["user-id"] + " " + o["group-id"], In: o["group-id"]})
		return "{}", nil
	case "update":
		return f.update(o)
	}
	return f.remove(command, kind, o)
}

func (f *fakeOCI) at(match func(thing) bool) *thing {
	if i := slices.IndexFunc(f.Things, match); i >= 0 {
		return &f.Things[i]
	}
	return nil
}

// read answers the queries that the script has, and no others.
func (f *fakeOCI) read(command, kind string, o map[string]string) (string, error) {
	switch command {
	case "iam region-subscription list":
		return fakeHome, nil
	case "os ns get":
		return "space", nil
	case "iam policy get":
		return f.at(func(x thing) bool { return x.ID == o["policy-id"] }).Text, nil
	case "iam group list-users":
		user := regexp.MustCompile(`id=='(.*)'`).FindStringSubmatch(o["query"])[1]
		if f.at(func(x thing) bool { return x.ID == user+" "+o["group-id"] }) != nil {
			return user, nil
		}
		return "", nil
	case "iam user api-key list":
		var prints []string
		for _, x := range f.Things {
			if x.Kind == "api-key" && x.In == o["user-id"] {
				prints = append(prints, x.ID)
			}
		}
		return strings.Join(prints, " "), nil
	case "os bucket get":
		if b := f.at(func(x thing) bool { return x.Kind == "bucket" && x.Name == o["bucket-name"] }); b != nil {
			return b.Tag, nil
		}
		return "", status(404, "BucketNotFound")
	case "network security-list get":
		return regexp.MustCompile(`"protocol":"6","source":"([^"]*)"`).FindStringSubmatch(f.at(func(x thing) bool { return x.ID == o["security-list-id"] }).Text)[1], nil
	}
	if !strings.Contains(o["query"], "join(' ', [id") {
		return "", fmt.Errorf("error: the double does not know the query %s", o["query"])
	}
	x := f.at(func(x thing) bool {
		return x.Kind == kind && x.Name == o["name"]+o["display-name"] && (o["vcn-id"] == "" || x.In == o["vcn-id"])
	})
	if x == nil {
		return "", nil
	}
	return x.ID + " " + x.Tag, nil
}

func (f *fakeOCI) create(kind string, o map[string]string) (string, error) {
	f.Made++
	x := thing{Kind: kind, ID: fmt.Sprintf("ocid1.%s.oc1..%d", strings.ReplaceAll(kind, "-", ""), f.Made), Name: o["name"] + o["display-name"],
		In: o["compartment-id"], Text: o["statements"] + o["ingress-security-rules"] + o["route-rules"] + o["route-table-id"] + o["security-list-ids"]}
	for _, text := range []string{o["statements"], o["ingress-security-rules"], o["egress-security-rules"], o["route-rules"], o["security-list-ids"], o["freeform-tags"], o["cidr-blocks"]} {
		if text != "" && !json.Valid([]byte(text)) {
			return "", fmt.Errorf("error: not JSON: %s", text)
		}
	}
	var tags map[string]string
	if o["freeform-tags"] != "" {
		if err := json.Unmarshal([]byte(o["freeform-tags"]), &tags); err != nil {
			return "", err
		}
	}
	x.Tag = tags["armfree-bootstrap"]
	if o["vcn-id"] != "" {
		x.In = o["vcn-id"]
	}
	if kind == "api-key" {
		text, err := os.ReadFile(o["key-file"])
		if err != nil || !strings.HasPrefix(string(text), "-----BEGIN PUBLIC KEY-----") {
			return "", fmt.Errorf("error: no public key: %w", err)
		}
		x.ID, x.In = fmt.Sprintf("%02x:%02x", f.Made, f.Made), o["user-id"]
	}
	if kind == "compartment" {
		f.Unknown = 3
	}
	f.Things = append(f.Things, x)
	return x.ID, nil
}

func (f *fakeOCI) update(o map[string]string) (string, error) {
	x := f.at(func(x thing) bool { return x.ID == o["policy-id"]+o["security-list-id"] })
	x.Text = o["statements"] + o["ingress-security-rules"]
	return "{}", nil
}

// remove refuses what is in use.
func (f *fakeOCI) remove(command, kind string, o map[string]string) (string, error) {
	id := ""
	switch command {
	case "os bucket delete":
		id = f.at(func(x thing) bool { return x.Kind == "bucket" && x.Name == o["bucket-name"] }).ID
	case "iam group remove-user":
		id = o["user-id"] + " " + o["group-id"]
	case "iam user api-key delete":
		id = o["fingerprint"]
	default:
		for name, value := range o {
			if strings.HasSuffix(name, "-id") {
				id = value
			}
		}
	}
	if user := f.at(func(x thing) bool {
		return x.ID != id && (x.In == id || strings.Contains(x.Text, id) || strings.HasPrefix(x.ID, id+" "))
	}); user != nil && kind != "policy" && user.Kind != "policy" {
		return "", status(409, id+" is in use by "+user.Kind+" "+user.ID)
	}
	f.Things = slices.DeleteFunc(f.Things, func(x thing) bool { return x.ID == id })
	return "", nil
}
