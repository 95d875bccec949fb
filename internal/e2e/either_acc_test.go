// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The example, by the real Packer, in all weathers: the image is made in the cloud
// that has a machine, and nothing else is left in either.
func TestAccEitherCloud(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	ociFull := []ocisim.Fault{{Kind: ocisim.FaultCapacity}}
	for _, tt := range []struct {
		name    string
		args    []string
		oci     []ocisim.Fault
		aws     []ec2sim.Fault
		options stage.Options
		says    []string
		not     string
		cloud   string // "": the build fails
	}{
		{name: "OCI has room", cloud: "oci", says: []string{"For the first 30s only OCI is asked, after that AWS as well", "An image was created: '"}, not: "AMIs were created"},
		{
			name: "OCI is full", args: []string{"prefer_timeout=2s"}, oci: ociFull, cloud: "aws",
			says: []string{"no capacity for VM.Standard.A1.Flex", "t4g.micro 2 vCPU/1 GiB: launched", "AMIs were created:", "eu-central-1: ami-"}, not: "An image was created",
		},
		{
			name: "OCI is full, and says so at launches only", args: []string{"prefer_timeout=2s"},
			oci: append([]ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "CreateComputeCapacityReport", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."}}, ociFull...), cloud: "aws",
			says: []string{"Out of host capacity", "t4g.micro 2 vCPU/1 GiB: launched"},
		},
		{
			name: "OCI is full, and the reply of AWS is lost", args: []string{"prefer_timeout=1s"}, oci: ociFull, cloud: "aws",
			aws:  []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1}},
			says: []string{"the machine is there"},
		},
		{
			name: "the account on OCI may have no machine", args: []string{"prefer_timeout=20s"},
			oci:   []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 0}},
			cloud: "aws", says: []string{"eu-frankfurt-1 is left out: "},
		},
		{
			name: "AWS has a free plan, and all of its types are out", args: []string{`prefer=["aws", "oci"]`, "prefer_timeout=1s"}, cloud: "oci",
			options: stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.FreePlan = true }},
			aws:     []ec2sim.Fault{{Kind: ec2sim.FaultCapacity}},
			says:    []string{"InsufficientInstanceCapacity", "For the first 1s only AWS is asked, after that OCI as well"},
		},
		{
			name: "both are full", args: []string{"capacity_timeout=4s", "prefer_timeout=1s"}, oci: ociFull, aws: []ec2sim.Fault{{Kind: ec2sim.FaultCapacity}},
			says: []string{"the time allowed for the search is over", "VM.Standard.A1.Flex", "t4g.small"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, tt.options)
			if err := s.Cloud.AddFaults(tt.oci...); err != nil {
				t.Fatal(err)
			}
			if err := s.AWS.Cloud.AddFaults(tt.aws...); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "example/either-cloud"))); err != nil {
				t.Fatal(err)
			}
			args := []string{"build", "-color=false"}
			for _, a := range append([]string{fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "capacity_interval=100ms", "capacity_timeout=60s", "prefer_timeout=30s"}, tt.args...) {
				args = append(args, "-var", a)
			}
			var out bytes.Buffer
			start := time.Now()
			err := p.Run(t.Context(), dir, append(s.Env(), "AWS_SUBNET_ID="), &out, append(args, ".")...)
			said := out.String()
			t.Log(said)
			if (err != nil) != (tt.cloud == "") {
				t.Fatalf("after %s: %v", time.Since(start), err)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if tt.not != "" && strings.Contains(said, tt.not) {
				t.Errorf("%q is said", tt.not)
			}
			var manifest struct {
				Builds []struct {
					ArtifactID string            `json:"artifact_id"`
					CustomData map[string]string `json:"custom_data"`
				}
			}
			if tt.cloud != "" {
				text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
				if err == nil {
					err = json.Unmarshal(text, &manifest)
				}
				if err != nil || len(manifest.Builds) != 1 || manifest.Builds[0].CustomData["cloud"] != tt.cloud || !strings.Contains(said, "built on "+tt.cloud) {
					t.Fatalf("%v, %s", err, text)
				}
				said += " " + manifest.Builds[0].ArtifactID
			}
			if left := leftOnEither(s, said); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if n := s.AWS.Cloud.CountRequests("RunInstances"); tt.cloud == "aws" && n != 1 {
				t.Errorf("%d launches on AWS", n)
			}
		})
	}
}

// leftOnEither is what there is beside finished images of either cloud that a
// build says it made.
func leftOnEither(s *stage.Stage, said string) (left []string) {
	for _, l := range leftOnAWS(s, said) {
		if f := strings.Fields(l); len(f) < 2 || f[0] != "image" || !strings.Contains(said, "(OCID: "+f[1]+")") {
			left = append(left, l)
		}
	}
	return left
}
