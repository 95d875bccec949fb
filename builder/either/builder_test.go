// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package either

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// What is on this computer must not decide about tests.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		home, err := os.MkdirTemp("", "home-*")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(home)
		for _, e := range os.Environ() {
			name, _, _ := strings.Cut(e, "=")
			for _, prefix := range []string{"AWS_", "OCI_", "ACTIONS_"} {
				if strings.HasPrefix(name, prefix) {
					_ = os.Unsetenv(name)
				}
			}
		}
		_ = os.Setenv("HOME", home)
		return m.Run()
	}())
}

type set = map[string]interface{}

// settings is a template for a stage.
func settings(s *stage.Stage) set {
	return set{
		"ssh_port": s.Cloud.SSHPort(), "image_name": "built", "capacity_interval": "20ms", "capacity_timeout": "60s", "ssh_timeout": "30s",
		"tags": map[string]string{"team": "infra"},
		"oci": set{
			"tenancy_ocid": s.Build.ID, "user_ocid": s.Build.UserID, "fingerprint": s.Build.Fingerprint(), "key": s.Build.PrivateKeyPEM(),
			"region": stage.BuildRegion, "compartment_ocid": s.Build.CompartmentID,
			"base_image_ocid": s.BaseImage, "subnet_ocid": s.Build.SubnetID(stage.BuildRegion), "assign_public_ip": true,
			"ssh_username": "debian",
		},
		"aws": set{
			"access_key": s.AWS.Build.AccessKeyID, "secret_key": s.AWS.Build.SecretAccessKey, "region": stage.AWSRegion,
			"source_ami": s.AWS.BaseImage, "ssh_username": "admin",
		},
	}
}

// build runs the builder as Packer would.
func build(ctx context.Context, t *testing.T, s *stage.Stage, change set, h inpacker.Hook) (packersdk.Artifact, string, error) {
	t.Helper()
	in := settings(s)
	maps.Copy(in, change)
	maps.DeleteFunc(in, func(_ string, v interface{}) bool { return v == nil })
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	ui := &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}
	if h == nil {
		h = func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
			return comm.Upload("/tmp/built", strings.NewReader("by armfree"), nil)
		}
	}
	a, err := b.Run(ctx, ui, h)
	if err != nil {
		a = nil
	}
	return a, out.String(), err
}

// nothingLeft fails the test if there is more than an artifact.
func nothingLeft(t *testing.T, s *stage.Stage, a packersdk.Artifact) {
	t.Helper()
	var keep []string
	snapshots := 0
	switch a := a.(type) {
	case *ocibuild.Artifact:
		keep = []string{a.Image}
	case *awsbuild.Artifact:
		keep = slices.Collect(maps.Values(a.Images))
		snapshots = len(keep)
	}
	var left []string
	for range 100 {
		left = s.Left(keep...)
		if !slices.ContainsFunc(left, func(l string) bool { return strings.HasSuffix(l, " (deleting)") }) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	left = slices.DeleteFunc(left, func(l string) bool { // those of the image
		is := strings.HasPrefix(l, "snapshot ") && snapshots > 0
		if is {
			snapshots--
		}
		return is
	})
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// ociFull takes the room from all of OCI.
func ociFull(t *testing.T, s *stage.Stage) {
	t.Helper()
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity}); err != nil {
		t.Fatal(err)
	}
}

func awsFaults(t *testing.T, s *stage.Stage, faults ...ec2sim.Fault) {
	t.Helper()
	if err := s.AWS.Cloud.AddFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

func TestWhereThereIsRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change set
		oci    []ocisim.Fault
		aws    []ec2sim.Fault
		cloud  string
		says   []string
		asked  bool // the other cloud was asked for a machine
	}{
		{name: "OCI comes first", cloud: "oci", says: []string{"6 places in eu-frankfurt-1, eu-central-1", "For the first 30s only OCI is asked, after that AWS as well"}},
		{name: "AWS comes first if it is to", change: set{"prefer": []string{"aws", "oci"}}, cloud: "aws"},
		{
			name: "OCI is full, so AWS builds", change: set{"prefer_timeout": "300ms"}, oci: []ocisim.Fault{{Kind: ocisim.FaultCapacity}},
			cloud: "aws", asked: true, says: []string{"says the capacity report", "For the first 300ms only OCI is asked", "eu-central-1a t4g.micro"},
		},
		{
			name: "AWS is full, so OCI builds", change: set{"prefer": []string{"aws", "oci"}, "prefer_timeout": "0s"}, aws: []ec2sim.Fault{{Kind: ec2sim.FaultCapacity}},
			cloud: "oci", asked: true, says: []string{"InsufficientInstanceCapacity"},
		},
		{
			name: "OCI has room after a while", change: set{"prefer_timeout": "9m", "capacity_timeout": "10m"}, oci: []ocisim.Fault{{Kind: ocisim.FaultCapacity, Times: 5}},
			cloud: "oci",
		},
		{
			name: "the account may have nothing on OCI", change: set{"prefer_timeout": "55s"}, cloud: "aws",
			oci:  []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 0}},
			says: []string{"eu-frankfurt-1 is left out: ", "standard-a1-core-count"},
		},
		{
			name: "the account may have nothing on AWS", change: set{"prefer": []string{"aws"}}, cloud: "oci",
			aws:  []ec2sim.Fault{{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand}},
			says: []string{"eu-central-1 is left out: "},
		},
		{name: "only OCI", change: set{"aws": nil}, cloud: "oci"},
		{name: "only AWS", change: set{"oci": nil}, cloud: "aws"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			if err := s.Cloud.AddFaults(tt.oci...); err != nil {
				t.Fatal(err)
			}
			awsFaults(t, s, tt.aws...)
			a, said, err := build(t.Context(), t, s, tt.change, nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			data, _ := a.State("generated_data").(map[string]interface{})
			if a.State("cloud") != tt.cloud || data["Cloud"] != tt.cloud || data["BuildID"] == "" || a.State("image_name") != "built" {
				t.Errorf("built on %v, build.Cloud is %v, %v\n%s", a.State("cloud"), data["Cloud"], data, said)
			}
			for _, n := range generatedNames() {
				if _, is := data[n].(string); !is {
					t.Errorf("build.%s is %v", n, data[n])
				}
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("nothing says %q:\n%s", want, said)
				}
			}
			asked := map[string]int{"oci": s.Cloud.CountRequests("LaunchInstance") + s.Cloud.CountRequests("CreateComputeCapacityReport"), "aws": s.AWS.Cloud.CountRequests("RunInstances")}
			for cloud, n := range asked {
				if want := cloud == tt.cloud || tt.asked; (n > 0) != want {
					t.Errorf("%d requests for a machine to %s\n%s", n, cloud, said)
				}
			}
			nothingLeft(t, s, a)
			if err := a.Destroy(); err != nil {
				t.Error(err)
			}
			nothingLeft(t, s, nil)
		})
	}
}

// The option of one block is followed in its own cloud only.
func TestTheEndOfAMachineNeedNotBeWaitedFor(t *testing.T) {
	t.Parallel()
	for _, cloud := range []string{"oci", "aws"} {
		s := stage.ForTest(t, stage.Options{})
		in := maps.Clone(settings(s)["oci"].(set))
		in["skip_termination_wait"] = true
		a, said, err := build(t.Context(), t, s, set{"oci": in, "prefer": []string{cloud}}, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if left := strings.Contains(said, "is not waited for (skip_termination_wait)"); left != (cloud == "oci") || a.State("cloud") != cloud {
			t.Errorf("built on %v, whose machine's end is waited for: %t\n%s", a.State("cloud"), !left, said)
		}
		for i := 0; cloud == "oci" && i < 200 && len(s.Left(a.Id())) > 0; i++ {
			time.Sleep(50 * time.Millisecond)
		}
		nothingLeft(t, s, a)
	}
}

// Nothing is waited for longer than capacity_timeout, and the error shows both
// clouds.
func TestBothAreFull(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	ociFull(t, s)
	awsFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultCapacity})
	_, said, err := build(t.Context(), t, s, set{"capacity_timeout": "10s", "prefer_timeout": "100ms"}, nil)
	if err == nil || s.Cloud.CountRequests("CreateComputeCapacityReport") == 0 || s.AWS.Cloud.CountRequests("RunInstances") == 0 {
		t.Errorf("%v\n%s", err, said)
	}
	for _, want := range []string{"eu-frankfurt-1", "eu-central-1", "VM.Standard.A1.Flex", "t4g.micro"} {
		if !strings.Contains(said, want) {
			t.Errorf("the table lacks %s:\n%s", want, said)
		}
	}
	nothingLeft(t, s, nil)
}

// A launch whose reply is lost is looked up in the cloud that got it: there is one
// machine, never two.
func TestALostReplyIsLookedUpWhereItWas(t *testing.T) {
	t.Parallel()
	for _, cloud := range []string{"oci", "aws"} {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCutAfterEffect, Op: "LaunchInstance", Times: 1}); err != nil {
				t.Fatal(err)
			}
			awsFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1})
			a, said, err := build(t.Context(), t, s, set{"prefer": []string{cloud}}, nil)
			if err != nil || a.State("cloud") != cloud {
				t.Fatalf("%v\n%s", err, said)
			}
			if n := strings.Count(said, " runs in "); n != 1 {
				t.Errorf("%d machines\n%s", n, said)
			}
			nothingLeft(t, s, a)
		})
	}
}

// The host key is the build's own in either cloud, and the user that of the block.
func TestPinnedHostKeyAndUser(t *testing.T) {
	t.Parallel()
	for cloud, user := range map[string]string{"oci": "debian", "aws": "admin"} {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			var got bytes.Buffer
			a, said, err := build(t.Context(), t, s, set{"prefer": []string{cloud}, "ssh_pin_host_key": true, "skip_create_image": true}, func(_ context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
				if err := comm.Upload("built", strings.NewReader("by armfree"), nil); err != nil {
					return err
				}
				return comm.Download("/home/"+user+"/built", &got)
			})
			if err != nil || a != nil || got.String() != "by armfree" || !strings.Contains(said, "No image was made: skip_create_image is set") {
				t.Fatalf("%v, %v, %q\n%s", a, err, &got, said)
			}
			nothingLeft(t, s, nil)
		})
	}
}

// A cloud in which nobody can sign in for the moment is left out; one that does not
// let the user in ends the build.
func TestSignIn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		fault ec2sim.Fault
		fails string
	}{
		{"STS is down", ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetCallerIdentity", Status: 503, Code: "ServiceUnavailable", Message: "down"}, ""},
		{"the key is not valid", ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetCallerIdentity", Status: 403, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}, "aws: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			awsFaults(t, s, tt.fault)
			a, said, err := build(t.Context(), t, s, nil, nil)
			switch {
			case tt.fails != "":
				if err == nil || !strings.Contains(err.Error(), tt.fails) || s.Cloud.CountRequests("LaunchInstance") > 0 {
					t.Errorf("%v\n%s", err, said)
				}
			case err != nil || a.State("cloud") != "oci" || !strings.Contains(said, "This cloud is left out, it cannot be reached: aws: "):
				t.Errorf("%v\n%s", err, said)
			}
			nothingLeft(t, s, a)
		})
	}
}

// Cancelled while one cloud is waited for, and none has a machine, the build ends
// at once.
func TestCancelTheSearch(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	ociFull(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for s.Cloud.CountRequests("CreateComputeCapacityReport") < 3 && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	_, said, err := build(ctx, t, s, set{"prefer_timeout": "50s"}, nil)
	if !errors.Is(err, context.Canceled) || s.AWS.Cloud.CountRequests("RunInstances") > 0 {
		t.Errorf("%v\n%s", err, said)
	}
	nothingLeft(t, s, nil)
}

// Packer's -force replaces the image of the same name in the cloud that builds.
func TestForce(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	for _, cloud := range []string{"aws", "oci", "aws", "oci"} {
		a, said, err := build(t.Context(), t, s, set{"prefer": []string{cloud}, "packer_force": true, "aws": with(settings(s), set{"aws.force_delete_snapshot": true})["aws"]}, nil)
		if err != nil || a.State("cloud") != cloud {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	images := 0
	for _, l := range s.Left() {
		if strings.HasPrefix(l, "image ") {
			images++
		}
	}
	if images != 2 {
		t.Errorf("%q", s.Left())
	}
}

// Cancelled while it looks in both clouds, the build ends and leaves nothing.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	ociFull(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	_, said, err := build(ctx, t, s, set{"prefer_timeout": "0s"}, func(context.Context, packersdk.Ui, packersdk.Communicator) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil {
		t.Errorf("it went well\n%s", said)
	}
	nothingLeft(t, s, nil)
}
