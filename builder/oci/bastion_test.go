// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// private is a template for a machine in the private subnet, reached through a
// bastion.
func private(s *stage.Stage, block, more map[string]interface{}) map[string]interface{} {
	in := map[string]interface{}{
		"subnet_ocid": s.Build.PrivateSubnetID(stage.BuildRegion), "assign_public_ip": false,
		"oci_bastion": map[string]interface{}{"timeout": "20s"},
	}
	maps.Copy(in["oci_bastion"].(map[string]interface{}), block)
	maps.Copy(in, more)
	return in
}

// uname is a provisioner that needs the machine.
func uname(ctx context.Context, comm packersdk.Communicator) error {
	var out bytes.Buffer
	cmd := &packersdk.RemoteCmd{Command: "uname -m", Stdout: &out}
	if err := comm.Start(ctx, cmd); err != nil {
		return err
	}
	if status := cmd.Wait(); status != 0 || out.String() != "aarch64\n" {
		return fmt.Errorf("status %d, says %q", status, out.String())
	}
	return nil
}

// bastionClient is the owner of the build tenancy.
func bastionClient(t *testing.T, s *stage.Stage) bastion.BastionClient {
	t.Helper()
	c, err := bastion.NewBastionClientWithConfigurationProvider(common.NewRawConfigurationProvider(
		s.Build.ID, s.Build.UserID, stage.BuildRegion, s.Build.Fingerprint(), s.Build.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = s.Net.Client()
	return c
}

// theirs makes a bastion that stays.
func theirs(t *testing.T, s *stage.Stage, blocks ...string) string {
	t.Helper()
	c := bastionClient(t, s)
	r, err := c.CreateBastion(t.Context(), bastion.CreateBastionRequest{CreateBastionDetails: bastion.CreateBastionDetails{
		BastionType: common.String("STANDARD"), CompartmentId: &s.Build.CompartmentID, Name: common.String("theirs"),
		TargetSubnetId: common.String(s.Build.PrivateSubnetID(stage.BuildRegion)), ClientCidrBlockAllowList: blocks, MaxSessionTtlInSeconds: common.Int(3600),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		g, err := c.GetBastion(t.Context(), bastion.GetBastionRequest{BastionId: r.Id})
		if err != nil {
			t.Fatal(err)
		}
		if g.LifecycleState == bastion.BastionLifecycleStateActive {
			return *r.Id
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the bastion never becomes ACTIVE")
	return ""
}

// sessions are those that exist.
func sessions(s *stage.Stage) []ocisim.Resource {
	return s.Cloud.Inventory().Tenancies[0].Regions[0].BastionSessions
}

func TestThroughBastion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		block    map[string]interface{}
		more     map[string]interface{}
		switches ocisim.Switches
		says     []string
	}{
		{name: "made for the build", says: []string{"Bastion ocid1.bastion.", "Deleting bastion ocid1.bastion.", "is open for 3h"}},
		{name: "only this computer", block: map[string]interface{}{"client_cidr_blocks": []string{"127.0.0.0/8"}, "session_ttl": "30m"}, says: []string{"is open for 30m"}},
		{name: "with a key of its own", more: map[string]interface{}{"temporary_key_pair_type": "rsa", "temporary_key_pair_bits": 2048}},
		{name: "a jump host that says its key and is late", switches: ocisim.Switches{BastionSaysHostKey: true, BastionSessionsLate: true}},
		{name: "without assign_public_ip", more: map[string]interface{}{"assign_public_ip": nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{Switches: tt.switches})
			a, said, err := build(t.Context(), t, s, private(s, tt.block, tt.more), func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
				at := s.Cloud.Inventory().Tenancies[0].Regions[0]
				if len(at.Bastions) != 1 || !strings.Contains(at.Bastions[0].FreeformTags["armfree"], "role=bastion expires=") || len(at.BastionSessions) != 1 {
					t.Errorf("bastions %+v, sessions %+v", at.Bastions, at.BastionSessions)
				}
				if err := uname(ctx, comm); err != nil {
					return err
				}
				return touch(ctx, nil, comm)
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			for _, want := range append(tt.says, "127.0.0.1:", "Opening a way to ocid1.instance.") {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			if left := s.Left(a.Id()); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// A bastion that exists is used and stays; its own limit for sessions counts.
func TestThroughTheirBastion(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	id := theirs(t, s, "127.0.0.1/32")
	a, said, err := build(t.Context(), t, s, private(s, map[string]interface{}{"bastion_ocid": id}, nil), nil)
	if err != nil || !strings.Contains(said, "is open for 1h") {
		t.Fatalf("%v\n%s", err, said)
	}
	if left := s.Left(a.Id(), id); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
	if n := len(s.Left(a.Id())); n != 1 || s.Cloud.CountRequests("CreateBastion") != 1 || s.Cloud.CountRequests("DeleteBastion") != 0 {
		t.Errorf("the bastion was not left alone: %q", s.Left(a.Id()))
	}
}

// In an additional region a bastion is made, whatever is named for the first.
func TestBastionInAnotherRegion(t *testing.T) {
	t.Parallel()
	const other = "uk-london-1"
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{other}})
	id := theirs(t, s, "0.0.0.0/0")
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Region: stage.BuildRegion}); err != nil {
		t.Fatal(err)
	}
	a, said, err := build(t.Context(), t, s, private(s, map[string]interface{}{"bastion_ocid": id, "client_cidr_blocks": []string{"127.0.0.0/8"}}, map[string]interface{}{
		"additional_region": []map[string]interface{}{{"region": other, "subnet_ocid": s.Build.PrivateSubnetID(other), "base_image_ocid": s.BaseImageIn(other)}},
	}), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if left := s.Left(a.Id(), id); a.State("region") != other || len(left) > 0 {
		t.Errorf("in %v, left behind: %q\n%s", a.State("region"), left, said)
	}
}

// A session ends in the middle of provisioning, as each does after at most three
// hours: what comes next goes through another one.
func TestSessionEndsInTheMiddle(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	a, said, err := build(t.Context(), t, s, private(s, nil, nil), func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		c := bastionClient(t, s)
		for n := range 3 {
			if err := uname(ctx, comm); err != nil {
				return fmt.Errorf("command %d: %w", n, err)
			}
			now := sessions(s)
			if len(now) != 1 {
				t.Errorf("sessions: %+v", now)
			}
			if _, err := c.DeleteSession(ctx, bastion.DeleteSessionRequest{SessionId: &now[0].ID}); err != nil {
				return err
			}
			for len(sessions(s)) > 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
		return touch(ctx, nil, comm)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if n := s.Cloud.CountRequests("CreateSession"); n != 4 {
		t.Errorf("%d sessions, want 4", n)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}

// A command that outlives its session is broken off, with a clear sentence.
func TestCommandOutlivesSession(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	_, said, err := build(t.Context(), t, s, private(s, nil, nil), func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		cmd := &packersdk.RemoteCmd{Command: "sleep 600"}
		if err := comm.Start(ctx, cmd); err != nil {
			return err
		}
		if _, err := bastionClient(t, s).DeleteSession(ctx, bastion.DeleteSessionRequest{SessionId: &sessions(s)[0].ID}); err != nil {
			return err
		}
		status := cmd.Wait()
		if status != packersdk.CmdDisconnect {
			t.Errorf("status %d", status)
		}
		time.Sleep(100 * time.Millisecond)
		return fmt.Errorf("status %d", status)
	})
	if err == nil || !strings.Contains(said, "A command was broken off: the way through the bastion ended meanwhile: a session lasts 3h (session_ttl, at most 3h)") {
		t.Fatalf("%v\n%s", err, said)
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}

func TestBastionBadDays(t *testing.T) {
	t.Parallel()
	const create, session = "CreateBastion", "CreateSession"
	tests := []struct {
		name   string
		faults []ocisim.Fault
		block  map[string]interface{}
		more   map[string]interface{}
		stage  stage.Options
		says   []string
		fails  bool
		their  []string // the blocks of a bastion that exists
	}{
		{
			name: "the user may make no bastion", faults: []ocisim.Fault{unreadable(create)}, fails: true,
			says: []string{"this user may not make a bastion in subnet ocid1.subnet.", "manage bastion-family", "use virtual-network-family", "bastion_ocid"},
		},
		{
			name: "the user may open no session", faults: []ocisim.Fault{unreadable(session)}, fails: true,
			says: []string{"this user may not open a session of bastion ocid1.bastion.", "manage bastion-family"},
		},
		{
			name: "no more bastions", stage: stage.Options{Adjust: func(build, _ *ocisim.Tenancy) { build.Limits["bastion-count"] = 0 }}, fails: true,
			says: []string{"may have no more bastions in eu-frankfurt-1", "bastion-count", "bastion_ocid"},
		},
		{
			name: "no more sessions", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: session, Status: 400, Code: "LimitExceeded", Message: "20 sessions already"}}, fails: true,
			says: []string{"may have no more sessions", "use another bastion"},
		},
		{name: "502 after the bastion took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: create, Status: 502, Times: 1}}},
		{name: "the connection breaks after the bastion took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultCutAfterEffect, Op: create, Times: 1}}},
		{name: "502 after the session took effect", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: session, Status: 502, Times: 1}}},
		{name: "a malformed header on everything about bastions", faults: []ocisim.Fault{
			{Kind: ocisim.FaultMalformedHeader, Op: create}, {Kind: ocisim.FaultMalformedHeader, Op: session},
			{Kind: ocisim.FaultMalformedHeader, Op: "GetSession"}, {Kind: ocisim.FaultMalformedHeader, Op: "GetBastion"},
		}},
		{name: "no reply is ever seen to a request for a bastion", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: create, Status: 502}}, block: map[string]interface{}{"timeout": "1s"}, says: []string{"was lost, but the bastion is there"}},
		{name: "no reply is ever seen to a request for a session", faults: []ocisim.Fault{{Kind: ocisim.FaultStatusAfterEffect, Op: session, Status: 502}}, block: map[string]interface{}{"timeout": "1s"}, says: []string{"was lost, but the session of a bastion is there"}},
		{
			name: "no reply is seen, and the list fails", block: map[string]interface{}{"timeout": "1s"}, fails: true,
			faults: []ocisim.Fault{
				{Kind: ocisim.FaultStatusAfterEffect, Op: create, Status: 502},
				{Kind: ocisim.FaultStatus, Op: "ListBastions", Status: 404, Code: "NotAuthorizedOrNotFound", Message: "no", Skip: 1, Times: 1},
			},
			says: []string{"the reply to the request for a new bastion was lost", "cannot be looked up"},
		},
		{name: "throttled", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: create, Status: 429, Code: "TooManyRequests", Message: "slow down", Times: 1}, {Kind: ocisim.FaultStatus, Op: session, Status: 429, Code: "TooManyRequests", Message: "slow down", Times: 1}}},
		{name: "a bastion that is slow to go", faults: []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: "DeleteBastion", Status: 409, Code: "IncorrectState", Message: "being updated", Times: 2}, {Kind: ocisim.FaultStatus, Op: "DeleteSession", Status: 500, Code: "InternalError", Message: "no", Times: 2}}},
		{
			name: "a bastion that is never made", faults: []ocisim.Fault{{Kind: ocisim.FaultSlow, Op: create, State: "CREATING", Delay: ocisim.Duration(3 * time.Second)}}, fails: true,
			block: map[string]interface{}{"timeout": "1s"}, says: []string{"timed out after 1s waiting for bastion ocid1.bastion.", "to become ACTIVE (the limit is the option \"oci_bastion: timeout\")"},
		},
		{
			name: "nobody is let in from here", block: map[string]interface{}{"client_cidr_blocks": []string{"203.0.113.0/24"}, "timeout": "2s"}, fails: true,
			says: []string{"the jump host host.bastion.eu-frankfurt-1.oci.oraclecloud.com:22", "\"oci_bastion: timeout\"", "client_cidr_blocks"},
		},
		{
			name: "their bastion lets nobody in from here", their: []string{"203.0.113.0/24"}, block: map[string]interface{}{"timeout": "2s"}, fails: true,
			says: []string{"its CIDR block allowlist"},
		},
		{
			name: "no such bastion", block: map[string]interface{}{"bastion_ocid": "ocid1.bastion.oc1.eu-frankfurt-1.none"}, fails: true,
			says: []string{"nothing was started", "there is no bastion ocid1.bastion.oc1.eu-frankfurt-1.none in eu-frankfurt-1 that this user may see"},
		},
		{
			name: "the machine has another port", more: map[string]interface{}{"ssh_port": 2222, "ssh_timeout": "2s"}, fails: true,
			says: []string{"The jump host does not reach", "Connection refused", "ssh_timeout"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, tt.stage)
			block := map[string]interface{}{}
			maps.Copy(block, tt.block)
			keep := ""
			if tt.their != nil {
				keep = theirs(t, s, tt.their...)
				block["bastion_ocid"] = keep
			}
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			a, said, err := build(t.Context(), t, s, private(s, block, tt.more), nil)
			if (err != nil) != tt.fails {
				t.Fatalf("error: %v\n%s", err, said)
			}
			image := ""
			if err != nil {
				said += err.Error()
			} else {
				image = a.Id()
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			if left := s.Left(image, keep); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
		})
	}
}

// A build that is cancelled at any request about bastions ends soon, with
// nothing left.
func TestCancelAtTheBastion(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	_, said, err := build(t.Context(), t, s, private(s, nil, nil), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	found := 0
	for _, m := range tripwire.Moments(s.Cloud.Requests(), func(r ocisim.Request) string { return r.Op }) {
		if !strings.Contains(m.Op, "Bastion") && !strings.Contains(m.Op, "Session") {
			continue
		}
		found++
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: cancel}
			s := stage.ForTest(t, stage.Options{Wrap: w.Wrap})
			w.Watch(s.Cloud)
			a, said, err := build(ctx, t, s, private(s, nil, nil), nil)
			keep := ""
			if err == nil {
				keep = a.Id() // cancelled while it tidied up: too late to matter
			}
			if left := s.Left(keep); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			at, ok := w.Pulled()
			if !ok {
				t.Fatal("the build did not come so far")
			}
			if d := time.Since(at); d > 20*time.Second {
				t.Errorf("went on for %s\n%s", d, said)
			}
		})
	}
	if found < 8 {
		t.Errorf("%d moments only", found)
	}
}

func TestBastionOptions(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{})
	for name, tt := range map[string]struct {
		block, more map[string]interface{}
		want        string
	}{
		"public address":    {nil, map[string]interface{}{"assign_public_ip": true}, "oci_bastion: assign_public_ip must be false"},
		"ssh_host":          {nil, map[string]interface{}{"ssh_host": "10.0.0.1"}, "oci_bastion and ssh_host exclude each other"},
		"ssh_bastion_host":  {nil, map[string]interface{}{"ssh_bastion_host": "b", "ssh_bastion_username": "u", "ssh_bastion_password": "p"}, "oci_bastion and ssh_bastion_host exclude each other"},
		"ssh_proxy_host":    {nil, map[string]interface{}{"ssh_proxy_host": "b"}, "oci_bastion and ssh_proxy_host exclude each other"},
		"no communicator":   {nil, map[string]interface{}{"communicator": "none"}, "oci_bastion: communicator must be \"ssh\", it is \"none\""},
		"winrm":             {nil, map[string]interface{}{"communicator": "winrm", "winrm_username": "u"}, "oci_bastion: communicator must be \"ssh\""},
		"no bastion":        {map[string]interface{}{"bastion_ocid": "ocid1.subnet.x"}, nil, "oci_bastion: bastion_ocid must be an OCID that begins with ocid1.bastion"},
		"two lists":         {map[string]interface{}{"bastion_ocid": "ocid1.bastion.x", "client_cidr_blocks": []string{"0.0.0.0/0"}}, nil, "has a list of its own"},
		"an address":        {map[string]interface{}{"client_cidr_blocks": []string{"10.0.0.1"}}, nil, "must be blocks of IPv4 addresses"},
		"IPv6":              {map[string]interface{}{"client_cidr_blocks": []string{"::/0"}}, nil, "must be blocks of IPv4 addresses"},
		"not the beginning": {map[string]interface{}{"client_cidr_blocks": []string{"10.0.0.1/8"}}, nil, "that would be 10.0.0.0/8"},
		"too many":          {map[string]interface{}{"client_cidr_blocks": strings.Split(strings.Repeat("10.0.0.0/8 ", 21)[:21*11-1], " ")}, nil, "OCI allows 20 blocks, there are 21"},
		"a short session":   {map[string]interface{}{"session_ttl": "1m"}, nil, "session_ttl must be from 30m to 3h, it is 1m0s"},
		"a long session":    {map[string]interface{}{"session_ttl": "4h"}, nil, "session_ttl must be from 30m to 3h"},
		"our tag":           {map[string]interface{}{"tags": map[string]string{"armfree": "x"}}, nil, "oci_bastion: tags: the key \"armfree\""},
		"no JSON":           {map[string]interface{}{"defined_tags_json": "x"}, nil, "oci_bastion: defined_tags_json must be a JSON object"},
		"tags of theirs":    {map[string]interface{}{"bastion_ocid": "ocid1.bastion.x", "tags": map[string]string{"a": "b"}}, nil, "names one that exists and is left as it is"},
		"no time":           {map[string]interface{}{"timeout": "-1s"}, nil, "timeout must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			in := settings(s)
			maps.Copy(in, private(s, tt.block, tt.more))
			_, err := new(Config).Prepare(in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	in := settings(s)
	maps.Copy(in, map[string]interface{}{"oci_bastion": map[string]interface{}{}, "assign_public_ip": nil})
	c := new(Config)
	if _, err := c.Prepare(in); err != nil || c.Bastion == nil || c.Bastion.SessionTTL != 3*time.Hour || !c.AssignPublicIP.False() || !c.UsePrivateIP {
		t.Errorf("an empty block: %v, %+v", err, c.Bastion)
	}
}
