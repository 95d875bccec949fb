// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// badDay is what goes wrong in a build, and what becomes of it.
type badDay struct {
	name   string
	faults []ec2sim.Fault
	change set
	says   []string // on the screen or in the error
	// silent is what is not said.
	silent   []string
	fails    bool
	launches int // requests for a machine; -1 is any number
	stage    stage.Options
	hook     func(s *stage.Stage) inpacker.Hook
}

// status is an answer in place of what was asked for.
func status(op string, code int, name, message string, times int) ec2sim.Fault {
	return ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: op, Status: code, Code: name, Message: message, Times: times}
}

func out(f ec2sim.Fault) ec2sim.Fault { f.Kind = ec2sim.FaultCapacity; return f }

func lasts(d time.Duration) ec2sim.Duration { return ec2sim.Duration(d) }

// The search for a machine.
func TestBadDaysOfTheSearch(t *testing.T) {
	t.Parallel()
	const launch = "RunInstances"
	micro := set{"instance_type": "t4g.micro"}
	run(t, []badDay{
		{
			name:     "two zones are full, as EC2's message says",
			faults:   []ec2sim.Fault{out(ec2sim.Fault{Type: "t4g.micro", AZ: "eu-central-1a"}), out(ec2sim.Fault{Type: "t4g.micro", AZ: "eu-central-1b"})},
			change:   micro,
			says:     []string{"Attempt 1: eu-central-1a t4g.micro 2 vCPU/1 GiB: no capacity: We currently do not have sufficient t4g.micro capacity in the Availability Zone you requested (eu-central-1a).", "(500 InsufficientInstanceCapacity, request ", "Attempt 2: eu-central-1c t4g.micro 2 vCPU/1 GiB: launched"},
			launches: 2,
		},
		{
			name:   "two zones are full, and EC2 does not say which is not",
			faults: []ec2sim.Fault{out(ec2sim.Fault{Type: "t4g.micro", AZ: "eu-central-1a", NoHint: true}), out(ec2sim.Fault{Type: "t4g.micro", AZ: "eu-central-1b", NoHint: true})},
			change: micro, says: []string{"Attempt 3: eu-central-1c t4g.micro 2 vCPU/1 GiB: launched"}, launches: 3,
		},
		{
			name:   "the other type has room",
			faults: []ec2sim.Fault{out(ec2sim.Fault{Type: "t4g.micro"})},
			says:   []string{"t4g.small 2 vCPU/2 GiB: launched"}, launches: 4, // one in each zone first
		},
		{
			name:   "all types are out, and free later",
			faults: []ec2sim.Fault{out(ec2sim.Fault{Times: 8})},
			says:   []string{"no capacity", "Next: ", "launched"}, launches: -1,
		},
		{
			name:   "no capacity for the whole time allowed",
			faults: []ec2sim.Fault{out(ec2sim.Fault{})}, change: set{"capacity_timeout": "1s"},
			says: []string{"no machine could be had: the time allowed for the search is over (capacity_timeout = \"1s\")", "place ", "last answer"}, fails: true, launches: -1,
		},
		{
			name:   "no disks in a zone",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultVolumeCapacity, AZ: "eu-central-1a"}},
			change: micro, says: []string{"no capacity: There is not enough capacity to fulfill your EBS volume provision request.", "launched"}, launches: 2,
		},
		{
			name:   "a zone does not have the type",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultUnsupported, AZ: "eu-central-1a", Type: "t4g.micro"}, {Kind: ec2sim.FaultUnsupported, AZ: "eu-central-1b", Type: "t4g.micro"}},
			change: micro, says: []string{"eu-central-1a does not have t4g.micro", "Attempt 1: eu-central-1c"}, launches: 1,
		},
		{
			name:   "a zone does not have the type, and the offerings may not be read",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultUnsupported, AZ: "eu-central-1a", Type: "t4g.micro"}, denied("DescribeInstanceTypeOfferings")},
			change: micro, says: []string{"Attempt 1: eu-central-1a", "is not supported in your requested Availability Zone", "launched"}, launches: 2,
		},
		{
			name:   "no address is free in a subnet",
			faults: []ec2sim.Fault{status(launch, 400, "InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet 'subnet-1' to satisfy the requested number of instances.", 1)},
			says:   []string{"no capacity: There are not enough free addresses", "launched"}, launches: 2,
		},
		{
			name:   "accepted, then out of capacity",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultLaunchFails, Times: 1}},
			says:   []string{"no capacity: it is terminated: Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request", "launched"}, launches: 2,
		},
		{
			name:   "accepted, and the key of its disk may not be used",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultLaunchFails, Code: "Client.InternalError", Message: "Client.InternalError: Client error on launch"}},
			says:   []string{"EC2 says so of volumes whose KMS key cannot be used: check the key, and its policy"}, fails: true, launches: 1,
		},
		{
			name:   "accepted, and pending for ever",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultSlow, Op: launch, State: "pending", Delay: lasts(time.Hour), Times: 1}},
			change: set{"instance_timeout": "4s"}, says: []string{"no capacity: timed out after 4s waiting for instance ", "launched"}, launches: 2,
		},
		{
			name:   "the free plan does not have the type",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultFreePlan, Type: "t4g.micro"}},
			says:   []string{"The specified instance type is not eligible for Free Tier.", "the account is on the free plan; t4g.micro and t4g.small are the ARM64 types that it may have", "t4g.small 2 vCPU/2 GiB: launched"}, launches: 2,
		},
		{
			name:   "the free plan has none of the types",
			stage:  stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.FreePlan = true }},
			change: set{"instance_types": []string{"m7g.medium", "c7g.medium"}},
			says:   []string{"is not eligible for Free Tier", "the account is on the free plan; t4g.micro and t4g.small are the ARM64 types"}, fails: true, launches: 2,
		},
		{
			name:   "free, and nothing may cost money",
			stage:  stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.FreePlan = true }},
			change: set{"free_tier": "require"}, says: []string{"t4g.micro 2 vCPU/1 GiB: launched"}, launches: 1,
		},
		{
			name:   "not free, and nothing may cost money",
			change: set{"free_tier": "require", "instance_type": "m7g.medium"},
			says:   []string{"nothing was started", "free_tier = \"require\" forbids m7g.medium in eu-central-1: EC2 does not flag it as eligible for the free tier here"}, fails: true,
		},
		{
			name:   "a quota of zero",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 0}},
			says:   []string{"nothing was started", "t4g.micro is more than the account may have in eu-central-1 as an on-demand machine: the quota L-1216C47A is 0 vCPUs, 0 are in use, and this would add 2; ask for a higher quota"}, fails: true,
		},
		{
			name:   "a quota of zero that may not be read",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 0}, refusal("GetServiceQuota", "AccessDeniedException", "no")},
			says:   []string{"limit reached: You have requested more vCPU capacity than your current vCPU limit of 0 allows", "ask for a higher quota L-1216C47A"}, fails: true, launches: 1,
		},
		{
			name:   "a quota of zero for spot machines, and one on demand will do",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaSpot, Value: 0}},
			change: set{"markets": []string{"spot", "on-demand"}, "instance_type": "t4g.micro"},
			says:   []string{"the quota L-34B43A08 is 0 vCPUs", "t4g.micro 2 vCPU/1 GiB: launched"}, launches: 1,
		},
		{
			name:   "a spot price that is too low",
			change: set{"spot_price": "0.0001", "instance_type": "t4g.micro", "capacity_timeout": "1s"},
			says:   []string{"no capacity: Your Spot request price of 0.0001 is lower than the minimum required", "spot_price is below what such a machine costs now"}, fails: true, launches: -1,
		},
		{
			name:   "the role for spot machines is missing",
			faults: []ec2sim.Fault{status(launch, 403, "AuthFailure.ServiceLinkedRoleCreationNotPermitted", "The provided credentials do not have permission to create the service-linked role for EC2 Spot Instances.", 0)},
			change: set{"spot_price": "auto", "instance_type": "t4g.micro"},
			says:   []string{"let an administrator run aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"}, fails: true, launches: 1,
		},
		{
			name:   "a new account is being checked",
			faults: []ec2sim.Fault{status(launch, 400, "PendingVerification", "Your request for accessing resources in this region is being validated.", 0)},
			change: set{"capacity_timeout": "1s"}, says: []string{"AWS checks new accounts, mostly for a few minutes and up to four hours"}, fails: true, launches: -1,
		},
		{
			name:   "launches are throttled",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultThrottle, Op: launch, Every: lasts(500 * time.Millisecond), Burst: 1}, out(ec2sim.Fault{Times: 3})},
			says:   []string{"throttled: Request limit exceeded", "slowed down to a request every", "launched"}, launches: -1,
		},
		{
			name:   "everything is throttled",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultThrottle, Every: lasts(150 * time.Millisecond), Burst: 4}},
			says:   []string{"launched"}, launches: -1, change: set{"capacity_timeout": "2m"},
		},
		{name: "a failure of the service", faults: []ec2sim.Fault{status(launch, 500, "InternalError", "An internal error has occurred.", 2)}, says: []string{"Asking again with the same token", "launched"}, launches: 3},
		{name: "the answer is a gateway's", faults: []ec2sim.Fault{{Kind: ec2sim.FaultStatusAfterEffect, Op: launch, Status: 502, Times: 1}}, says: []string{"the machine is there"}, launches: 1},
		{name: "the connection breaks after the launch took effect", faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: launch, Times: 1}}, says: []string{"the machine is there"}, launches: 1},
		{
			name:   "a lost reply, and what was made cannot be seen yet",
			faults: []ec2sim.Fault{{Kind: ec2sim.FaultCutAfterEffect, Op: launch, Times: 1}, {Kind: ec2sim.FaultInvisible, Op: launch, Delay: lasts(3 * time.Second)}},
			says:   []string{"t4g.micro"}, launches: -1,
		},
		{
			name:   "what is made is seen late",
			faults: []ec2sim.Fault{invisible(launch), invisible("CreateSecurityGroup"), invisible("CreateSnapshot"), invisible("RegisterImage")},
			says:   []string{"launched"}, launches: -1,
		},
		{
			name:   "what EC2 makes of the machine is seen late",
			faults: []ec2sim.Fault{invisible("CreateImage"), invisible("CopyImage"), invisible("ImportKeyPair")},
			change: set{"image_method": "image", "ami_regions": []string{"eu-west-1"}, "ssh_key_delivery": "key_pair", "machine_lifetime": "1h"},
			says:   []string{"launched"}, launches: -1,
		},
	})
}

func invisible(op string) ec2sim.Fault {
	return ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: op, Delay: lasts(1500 * time.Millisecond)}
}

// What is wrong with the account, the template or the image.
func TestBadDaysOfTheAccount(t *testing.T) {
	t.Parallel()
	run(t, []badDay{
		{name: "somebody else's image", change: set{"source_ami": "FOREIGN"}, says: []string{"source_ami: there is no such image in eu-central-1 that this user may see; an image's id belongs to one region"}, fails: true},
		{
			name: "an image for another architecture", change: set{"source_ami": nil, "source_ami_filter": set{"filters": map[string]string{"name": "debian-12-amd64-*"}, "owners": []string{ec2sim.DebianAccount}, "most_recent": true}},
			says: []string{"is for x86_64, and t4g.micro, t4g.small is not; choose an image for arm64, or another instance type"}, fails: true,
		},
		{
			name: "several images", change: set{"source_ami": nil, "source_ami_filter": set{"filters": map[string]string{"name": "debian-12-arm64-*"}, "owners": []string{ec2sim.DebianAccount}}},
			says: []string{"source_ami_filter: 3 images in eu-central-1 meet the filter", "set most_recent = true to take the newest"}, fails: true,
		},
		{name: "no such parameter", change: set{"source_ami": nil, "source_ami_ssm_parameter": "/none"}, says: []string{"source_ami_ssm_parameter: there is no parameter /none in eu-central-1"}, fails: true},
		{name: "no such zone", change: set{"availability_zone": "eu-central-1f"}, says: []string{"availability_zone: no subnet is in eu-central-1f; there are: "}, fails: true},
		{name: "no such subnet", change: set{"subnet_id": "subnet-0123456789abcdef0"}, says: []string{"subnet_id: there is no such subnet in eu-central-1 that this user may see"}, fails: true},
		{name: "no such type", change: set{"instance_type": "t4g.tiny"}, says: []string{"instance_type: eu-central-1 does not have the instance type t4g.tiny"}, fails: true},
		{name: "no such profile", change: set{"iam_instance_profile": "none"}, says: []string{"iam_instance_profile: there is no instance profile \"none\""}, fails: true},
		{
			name: "no default VPC", stage: stage.Options{AdjustAWS: func(a *ec2sim.Account) { a.NoDefaultVPC = []string{stage.AWSRegion} }},
			says: []string{"eu-central-1 has no default VPC, or it has no subnets; name a subnet by subnet_id"}, fails: true,
		},
		{name: "a region that the account has not enabled", change: set{"ami_regions": []string{"af-south-1"}}, says: []string{"ami_regions: the account has not enabled the region af-south-1"}, fails: true},
		{name: "another secret key", change: set{"secret_key": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}, says: []string{"the secret key is not the one of the access key (access_key); check that it was copied whole"}, fails: true, silent: []string{"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"}},
		{name: "no such access key", change: set{"access_key": "AKIAIOSFODNN7EXAMPLE"}, says: []string{"the access key (access_key) does not exist or is inactive"}, fails: true},
		{
			name: "a user with few permissions",
			faults: []ec2sim.Fault{
				refusal("GetServiceQuota", "AccessDeniedException", "no"), denied("DescribeSpotPriceHistory"), denied("DescribeRegions"), denied("DescribeVolumes"),
				denied("DescribeInstanceTypeOfferings"), denied("GetInstanceProfile"), denied("DescribeKeyPairs"),
			},
			change: set{"markets": []string{"spot", "on-demand"}, "instance_type": "t4g.micro"}, says: []string{"launched"}, launches: 1,
		},
		needs("DescribeImages", 0, nil), needs("DescribeInstanceTypes", 0, nil), needs("DescribeSubnets", 0, nil), needs("DescribeInstances", -1, nil),
		needs("CreateSecurityGroup", 0, nil), needs("AuthorizeSecurityGroupIngress", 0, nil), needs("RunInstances", 1, nil),
		needs("StopInstances", 1, nil), needs("CreateSnapshot", 1, nil), needs("DescribeSnapshots", 1, nil), needs("RegisterImage", 1, nil), needs("CreateTags", 1, nil),
		needs("CreateImage", 1, set{"image_method": "image"}), needs("CopyImage", 1, set{"ami_regions": []string{"eu-west-1"}}),
		needs("ImportKeyPair", 0, set{"ssh_key_delivery": "key_pair", "machine_lifetime": "1h"}), needs("ModifyImageAttribute", 1, set{"ami_users": []string{"123456789012"}}),
		needs("ModifySnapshotAttribute", 1, set{"snapshot_users": []string{"123456789012"}}), needs("EnableImageDeprecation", 1, set{"deprecate_at": "24h"}),
	})
}

// needs is a build whose user lacks a permission that it needs, and an answer that
// does not name it.
func needs(op string, launches int, change set) badDay {
	return badDay{
		name: "not permitted: " + op, faults: []ec2sim.Fault{status(op, 403, "UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: abcDEF-123_4", 0)},
		change: change, says: []string{"You are not authorized to perform this operation: the user needs the permission ec2:" + op}, silent: []string{"abcDEF-123_4"}, fails: true, launches: launches,
	}
}

// What happens to a machine, or to its image.
func TestBadDaysOfTheMachine(t *testing.T) {
	t.Parallel()
	const took = "EC2 took it back before it was an image; try again, or ask for a machine on demand (Server.SpotInstanceTermination)"
	spot := set{"spot_price": "auto", "instance_type": "t4g.micro"}
	interrupt := func(s *stage.Stage, t string) error {
		for _, r := range s.AWS.Cloud.Inventory().Accounts[0].Regions {
			for _, x := range r.Resources {
				if x.Kind == "instance" {
					return s.AWS.Cloud.InterruptSpot(x.ID)
				}
			}
		}
		return errors.New("there is no machine " + t)
	}
	run(t, []badDay{
		{
			// The connection breaks when the machine does.
			name: "EC2 takes a spot machine back while it is provisioned", change: spot, says: []string{took}, silent: []string{"the script failed"}, fails: true, launches: 1,
			hook: func(s *stage.Stage) inpacker.Hook {
				return func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
					if err := interrupt(s, "yet"); err != nil {
						return err
					}
					cmd := &packersdk.RemoteCmd{Command: "sleep 60"}
					if err := comm.Start(ctx, cmd); err != nil {
						return err
					}
					if code := cmd.Wait(); code != 0 {
						return fmt.Errorf("the script failed with %d", code)
					}
					return nil
				}
			},
		},
		{
			// It does not break, and nobody says a word.
			name: "EC2 takes a spot machine back, and the connection hangs", change: spot, says: []string{took}, fails: true, launches: 1,
			hook: func(s *stage.Stage) inpacker.Hook {
				return func(ctx context.Context, _ packersdk.Ui, _ packersdk.Communicator) error {
					if err := interrupt(s, "yet"); err != nil {
						return err
					}
					<-ctx.Done()
					return ctx.Err()
				}
			},
		},
		{
			name: "EC2 takes a spot machine back when it is done", change: spot, says: []string{took}, fails: true, launches: 1,
			hook: func(s *stage.Stage) inpacker.Hook {
				return func(context.Context, packersdk.Ui, packersdk.Communicator) error {
					err := interrupt(s, "any more")
					time.Sleep(time.Second)
					return err
				}
			},
		},
		{
			name: "the machine shuts itself down", says: []string{"it shut down by itself before it was an image, and shutdown_behavior = \"terminate\" ends a machine that does"}, fails: true, launches: 1,
			hook: func(*stage.Stage) inpacker.Hook {
				return func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
					cmd := &packersdk.RemoteCmd{Command: "sudo poweroff"}
					if err := comm.Start(ctx, cmd); err != nil {
						return err
					}
					cmd.Wait()
					time.Sleep(2 * time.Second)
					return nil
				}
			},
		},
		{
			name: "the machine shuts itself down, as the template says", change: set{"disable_stop_instance": true}, says: []string{"is ready after"}, launches: 1,
			hook: func(*stage.Stage) inpacker.Hook {
				return func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
					cmd := &packersdk.RemoteCmd{Command: "sudo poweroff"}
					if err := comm.Start(ctx, cmd); err != nil {
						return err
					}
					cmd.Wait()
					return nil
				}
			},
		},
		{name: "the snapshot fails", faults: []ec2sim.Fault{{Kind: ec2sim.FaultSnapshotFails}}, says: []string{"create snapshot snap-", "it failed"}, fails: true, launches: 1},
		{name: "the image fails", change: set{"image_method": "image"}, faults: []ec2sim.Fault{{Kind: ec2sim.FaultImageFails, Op: "CreateImage", Code: "Server.InternalError", Message: "it broke"}}, says: []string{"make image ami-", "it broke"}, fails: true, launches: 1},
		{name: "the copy fails", change: set{"ami_regions": []string{"eu-west-1"}}, faults: []ec2sim.Fault{{Kind: ec2sim.FaultImageFails, Op: "CopyImage", Code: "Server.InternalError", Message: "it broke"}}, says: []string{"in eu-west-1: make image ami-", "it broke"}, fails: true, launches: 1},
		{name: "too many copies at a time", change: set{"ami_regions": []string{"eu-west-1"}}, faults: []ec2sim.Fault{status("CopyImage", 400, "ResourceLimitExceeded", "You have exceeded the number of concurrent image copies", 2)}, says: []string{"is ready"}, launches: 1},
		{name: "the machine is between two states", faults: []ec2sim.Fault{status("StopInstances", 400, "IncorrectInstanceState", "The instance is not in a state from which it can be stopped.", 2)}, says: []string{"is ready"}, launches: 1},
		{name: "terminating is refused for a while", faults: []ec2sim.Fault{status("TerminateInstances", 503, "Unavailable", "The service is unavailable.", 2)}, says: []string{"is ready"}, launches: 1},
		{name: "the group is in use for a while", faults: []ec2sim.Fault{status("DeleteSecurityGroup", 400, "DependencyViolation", "resource sg-1 has a dependent object", 3)}, says: []string{"is ready"}, launches: 1},
		{
			name: "nobody is let in", faults: []ec2sim.Fault{{Kind: ec2sim.FaultSSHClosed}}, change: set{"ssh_timeout": "1s"}, says: []string{"could not connect to i-", "the limit is the option \"ssh_timeout\""}, fails: true, launches: 1,
		},
		{
			name: "connections break while something is waited for", launches: 1, says: []string{"is ready"}, faults: []ec2sim.Fault{
				{Kind: ec2sim.FaultCutAfterEffect, Op: "DescribeInstances", Times: 3}, {Kind: ec2sim.FaultCutAfterEffect, Op: "DescribeSnapshots", Times: 2},
				{Kind: ec2sim.FaultCutAfterEffect, Op: "DescribeImages", Times: 2}, status("DescribeImages", 503, "Unavailable", "no", 2), {Kind: ec2sim.FaultCutAfterEffect, Op: "TerminateInstances", Times: 1},
			},
		},
	})
}

// run plays bad days.
func run(t *testing.T, days []badDay) {
	for _, d := range days {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			s := stage.ForTest(t, d.stage)
			addFaults(t, s, d.faults...)
			change := set{}
			for k, v := range d.change {
				if change[k] = v; v == "FOREIGN" {
					change[k] = s.AWS.Foreign
				}
			}
			var h inpacker.Hook
			if d.hook != nil {
				h = d.hook(s)
			}
			a, said, err := build(t.Context(), t, s, change, h)
			if (err != nil) != d.fails {
				t.Fatalf("error: %v\n%s", err, said)
			}
			if err != nil {
				said += err.Error()
			}
			for _, want := range d.says {
				if !strings.Contains(said, want) {
					t.Errorf("%q is not said:\n%s", want, said)
				}
			}
			for _, not := range d.silent {
				if strings.Contains(said, not) {
					t.Errorf("%q is said:\n%s", not, said)
				}
			}
			s.AWS.Cloud.ResetFaults()
			if l := left(t, s, a); len(l) > 0 {
				t.Errorf("left behind: %q\n%s", l, said)
			}
			if n := s.AWS.Cloud.CountRequests("RunInstances"); d.launches >= 0 && n != d.launches {
				t.Errorf("%d requests for a machine, want %d\n%s", n, d.launches, said)
			}
		})
	}
}
