// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// The block as templates write it: an empty one counts, and none is none.
func TestBastionBlock(t *testing.T) {
	for _, tt := range []struct {
		name, hcl string
		json      map[string]interface{}
		want      bool
		ttl       time.Duration
	}{
		{name: "none", hcl: ""},
		{name: "empty", hcl: "oci_bastion {}", want: true, ttl: 3 * time.Hour},
		{name: "full", hcl: "oci_bastion {\n bastion_ocid = \"ocid1.bastion.oc1..b\"\n session_ttl = \"45m\"\n timeout = \"1m\"\n}", want: true, ttl: 45 * time.Minute},
		{name: "blocks", hcl: "oci_bastion {\n client_cidr_blocks = [\"203.0.113.7/32\"]\n}", want: true, ttl: 3 * time.Hour},
		{name: "JSON, empty", json: map[string]interface{}{"oci_bastion": map[string]interface{}{}}, want: true, ttl: 3 * time.Hour},
		{name: "JSON, a list as text", json: map[string]interface{}{"oci_bastion": map[string]interface{}{"client_cidr_blocks": "10.0.0.0/8,11.0.0.0/8", "session_ttl": "1h"}}, want: true, ttl: time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := good(t)
			delete(in, "assign_public_ip")
			maps.Copy(in, tt.json)
			b := new(Builder)
			raws := []interface{}{in}
			if tt.json == nil {
				file, diags := hclparse.NewParser().ParseHCL([]byte(tt.hcl), "t.hcl")
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				value, diags := hcldec.Decode(file.Body, b.ConfigSpec(), nil)
				if diags.HasErrors() {
					t.Fatal(diags)
				}
				raws = append(raws, value)
			}
			c := new(Config)
			if _, err := c.Prepare(raws...); err != nil {
				t.Fatal(err)
			}
			if got := c.Bastion; (got != nil) != tt.want || got != nil && got.SessionTTL != tt.ttl {
				t.Errorf("got %+v", got)
			}
			for _, r := range c.builds() {
				if (r.Bastion != nil) != tt.want || tt.want && (r.AssignPublicIP == nil || *r.AssignPublicIP || !r.UsePrivateIP || len(r.Bastion.Clients) == 0) {
					t.Errorf("the adapter gets %+v", r.Bastion)
				}
			}
		})
	}
}

// The machine costs money and goes first, the bastion costs nothing and takes
// long.
func TestMachineGoesBeforeBastion(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	a, said, err := build(t.Context(), t, s, private(s, nil, map[string]interface{}{"ssh_pin_host_key": true}), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var order []string
	for _, r := range s.Cloud.Requests() {
		if strings.HasPrefix(r.Op, "Delete") && strings.Contains(r.Op, "ssion") || r.Op == "DeleteBastion" || r.Op == "TerminateInstance" {
			order = append(order, r.Op)
		}
	}
	if want := []string{"DeleteSession", "TerminateInstance", "DeleteBastion"}; !slices.Equal(order, want) {
		t.Errorf("removed in the order %q, want %q", order, want)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A build that is cancelled while nothing is requested ends at once, too.
func TestCancelOnTheWay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		block map[string]interface{}
		when  string // this is said
		hook  hook
	}{
		{name: "while a command runs", when: "a command runs", hook: func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
			cmd := &packersdk.RemoteCmd{Command: "sleep 600"}
			if err := comm.Start(ctx, cmd); err != nil {
				return err
			}
			ui.Say("a command runs")
			cmd.Wait()
			return nil
		}},
		{name: "while it waits to be let in", when: "is open for", block: map[string]interface{}{"client_cidr_blocks": []string{"203.0.113.0/24"}}},
		{name: "while a bastion is made", when: "is being made"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, stage.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			in := settings(s)
			maps.Copy(in, private(s, tt.block, nil))
			b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
			if _, _, err := b.Prepare(in); err != nil {
				t.Fatal(err)
			}
			var out output
			var at time.Time
			go func() {
				for ctx.Err() == nil && !strings.Contains(out.String(), tt.when) {
					time.Sleep(5 * time.Millisecond)
				}
				at = time.Now()
				cancel()
			}()
			h := tt.hook
			if h == nil {
				h = touch
			}
			_, err := b.Run(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, h)
			if err == nil || ctx.Err() == nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			if d := time.Since(at); d > 10*time.Second {
				t.Errorf("went on for %s\n%s", d, out.String())
			}
			if left := s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, out.String())
			}
		})
	}
}

// With -on-error=ask the way can be opened again, and the bastion is there
// already.
func TestAskAndRetryTheWay(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	if err := s.Cloud.AddFaults(
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "CreateSession", Status: 400, Code: "InvalidParameter", Message: "no", Times: 1},
		ocisim.Fault{Kind: ocisim.FaultStatus, Op: "GetSession", Status: 400, Code: "InvalidParameter", Message: "no", Times: 1},
	); err != nil {
		t.Fatal(err)
	}
	in := settings(s)
	maps.Copy(in, private(s, nil, map[string]interface{}{"packer_on_error": "ask"}))
	b := &Builder{Mask: new(mask.Masker), HTTP: s.Net.Client()}
	if _, _, err := b.Prepare(in); err != nil {
		t.Fatal(err)
	}
	var out output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: retry{}}, hook(touch))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if n, m := s.Cloud.CountRequests("CreateBastion"), s.Cloud.CountRequests("CreateSession"); n != 1 || m != 3 {
		t.Errorf("%d bastions and %d sessions\n%s", n, m, out.String())
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, out.String())
	}
}

// Provisioning that takes longer than a session lasts goes on along another one,
// without anything being broken off. The service's sessions last half an hour at
// least: here it says that it is four seconds.
func TestProvisioningOutlastsSessions(t *testing.T) {
	short := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/20210331/sessions/") {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			maps.Copy(w.Header(), rec.Header())
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			_, _ = w.Write(bytes.Replace(rec.Body.Bytes(), []byte(`"sessionTtlInSeconds":10800`), []byte(`"sessionTtlInSeconds":4`), 1))
		})
	}
	s := stage.ForTest(t, stage.Options{Wrap: short})
	a, said, err := build(t.Context(), t, s, private(s, nil, nil), func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
		for range 3 {
			if err := uname(ctx, comm); err != nil {
				return err
			}
			time.Sleep(1100 * time.Millisecond)
		}
		// What runs is never cut off for a fresh session.
		long := &packersdk.RemoteCmd{Command: "sleep 3"}
		if err := comm.Start(ctx, long); err != nil {
			return err
		}
		time.Sleep(1500 * time.Millisecond)
		if err := uname(ctx, comm); err != nil {
			return err
		}
		if status := long.Wait(); status != 0 {
			t.Errorf("a command that ran ends with %d", status)
		}
		return touch(ctx, ui, comm)
	})
	if err != nil || strings.Contains(said, "has ended") || strings.Contains(said, "broken off") {
		t.Fatalf("%v\n%s", err, said)
	}
	// The first, one for each of the later rounds, one after the long command.
	if n := strings.Count(said, "is open for 4s"); n < 4 || n > 6 {
		t.Errorf("%d sessions\n%s", n, said)
	}
	if left := s.Left(a.Id()); len(left) > 0 {
		t.Errorf("left behind: %q\n%s", left, said)
	}
}
