// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// withBastion is a build that reaches its machine through a bastion in the
// private subnet.
func (s *sim) withBastion(t *testing.T, change func(*BastionConfig)) *Build {
	t.Helper()
	no := false
	return s.newBuild(t, func(c *BuildConfig) {
		c.Subnet, c.AssignPublicIP, c.UsePrivateIP = s.build.PrivateSubnetID(simRegion), &no, true
		c.Bastion = &BastionConfig{Clients: []string{"203.0.113.7/32"}, SessionTTL: 3 * time.Hour, Timeout: 10 * time.Minute}
		if change != nil {
			change(c.Bastion)
		}
	})
}

const sessionKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzfSWZvo1iVNk3Y1pUM4LTbmZ2Kxl8rU5rXyoYlN6xv"

func (s *sim) bastions() (bastions, sessions []ocisim.Resource) {
	r := s.Inventory().Tenancies[0].Regions[0]
	return r.Bastions, r.BastionSessions
}

// A bastion and a session of it, from request to removal, at the pace that the
// real ones are reported to have.
func TestBastionLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{config: func(c *ocisim.Config) {
			c.Delays = ocisim.QuickDelays()
			c.Delays.Bastion, c.Delays.Session = 90*time.Second, 20*time.Second
		}})
		b := s.withBastion(t, nil)
		ctx := t.Context()
		token := b.owner.Token("bastion")
		id, own, err := b.StartBastion(ctx, "", token)
		if err != nil || !own {
			t.Fatalf("%v, own %v", err, own)
		}
		if again, _, err := b.StartBastion(ctx, "", token); again != id || err != nil {
			t.Errorf("the same request makes another one: %s, %v", again, err)
		}
		if ids, err := b.FindBastions(ctx, token); err != nil || len(ids) != 1 || ids[0] != id {
			t.Errorf("found %q, %v", ids, err)
		}
		if ids, err := b.FindBastions(ctx, "another"); err != nil || len(ids) > 0 {
			t.Errorf("found %q, %v", ids, err)
		}
		start := time.Now()
		if err := b.AwaitBastion(ctx, id); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 90*time.Second || d > 93*time.Second {
			t.Errorf("noticed after %s", d)
		}
		to := cloud.Target{Address: "127.80.0.9", Port: 22, Key: sessionKey}
		sid, err := b.StartSession(ctx, id, to, b.owner.Token("session"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := b.AwaitSession(ctx, sid)
		if err != nil || got.User != sid || got.Host != "host.bastion.eu-frankfurt-1.oci.oraclecloud.com:22" || got.HostKey != "" || got.Ends.Sub(got.Made) != 3*time.Hour {
			t.Errorf("session %+v, %v", got, err)
		}
		if ids, err := b.FindSessions(ctx, id, b.owner.Token("session")); err != nil || len(ids) != 1 || ids[0] != sid {
			t.Errorf("found %q, %v", ids, err)
		}
		// One that is still being made is waited for, and then removed.
		early, err := b.StartSession(ctx, id, to, b.owner.Token("early"))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{early, sid, sid, "ocid1.bastionsession.oc1.fra.none"} {
			if err := b.DeleteSession(ctx, id); err != nil {
				t.Error(err)
			}
		}
		if _, left := s.bastions(); len(left) > 0 {
			t.Errorf("sessions %+v", left)
		}
		other, _, err := b.StartBastion(ctx, "", b.owner.Token("another bastion"))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{other, id, id, "ocid1.bastion.oc1.fra.none"} {
			if err := b.DeleteBastion(ctx, id); err != nil {
				t.Error(err)
			}
		}
		if left, _ := s.bastions(); len(left) > 0 {
			t.Errorf("bastions %+v", left)
		}
		if ids, err := b.FindSessions(ctx, "ocid1.bastion.oc1.fra.none", "x"); err != nil || len(ids) > 0 {
			t.Errorf("sessions of a bastion that is gone: %q, %v", ids, err)
		}
	})
}

// What goes over the wire.
func TestBastionRequests(t *testing.T) {
	bodies := map[string]map[string]any{}
	tokens := map[string]string{}
	c := wire(t, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		if r.Method == http.MethodPost {
			_ = json.NewDecoder(r.Body).Decode(&body)
			bodies[r.URL.Path], tokens[r.URL.Path] = body, r.Header.Get("Opc-Retry-Token")
		}
		switch r.URL.Path {
		case "/20210331/bastions":
			answer(w, 200, map[string]any{"id": "ocid1.bastion.1"})
		case "/20210331/bastions/ocid1.bastion.1":
			answer(w, 200, map[string]any{"id": "ocid1.bastion.1", "lifecycleState": "ACTIVE", "maxSessionTtlInSeconds": 3600})
		default:
			answer(w, 200, map[string]any{"id": "ocid1.bastionsession.1", "lifecycleState": "ACTIVE", "sessionTtlInSeconds": 3600,
				"sshMetadata":              map[string]string{"command": "ssh -i <privateKey> -N -L <localPort>:10.0.1.2:2222 -p 2022 ocid1.bastionsession.1@host.bastion.us-x.oci.example.com"},
				"bastionPublicHostKeyInfo": sessionKey})
		}
	})
	b := buildOver(c, func(cfg *BuildConfig) {
		cfg.Region = "eu-frankfurt-1"
		cfg.Bastion = &BastionConfig{Clients: []string{"203.0.113.0/24", "198.51.100.1/32"}, SessionTTL: 2 * time.Hour, Timeout: time.Minute,
			Tags: map[string]string{"team": "infra"}, DefinedTags: DefinedTags{"Operations": {"CostCenter": "42"}}}
	})
	id, own, err := b.StartBastion(t.Context(), "", "t-1")
	if err != nil || id != "ocid1.bastion.1" || !own {
		t.Fatalf("%s, %v, %v", id, own, err)
	}
	want := `{"bastionType":"STANDARD","clientCidrBlockAllowList":["203.0.113.0/24","198.51.100.1/32"],"compartmentId":"ocid1.compartment.oc1..c","definedTags":{"Operations":{"CostCenter":"42"}},"freeformTags":{"armfree":"build=b1 role=bastion expires=2033-05-18T05:33:20Z attempt=t-1","team":"infra"},"maxSessionTtlInSeconds":7200,"name":"t-1","targetSubnetId":"ocid1.subnet.oc1..s"}`
	if got, _ := json.Marshal(bodies["/20210331/bastions"]); string(got) != want || tokens["/20210331/bastions"] != "t-1" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := b.AwaitBastion(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	sid, err := b.StartSession(t.Context(), id, cloud.Target{Address: "10.0.1.2", Port: 2222, Key: sessionKey}, "t-2")
	if err != nil {
		t.Fatal(err)
	}
	// The bastion allows an hour only.
	want = `{"bastionId":"ocid1.bastion.1","displayName":"t-2","keyDetails":{"publicKeyContent":"` + sessionKey + `"},"keyType":"PUB","sessionTtlInSeconds":3600,"targetResourceDetails":{"sessionType":"PORT_FORWARDING","targetResourcePort":2222,"targetResourcePrivateIpAddress":"10.0.1.2"}}`
	if got, _ := json.Marshal(bodies["/20210331/sessions"]); string(got) != want || tokens["/20210331/sessions"] != "t-2" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	s, err := b.AwaitSession(t.Context(), sid)
	if err != nil || s.Host != "host.bastion.us-x.oci.example.com:2022" || s.User != "ocid1.bastionsession.1" || s.HostKey != sessionKey || s.Ends.Sub(s.Made) != time.Hour {
		t.Errorf("%+v, %v", s, err)
	}

	b.cfg.Bastion.ID = "ocid1.bastion.theirs"
	if id, own, err := b.StartBastion(t.Context(), "", "t-3"); id != "ocid1.bastion.theirs" || own || err != nil {
		t.Errorf("%s, %v, %v", id, own, err)
	}
	for command, want := range map[string]string{
		"": "host.bastion.eu-frankfurt-1.oci.oraclecloud.com:22",
		"ssh -i <privateKey> -N -L <localPort>:10.0.0.2:22 -p 22 s@host.bastion.a.oci.b": "host.bastion.a.oci.b:22",
		"ssh s@h.example": "h.example:22", "use PuTTY": "host.bastion.eu-frankfurt-1.oci.oraclecloud.com:22",
	} {
		if got := b.jumpHost(command); got != want {
			t.Errorf("%q leads to %s", command, got)
		}
	}
}

// Dead bastions and sessions, and users who may not remove what they made.
func TestBastionDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := "FAILED"
		c := wire(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodDelete:
				refuse(w, 404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
			case state == "":
				refuse(w, 404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
			default:
				answer(w, 200, map[string]any{"id": "x", "lifecycleState": state, "lifecycleDetails": "no address left in the subnet"})
			}
		})
		b := buildOver(c, func(cfg *BuildConfig) {
			cfg.Bastion = &BastionConfig{SessionTTL: time.Hour, Timeout: time.Minute}
		})
		ctx := t.Context()
		_, serr := b.AwaitSession(ctx, "ocid1.bastionsession.1")
		for kind, err := range map[string]error{"bastion": b.AwaitBastion(ctx, "ocid1.bastion.1"), "session": serr} {
			if err == nil || !strings.Contains(err.Error(), "open "+kind) || !strings.Contains(err.Error(), "FAILED instead of ACTIVE. no address left") {
				t.Errorf("%s: %v", kind, err)
			}
		}
		state = "CREATING"
		if err := b.AwaitBastion(ctx, "ocid1.bastion.1"); err == nil || !strings.Contains(err.Error(), `"oci_bastion: timeout"`) {
			t.Error(err)
		}
		state = "ACTIVE"
		for _, err := range []error{b.DeleteBastion(ctx, "ocid1.bastion.1"), b.DeleteSession(ctx, "ocid1.bastionsession.1")} {
			if err == nil || !strings.Contains(err.Error(), "this user may not delete it; allow it to manage bastion-family") {
				t.Error(err)
			}
		}
		state = ""
		for _, err := range []error{b.DeleteBastion(ctx, "ocid1.bastion.1"), b.DeleteSession(ctx, "ocid1.bastionsession.1")} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// Before anything is started it is seen whether there will be a way in.
func TestPlanLooksAtTheBastion(t *testing.T) {
	plan := func(t *testing.T, wrap func(http.Handler) http.Handler, change func(*sim, *BastionConfig)) (cloud.Plan, error) {
		t.Helper()
		s := newSim(t, simOptions{wrap: wrap})
		b := s.withBastion(t, func(c *BastionConfig) { c.Timeout = time.Minute })
		if change != nil {
			change(s, b.cfg.Bastion)
		}
		return b.Plan(t.Context())
	}
	made := func(s *sim, t *testing.T) string {
		b := s.withBastion(t, nil)
		id, _, err := b.StartBastion(t.Context(), "", "theirs")
		if err == nil {
			err = b.AwaitBastion(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	limit := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/services/bastion/limits/bastion-count/resourceAvailability") {
				answer(w, 200, map[string]any{"available": 0, "used": 5})
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	t.Run("a limit that is not known", func(t *testing.T) {
		if _, err := plan(t, nil, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("no room", func(t *testing.T) {
		if _, err := plan(t, limit, nil); err == nil || !strings.Contains(err.Error(), "nothing was started") || !strings.Contains(err.Error(), `the limit "bastion-count"`) {
			t.Error(err)
		}
	})
	t.Run("no room, and none is needed", func(t *testing.T) {
		if p, err := plan(t, limit, func(s *sim, c *BastionConfig) { c.ID = made(s, t) }); err != nil || strings.Contains(strings.Join(p.Notes, "\n"), "VCN") {
			t.Errorf("%v, %q", err, p.Notes)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		if _, err := plan(t, nil, func(_ *sim, c *BastionConfig) { c.ID = "ocid1.bastion.oc1.fra.none" }); err == nil || !strings.Contains(err.Error(), "a bastion belongs to one region") {
			t.Error(err)
		}
	})
	t.Run("not ACTIVE", func(t *testing.T) {
		wrap := rewrite("/20210331/bastions/", func(body string) string { return strings.Replace(body, `"ACTIVE"`, `"DELETING"`, 1) })
		if _, err := plan(t, wrap, func(s *sim, c *BastionConfig) {
			b := s.withBastion(t, nil)
			c.ID, _, _ = b.StartBastion(t.Context(), "", "theirs")
			time.Sleep(300 * time.Millisecond)
		}); err == nil || !strings.Contains(err.Error(), "is DELETING, it must be ACTIVE") {
			t.Error(err)
		}
	})
	t.Run("another VCN", func(t *testing.T) {
		wrap := rewrite("/20210331/bastions/", func(body string) string {
			return strings.Replace(body, `"targetVcnId":"`, `"targetVcnId":"x`, 1)
		})
		if p, err := plan(t, wrap, func(s *sim, c *BastionConfig) { c.ID = made(s, t) }); err != nil || !strings.Contains(strings.Join(p.Notes, "\n"), "is in another VCN") {
			t.Errorf("%v, %q", err, p.Notes)
		}
	})
}
