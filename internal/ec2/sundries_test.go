// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// fakeIAM keeps roles and instance profiles by what was asked for, and answers the
// request lost without a reply, once.
type fakeIAM struct {
	mu   sync.Mutex
	has  map[string]bool
	lose string
	next http.Handler
}

func (f *fakeIAM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Host, "iam.") {
		f.next.ServeHTTP(w, r)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	q, _ := url.ParseQuery(string(body))
	op := q.Get("Action")
	makes := map[string]string{"CreateRole": "role", "PutRolePolicy": "policy", "CreateInstanceProfile": "profile", "AddRoleToInstanceProfile": "attached"}
	drops := map[string]string{"DeleteRole": "role", "DeleteRolePolicy": "policy", "DeleteInstanceProfile": "profile", "RemoveRoleFromInstanceProfile": "attached"}
	switch {
	case makes[op] != "" && f.has[makes[op]]:
		xmlError(w, 409, "EntityAlreadyExists", "is there")
		return
	case makes[op] != "":
		f.has[makes[op]] = true
	case drops[op] != "" && !f.has[drops[op]]:
		xmlError(w, 404, "NoSuchEntity", "is not there")
		return
	case op == "DeleteRole" && (f.has["policy"] || f.has["attached"]), op == "DeleteInstanceProfile" && f.has["attached"]:
		xmlError(w, 409, "DeleteConflict", "in use")
		return
	case drops[op] != "":
		delete(f.has, drops[op])
	}
	if op == f.lose {
		f.lose = ""
		panic(http.ErrAbortHandler)
	}
	name := q.Get("RoleName") + q.Get("InstanceProfileName")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><%[1]sResult><Role><Path>/</Path><RoleName>%[2]s</RoleName><RoleId>x</RoleId><Arn>a</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></Role></%[1]sResult></%[1]sResponse>`, op, name)
}

// A role and an instance profile are made for the build, and go at its end, also
// where replies are lost.
func TestTemporaryProfile(t *testing.T) {
	for _, lose := range []string{"", "CreateRole", "CreateInstanceProfile", "AddRoleToInstanceProfile", "DeleteRole", "RemoveRoleFromInstanceProfile"} {
		bubble(t, func(t *testing.T) {
			s := newSim(t, simOptions{})
			iam := &fakeIAM{has: map[string]bool{}, lose: lose, next: beside(s.Cloud)}
			s.http = wire(t, iam.ServeHTTP)
			b := s.newBuild(t, func(c *BuildConfig) { c.Policy = `{"Version":"2012-10-17"}` })
			if _, err := b.Plan(t.Context()); err != nil {
				t.Fatal(err)
			}
			p, err := b.profile(t.Context())
			if err != nil || p.Name == nil || len(iam.has) != 4 {
				t.Fatalf("%v %v %v", p, err, iam.has)
			}
			again, err := b.profile(t.Context())
			if err != nil || *again.Name != *p.Name {
				t.Error(err)
			}
			s.tidy(t, b)
			if len(iam.has) > 0 {
				t.Errorf("left: %v", iam.has)
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
			if n := len(slices.DeleteFunc(s.Left(), func(l string) bool { return !strings.HasPrefix(l, "security-group ") && !strings.HasPrefix(l, "key-pair ") })); n != 2 {
				t.Errorf("%s: %d of them in %q", op, n, s.Left())
			}
			s.tidy(t, b, machine)
			s.nothingLeft(t)
		})
	}
}
