// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicapture

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// machines is a cloud whose plan is said beforehand.
type machines struct {
	Machines
	err   error
	until time.Time
}

func (m *machines) Plan(context.Context) (cloud.Plan, error) {
	if m.err != nil {
		return cloud.Plan{}, m.err
	}
	return cloud.Plan{Offers: make([]capacity.Offer, 1)}, nil
}
func (*machines) Origin() (id, name string) { return "ami-1", "ubuntu-noble-24.04-arm64" }
func (*machines) Beside() []string          { return nil }
func (*machines) Leftovers() []sweep.Cloud  { return nil }
func (m *machines) Extend(until time.Time)  { m.until = until }

// away is a place of one region, or two, with a bucket on the stage.
func away(t *testing.T, s *stage.Stage, bucket string, all ...*machines) (*fleet.Fleet, []*Away) {
	t.Helper()
	client, err := oci.NewClient(oci.Credentials{
		Tenancy: s.Build.ID, User: s.Build.UserID, Fingerprint: s.Build.Fingerprint(), KeyPEM: s.Build.PrivateKeyPEM(), Region: stage.BuildRegion,
	}, oci.Options{HTTP: s.Net.Client()})
	if err != nil {
		t.Fatal(err)
	}
	var places []fleet.Place
	for i, m := range all {
		places = append(places, fleet.Place{Cloud: "moon", Region: "moon-" + string(rune('1'+i)), Site: m})
	}
	places = Capturing(places, Target{
		Bucket: &oci.Bucket{Client: client, Bucket: bucket}, Option: "capture_to", Owner: owner.NewBuild(time.Now(), time.Hour),
	})
	var sites []*Away
	for _, p := range places {
		sites = append(sites, p.Site.(*Away))
	}
	return fleet.New(places...), sites
}

// What is wrong with the machines and with the bucket is said at once; what may pass, or
// does not matter elsewhere, stays what it is only if all of it is.
func TestPlan(t *testing.T) {
	refused := cloud.Refuse(errors.New("no subnet"))
	none := &cloud.NoRoom{Err: cloud.Refuse(errors.New("no quota")), Why: []error{errors.New("no quota")}}
	outage := &cloud.Outage{Err: cloud.Refuse(errors.New("no answer"))}
	for _, tt := range []struct {
		name     string
		machines error
		bucket   string // "" is the one that there is
		says     []string
		soft     bool // another place may do
	}{
		{name: "all is well"},
		{name: "no bucket", bucket: "x", says: []string{"this build cannot work", `capture_to: bucket: there is no bucket "x"`}},
		{name: "no subnet", machines: refused, says: []string{"no subnet"}},
		{name: "neither", machines: refused, bucket: "x", says: []string{"no subnet", `no bucket "x"`}},
		{name: "no room", machines: none, says: []string{"no quota"}, soft: true},
		{name: "no room and no bucket", machines: none, bucket: "x", says: []string{"no quota", `no bucket "x"`}},
		{name: "no answer", machines: outage, says: []string{"no answer"}, soft: true},
		{name: "no answer and no bucket", machines: outage, bucket: "x", says: []string{"no answer", `no bucket "x"`}},
		{name: "nobody is let in", machines: errors.New("not let in"), bucket: "x", says: []string{"not let in"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bucket := tt.bucket
			if bucket == "" {
				bucket = stage.BucketName
			}
			s := stage.ForTest(t, stage.Options{})
			_, sites := away(t, s, bucket, &machines{err: tt.machines})
			plan, err := sites[0].Plan(t.Context())
			if len(tt.says) == 0 {
				if err != nil || len(plan.Notes) != 1 || !strings.Contains(plan.Notes[0], `bucket "images" in eu-frankfurt-1`) {
					t.Errorf("%v, %+v", err, plan)
				}
				return
			}
			for _, want := range tt.says {
				if err == nil || strings.Count(err.Error(), want) != 1 {
					t.Errorf("%q is not said once: %v", want, err)
				}
			}
			var o *cloud.Outage
			var n *cloud.NoRoom
			if soft := errors.As(err, &o) || errors.As(err, &n); soft != tt.soft {
				t.Errorf("soft %t: %v", soft, err)
			}
		})
	}
}

// One of several regions looks at the bucket, and sweeps it, as that of the cloud's place.
func TestOnceForAllRegions(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	f, _ := away(t, s, "x", &machines{}, &machines{})
	_, err := f.Plan(t.Context())
	if err == nil || strings.Count(err.Error(), "no bucket") != 1 {
		t.Error(err)
	}
	left := f.Leftovers()
	if len(left) != 1 || left[0].Place() != "oci "+stage.BuildRegion {
		t.Errorf("%v", left)
	}
	if _, renews := left[0].(sweep.Renewer); renews {
		t.Error("what is in a bucket cannot be renewed")
	}
	if got := sweep.Commands("x", "b", left); len(got) != 1 || got[0] != "x sweep --build b --cloud oci --region eu-frankfurt-1" {
		t.Errorf("%q", got)
	}
}

// What was seen of the bucket is for the regions of one plan. The next one (-on-error=ask)
// looks again, also in another order.
func TestNextPlanLooksAgain(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	who := s.Production // who has no bucket
	client, err := oci.NewClient(oci.Credentials{
		Tenancy: who.ID, User: who.UserID, Fingerprint: who.Fingerprint(), KeyPEM: who.PrivateKeyPEM(), Region: stage.ProductionRegion,
	}, oci.Options{HTTP: s.Net.Client()})
	if err != nil {
		t.Fatal(err)
	}
	places := Capturing([]fleet.Place{
		{Cloud: "moon", Region: "moon-1", Site: &machines{}}, {Cloud: "moon", Region: "moon-2", Site: &machines{}}, {Cloud: "moon", Region: "moon-3", Site: &machines{}},
	}, Target{Bucket: &oci.Bucket{Client: client, Bucket: stage.BucketName}, Option: "capture_to", Owner: owner.NewBuild(time.Now(), time.Hour)})
	forward := fleet.New(places...)
	slices.Reverse(places)
	for i, tt := range []struct {
		plan  func(context.Context) (cloud.Plan, error)
		fails bool
	}{{forward.Plan, true}, {forward.Plan, true}, {fleet.New(places...).Plan, true}, {forward.Plan, false}, {fleet.New(places...).Plan, false}} {
		if i == 3 {
			if err := s.MakeBucket(t.Context(), who, stage.ProductionRegion); err != nil {
				t.Fatal(err)
			}
		}
		plan, err := tt.plan(t.Context())
		if (err != nil) != tt.fails || err != nil && strings.Count(err.Error(), "no bucket") != 1 || err == nil && len(plan.Offers) != 3 {
			t.Errorf("plan %d: %d offers, %v", i, len(plan.Offers), err)
		}
		if n := s.Cloud.CountRequests("HeadBucket"); n != i+1 {
			t.Errorf("plan %d: the bucket was asked for %d times in all", i, n)
		}
	}
}

// What is begun is needed for as long as the build was extended to, and says of which
// system it is.
func TestBeginCapture(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	m := &machines{}
	_, sites := away(t, s, stage.BucketName, m)
	a := sites[0]
	if _, err := a.Plan(t.Context()); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(50 * time.Hour).UTC().Truncate(time.Second)
	a.Extend(until)
	a.Extend(until.Add(-time.Hour)) // never back
	c, err := a.BeginCapture(t.Context(), oci.CaptureName("x", a.to.Owner), false, time.Hour, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, b := range s.Cloud.Inventory().Tenancies[0].Regions[0].Buckets {
		for _, o := range b.Objects {
			by, role, err := owner.ParseName(o.Name)
			found = found || err == nil && role == owner.RoleCopy && by.ID == a.to.Owner.ID && by.Expires.Equal(until)
		}
	}
	if !found || m.until.IsZero() {
		t.Errorf("no note says that it is needed until %s: %q", until, s.Left())
	}
	if err := c.Discard(t.Context()); err != nil {
		t.Error(err)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if name, version := a.System(); name != "Canonical Ubuntu" || version != "24.04" || a.BaseImage() != "ami-1" {
		t.Errorf("%s %s of %s", name, version, a.BaseImage())
	}
	if err := a.TagImage(map[string]string{"a": "b"}); err != nil || a.ImageTag("a") != "b" || a.ImageTag("c") != "" {
		t.Error(err)
	}
}

// down is an Object Storage that nobody reaches.
type down struct{ http.RoundTripper }

func (d down) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Host, "objectstorage") {
		return d.RoundTripper.RoundTrip(r)
	}
	body := `{"code":"ServiceUnavailable","message":"x"}`
	return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// Nothing is launched in any region while nobody can look at the bucket.
func TestBucketIsNotReached(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	synctest.Test(t, func(t *testing.T) { // it is asked again and again
		client, err := oci.NewClient(oci.Credentials{
			Tenancy: s.Build.ID, User: s.Build.UserID, Fingerprint: s.Build.Fingerprint(), KeyPEM: s.Build.PrivateKeyPEM(), Region: stage.BuildRegion,
		}, oci.Options{HTTP: &http.Client{Transport: down{}}})
		if err != nil {
			t.Fatal(err)
		}
		places := Capturing([]fleet.Place{{Cloud: "moon", Region: "moon-1", Site: &machines{}}, {Cloud: "moon", Region: "moon-2", Site: &machines{}}}, Target{
			Bucket: &oci.Bucket{Client: client, Bucket: stage.BucketName}, Option: "capture_to", Owner: owner.NewBuild(time.Now(), time.Hour),
		})
		if plan, err := fleet.New(places...).Plan(t.Context()); err == nil || len(plan.Offers) > 0 || !strings.Contains(err.Error(), "capture_to") {
			t.Errorf("%d offers, %v", len(plan.Offers), err)
		}
	})
}
