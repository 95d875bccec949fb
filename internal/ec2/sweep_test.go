// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// over is when all that a build made has expired.
const over = 9*time.Hour + roleLife

// everything makes use of all that a build can make beside its machine.
func everything(name string, market Market) func(*BuildConfig) {
	return func(c *BuildConfig) {
		c.Markets = []Market{market}
		c.ImportKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJZ0pQ8bN8QGgmPrBkvjLwVb9nVgGk4c8y3yQ1mJcX1d x"
		c.Policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
		c.Image.Name = name
	}
}

// dead is what a build leaves that was killed while its image was made. It is
// looked at when its 8 hours, and the days of its role, are over.
func (s *sim) dead(t *testing.T, name string, market Market) *Build {
	t.Helper()
	b := s.newBuild(t, everything(name, market))
	machine := s.machine(t, b)
	if _, err := b.StartImage(t.Context(), machine, b.owner.Token("image", machine)); err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *sim) sweep(t *testing.T, change func(*sweep.Sweep)) sweep.Result {
	t.Helper()
	w := sweep.Sweep{Cloud: &Leftovers{Client: s.client(t), Profiles: true, Rest: true}, Rules: sweep.Rules{Grace: sweep.DefaultGrace}}
	if change != nil {
		change(&w)
	}
	r, err := w.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func kinds(list []sweep.Thing) (out []string) {
	for _, t := range list {
		out = append(out, string(t.Kind))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A sweep removes what two dead builds left, and nothing of others: a finished
// image, a build that goes on, what is not ours.
func TestSweep(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		whole := s.newBuild(t, func(c *BuildConfig) { c.Image.Name = "whole" })
		machine := s.machine(t, whole)
		s.image(t, whole, machine)
		s.tidy(t, whole, machine)
		keep := s.kept()

		s.dead(t, "dead", OnDemand)
		s.dead(t, "killed", Spot)
		// A copied image that is not finished, and nothing else of its build.
		half := s.newBuild(t, func(c *BuildConfig) { c.Image.Name = "half"; c.Image.Method = ByCreateImage })
		if _, err := half.StartImage(t.Context(), s.machine(t, half), half.owner.Token("image", "x")); err != nil {
			t.Fatal(err)
		}
		early := s.sweep(t, nil)
		if len(early.Removed)+len(early.Left) > 0 || len(early.Kept) == 0 {
			t.Errorf("before their time is over: %+v", early)
		}
		time.Sleep(over)

		alive := s.newBuild(t, everything("alive", OnDemand))
		s.machine(t, alive)
		group, err := s.client(t).createSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("armfree-like"), Description: aws.String("theirs")})
		if err != nil {
			t.Fatal(err)
		}
		keep = append(keep, *group.GroupId)
		for _, a := range s.Inventory().Accounts {
			for _, r := range a.Regions {
				for _, x := range r.Resources {
					if x.Tags[buildKey] == alive.owner.ID {
						keep = append(keep, x.ID)
					}
				}
			}
			for _, x := range a.IAM {
				if strings.Contains(x.Name, alive.owner.ID) {
					keep = append(keep, x.ID)
				}
			}
		}

		dry := s.sweep(t, func(w *sweep.Sweep) { w.DryRun = true })
		r := s.sweep(t, nil)
		if len(r.Left)+len(r.UnderWay)+len(r.Blind) > 0 {
			t.Errorf("left %v, under way %v, not seen %v", r.Left, r.UnderWay, r.Blind)
		}
		want := []string{"image", "instance", "instance profile", "key pair", "network interface", "role", "security group", "snapshot", "spot request", "volume"}
		if got := kinds(r.Removed); !slices.Equal(got, want) {
			t.Errorf("removed %q, want %q", got, want)
		}
		if len(dry.Removed) != len(r.Removed) {
			t.Errorf("announced %d, removed %d", len(dry.Removed), len(r.Removed))
		}
		s.nothingLeft(t, keep...)
		for _, id := range keep {
			if x, _ := s.resource(id); x.ID == "" && !strings.Contains(id, ":") {
				t.Errorf("%s is gone", id)
			}
		}
		if again := s.sweep(t, nil); len(again.Removed) > 0 {
			t.Errorf("again: %v", again.Removed)
		}
	})
}

// However the cloud answers, what is left is named, and a second sweep gets it.
func TestSweepFaults(t *testing.T) {
	ops := []string{"DescribeInstances", "DescribeVolumes", "DescribeSecurityGroups", "DescribeKeyPairs", "DescribeImages", "DescribeSnapshots",
		"TerminateInstances", "DeleteSecurityGroup", "DeleteKeyPair", "DeleteSnapshot", "DeleteVolume", "DeleteNetworkInterface",
		"ListRoles", "ListInstanceProfiles", "RemoveRoleFromInstanceProfile", "DeleteInstanceProfile", "DeleteRolePolicy", "DeleteRole"}
	for _, op := range ops {
		for _, f := range []ec2sim.Fault{
			{Kind: ec2sim.FaultStatus, Status: 500, Code: "InternalError", Message: "try again", Times: 2},
			{Kind: ec2sim.FaultStatus, Status: 503, Code: "RequestLimitExceeded", Message: "slow down", Times: 2},
			{Kind: ec2sim.FaultCutAfterEffect, Times: 1},
			{Kind: ec2sim.FaultStatusAfterEffect, Status: 502, Times: 1},
		} {
			t.Run(fmt.Sprintf("%s-%s-%d", op, f.Kind, f.Status), func(t *testing.T) {
				sample.Case(t)
				bubble(t, func(t *testing.T) {
					s := newSim(t, simOptions{})
					s.dead(t, "dead", OnDemand)
					time.Sleep(over)
					f.Op = op
					if err := s.AddFaults(f); err != nil {
						t.Fatal(err)
					}
					r := s.sweep(t, nil)
					if len(r.Left)+len(r.UnderWay)+len(r.Blind) > 0 {
						t.Errorf("left %v, under way %v, not seen %v", r.Left, r.UnderWay, r.Blind)
					}
					s.nothingLeft(t)
				})
			})
		}
	}
}

// What may not be done is named, the rest is done, and the order is kept.
func TestSweepRefused(t *testing.T) {
	for op, want := range map[string]struct{ left, blind string }{
		"TerminateInstances":           {"instance network interface security group volume", ""},
		"DeleteSecurityGroup":          {"security group", ""},
		"DescribeImages":               {"", "image"},
		"DescribeKeyPairs":             {"", "key pair"},
		"DeleteSnapshot":               {"snapshot", ""},
		"DescribeSpotInstanceRequests": {"", "spot request"},
	} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				refuse := func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if action(r) == op {
							w.WriteHeader(http.StatusForbidden)
							_, _ = fmt.Fprint(w, "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not authorized to perform this operation.</Message></Error></Errors><RequestID>r</RequestID></Response>")
							return
						}
						next.ServeHTTP(w, r)
					})
				}
				var mu sync.Mutex
				on := false
				s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
					refusing := refuse(next)
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						mu.Lock()
						active := on
						mu.Unlock()
						if active {
							refusing.ServeHTTP(w, r)
							return
						}
						next.ServeHTTP(w, r)
					})
				}})
				s.dead(t, "dead", OnDemand)
				time.Sleep(over)
				mu.Lock()
				on = true
				mu.Unlock()
				r := s.sweep(t, nil)
				var left []sweep.Thing
				for _, l := range r.Left {
					left = append(left, l.Thing)
				}
				var blind []string
				for _, b := range r.Blind {
					if !b.Refused {
						t.Errorf("%s: not seen as a refusal: %v", b.Kind, b.Err)
					}
					blind = append(blind, string(b.Kind))
				}
				if got := strings.Join(kinds(left), " "); got != want.left {
					t.Errorf("left %q, want %q: %v", got, want.left, r.Left)
				}
				if got := strings.Join(blind, " "); got != want.blind {
					t.Errorf("not seen %q, want %q", got, want.blind)
				}
				if op == "DescribeImages" && slices.Contains(kinds(r.Removed), "snapshot") {
					t.Error("a snapshot went that an image may use")
				}
			})
		})
	}
}

// A volume that the user wants to keep has no expiry, whatever becomes of its build.
func TestSweepKeepsVolumes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		b := s.newBuild(t, func(c *BuildConfig) {
			c.Volumes = []BlockDevice{{Device: "/dev/sdf", SizeGB: 3, Type: "gp3", KeepVolume: true}}
		})
		s.machine(t, b)
		time.Sleep(over)
		s.sweep(t, nil)
		time.Sleep(time.Minute)
		left := s.Left()
		if len(left) != 1 || !strings.HasPrefix(left[0], "volume ") {
			t.Errorf("left: %q", left)
		}
	})
}

// What a build does at its start needs no more than what builds may do, and obeys
// its limit.
func TestSweepAtStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		s.dead(t, "dead", OnDemand)
		time.Sleep(over)
		b := s.newBuild(t, nil)
		begun := time.Now()
		sweep.AtStart(t.Context(), b.Leftovers(), b.owner.ID, s.say)
		if d := time.Since(begun); d > 31*time.Second {
			t.Errorf("took %s", d)
		}
		checkText(t, s.text(), []string{"Leftovers of earlier builds in aws " + simRegion + ", removed: instance i-"}, nil)
		for _, op := range []string{"ListRoles", "DescribeNetworkInterfaces", "DescribeSpotInstanceRequests"} {
			if n := s.CountRequests(op); n > 0 {
				t.Errorf("%s was asked for", op)
			}
		}
		// What the machine kept is for the next.
		time.Sleep(time.Hour)
		sweep.AtStart(t.Context(), b.Leftovers(), b.owner.ID, s.say)
		s.nothingLeft(t, s.iam()...)

		done, cancel := context.WithCancel(t.Context())
		cancel()
		sweep.AtStart(done, b.Leftovers(), b.owner.ID, s.say)
	})
}

// iam are the ids of what is in IAM.
func (s *sim) iam() (ids []string) {
	for _, a := range s.Inventory().Accounts {
		for _, x := range a.IAM {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// Expiry is judged by AWS's clock, not by this computer's.
func TestSweepClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		date := ""
		s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				switch date {
				case "":
				case "none":
					w.Header()["Date"] = nil
				default:
					w.Header().Set("Date", date)
				}
				next.ServeHTTP(w, r)
			})
		}})
		set := func(d string) { mu.Lock(); defer mu.Unlock(); date = d }
		b := s.dead(t, "dead", OnDemand)
		dry := func(w *sweep.Sweep) { w.DryRun = true }
		set(b.owner.Expires.Add(time.Hour).Format(http.TimeFormat))
		if r := s.sweep(t, dry); len(r.Removed) == 0 {
			t.Error("AWS says that the time is over")
		}
		time.Sleep(over)
		set(b.owner.Expires.Add(-time.Hour).Format(http.TimeFormat))
		if r := s.sweep(t, dry); len(r.Removed) > 0 {
			t.Errorf("AWS says that the time is not over: %v", r.Removed)
		}
		set("none")
		if r := s.sweep(t, dry); len(r.Removed) > 0 || !r.Now.IsZero() {
			t.Errorf("AWS does not say what time it is: %v", r.Removed)
		}
	})
}

// An image that its build finishes after the list was made stays, with its snapshots.
func TestSweepFinishedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		b := s.newBuild(t, func(c *BuildConfig) { c.Image.Method = ByCreateImage })
		machine := s.machine(t, b)
		id, err := b.StartImage(t.Context(), machine, b.owner.Token("image", machine))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		r := s.sweep(t, func(w *sweep.Sweep) {
			w.Rules.Builds = []string{b.owner.ID}
			w.Removing = func(x sweep.Thing) {
				if x.Kind != sweep.Image {
					return
				}
				if _, err := b.FinishImage(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		})
		if got := kinds(r.Removed); len(r.Left) > 0 || slices.Contains(got, "image") || slices.Contains(got, "snapshot") || !slices.Contains(got, "instance") {
			t.Errorf("removed %q, left %v", got, r.Left)
		}
		var why []string
		for _, k := range r.Kept {
			why = append(why, string(k.Kind)+": "+k.Why)
		}
		if want := []string{"image: it is finished", "snapshot: it is used by " + id}; !slices.Equal(why, want) {
			t.Errorf("kept %q", why)
		}
		img, err := b.image(t.Context(), id)
		if err != nil || len(snapshotsOf(img)) != 1 {
			t.Fatalf("%+v %v", img, err)
		}
		s.nothingLeft(t, append(snapshotsOf(img), id)...)
	})
}
