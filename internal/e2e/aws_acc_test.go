// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// onAWS runs a template in testdata with the real Packer, in all zones.
func onAWS(ctx context.Context, s *stage.Stage, p *runpacker.Packer, template string, args ...string) (string, error) {
	args = append([]string{"-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort())}, args...)
	return packerBuild(ctx, p, append(s.Env(), "AWS_SUBNET_ID="), template, args...)
}

// leftOnAWS is what there is beside finished images and their snapshots; images
// are those that a build says it made. EC2 deletes volumes a little after their
// machine.
func leftOnAWS(s *stage.Stage, said string) (left []string) {
	images := amiID.FindAllString(said, -1)
	for range 100 {
		keep := images
		builds := map[string]bool{}
		for _, a := range s.AWS.Cloud.Inventory().Accounts {
			for _, r := range a.Regions {
				for _, x := range r.Resources {
					if x.Kind == "image" && slices.Contains(images, x.ID) {
						builds[x.Tags["armfree:build"]] = true
					}
				}
			}
		}
		for _, a := range s.AWS.Cloud.Inventory().Accounts {
			for _, r := range a.Regions {
				for _, x := range r.Resources {
					if x.Kind == "snapshot" && builds[x.Tags["armfree:build"]] && !strings.Contains(x.Tags["armfree"], "expires=") {
						keep = append(slices.Clone(keep), x.ID)
					}
				}
			}
		}
		left = s.Left(keep...)
		if !slices.ContainsFunc(left, func(l string) bool { return strings.HasPrefix(l, "volume ") && strings.HasSuffix(l, " (deleting)") }) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// A whole build, of a template in HCL and of one in JSON: the image, its copy, and
// nothing else.
func TestAccAWS(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, template := range []string{"aws.pkr.hcl", "aws.json"} {
		t.Run(template, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{})
			said, err := onAWS(t.Context(), s, p, template)
			t.Log(said)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"aarch64", "said: t4g.micro in eu-central-1", "AMIs were created:", stage.AWSRegion + ": ami-", "eu-west-1: ami-"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if left := leftOnAWS(s, said); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			images := 0
			for _, r := range s.AWS.Cloud.Inventory().Accounts[0].Regions {
				for _, x := range r.Resources {
					if x.Kind == "image" && x.Name == "pipeline" && x.State == "available" && x.Tags["base"] == s.AWS.BaseImage && x.Tags["from"] == stage.AWSRegion {
						images++
					}
				}
			}
			if images != 2 {
				t.Errorf("%d images", images)
			}
			for _, u := range s.AWS.Cloud.IAMRefusals(s.AWS.Build, s.AWS.Build.UserName) {
				t.Errorf("refused: %+v", u)
			}
		})
	}
}

// packer validate needs no network and nobody's keys but those of the template.
func TestAccAWSValidateOffline(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	nowhere := "http://127.0.0.1:9"
	env := []string{
		"HTTPS_PROXY=" + nowhere, "HTTP_PROXY=" + nowhere, "AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
		"AWS_SOURCE_AMI=ami-0123456789abcdef0", "AWS_SSH_USERNAME=admin",
	}
	for _, template := range []string{"aws.pkr.hcl", "aws.json"} {
		var out inpacker.Output
		begun := time.Now()
		if err := p.Run(t.Context(), "testdata", env, &out, "validate", "-var", "ssh_port=22", template); err != nil {
			t.Errorf("%s: %v\n%s", template, err, out.String())
		}
		if d := time.Since(begun); d > 60*time.Second {
			t.Errorf("%s: it took %s", template, d)
		}
	}
	// A bad one is told all that is wrong, in one go.
	var out inpacker.Output
	err := p.Run(t.Context(), "testdata", env, &out, "validate", "-var", "ssh_port=22", "-var", "types=[\"t4g micro\"]", "-var", "free_tier=never", "-var", "capacity_timeout=-1s", "aws.pkr.hcl")
	for _, want := range []string{"t4g micro", "free_tier must be", "capacity_timeout"} {
		if err == nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q is not said: %v\n%s", want, err, out.String())
		}
	}
}

// What people see of the search, with the real Packer.
func TestAccAWSCapacity(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	full := func(f ec2sim.Fault) ec2sim.Fault { f.Kind = ec2sim.FaultCapacity; return f }
	tests := []struct {
		name     string
		options  stage.Options
		faults   []ec2sim.Fault
		args     []string
		says     []string
		fails    bool
		within   time.Duration // 0: however long it takes
		launches int           // -1: any number
	}{
		{
			name:   "t4g.micro is out in two zones and found in the third",
			faults: []ec2sim.Fault{full(ec2sim.Fault{AZ: "eu-central-1a", NoHint: true}), full(ec2sim.Fault{AZ: "eu-central-1b", NoHint: true})},
			args:   []string{`types=["t4g.micro"]`},
			says: []string{
				"Looking for a machine for up to 1m: 3 availability zones in eu-central-1, as t4g.micro 2 vCPU/1 GiB",
				"Attempt 1: eu-central-1a t4g.micro 2 vCPU/1 GiB: no capacity: We currently do not have sufficient t4g.micro capacity", "(500 InsufficientInstanceCapacity, request ", "Next: eu-central-1b", " left",
				"Attempt 3: eu-central-1c t4g.micro 2 vCPU/1 GiB: launched",
			},
			launches: 3,
		},
		{
			name:     "EC2 says where there is room",
			faults:   []ec2sim.Fault{full(ec2sim.Fault{AZ: "eu-central-1a"}), full(ec2sim.Fault{AZ: "eu-central-1b"})},
			args:     []string{`types=["t4g.micro"]`},
			says:     []string{"choosing eu-central-1c. (500", "Next: eu-central-1c", "Attempt 2: eu-central-1c t4g.micro 2 vCPU/1 GiB: launched"},
			launches: 2,
		},
		{
			name:     "no spot machine, one on demand",
			faults:   []ec2sim.Fault{full(ec2sim.Fault{Market: "spot"})},
			args:     []string{`types=["t4g.small"]`, `markets=["spot", "on-demand"]`},
			says:     []string{"spot: no capacity", "t4g.small 2 vCPU/2 GiB: launched"},
			launches: -1,
		},
		{
			name:     "all are out, and free later",
			faults:   []ec2sim.Fault{full(ec2sim.Fault{Until: ec2sim.Duration(4 * time.Second)})},
			says:     []string{"no capacity", "Next: ", "launched"},
			launches: -1,
		},
		{
			name:    "the free plan does not have the type",
			options: stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.FreePlan = true }},
			args:    []string{`types=["m7g.medium", "t4g.micro"]`},
			says: []string{
				"m7g.medium in eu-central-1 is not free: EC2 does not flag it as eligible for the free tier here ($0.0408 an hour on demand)",
				"The specified instance type is not eligible for Free Tier.", "the account is on the free plan", "t4g.micro 2 vCPU/1 GiB: launched",
			},
			launches: -1,
		},
		{
			name:   "nothing may cost money",
			args:   []string{`types=["m7g.medium"]`, "free_tier=require"},
			says:   []string{"nothing was started", "free_tier = \"require\" forbids m7g.medium in eu-central-1"},
			fails:  true,
			within: 40 * time.Second,
		},
		{
			name:   "a quota of zero",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 0}},
			says:   []string{"nothing was started", "the quota L-1216C47A is 0 vCPUs, 0 are in use, and this would add 2; ask for a higher quota"},
			fails:  true, within: 40 * time.Second,
		},
		{
			name:   "the time is over",
			faults: []ec2sim.Fault{full(ec2sim.Fault{})},
			args:   []string{"capacity_timeout=3s"},
			says:   []string{"last answer", "the time allowed for the search is over (capacity_timeout = \"3s\")"},
			fails:  true, within: 40 * time.Second, launches: -1,
		},
		{
			name:   "a spot machine is gone in the middle of the build",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultSpotInterrupt, Delay: ec2sim.Duration(4 * time.Second)}},
			args:   []string{`types=["t4g.micro"]`, `markets=["spot"]`, `more=["sleep 120"]`},
			says:   []string{"EC2 took it back before it was an image; try again, or ask for a machine on demand (Server.SpotInstanceTermination)"},
			fails:  true, within: 60 * time.Second, launches: 1,
		},
		{
			name:     "the reply to the launch is lost, and the machine is seen late",
			faults:   []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1}, {Kind: ec2sim.FaultInvisible, Op: "RunInstances", Delay: ec2sim.Duration(3 * time.Second), Times: 1}},
			says:     []string{"Asking again with the same token", "launched"},
			launches: -1,
		},
		{
			name:     "the reply to the launch is lost",
			faults:   []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1}},
			says:     []string{"the machine is there"},
			launches: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, tt.options)
			if err := s.AWS.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			args := []string{"-var", "copies=[]"}
			for _, a := range tt.args {
				args = append(args, "-var", a)
			}
			start := time.Now()
			said, err := onAWS(t.Context(), s, p, "aws.pkr.hcl", args...)
			t.Log(said)
			if (err != nil) != tt.fails {
				t.Fatal(err)
			}
			if d := time.Since(start); tt.within > 0 && d > tt.within {
				t.Errorf("it took %s", d)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if n := s.AWS.Cloud.CountRequests("RunInstances"); tt.launches >= 0 && n != tt.launches {
				t.Errorf("%d launches, want %d", n, tt.launches)
			}
			if left := leftOnAWS(s, said); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if n := machinesMade(s); strings.Contains(tt.name, "reply") && n != 1 {
				t.Errorf("%d machines were made", n)
			}
		})
	}
}

// machinesMade counts the machines that ever were: launches that took effect, by
// another token each, since EC2 makes one for a token.
func machinesMade(s *stage.Stage) int {
	tokens := map[string]bool{}
	for _, r := range s.AWS.Cloud.Requests() {
		if r.Op == "RunInstances" && (r.Status == 200 || r.Fault != "") {
			tokens[r.ClientToken] = true
		}
	}
	return len(tokens)
}

// Ctrl-C at any moment of a build ends it in seconds, with nothing left.
func TestAccAWSInterrupt(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, m := range []struct {
		tripwire.Moment
		method string
	}{
		{tripwire.Moment{Op: "GetCallerIdentity", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "DescribeImages", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "CreateSecurityGroup", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "RunInstances", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "RunInstances", Nth: 2}, "snapshot"},
		{tripwire.Moment{Op: "DescribeInstances", Nth: 5}, "snapshot"},
		{tripwire.Moment{Op: "StopInstances", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "CreateSnapshot", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "RegisterImage", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "CopyImage", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "CreateTags", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "TerminateInstances", Nth: 1}, "snapshot"},
		{tripwire.Moment{Op: "CreateImage", Nth: 1}, "image"},
		{tripwire.Moment{Op: "CopyImage", Nth: 1}, "image"},
	} {
		t.Run(fmt.Sprintf("%s-%d-%s", m.Op, m.Nth, m.method), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{WrapAWS: w.Wrap})
			if err := s.AWS.Cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, Times: 1, NoHint: true}); err != nil {
				t.Fatal(err)
			}
			w.Watch(s.AWS.Cloud)
			said, err := onAWS(ctx, s, p, "aws.pkr.hcl", "-var", "image_method="+m.method)
			at, pulled := w.Pulled()
			if !pulled {
				t.Fatalf("the build did not come so far: %v\n%s", err, said)
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s\n%s", d, said)
			}
			// What was finished before the interrupt may stay; it says so.
			kept := ""
			if strings.Contains(said, " is ready after ") {
				kept = said
			}
			if left := leftOnAWS(s, kept); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// Ctrl-C is obeyed while the build waits: for capacity, and for SSH.
func TestAccAWSInterruptWait(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, tt := range []struct {
		name  string
		fault ec2sim.Fault
		hang  bool
	}{
		{"for capacity", ec2sim.Fault{Kind: ec2sim.FaultCapacity}, false},
		{"for SSH", ec2sim.Fault{Kind: ec2sim.FaultCapacity, Times: 1}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			driver := &machine.Fast{Behave: func(machine.Spec) machine.Behaviour { return machine.Behaviour{Hang: tt.hang} }}
			s := stage.ForTest(t, stage.Options{Driver: driver})
			if err := s.AWS.Cloud.AddFaults(tt.fault); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			said, err := onAWS(ctx, s, p, "aws.pkr.hcl")
			if err == nil || s.AWS.Cloud.CountRequests("RunInstances") == 0 {
				t.Fatalf("%v\n%s", err, said)
			}
			if late, _ := ctx.Deadline(); time.Since(late) > 15*time.Second {
				t.Errorf("went on for %s\n%s", time.Since(late), said)
			}
			if left := leftOnAWS(s, ""); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}
