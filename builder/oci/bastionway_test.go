// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/oracle/oci-go-sdk/v65/bastion"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
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
	t.Parallel()
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

// The bastion that is made has the tags of the template.
func TestBastionTags(t *testing.T) {
	t.Parallel()
	s := stage.ForTest(t, stage.Options{Adjust: func(build, _ *ocisim.Tenancy) {
		build.TagNamespaces = map[string][]string{"Operations": {"CostCenter"}}
	}})
	for name, block := range map[string]map[string]interface{}{
		"JSON": {"defined_tags": map[string]interface{}{"Operations": map[string]interface{}{"CostCenter": "42"}}},
		"HCL":  {"defined_tags_json": `{"Operations":{"CostCenter":"42"}}`},
	} {
		block["tags"] = map[string]string{"team": "infra"}
		a, said, err := build(t.Context(), t, s, private(s, block, map[string]interface{}{"image_name": name}), func(ctx context.Context, ui packersdk.Ui, comm packersdk.Communicator) error {
			id := s.Cloud.Inventory().Tenancies[0].Regions[0].Bastions[0].ID
			b, err := bastionClient(t, s).GetBastion(ctx, bastion.GetBastionRequest{BastionId: &id})
			if err != nil {
				return err
			}
			if b.DefinedTags["Operations"]["CostCenter"] != "42" || b.FreeformTags["team"] != "infra" || b.FreeformTags["armfree"] == "" {
				t.Errorf("%s: tags %v and %v", name, b.DefinedTags, b.FreeformTags)
			}
			return touch(ctx, ui, comm)
		})
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, said)
		}
		if err := a.Destroy(); err != nil {
			t.Error(err)
		}
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Where a password or an agent lets the build in to the machine, the session of
// the bastion has a key that the build makes for it: a password is no key, and
// what is in the agent is not ours to hand out.
func TestBastionWithoutPrivateKey(t *testing.T) {
	const password = "correct horse"
	holder, held := newAgent(t)
	for _, tt := range []struct {
		name    string
		more    map[string]interface{}
		machine machine.Behaviour
		agent   string
		fails   bool
	}{
		{name: "password", more: map[string]interface{}{"ssh_password": password}, machine: machine.Behaviour{Password: password, RefuseKeys: true}},
		{name: "wrong password", more: map[string]interface{}{"ssh_password": "guess", "ssh_timeout": "2s", "ssh_handshake_attempts": 1}, machine: machine.Behaviour{Password: password}, fails: true},
		{name: "agent", more: map[string]interface{}{"ssh_agent_auth": true, "metadata": map[string]string{"ssh_authorized_keys": held}}, agent: holder},
		{name: "agent without the key", more: map[string]interface{}{"ssh_agent_auth": true, "ssh_timeout": "2s", "ssh_handshake_attempts": 1}, agent: holder, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("SSH_AUTH_SOCK", tt.agent)
			tt.machine.OnlyFrom = jumpHost
			sent := new(sessionKeys)
			s := stage.ForTest(t, stage.Options{Wrap: sent.wrap, Driver: &machine.Fast{Behave: func(machine.Spec) machine.Behaviour { return tt.machine }}})
			a, said, err := build(t.Context(), t, s, private(s, nil, tt.more), func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
				if err := uname(ctx, comm); err != nil {
					return err
				}
				return touch(ctx, nil, comm)
			})
			if (err != nil) != tt.fails {
				t.Fatalf("%v\n%s", err, said)
			}
			image := ""
			if a != nil {
				image = a.Id()
			}
			if left := s.Left(image); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			if len(sent.keys) != 1 || !strings.HasPrefix(sent.keys[0], "ssh-ed25519 ") || sent.keys[0] == held {
				t.Errorf("keys of sessions: %q", sent.keys)
			}
			if tt.more["ssh_password"] == password && strings.Contains(said, password) {
				t.Error("the password is said")
			}
		})
	}
}

// jumpHost is from where the simulated jump host connects to machines.
const jumpHost = "127.80.0.1"

// newAgent is an SSH agent with one key: its socket, and the key's public half as
// authorized_keys has it.
func newAgent(t *testing.T) (socket, line string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(keys, conn) // ends with the connection
			})
		}
	})
	t.Cleanup(func() { l.Close() })
	return socket, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

// sessionKeys keeps the public keys for which sessions are asked for.
type sessionKeys struct{ keys []string }

func (k *sessionKeys) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Path == "/20210331/sessions" {
			body, err := io.ReadAll(r.Body)
			var asked struct {
				KeyDetails struct{ PublicKeyContent string }
			}
			if err == nil {
				err = json.Unmarshal(body, &asked)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			k.keys = append(k.keys, asked.KeyDetails.PublicKeyContent)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		next.ServeHTTP(w, r)
	})
}

// A build that is cancelled while nothing is requested ends at once, too.
func TestCancelOnTheWay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		block map[string]interface{}
		when  string // this is said
		hook  inpacker.Hook
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
			var out inpacker.Output
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
	t.Parallel()
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
	var out inpacker.Output
	a, err := b.Run(t.Context(), &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: retry{}}, inpacker.Hook(touch))
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
	// Alone, since it counts sessions of seconds: beside other builds each step lasts longer.
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
