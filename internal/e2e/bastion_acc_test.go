// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// jumpHost is from where the simulated jump host connects to machines.
const jumpHost = "127.80.0.1"

// privateStage is a stage whose machines accept connections of the jump host
// only, as in a subnet that is not routed to from outside.
type privateStage struct {
	*stage.Stage
	client bastion.BastionClient

	mu   sync.Mutex
	seen map[machine.EventKind]map[string]int // how often, and from which address
}

func newPrivateStage(t *testing.T, wrap func(http.Handler) http.Handler) *privateStage {
	t.Helper()
	p := &privateStage{seen: map[machine.EventKind]map[string]int{}}
	p.Stage = stage.ForTest(t, stage.Options{
		Wrap: wrap,
		Driver: &machine.Fast{
			Behave: func(machine.Spec) machine.Behaviour { return machine.Behaviour{OnlyFrom: jumpHost} },
			Watch:  p.watch,
		},
		Adjust: func(build, _ *ocisim.Tenancy) {
			build.TagNamespaces = map[string][]string{"Operations": {"CostCenter"}}
		},
	})
	b := p.Build
	var err error
	p.client, err = bastion.NewBastionClientWithConfigurationProvider(common.NewRawConfigurationProvider(
		b.ID, b.UserID, stage.BuildRegion, b.Fingerprint(), b.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	p.client.HTTPClient = p.Net.Client()
	return p
}

func (p *privateStage) watch(e machine.Event) {
	from := ""
	if e.From != nil {
		from, _, _ = net.SplitHostPort(e.From.String())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen[e.What] == nil {
		p.seen[e.What] = map[string]int{}
	}
	p.seen[e.What][from]++
}

// from is who was seen to do something.
func (p *privateStage) from(what machine.EventKind) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[what]
}

// theirs makes a bastion that stays.
func (p *privateStage) theirs(t *testing.T) string {
	t.Helper()
	r, err := p.client.CreateBastion(t.Context(), bastion.CreateBastionRequest{CreateBastionDetails: bastion.CreateBastionDetails{
		BastionType: common.String("STANDARD"), CompartmentId: &p.Build.CompartmentID, Name: common.String("theirs"),
		TargetSubnetId: common.String(p.Build.PrivateSubnetID(stage.BuildRegion)), ClientCidrBlockAllowList: []string{"127.0.0.0/8"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); p.state(t, *r.Id) != bastion.BastionLifecycleStateActive; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the bastion never becomes ACTIVE")
		}
	}
	return *r.Id
}

func (p *privateStage) state(t *testing.T, id string) bastion.BastionLifecycleStateEnum {
	t.Helper()
	b, err := p.client.GetBastion(t.Context(), bastion.GetBastionRequest{BastionId: &id})
	if err != nil {
		t.Fatal(err)
	}
	return b.LifecycleState
}

// run runs testdata/bastion.pkr.hcl with the real Packer.
func (p *privateStage) run(ctx context.Context, with *runpacker.Packer, vars ...string) (string, error) {
	vars = append(vars, fmt.Sprintf("ssh_port=%d", p.Cloud.SSHPort()), "subnet="+p.Build.PrivateSubnetID(stage.BuildRegion))
	var args []string
	for _, v := range vars {
		args = append(args, "-var", v)
	}
	return packerBuild(ctx, with, p.Env(), "bastion.pkr.hcl", args...)
}

// A machine in a private subnet is provisioned through a bastion and becomes an
// image. Of what was made on the way nothing stays; a bastion that was there
// before does.
func TestAccBastion(t *testing.T) {
	acceptance(t)
	with := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)

	for _, there := range []bool{false, true} {
		name := map[bool]string{false: "made for the build", true: "that exists"}[there]
		t.Run(name, func(t *testing.T) {
			p := newPrivateStage(t, nil)
			keep, vars := "", []string(nil)
			if there {
				keep = p.theirs(t)
				vars = append(vars, "bastion="+keep)
			}
			said, err := p.run(t.Context(), with, vars...)
			t.Log(said)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"aarch64", "uploaded through the bastion", "An image was created: 'from-the-private-subnet'", "is open for 3h"} {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if logins, refused := p.from(machine.EventLogin), p.from(machine.EventRefused); logins[jumpHost] == 0 || len(logins) != 1 || len(refused) != 0 {
				t.Errorf("logins %v, refused %v", logins, refused)
			}
			if left := p.Left(append(imageID.FindAllString(said, -1), keep)...); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if n, m, d := p.Cloud.CountRequests("CreateBastion"), p.Cloud.CountRequests("CreateSession"), p.Cloud.CountRequests("DeleteBastion"); n != 1 || m != 1 || (d > 0) == there {
				t.Errorf("%d bastions were asked for, %d sessions, %d ends of a bastion", n, m, d)
			}
			if there && p.state(t, keep) != bastion.BastionLifecycleStateActive {
				t.Errorf("the bastion that was there is %s", p.state(t, keep))
			}
			if !there {
				list, err := p.client.ListBastions(t.Context(), bastion.ListBastionsRequest{CompartmentId: &p.Build.CompartmentID})
				if err != nil || len(list.Items) != 1 || list.Items[0].FreeformTags["team"] != "infra" || list.Items[0].DefinedTags["Operations"]["CostCenter"] != "42" {
					t.Errorf("the bastion that was made: %+v, %v", list.Items, err)
				}
			}
		})
	}

	// Without this the two above would prove nothing.
	t.Run("none, and the machine is not reached", func(t *testing.T) {
		p := newPrivateStage(t, nil)
		said, err := p.run(t.Context(), with, "through=false")
		if err == nil || !strings.Contains(said, "could not connect to ocid1.instance.") {
			t.Fatalf("%v\n%s", err, said)
		}
		if refused := p.from(machine.EventRefused); len(refused) != 1 || refused[jumpHost] > 0 || len(p.from(machine.EventLogin)) > 0 {
			t.Errorf("refused %v, logins %v", refused, p.from(machine.EventLogin))
		}
		if left := p.Left(); len(left) > 0 {
			t.Errorf("left behind: %q\n%s", left, said)
		}
	})
}

// Ctrl-C while a session is waited for leaves nothing: the session, once it can
// be deleted, goes too, and the bastion if it was made for the build.
func TestAccBastionInterrupt(t *testing.T) {
	acceptance(t)
	with := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for _, there := range []bool{false, true} {
		name := map[bool]string{false: "made for the build", true: "that exists"}[there]
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w := &tripwire.Wire{Op: "GetSession", Nth: 2, Pull: cancel}
			p := newPrivateStage(t, w.Wrap)
			if err := p.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultSlow, Op: "CreateSession", State: "CREATING", Delay: ocisim.Duration(4 * time.Second)}); err != nil {
				t.Fatal(err)
			}
			w.Watch(p.Cloud)
			keep, vars := "", []string(nil)
			if there {
				keep = p.theirs(t)
				vars = append(vars, "bastion="+keep)
			}
			said, err := p.run(ctx, with, vars...)
			at, pulled := w.Pulled()
			if !pulled || !errors.Is(err, context.Canceled) {
				t.Fatalf("the build did not come so far: %v\n%s", err, said)
			}
			if d := time.Since(at); d > 30*time.Second {
				t.Errorf("went on for %s\n%s", d, said)
			}
			if len(p.from(machine.EventLogin)) > 0 || strings.Contains(said, "is open for") {
				t.Errorf("the session was not waited for\n%s", said)
			}
			if left := p.Left(keep); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			if there && p.state(t, keep) != bastion.BastionLifecycleStateActive {
				t.Errorf("the bastion that was there is %s", p.state(t, keep))
			}
		})
	}
}
