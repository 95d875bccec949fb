// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/launch"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// faults is a cloud on a bad day.
func faults(f ...ec2sim.Fault) simOptions { return simOptions{faults: f} }

// noQuotas is a user who may not read quotas, and learns of them from a launch.
func noQuotas() ec2sim.Fault {
	return ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetServiceQuota", Status: 400, Code: "AccessDeniedException", Message: "no"}
}

// TestSearch looks for a machine on bad days, with the launch loop.
func TestSearch(t *testing.T) {
	zone := func(end string) string { return simRegion + end }
	for _, tt := range []struct {
		name   string
		sim    simOptions
		change func(*BuildConfig)
		zone   string // where the machine is found; empty if it is not
		shape  string
		runs   int // requests for machines; 0 if it does not matter
		says   []string
	}{
		{name: "a good day", zone: zone("a"), runs: 1},
		{name: "two zones are full", zone: zone("c"), runs: 3, sim: faults(
			ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: zone("a"), NoHint: true}, ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: zone("b"), NoHint: true})},
		{name: "two zones are full, and EC2 says which is not", zone: zone("c"), runs: 2, sim: faults(
			ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: zone("a")}, ec2sim.Fault{Kind: ec2sim.FaultCapacity, AZ: zone("b")}),
			says: []string{"eu-central-1a t4g.micro 2 vCPU/1 GiB: no capacity", "(500 InsufficientInstanceCapacity, request ", "choosing eu-central-1c"}},
		{name: "full, then not", zone: zone("a"), runs: 4, sim: faults(ec2sim.Fault{Kind: ec2sim.FaultCapacity, Times: 3})},
		{name: "a type that one zone lost a moment ago", zone: zone("b"), sim: faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", AZ: zone("a"), Status: 400, Code: "Unsupported", Message: "not there"}),
			says: []string{"not offered there"}},
		{name: "free plan, then the second type", zone: zone("b"), shape: "t4g.small", sim: faults(ec2sim.Fault{Kind: ec2sim.FaultFreePlan, Type: micro}),
			change: func(c *BuildConfig) { c.Types, c.TypesNamed = []string{micro, "t4g.small"}, true }, says: []string{"not eligible for Free Tier"}},
		{name: "free plan, and nothing else", sim: faults(ec2sim.Fault{Kind: ec2sim.FaultFreePlan}), runs: 1, says: []string{"the account is on the free plan"}},
		{name: "quota reached", sim: faults(noQuotas(), ec2sim.Fault{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 0}), runs: 1,
			says: []string{"the account's limits allow none of the sizes", "ask for a higher quota L-1216C47A"}},
		{name: "quota of spot, then on demand", zone: zone("b"), runs: 2, sim: faults(noQuotas(), ec2sim.Fault{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaSpot, Value: 0}),
			change: func(c *BuildConfig) { c.Markets = []Market{Spot, OnDemand} }, says: []string{"Max spot instance count exceeded"}},
		{name: "accepted, then dead", zone: zone("b"), runs: 2, sim: faults(ec2sim.Fault{Kind: ec2sim.FaultLaunchFails, Times: 1}),
			says: []string{"no capacity", "Server.InsufficientInstanceCapacity"}},
		{name: "throttled", zone: zone("a"), sim: faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", Status: 503, Code: "RequestLimitExceeded", Message: "Request limit exceeded.", Times: 2}), runs: 3,
			says: []string{"throttled"}},
		{name: "the service fails", zone: zone("a"), sim: faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", Status: 500, Code: "InternalError", Times: 1}), runs: 2,
			says: []string{"Asking again with the same token"}},
		{name: "the reply is lost", zone: zone("a"), runs: 1, sim: faults(ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1}),
			says: []string{"The launch was not confirmed", "but the machine is there"}},
		{name: "a gateway answers", zone: zone("a"), runs: 1, sim: faults(ec2sim.Fault{Kind: ec2sim.FaultStatusAfterEffect, Op: "RunInstances", Status: 502, Times: 1}),
			says: []string{"Bad Gateway (502"}},
		{name: "the reply is lost, and the list lags", zone: zone("a"), runs: 2, sim: faults(
			ec2sim.Fault{Kind: ec2sim.FaultCutAfterEffect, Op: "RunInstances", Times: 1}, ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: "RunInstances", Delay: ec2sim.Duration(8 * time.Second)}),
			says: []string{"Asking again with the same token"}},
		{name: "not seen at first", zone: zone("a"), runs: 1, sim: faults(ec2sim.Fault{Kind: ec2sim.FaultInvisible, Op: "RunInstances", Delay: ec2sim.Duration(20 * time.Second)})},
		{name: "no permission", sim: faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}), runs: 1,
			says: []string{"the user needs the permission ec2:"}},
		{name: "a new account", zone: zone("b"), sim: faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", Status: 400, Code: "PendingVerification", Message: "Your request is being validated.", Times: 1}), runs: 2,
			says: []string{"AWS checks new accounts"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSim(t, tt.sim)
				b := s.newBuild(t, tt.change)
				id, o, made, err := s.find(t.Context(), b)
				var none *launch.NoMachineError
				if tt.zone == "" && !errors.As(err, &none) || tt.zone != "" && (err != nil || o.Zone != tt.zone) {
					t.Fatalf("%q in %s: %v\n%s", id, o, err, s.text())
				}
				if want := tt.shape; want != "" && o.Shape != want {
					t.Errorf("found %s", o)
				}
				if n := s.CountRequests("RunInstances"); tt.runs > 0 && n != tt.runs {
					t.Errorf("%d requests for machines, want %d\n%s", n, tt.runs, s.text())
				}
				said := s.text()
				if err != nil {
					said += err.Error()
				}
				checkText(t, said, tt.says, nil)
				if tt.zone != "" && !slices.Equal(made, []string{id}) {
					t.Errorf("made %q", made)
				}
				s.tidy(t, b, made...)
				s.nothingLeft(t)
			})
		})
	}
}

// A cancel in the middle of a launch leaves nothing that the build does not know.
func TestCancelledLaunch(t *testing.T) {
	for _, after := range []time.Duration{0, time.Second, 11 * time.Second} {
		bubble(t, func(t *testing.T) {
			s := newSim(t, simOptions{})
			b := s.newBuild(t, nil)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(after, cancel)
			start := time.Now()
			_, _, made, err := s.find(ctx, b)
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			if took := time.Since(start) - after; took > time.Second {
				t.Errorf("ended %s after the cancel", took)
			}
			s.tidy(t, b, made...)
			s.nothingLeft(t)
		})
	}
	// The request for a machine had its effect, and is never answered.
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{wrap: hang("RunInstances")})
		b := s.newBuild(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		_, _, made, err := s.find(ctx, b)
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if len(made) == 0 { // the phase looks again, by the token
			for _, r := range s.Requests() {
				if r.Op != "RunInstances" {
					continue
				}
				ids, err := b.Find(t.Context(), r.ClientToken)
				if err != nil {
					t.Error(err)
				}
				made = append(made, ids...)
			}
		}
		if len(made) != 1 {
			t.Errorf("made %q", made)
		}
		s.tidy(t, b, made...)
		s.nothingLeft(t)
	})
}

// Who wants no machine any more, while what it needs is being made, gets none.
func TestNoMachineForNobody(t *testing.T) {
	errGone := errors.New("Packer is gone")
	beside := []string{
		"CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "ImportKeyPair",
		"CreateRole", "PutRolePolicy", "CreateInstanceProfile", "AddRoleToInstanceProfile",
	}
	for _, op := range beside {
		for _, died := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, died %t", op, died), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var over atomic.Bool
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
						return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							if action(r) == op {
								over.Store(true)
								if !died {
									cancel()
								}
							}
							next.ServeHTTP(w, r)
						})
					}})
					s.fleet = true
					s.ready = func(context.Context) error {
						if died && over.Load() {
							return errGone
						}
						return nil
					}
					b := s.newBuild(t, func(c *BuildConfig) {
						c.ImportKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8p3ylwUKmHn2HsDTjXlmQRUUN3cbJXsUb1Wk4cO2oq x"
						c.Policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
					})
					want := context.Canceled
					if died {
						want = errGone
					}
					_, _, made, err := s.find(ctx, b)
					if !errors.Is(err, want) || len(made) != 0 || !over.Load() {
						t.Errorf("made %q: %v", made, err)
					}
					if n := s.CountRequests("RunInstances"); n != 0 {
						t.Errorf("%d requests for a machine", n)
					}
					s.tidy(t, b)
					s.nothingLeft(t)
				})
			})
		}
	}
}

// A launch whose signature was refused is not sent again for who has cancelled in the
// meantime.
func TestNoSecondRequestAfterACancel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := 0
		s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if action(r) != "RunInstances" {
					next.ServeHTTP(w, r)
					return
				}
				asked++
				w.Header().Set("Date", time.Now().Add(maxSkew+5*time.Second).UTC().Format(http.TimeFormat))
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired.</Message></Error></Errors><RequestID>r</RequestID></Response>`)
				cancel()
			})
		}})
		b := s.newBuild(t, nil)
		_, _, made, err := s.find(ctx, b)
		if !errors.Is(err, context.Canceled) || len(made) != 0 || asked != 1 {
			t.Errorf("made %q, %d requests: %v", made, asked, err)
		}
		s.tidy(t, b)
		s.nothingLeft(t)
	})
}

// A subnet without a free address gives way to another in the same zone.
func TestCrowdedSubnet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, faults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "RunInstances", Status: 400, Code: "InsufficientFreeAddressesInSubnet", Message: "full", Times: 1}))
		b := s.newBuild(t, func(c *BuildConfig) { c.Zones = []string{simRegion + "b"} })
		id, o, _, err := s.find(t.Context(), b)
		if err != nil || o.Zone != simRegion+"b" {
			t.Fatalf("%s %v", o, err)
		}
		s.tidy(t, b, id)
		s.nothingLeft(t)
	})
}

// What is sent with the launch.
func TestLaunchRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var sent []string
		s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if action(r) == "RunInstances" {
					if err := r.ParseForm(); err == nil {
						sent = append(sent, r.PostForm.Encode())
					}
					r.Body = http.NoBody
					http.Error(w, "no", http.StatusBadRequest)
					return
				}
				next.ServeHTTP(w, r)
			})
		}})
		yes := true
		b := s.newBuild(t, func(c *BuildConfig) {
			c.Markets, c.Spot.MaxPrice = []Market{Spot}, "0.01"
			c.Network.PublicIP, c.Network.Temporary.Sources = &yes, []string{"192.0.2.0/24"}
			c.Root.Encrypted, c.Root.KMSKey = &yes, "alias/own"
			c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 5, Type: "gp3", IOPS: 4000, Throughput: 200, KeepVolume: true}, {Device: "/dev/sdg", NoDevice: true}}
		})
		if _, _, _, err := s.find(t.Context(), b); err == nil {
			t.Fatal("found")
		}
		if len(sent) != 1 {
			t.Fatal(len(sent))
		}
		checkText(t, sent[0], []string{
			"BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda", "BlockDeviceMapping.1.Ebs.VolumeSize=10", "BlockDeviceMapping.1.Ebs.VolumeType=gp3",
			"BlockDeviceMapping.1.Ebs.DeleteOnTermination=true", "BlockDeviceMapping.1.Ebs.Encrypted=true", "BlockDeviceMapping.1.Ebs.KmsKeyId=alias%2Fown",
			"BlockDeviceMapping.2.DeviceName=%2Fdev%2Fsdf", "BlockDeviceMapping.2.Ebs.DeleteOnTermination=false", "BlockDeviceMapping.2.Ebs.Iops=4000",
			"BlockDeviceMapping.3.NoDevice=", "CreditSpecification.CpuCredits=standard", "MetadataOptions.HttpTokens=required", "InstanceInitiatedShutdownBehavior=terminate",
			"InstanceMarketOptions.SpotOptions.SpotInstanceType=one-time", "InstanceMarketOptions.SpotOptions.MaxPrice=0.01", "NetworkInterface.1.AssociatePublicIpAddress=true",
			"TagSpecification.4.ResourceType=spot-instances-request", "ClientToken=armfree-", "UserData=I2Nsb3VkLWNvbmZpZwo",
		}, nil)
		token := sent[0][strings.Index(sent[0], "ClientToken=")+len("ClientToken="):]
		token, _, _ = strings.Cut(token, "&")
		if len(token) > 64 {
			t.Errorf("%q is too long", token)
		}
		s.tidy(t, b)
		s.nothingLeft(t)
	})
}

// A quota that is used up by what runs is waited for: that may end. EC2 says how
// large it is where it cannot be read.
func TestQuotaInUse(t *testing.T) {
	for _, blind := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			o := simOptions{account: func(a *ec2sim.Account) { a.Quotas = map[string]float64{quotaOnDemand: 2} }}
			if blind {
				o.faults = []ec2sim.Fault{{Kind: ec2sim.FaultStatus, Op: "GetServiceQuota", Status: 400, Code: "AccessDeniedException", Message: "no"}}
			}
			s := newSim(t, o)
			other := s.newBuild(t, nil)
			first := s.machine(t, other)
			const runs = 10 * time.Minute
			start, tidied := time.Now(), make(chan struct{})
			go func() {
				defer close(tidied)
				time.Sleep(runs)
				s.tidy(t, other, first)
			}()
			b := s.newBuild(t, nil)
			id, _, _, err := s.find(t.Context(), b)
			if d := time.Since(start); err != nil || d < runs || d > runs+5*time.Minute {
				t.Errorf("after %s: %v\n%s", d, err, s.text())
			}
			checkText(t, s.text(), []string{"no capacity: the quota of 2 vCPUs is used up for the moment: You have requested more vCPU capacity"}, nil)
			<-tidied
			s.tidy(t, b, id)
			s.nothingLeft(t)
		})
	}
}
