// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// A role and an instance profile are made for the build, and go at its end, also
// where replies are lost.
func TestTemporaryProfile(t *testing.T) {
	for _, lose := range []string{
		"", "CreateRole", "PutRolePolicy", "CreateInstanceProfile", "AddRoleToInstanceProfile",
		"DeleteRole", "DeleteRolePolicy", "DeleteInstanceProfile", "RemoveRoleFromInstanceProfile",
	} {
		bubble(t, func(t *testing.T) {
			o := simOptions{}
			if lose != "" {
				o = faults(ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: lose, Times: 1})
			}
			s := newSim(t, o)
			b := s.newBuild(t, func(c *BuildConfig) {
				c.Policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
			})
			machine := s.machine(t, b)
			i, err := b.instance(t.Context(), machine)
			if err != nil || i.IamInstanceProfile == nil {
				t.Errorf("%s: %v %v", lose, i.IamInstanceProfile, err)
			}
			s.tidy(t, b, machine)
			s.nothingLeft(t)
			for op, want := range map[string]int{"CreateRole": 1, "DeleteRole": 1, "DeleteInstanceProfile": 1} {
				if n := s.CountRequests(op); n < want {
					t.Errorf("%s: %d requests", op, n)
				}
			}
		})
	}
}

// Groups and key pairs that are made beside a machine, when replies are lost.
func TestLostSundries(t *testing.T) {
	for _, op := range []string{"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair", "DeleteSecurityGroup", "DeleteKeyPair", "TerminateInstances"} {
		bubble(t, func(t *testing.T) {
			s := newSim(t, faults(ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: op, Times: 1}))
			b := s.newBuild(t, func(c *BuildConfig) {
				c.ImportKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8p3ylwUKmHn2HsDTjXlmQRUUN3cbJXsUb1Wk4cO2oq x"
			})
			machine := s.machine(t, b)
			if n := len(slices.DeleteFunc(s.Left(), func(l string) bool {
				return !strings.HasPrefix(l, "security-group ") && !strings.HasPrefix(l, "key-pair ")
			})); n != 2 {
				t.Errorf("%s: %d of them in %q", op, n, s.Left())
			}
			s.tidy(t, b, machine)
			s.nothingLeft(t)
		})
	}
}

// A security group that is in use when no machine is known any more is the proof of
// one that no list has shown so far.
func TestStrayMachine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, faults(
			ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1},
			ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: "RunInstances", Delay: ec2sim.Duration(3 * time.Minute)}))
		b := s.newBuild(t, nil)
		plan, err := b.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		token := b.owner.Token("launch")
		if _, err := b.Launch(t.Context(), plan.Offers[0], token); !lost(err) {
			t.Fatal(err)
		}
		if ids, err := b.Find(t.Context(), token); err != nil || len(ids) > 0 {
			t.Fatal(ids, err)
		}
		s.tidy(t, b)
		s.nothingLeft(t)
		checkText(t, s.text(), []string{"which a launch made that was not confirmed"}, nil)
	})
}

// A machine that is asked for long after the plan was made lets in whom this
// computer is by then.
func TestCallerHasMoved(t *testing.T) {
	const first, later = "203.0.113.7", "203.0.113.8"
	for _, after := range []time.Duration{time.Minute, time.Hour} {
		bubble(t, func(t *testing.T) {
			now := first
			s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(checkIP, "https://"+r.Host) {
						_, _ = io.WriteString(w, now+"\n")
						return
					}
					next.ServeHTTP(w, r)
				})
			}})
			b := s.newBuild(t, nil)
			plan, err := b.Plan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			now = later
			time.Sleep(after)
			id, err := b.Launch(t.Context(), plan.Offers[0], b.owner.Token("launch"))
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.describeSecurityGroups(t.Context(), &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("group-name", b.owner.Name(owner.RoleGroup))}})
			if err != nil {
				t.Fatal(err)
			}
			want := later + "/32"
			if after < callerAge {
				want = first + "/32"
			}
			if got := r.SecurityGroups[0].IpPermissions[0].IpRanges; len(got) != 1 || *got[0].CidrIp != want {
				t.Errorf("after %s: %v\n%s", after, got, s.text())
			}
			s.tidy(t, b, id)
			s.nothingLeft(t)
		})
	}
}
