// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// chaosCloud is a whole build and copy in one cloud.
type chaosCloud struct {
	name   string
	images int // that it makes
	build  func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error)
	sweep  func(t *testing.T, s *stage.Stage) string
	ops    func(s *stage.Stage) []string
	sample int // how many runs there are unless all are wanted
	// captures says that the disk is captured in place of an image; inside, that things go
	// wrong at steps on the machine and not at requests.
	captures, inside bool
}

// moments is what things go wrong at.
func (c chaosCloud) moments() string {
	if c.inside {
		return "steps on the machine"
	}
	return "requests"
}

// mishaps are those that can happen at its moments.
func (c chaosCloud) mishaps() []mishap {
	return slices.DeleteFunc(mishaps(), func(m mishap) bool { return c.inside && m.signal == nil })
}

// stage is where it takes place. step is told what comes to pass on a machine whose disk
// is captured.
func (c chaosCloud) stage(t *testing.T, o stage.Options, step func(string)) (s *stage.Stage) {
	t.Helper()
	if c.captures {
		o.Driver = capturesBy(func() *http.Client { return s.Net.Client() }, step)
		o.Adjust = func(b, _ *ocisim.Tenancy) { b.Limits["custom-image-count"] = 0 }
	}
	s = stage.ForTest(t, o)
	return s
}

// capturesBy is a machine whose helper uploads by itself, and which tells its steps: each
// command that begins and ends, the job of the helper, and its first look at the disk.
func capturesBy(client func() *http.Client, step func(string)) *machine.Fast {
	d := capturesOnline(client, step)
	d.Watch = func(e machine.Event) {
		if e.What == machine.EventBegin || e.What == machine.EventEnd {
			step("a command " + map[machine.EventKind]string{machine.EventBegin: "begins", machine.EventEnd: "ends"}[e.What])
		}
	}
	return d
}

func chaosClouds() []chaosCloud {
	sweepOCI := func(t *testing.T, s *stage.Stage) (said string) {
		for _, of := range [][]string{nil, {"--env-prefix", "PROD_"}} {
			code, text := sweepCommand(t.Context(), t, s.Env(), append([]string{"--cloud", "oci"}, of...)...)
			said += fmt.Sprintf("exit code %d\n%s", code, text)
		}
		return said
	}
	// What is put by a link is a machine's own in a capture, and else the cloud's.
	opsOf := func(links bool) func(s *stage.Stage) []string {
		return func(s *stage.Stage) (ops []string) {
			for _, r := range s.Cloud.Requests() {
				if r.Tenancy != "" || links && (r.Op == "PutObjectByPAR" || r.Op == "UploadPartByPAR") {
					ops = append(ops, r.Op)
				}
			}
			return ops
		}
	}
	capture := func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error) {
		return packerBuild(t.Context(), p, append(s.Env(), mark), "capture.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
	}
	return []chaosCloud{
		{name: "capture", images: 2, sample: 12, captures: true, build: capture, sweep: sweepOCI, ops: opsOf(true)},
		{name: "inside", images: 2, sample: 8, captures: true, inside: true, build: capture, sweep: sweepOCI, ops: opsOf(true)},
		{
			name: "oci", images: 2, sample: 18, sweep: sweepOCI, ops: opsOf(false),
			build: func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error) {
				return packerBuild(t.Context(), p, append(s.Env(), mark), "pipeline.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
			},
		},
		{
			name: "aws", images: 2, sample: 18,
			build: func(t *testing.T, s *stage.Stage, p *runpacker.Packer, mark string) (string, error) {
				return packerBuild(t.Context(), p, append(s.Env(), "AWS_SUBNET_ID=", mark), "aws.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()))
			},
			sweep: func(t *testing.T, s *stage.Stage) string {
				code, text := sweepCommand(t.Context(), t, s.Env(), "--cloud", "aws", "--region", "us-east-1,us-west-2,eu-central-1,eu-west-1")
				return fmt.Sprintf("exit code %d\n%s", code, text)
			},
			ops: func(s *stage.Stage) (ops []string) {
				for _, r := range s.AWS.Cloud.Requests() {
					if r.Account != "" {
						ops = append(ops, r.Op)
					}
				}
				return ops
			},
		},
	}
}
