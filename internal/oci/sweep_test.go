// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// there is what the build tenancy has, one name each.
func (s *sim) there() (all []string) {
	for _, r := range s.Inventory().Tenancies[0].Regions {
		for _, list := range [][]ocisim.Resource{r.Instances, r.BootVolumes, r.Images, r.CapabilitySchemas, r.Bastions} {
			for _, x := range list {
				all = append(all, x.ID)
			}
		}
		for _, b := range r.Buckets {
			for _, o := range b.Objects {
				all = append(all, "object "+o.Name)
			}
			for _, u := range b.Uploads {
				all = append(all, "upload "+u.Object)
			}
			for _, p := range b.PARs {
				all = append(all, "link "+p.Name)
			}
		}
	}
	return all
}

// dead is what a build leaves that was killed before its image was verified: it is
// looked at 12 hours later, when its 8 hours and those of its bastion are over.
func (s *sim) dead(t *testing.T, name string) *Build {
	t.Helper()
	b := s.withBastion(t, nil)
	b.cfg.Image.Name = name
	if _, _, err := b.StartBastion(t.Context(), "", b.owner.Token("bastion")); err != nil {
		t.Fatal(err)
	}
	machine, err := b.Launch(t.Context(), capacity.Offer{Zone: s.ad("AD-1"), Shape: a1, OCPUs: 1, MemoryGB: 6}, b.owner.Token("launch"))
	if err == nil {
		err = b.AwaitMachine(t.Context(), machine)
	}
	if err != nil {
		t.Fatal(err)
	}
	image, err := b.StartImage(t.Context(), machine, b.owner.Token("image"))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	if err := b.setCapabilities(t.Context(), image, map[string]string{firmwareCapability: "UEFI_64"}); err != nil {
		t.Fatal(err)
	}
	return b
}

// copied is what a copy leaves that was killed in the middle of it.
func (s *sim) copied(t *testing.T, b *Bucket, by owner.Build) {
	t.Helper()
	object := by.Name(owner.RoleImage) + ".oci"
	for role, access := range map[string]cloud.Access{owner.RoleExport: cloud.Write, owner.RoleImport: cloud.Read} {
		if _, err := b.Share(t.Context(), object, by.Name(role), access, by.Expires); err != nil {
			t.Fatal(err)
		}
	}
	b.put(t, object, "half")
	b.upload(t, object)
	// A copy that can be taken up names its object so, and has a note of it.
	long := copyPrefix + "abcdefghijkl-" + by.ID + ".oci"
	b.put(t, long, "half")
	b.upload(t, long)
	b.put(t, by.Name(owner.RoleCopy), long)
}

func (s *sim) sweep(t *testing.T, change func(*sweep.Sweep)) sweep.Result {
	t.Helper()
	w := sweep.Sweep{
		Cloud: &Leftovers{Client: s.client(t, s.build), Compartments: []string{s.build.CompartmentID}, Bastions: true, Buckets: true},
		Rules: sweep.Rules{Grace: sweep.DefaultGrace},
	}
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

// A sweep removes what a dead build and a dead copy left, and nothing of others: a
// finished image, a build that goes on, what is not ours.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		bucket := s.newBucket(t)
		bucket.put(t, "armfree-like.oci", "theirs")
		bucket.put(t, "armfree-copy-mine.oci", "theirs, too: no build is in its name")
		bucket.upload(t, "theirs")
		whole := s.newBuild(t, func(c *BuildConfig) { c.Image.Name, c.Image.Firmware = "whole", "UEFI_64" })
		machine := s.run(t, s.build.CompartmentID, "AD-2", Size{a1, 1, 6, ""})
		image, err := whole.StartImage(t.Context(), machine, whole.owner.Token("image"))
		if err == nil {
			_, err = whole.FinishImage(t.Context(), image)
		}
		if err != nil {
			t.Fatal(err)
		}
		other := s.newBuild(t, nil)
		if err := other.Terminate(t.Context(), machine); err != nil {
			t.Fatal(err)
		}
		keep := s.there()

		dead := s.dead(t, "dead")
		s.copied(t, bucket, owner.NewBuild(time.Now(), 8*time.Hour))
		if early := s.sweep(t, nil); len(early.Removed)+len(early.Left) > 0 || len(early.Kept) == 0 {
			t.Errorf("before their time is over: %+v", early)
		}
		time.Sleep(12 * time.Hour)
		before := s.there()
		s.dead(t, "alive")
		s.copied(t, bucket, owner.NewBuild(time.Now(), 8*time.Hour))
		for _, x := range s.there() {
			if !slices.Contains(before, x) {
				keep = append(keep, x)
			}
		}
		dry := s.sweep(t, func(w *sweep.Sweep) { w.DryRun = true })
		r := s.sweep(t, nil)
		if len(r.Left)+len(r.UnderWay)+len(r.Blind) > 0 || len(dry.Removed) != len(r.Removed) {
			t.Errorf("left %v, under way %v, not seen %v, announced %d, removed %d", r.Left, r.UnderWay, r.Blind, len(dry.Removed), len(r.Removed))
		}
		want := []string{"bastion", "image", "image capability schema", "instance", "multipart upload", "note of a copy", "object", "pre-authenticated request"}
		if got := kinds(r.Removed); !slices.Equal(got, want) {
			t.Errorf("removed %q, want %q", got, want)
		}
		got := s.there()
		slices.Sort(got)
		slices.Sort(keep)
		if !slices.Equal(got, keep) {
			t.Errorf("there is\n%s\nand should be\n%s", strings.Join(got, "\n"), strings.Join(keep, "\n"))
		}
		// By name, before its time is over: the machine of the dead one is gone.
		if again := s.sweep(t, func(w *sweep.Sweep) { w.Rules.Builds = []string{dead.owner.ID} }); len(again.Removed) > 0 {
			t.Errorf("again: %v", again.Removed)
		}
	})
}

// However the cloud answers, nothing is left after a sweep.
func TestSweepFaults(t *testing.T) {
	for _, op := range []string{"ListInstances", "ListImages", "ListComputeImageCapabilitySchemas", "ListBastions", "ListBuckets", "ListPreauthenticatedRequests", "ListObjects",
		"ListMultipartUploads", "TerminateInstance", "DeleteImage", "DeleteComputeImageCapabilitySchema", "DeleteBastion", "DeletePreauthenticatedRequest", "DeleteObject", "AbortMultipartUpload"} {
		for _, f := range []ocisim.Fault{
			{Kind: ocisim.FaultStatus, Status: 500, Code: "InternalError", Message: "try again", Times: 2},
			{Kind: ocisim.FaultStatus, Status: 429, Code: "TooManyRequests", Message: "slow down", Times: 2},
			{Kind: ocisim.FaultStatus, Status: 409, Code: "IncorrectState", Message: "not now", Times: 2},
			{Kind: ocisim.FaultCutAfterEffect, Times: 1},
			{Kind: ocisim.FaultStatusAfterEffect, Status: 502, Times: 1},
		} {
			t.Run(fmt.Sprintf("%s-%s-%d", op, f.Kind, f.Status), func(t *testing.T) {
				sample.Case(t)
				synctest.Test(t, func(t *testing.T) {
					s := newSim(t, simOptions{})
					bucket := s.newBucket(t)
					empty := s.there()
					s.dead(t, "dead")
					s.copied(t, bucket, owner.NewBuild(time.Now(), 8*time.Hour))
					time.Sleep(12 * time.Hour)
					f.Op = op
					if err := s.AddFaults(f); err != nil {
						t.Fatal(err)
					}
					r := s.sweep(t, nil)
					if len(r.Left)+len(r.UnderWay)+len(r.Blind) > 0 {
						t.Errorf("left %v, under way %v, not seen %v", r.Left, r.UnderWay, r.Blind)
					}
					if got := s.there(); !slices.Equal(got, empty) {
						t.Errorf("left behind: %q", got)
					}
				})
			})
		}
	}
}

// What this user may not do looks like what is not there. It is named, and the rest
// is done.
func TestSweepRefused(t *testing.T) {
	for part, want := range map[string]string{
		"DELETE /20160918/instances/": "instance", "DELETE /20160918/images/": "image image capability schema",
		"DELETE /20210331/bastions/": "bastion", "DELETE /n/": "multipart upload note of a copy object pre-authenticated request", "GET /20210331/bastions": "-bastion",
	} {
		t.Run(part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				on := false
				s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						mu.Lock()
						defer mu.Unlock()
						if on && strings.HasPrefix(r.Method+" "+r.URL.Path, part) {
							refuse(w, 404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
							return
						}
						next.ServeHTTP(w, r)
					})
				}})
				bucket := s.newBucket(t)
				s.dead(t, "dead")
				s.copied(t, bucket, owner.NewBuild(time.Now(), 8*time.Hour))
				time.Sleep(12 * time.Hour)
				mu.Lock()
				on = true
				mu.Unlock()
				r := s.sweep(t, nil)
				var left []sweep.Thing
				for _, l := range r.Left {
					left = append(left, l.Thing)
				}
				got := strings.Join(kinds(left), " ")
				for _, b := range r.Blind {
					got += "-" + string(b.Kind)
					if !b.Refused {
						t.Errorf("%v is no refusal", b.Err)
					}
				}
				if got != want {
					t.Errorf("left %q, want %q: %v", got, want, r.Left)
				}
			})
		})
	}
}

// What cannot be removed today is a leftover tomorrow as well: the note that says until
// when a copy needs its objects and uploads stays as long as they do.
func TestSweepRefusedAndAgain(t *testing.T) {
	for _, op := range []string{"DeleteObject", "AbortMultipartUpload", "ListMultipartUploads"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				on := false
				s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						mu.Lock()
						defer mu.Unlock()
						parts := strings.Split(r.URL.Path, "/") // "", n, namespace, b, bucket, o, object
						var hit bool
						switch {
						case len(parts) > 5 && op == "DeleteObject":
							hit = r.Method == http.MethodDelete && parts[5] == "o" && strings.HasSuffix(r.URL.Path, ociSuffix)
						case len(parts) > 5 && op == "AbortMultipartUpload":
							hit = r.Method == http.MethodDelete && parts[5] == "u"
						case len(parts) == 6:
							hit = r.Method == http.MethodGet && parts[5] == "u"
						}
						if on && hit {
							refuse(w, 404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
							return
						}
						next.ServeHTTP(w, r)
					})
				}})
				bucket := s.newBucket(t)
				empty := s.there()
				s.copied(t, bucket, owner.NewBuild(time.Now(), 8*time.Hour))
				time.Sleep(12 * time.Hour)
				set := func(to bool) { mu.Lock(); on = to; mu.Unlock() }
				set(true)
				if r := s.sweep(t, nil); len(r.Left)+len(r.Blind) == 0 || slices.Contains(kinds(r.Removed), "note of a copy") {
					t.Errorf("left %v, not seen %v, removed %v", r.Left, r.Blind, r.Removed)
				}
				set(false)
				time.Sleep(24 * time.Hour)
				if r := s.sweep(t, nil); len(r.Left) > 0 {
					t.Errorf("left %v", r.Left)
				}
				if got := s.there(); !slices.Equal(got, empty) {
					t.Errorf("left behind: %q", got)
				}
			})
		})
	}
}

// An object of a copy of which nothing else is left goes when its copy is named.
func TestSweepCopyWithoutNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		bucket := s.newBucket(t)
		empty := s.there()
		bucket.put(t, copyPrefix+"abcdefghijkl-gone.oci", "half")
		bucket.upload(t, copyPrefix+"abcdefghijkl-gone.oci")
		time.Sleep(12 * time.Hour)
		if r := s.sweep(t, nil); len(r.Removed) > 0 || len(r.Kept) != 2 {
			t.Errorf("removed %v, kept %v", r.Removed, r.Kept)
		}
		if r := s.sweep(t, func(w *sweep.Sweep) { w.Rules.Builds = []string{"gone"} }); len(r.Removed) != 2 || !slices.Equal(s.there(), empty) {
			t.Errorf("removed %v, there is %q", r.Removed, s.there())
		}
	})
}

// What a build does at its start looks only where builds like it leave something.
func TestSweepAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simOptions{})
		s.dead(t, "dead")
		time.Sleep(12 * time.Hour)
		var said []string
		say := func(format string, a ...any) { said = append(said, fmt.Sprintf(format, a...)) }
		plain := s.newBuild(t, nil)
		sweep.AtStart(t.Context(), plain.Leftovers(), plain.owner.ID, say)
		if n := s.CountRequests("ListBastions"); n > 0 || s.CountRequests("ListBuckets") > 0 {
			t.Error("bastions or buckets are looked for")
		}
		if len(said) != 1 || !strings.Contains(said[0], "Leftovers of earlier builds in oci eu-frankfurt-1, removed: instance ocid1.instance.") {
			t.Errorf("said %q", said)
		}
		through := s.withBastion(t, nil)
		sweep.AtStart(t.Context(), through.Leftovers(), through.owner.ID, say)
		if b, _ := s.bastions(); len(b) > 0 || len(said) != 2 {
			t.Errorf("bastions %v, said %q", b, said)
		}
	})
}

// An image that its build finishes after the list was made, or even after the sweep has
// looked at it again, stays, and its schema with it.
func TestSweepFinishedMeanwhile(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var finish func()
			var hit sync.Once
			s := newSim(t, simOptions{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if late && r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/images/") {
						hit.Do(finish)
					}
					next.ServeHTTP(w, r)
				})
			}})
			b := s.dead(t, "late")
			images, err := b.FindImages(t.Context(), b.owner.Token("image"))
			if err != nil || len(images) != 1 {
				t.Fatal(images, err)
			}
			time.Sleep(12 * time.Hour)
			finish = func() {
				if _, err := b.compute.UpdateImage(shield(t.Context()), core.UpdateImageRequest{
					ImageId: &images[0], UpdateImageDetails: core.UpdateImageDetails{FreeformTags: finished(b.owner, owner.RoleImage, "", nil)}, RequestMetadata: once(),
				}); err != nil {
					t.Error(err)
				}
			}
			r := s.sweep(t, func(w *sweep.Sweep) {
				w.Rules.Builds = []string{b.owner.ID}
				w.Removing = func(x sweep.Thing) {
					if x.Kind == sweep.Image && !late {
						hit.Do(finish)
					}
				}
			})
			if got := kinds(r.Removed); len(r.Left) > 0 || !slices.Equal(got, []string{"bastion", "instance"}) {
				t.Errorf("removed %q, left %v", got, r.Left)
			}
			var why []string
			for _, k := range r.Kept {
				why = append(why, string(k.Kind)+": "+k.Why)
			}
			if want := []string{"image: it is finished", "image capability schema: it is used by " + images[0]}; !slices.Equal(why, want) {
				t.Errorf("kept %q", why)
			}
			if there := s.there(); !slices.Contains(there, images[0]) || !strings.Contains(fmt.Sprint(there), "ocid1.computeimgcapschema.") {
				t.Errorf("there is %q", there)
			}
		})
	}
}
