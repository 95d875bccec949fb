// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func TestPlan(t *testing.T) {
	yes, no := true, false
	zones := func(ends string) (list []string) {
		for _, e := range ends {
			list = append(list, simRegion+string(e))
		}
		return list
	}
	for _, tt := range []struct {
		name    string
		sim     simOptions
		quotas  map[string]float64
		running bool // another build's machine
		change  func(*BuildConfig)
		offers  []string // "zone type market"; none means that the plan fails
		says    []string
		silent  []string
	}{
		{name: "one type everywhere", offers: []string{"a t4g.micro ", "b t4g.micro ", "c t4g.micro "}, silent: []string{"is not free"}},
		{name: "types and markets, in order", change: func(c *BuildConfig) {
			c.Types, c.TypesNamed, c.Markets, c.Zones = []string{"t4g.small", micro}, true, []Market{Spot, OnDemand}, zones("cb")
		}, offers: []string{
			"c t4g.small spot", "c t4g.small ", "c t4g.micro spot", "c t4g.micro ", "b t4g.small spot", "b t4g.small ", "b t4g.micro spot", "b t4g.micro ",
		}, says: []string{"t4g.small as a spot machine in eu-central-1 is not free: spot machines are not part of the free tier (from $0.0"}},
		{name: "the first type everywhere first", change: func(c *BuildConfig) {
			c.Types, c.SizeFirst, c.Zones = []string{micro, "t4g.small"}, true, zones("ab")
		}, offers: []string{"a t4g.micro ", "b t4g.micro ", "a t4g.small ", "b t4g.small "}},
		{name: "not offered in one zone", sim: faults(ec2sim.Fault{Kind: ec2sim.FaultUnsupported, AZ: simRegion + "a"}), offers: []string{"b t4g.micro ", "c t4g.micro "}, says: []string{"eu-central-1a does not have t4g.micro"}},
		{name: "offered nowhere", sim: faults(ec2sim.Fault{Kind: ec2sim.FaultUnsupported}), says: []string{"eu-central-1a does not have t4g.micro\neu-central-1b"}},
		{name: "no such type", change: func(c *BuildConfig) { c.Types = []string{"t9g.micro"} }, says: []string{"instance_type: eu-central-1 does not have the instance type t9g.micro"}},
		{name: "one of two does not exist", change: func(c *BuildConfig) { c.Types, c.Zones = []string{"t9g.micro", micro}, zones("a") }, offers: []string{"a t4g.micro "}, says: []string{"t9g.micro is left out"}},
		{name: "the wrong architecture", change: func(c *BuildConfig) { c.Types, c.TypesNamed = []string{"t3.micro"}, true }, says: []string{"instance_type: image ami-", "is for arm64, and t3.micro is not"}},
		{name: "quota of zero", quotas: map[string]float64{quotaOnDemand: 0}, says: []string{"t4g.micro is more than the account may have in eu-central-1 as an on-demand machine: the quota L-1216C47A is 0 vCPUs, 0 are in use"}},
		{name: "quota used up for the moment", quotas: map[string]float64{quotaOnDemand: 2}, running: true, change: func(c *BuildConfig) { c.Zones = zones("a") },
			offers: []string{"a t4g.micro "}, says: []string{"t4g.micro does not fit in eu-central-1 as an on-demand machine as long as others run: the quota L-1216C47A is 2 vCPUs, 2 are in use, and this would add 2"}},
		{name: "quota that can never do", quotas: map[string]float64{quotaOnDemand: 1}, says: []string{"is more than the account may have", "is 1 vCPUs, 0 are in use"}},
		{name: "quota of spot", quotas: map[string]float64{quotaOnDemand: 5, quotaSpot: 0}, change: func(c *BuildConfig) { c.Markets, c.Zones = []Market{Spot, OnDemand}, zones("a") },
			offers: []string{"a t4g.micro "}, says: []string{"as a spot machine: the quota L-34B43A08 is 0"}},
		{name: "free tier required", change: func(c *BuildConfig) {
			c.FreeTier, c.Types, c.Zones = FreeRequire, []string{micro, "t4g.medium"}, zones("a")
		},
			offers: []string{"a t4g.micro "}, says: []string{`free_tier = "require" forbids t4g.medium in eu-central-1: EC2 does not flag it`}},
		{name: "free tier required, spot", change: func(c *BuildConfig) { c.FreeTier, c.Markets = FreeRequire, []Market{Spot} }, says: []string{`free_tier = "require" forbids t4g.micro as a spot machine`}},
		{name: "free tier required, a large volume", change: func(c *BuildConfig) { c.FreeTier, c.Root.SizeGB = FreeRequire, 40 }, says: []string{"30 GB of volumes are free (free_allowance), 0 GB are in use, and the machine's would add 40"}},
		{name: "our choice is not free", change: func(c *BuildConfig) { c.Types, c.Zones = []string{micro, "t4g.medium"}, zones("a") }, offers: []string{"a t4g.micro "}, says: []string{"t4g.medium in eu-central-1 is left out, it would not be free"}},
		{name: "the user's choice is not free", change: func(c *BuildConfig) { c.Types, c.TypesNamed, c.Zones = []string{"t4g.medium"}, true, zones("a") }, offers: []string{"a t4g.medium "}, says: []string{"t4g.medium in eu-central-1 is not free"}},
		{name: "no check of what is free", change: func(c *BuildConfig) { c.FreeTier, c.Types, c.Zones = FreeIgnore, []string{"t4g.medium"}, zones("a") }, offers: []string{"a t4g.medium "}, silent: []string{"free"}},
		{name: "all that is wrong, at once", change: func(c *BuildConfig) {
			c.Source = SourceConfig{ID: "ami-00000000000000000", From: "the environment variable AWS_SOURCE_AMI"}
			c.Network.Subnets, c.Network.SecurityGroups, c.KeyName = []string{"subnet-00000000000000000"}, []string{"sg-00000000000000000"}, "nobody"
			c.Image.Copies = []Copy{{Region: "eu-nowhere-1"}, {Region: "af-south-1"}}
		}, says: []string{
			"this build cannot work, and nothing was started:", "the environment variable AWS_SOURCE_AMI: there is no such image", "subnet_id: there is no such subnet",
			"security_group_ids: there is no such security group", `ssh_keypair_name: there is no key pair "nobody"`, `ami_regions: there is no region "eu-nowhere-1"`, "ami_regions: the account has not enabled the region af-south-1",
		}},
		{name: "newest of a filter", change: func(c *BuildConfig) {
			c.Source = SourceConfig{Filter: &ImageFilter{Filters: map[string][]string{"name": {"debian-13-arm64-*"}}, Owners: []string{ec2sim.DebianAccount}, MostRecent: true}}
			c.Zones = zones("a")
		}, offers: []string{"a t4g.micro "}},
		{name: "several of a filter", change: func(c *BuildConfig) {
			c.Source = SourceConfig{From: "source_ami_filter", Filter: &ImageFilter{Filters: map[string][]string{"name": {"debian-13-arm64-*"}}, Owners: []string{ec2sim.DebianAccount}}}
		}, says: []string{"source_ami_filter: 3 images in eu-central-1 meet the filter", "most_recent"}},
		{name: "none of a filter", change: func(c *BuildConfig) {
			c.Source = SourceConfig{Filter: &ImageFilter{Filters: map[string][]string{"name": {"beos-*"}}, Owners: []string{"self"}}}
		}, says: []string{"source_ami: no image in eu-central-1 meets the filter"}},
		{name: "by a parameter", change: func(c *BuildConfig) {
			c.Source, c.Zones = SourceConfig{Parameter: "/aws/service/debian/release/13/latest/arm64"}, zones("a")
		}, offers: []string{"a t4g.micro "}},
		{name: "a profile that does not exist", change: func(c *BuildConfig) { c.Profile = "nobody" }, says: []string{`iam_instance_profile: there is no instance profile "nobody"`}},
		{name: "no such parameter", change: func(c *BuildConfig) { c.Source = SourceConfig{Parameter: "/x"} }, says: []string{"there is no parameter /x in eu-central-1"}},
		{name: "no default VPC", sim: simOptions{account: func(a *ec2sim.Account) { a.NoDefaultVPC = []string{simRegion} }}, says: []string{"eu-central-1 has no default VPC, or it has no subnets; name a subnet by subnet_id"}},
		{name: "a zone without a subnet", change: func(c *BuildConfig) { c.Zones = zones("x") }, says: []string{"availability_zone: no subnet is in eu-central-1x; there are: subnet-"}},
		{name: "root volume too small", change: func(c *BuildConfig) { c.Root.SizeGB, c.Root.SizeNamed = 5, true }, says: []string{"needs 8 GB, 5 is too small"}},
		{name: "the template's own mistake", change: func(c *BuildConfig) {
			c.Render = func(SourceImage) (Words, error) { return Words{}, errors.New("tags: no such function") }
		}, says: []string{"tags: no such function"}},
		{name: "reached by a private address", change: func(c *BuildConfig) { c.Network.PublicIP, c.Zones = &no, zones("a") }, offers: []string{"a t4g.micro "}, says: []string{"its temporary security group lets in the VPC, 127.96.0.0/16"}},
		{name: "no image", change: func(c *BuildConfig) { c.Image.Skip, c.Image.Encrypt, c.Zones = true, &yes, zones("a") }, offers: []string{"a t4g.micro "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o := tt.sim
				if tt.quotas != nil {
					o.account = func(a *ec2sim.Account) { a.Quotas = tt.quotas }
				}
				s := newSim(t, o)
				tidy := func() {}
				if tt.running {
					other := s.newBuild(t, nil)
					id := s.machine(t, other)
					tidy = func() { s.tidy(t, other, id) }
				}
				b := s.newBuild(t, tt.change)
				plan, err := b.Plan(t.Context())
				var got []string
				for _, o := range plan.Offers {
					got = append(got, strings.TrimPrefix(o.Zone, simRegion)+" "+o.Shape+" "+o.Market)
					if o.Cloud != "aws" || o.Region != simRegion || o.OCPUs == 0 || o.MemoryGB == 0 {
						t.Errorf("%+v", o)
					}
				}
				if strings.Join(got, ",") != strings.Join(tt.offers, ",") || (err == nil) != (len(tt.offers) > 0) {
					t.Errorf("%q, %v", got, err)
				}
				said := strings.Join(plan.Notes, "\n")
				if err != nil {
					said = err.Error()
				}
				checkText(t, said, tt.says, tt.silent)
				tidy()
				s.nothingLeft(t)
				var outage *cloud.Outage
				if errors.As(err, &outage) {
					t.Errorf("an outage: %v", err)
				}
			})
		})
	}
}

// A region that is down says nothing about the build; one that does not let the
// user in does, and once.
func TestPlanOutage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		s.http = wire(t, func(w http.ResponseWriter, r *http.Request) {
			_ = action(r)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		var outage *cloud.Outage
		if _, err := s.newBuild(t, nil).Plan(t.Context()); !errors.As(err, &outage) {
			t.Error(err)
		}
		s = newSim(t, simOptions{})
		s.account.SecretAccessKey = "wrong"
		_, err := s.newBuild(t, nil).Plan(t.Context())
		if err == nil || strings.Count(err.Error(), "AWS was not able to validate") != 1 || errors.As(err, &outage) || !strings.Contains(err.Error(), "has another secret key") {
			t.Error(err)
		}
		s = newSim(t, simOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.newBuild(t, nil).Plan(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// Where machines of ours ran not long ago comes first.
func TestWorked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, faults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: simRegion + "a"}))
		b := s.newBuild(t, nil)
		s.tidy(t, b, s.machine(t, b))
		time.Sleep(time.Minute)
		plan, err := s.newBuild(t, nil).Plan(t.Context())
		want := capacity.Offer{Cloud: "aws", Region: simRegion, Zone: simRegion + "b", Shape: micro, OCPUs: 2, MemoryGB: 1}
		if err != nil || len(plan.Worked) != 1 || plan.Worked[0] != want {
			t.Errorf("%+v %v", plan.Worked, err)
		}
	})
}
