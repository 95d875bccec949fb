// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"slices"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// A sweep of an account of AWS sees decoys of each kind that it removes, and touches none.
func TestDecoysOfAWS(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	d := plantAll(t, s, "aws")
	t.Setenv("AWS_CA_BUNDLE", "") // that of the computer is for a client of its own
	client, err := ec2.SignIn(t.Context(), ec2.Credentials{Region: decoyRegion, AccessKey: s.AWS.Build.AccessKeyID, SecretKey: s.AWS.Build.SecretAccessKey, NoIMDS: true}, ec2.Options{HTTP: s.Net.Client()})
	if err != nil {
		t.Fatal(err)
	}
	at := &ec2.Leftovers{Client: client, Profiles: true, Rest: true}
	l, err := at.List(t.Context())
	if err != nil || len(l.Blind) > 0 {
		t.Fatalf("%v %v", l.Blind, err)
	}
	for _, kind := range []sweep.Kind{sweep.Instance, sweep.Volume, sweep.Group, sweep.KeyPair, sweep.Image, sweep.Snapshot, sweep.Spot, sweep.Interface, sweep.Profile, sweep.Role, sweep.Export} {
		if !slices.ContainsFunc(l.Things, func(x sweep.Thing) bool { return x.Kind == kind }) {
			t.Errorf("there is no decoy: %s", kind)
		}
	}
	r, err := sweep.Sweep{Cloud: at, Rules: sweep.Rules{Grace: sweep.DefaultGrace}}.Run(t.Context())
	if err != nil || len(r.Removed)+len(r.Left) > 0 {
		t.Errorf("removed %v, left %v: %v", r.Removed, r.Left, err)
	}
	d.check(t, s)
}
