// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// begun begins a capture in the bucket of the stage, as somebody who is killed then.
func begun(t *testing.T, s *stage.Stage, expires time.Time, direct bool) (name string, c *oci.Captured) {
	t.Helper()
	bucket := &oci.Bucket{Client: buildClient(t, s), Namespace: s.Build.Namespace, Bucket: stage.BucketName}
	o := owner.NewBuild(time.Now(), time.Hour)
	o.Expires = expires
	name = oci.CaptureName("killed", o)
	c, err := bucket.Capture(t.Context(), o, name, direct, time.Hour, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Part(t.Context(), 1, []byte("some of a disk")); err != nil {
		t.Fatal(err)
	}
	return name, c
}

// buildClient signs in to the tenancy that builds.
func buildClient(t *testing.T, s *stage.Stage) *oci.Client {
	t.Helper()
	client, err := oci.NewClient(oci.Credentials{
		Tenancy: s.Build.ID, User: s.Build.UserID, Fingerprint: s.Build.Fingerprint(), KeyPEM: s.Build.PrivateKeyPEM(), Region: stage.BuildRegion,
	}, oci.Options{HTTP: s.Net.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// A build that captures removes what captures of builds that were killed left in its
// bucket: the link, the upload, the note. What goes on, and what is finished, stays.
func TestCaptureSweepsItsBucket(t *testing.T) {
	t.Parallel()
	for _, direct := range []bool{true, false} {
		s := stage.ForTest(t, stage.Options{Driver: withHelper(nil), Adjust: noImages})
		dead, _ := begun(t, s, time.Now().Add(-time.Hour), direct)
		alive, goes := begun(t, s, time.Now().Add(time.Hour), direct)
		finished, c := begun(t, s, time.Now().Add(-time.Hour), direct)
		if _, _, err := c.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		// A build that does not capture has no business there.
		if _, said, err := build(t.Context(), t, s, map[string]interface{}{"skip_create_image": true}, touch); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if left := strings.Join(s.Left(), " "); !strings.Contains(left, dead) {
			t.Errorf("it went too early: %s", left)
		}
		a, said, err := captureBuild(t.Context(), t, s, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		if !strings.Contains(said, "Leftovers of earlier builds in oci eu-frankfurt-1, removed: ") || !strings.Contains(said, "/armfree-"+strings.TrimSuffix(strings.TrimPrefix(dead, "armfree-capture-killed-"), ".oci")+"-copy-") {
			t.Error(said)
		}
		// What a workflow does after each build, whether or not it went well.
		made := a.(*ocibuild.Captured).Object
		id := strings.TrimSuffix(made[strings.LastIndexByte(made, '-')+1:], ".oci")
		r, err := sweep.Sweep{Cloud: &oci.Leftovers{Client: buildClient(t, s), Bastions: true, Buckets: true}, Rules: sweep.Rules{Builds: []string{id}}}.Run(t.Context())
		if err != nil || len(r.Removed)+len(r.Left)+len(r.UnderWay) > 0 || !strings.Contains(strings.Join(s.Left(), "\n"), made) {
			t.Errorf("the build is swept: %v, removed %v, left %v, there is %q", err, r.Removed, r.Left, s.Left())
		}
		all := strings.Join(s.Left(stage.BucketName+"/"+made), "\n")
		if strings.Contains(all, dead) || !strings.Contains(all, alive) || !strings.Contains(all, finished) {
			t.Errorf("left:\n%s", all)
		}
		if err := goes.Discard(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := s.Left(stage.BucketName+"/"+a.(*ocibuild.Captured).Object, stage.BucketName+"/"+finished); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}
