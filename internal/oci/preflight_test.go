// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

const (
	a2    = "VM.Standard.A2.Flex"
	micro = "VM.Standard.E2.1.Micro"
)

// ladder is what a template gets that names no sizes.
func ladder(c *BuildConfig) {
	c.Sizes, c.SizesNamed = []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}, {Shape: a1, OCPUs: 1, MemoryGB: 6}}, false
}

// denied is how a service answers what a user may not do.
func denied(op string) ocisim.Fault {
	return ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 404, Code: "NotAuthorizedOrNotFound", Message: "Authorization failed or requested resource not found."}
}

// withMicro makes an image that the small x86 machines start, too.
func withMicro(i *ocisim.BaseImage) { i.Shapes = []string{a1, micro} }

// planned is one plan in the simulated cloud, and what it must come to.
type planned struct {
	name   string
	sim    simOptions
	before func(t *testing.T, s *sim) // what is there when it is made
	change func(*BuildConfig, *sim)
	// sizes are the OCPUs that are offered, by availability domain: "AD-1 2 1".
	// None means that the build is refused.
	sizes  []string
	says   []string // in the notes, or in the refusal
	silent []string
}

func (tt planned) run(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, tt.sim)
		if tt.before != nil {
			tt.before(t, s)
		}
		launched := s.CountRequests("LaunchInstance")
		b := s.newBuild(t, func(c *BuildConfig) {
			if tt.change != nil {
				tt.change(c, s)
			}
		})
		plan, err := b.Plan(contextFor(t, 5*time.Minute))
		var sizes []string
		for _, o := range plan.Offers {
			at := strings.Fields(strings.ReplaceAll(short(o), "/", " "))
			if i := slices.IndexFunc(sizes, func(l string) bool { return strings.HasPrefix(l, at[0]) }); i < 0 {
				sizes = append(sizes, at[0]+" "+at[len(at)-1])
			} else if !strings.HasSuffix(sizes[i], " "+at[len(at)-1]) {
				sizes[i] += " " + at[len(at)-1]
			}
		}
		said := strings.Join(plan.Notes, "\n")
		if err != nil {
			said = err.Error()
			if !strings.Contains(said, "this build cannot work, and nothing was started:") {
				t.Errorf("%v", err)
			}
		}
		if !slices.Equal(sizes, tt.sizes) || (err == nil) == (len(tt.sizes) == 0) {
			t.Errorf("offers %q, want %q, %v", sizes, tt.sizes, err)
		}
		checkText(t, said, tt.says, tt.silent)
		lines := strings.Split(said, "\n")
		slices.Sort(lines)
		if n := len(lines); len(slices.Compact(lines)) != n {
			t.Errorf("said twice:\n%s", said)
		}
		if len(tt.says) == 0 && said != "" {
			t.Errorf("said: %s", said)
		}
		if n := s.CountRequests("LaunchInstance"); n != launched {
			t.Errorf("%d launches", n-launched)
		}
	})
}

func TestPlanWithinLimits(t *testing.T) {
	everywhere := func(sizes string) []string { return []string{"AD-1" + sizes, "AD-2" + sizes, "AD-3" + sizes} }
	limit := func(name string, ad string, value int64) ocisim.Fault {
		return ocisim.Fault{Kind: ocisim.FaultLimitValue, Limit: name, AD: ad, Value: value}
	}
	for _, tt := range []planned{
		{name: "what is free", sim: simOptions{build: alwaysFreeAccount}, change: func(c *BuildConfig, _ *sim) { ladder(c) }, sizes: everywhere(" 2 1")},
		{
			name: "what was free once", sim: simOptions{build: alwaysFreeAccount},
			change: func(c *BuildConfig, _ *sim) {
				c.Sizes, c.SizesNamed = []Size{{Shape: a1, OCPUs: 4, MemoryGB: 24}}, true
			},
			says: []string{
				a1 + " 4 OCPU/24 GB is more than the account may have in ", "AD-1, ", "AD-3: ", `the limit "standard-a1-core-count" is 2, 0 in use`,
				"Since June 2026 Always Free is 2 OCPUs and 12 GB of memory, no longer 4 and 24: ask for at most that by shape_config, or for a higher limit",
			},
			silent: []string{"In use by"},
		},
		{
			name: "far more than was ever free", change: func(c *BuildConfig, _ *sim) {
				c.Sizes, c.SizesNamed, c.Allowance = []Size{{Shape: a1, OCPUs: 76, MemoryGB: 400}}, true, Allowance{4, 24, 200}
			},
			sim:  simOptions{build: func(b *ocisim.Tenancy) { b.Limits["standard-a1-core-regional-count"] = 40 }},
			says: []string{`the limit "standard-a1-core-regional-count" is 40`}, silent: []string{"no longer 4 and 24"},
		},
		{
			name: "one of two sizes", sim: simOptions{build: alwaysFreeAccount},
			change: func(c *BuildConfig, _ *sim) {
				c.Sizes, c.SizesNamed = []Size{{Shape: a1, OCPUs: 4, MemoryGB: 24}, {Shape: a1, OCPUs: 2, MemoryGB: 12}}, true
			},
			sizes: everywhere(" 2"), says: []string{"4 OCPU/24 GB is more than the account may have", "no longer 4 and 24"},
		},
		{
			name: "beside a machine", sim: simOptions{build: alwaysFreeAccount}, change: func(c *BuildConfig, _ *sim) { ladder(c) },
			before: func(t *testing.T, s *sim) { s.run(t, s.build.ID, "AD-2", Size{Shape: a1, OCPUs: 1, MemoryGB: 6}) },
			sizes:  everywhere(" 1"), says: []string{"2 OCPU/12 GB is more than the account may have", "is 2, 1 in use", ". In use by other (ocid1.instance."},
		},
		{
			name: "beside a machine, in an account that may have more", change: func(c *BuildConfig, _ *sim) { ladder(c) },
			before: func(t *testing.T, s *sim) {
				s.run(t, s.build.ChildCompartmentID, "AD-2", Size{Shape: a1, OCPUs: 1, MemoryGB: 6})
			},
			sizes: everywhere(" 1"), says: []string{"2 OCPU/12 GB in eu-frankfurt-1 is left out, it would not be free", "1 OCPUs and 6 GB are in use", "name it by shape_config"},
		},
		{
			name: "beside a machine, and named", change: func(c *BuildConfig, _ *sim) { ladder(c); c.SizesNamed = true },
			before: func(t *testing.T, s *sim) {
				s.run(t, s.build.ChildCompartmentID, "AD-2", Size{Shape: a1, OCPUs: 1, MemoryGB: 6})
			},
			sizes: everywhere(" 2 1"), says: []string{"2 OCPU/12 GB in eu-frankfurt-1 is launched as asked, and is not free"},
		},
		{
			name: "beside many machines", sim: simOptions{build: func(b *ocisim.Tenancy) { b.Limits["standard-a1-core-regional-count"] = 5 }},
			change: func(c *BuildConfig, _ *sim) { ladder(c) },
			before: func(t *testing.T, s *sim) {
				for range 5 {
					s.run(t, s.build.ChildCompartmentID, "AD-1", Size{Shape: a1, OCPUs: 1, MemoryGB: 6})
				}
			},
			says: []string{"In use by other (ocid1.instance.", ", and 2 more", "2 OCPU/12 GB is more", "1 OCPU/6 GB is more"},
		},
		{
			name: "limits that differ", sim: simOptions{faults: []ocisim.Fault{limit("standard-a1-core-count", "AD-1", 0), limit("standard-a1-memory-count", "AD-2", 6)}},
			change: func(c *BuildConfig, _ *sim) { ladder(c) }, sizes: []string{"AD-2 1", "AD-3 2 1"},
			says: []string{`AD-1: the limit "standard-a1-core-count" is 0, 0 in use`, `AD-2: the limit "standard-a1-memory-count" is 6, 0 in use`}, silent: []string{"AD-3"},
		},
		{
			name: "a limit of images", sim: simOptions{build: func(b *ocisim.Tenancy) { b.Limits["custom-image-count"] = 1 }},
			says: []string{`the limit "custom-image-count" of tenancy`, "leaves no room for another image (0 left)"},
		},
		{
			name: "storage in one domain", sim: simOptions{faults: []ocisim.Fault{limit("total-storage-gb", "AD-2", 46)}}, sizes: []string{"AD-1 2", "AD-3 2"},
			says: []string{`the limit "total-storage-gb" leaves 46 GB in `, "AD-2 (0 in use), and the boot volume needs 47"},
		},
		{
			name: "storage everywhere", sim: simOptions{build: func(b *ocisim.Tenancy) { b.Limits["total-storage-gb"] = 100 }},
			change: func(c *BuildConfig, _ *sim) { c.DiskGB = 101 }, says: []string{"leaves 100 GB in ", "AD-1 (0", "AD-3 (0", "needs 101", "delete boot or block volumes"},
		},
		{
			name: "storage that other machines fill", sim: simOptions{build: alwaysFreeAccount, base: withMicro},
			before: func(t *testing.T, s *sim) {
				for range 2 {
					s.run(t, s.build.ChildCompartmentID, "AD-1", Size{Shape: micro})
				}
			},
			change: func(c *BuildConfig, _ *sim) { c.DiskGB = 110 }, sizes: []string{"AD-2 2", "AD-3 2"},
			says: []string{"leaves 106 GB in ", "AD-1 (94 in use)", "is launched as asked, and is not free: 200 GB of boot and block volumes are free (free_allowance), 94 GB are in use, and the boot volume would add 110"},
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestPlanShapes(t *testing.T) {
	both := func(c *BuildConfig, _ *sim) {
		c.Sizes, c.SizesNamed = []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}, {Shape: a2, OCPUs: 3, MemoryGB: 18}}, true
	}
	absent := func(shape, ad string) ocisim.Fault {
		return ocisim.Fault{Kind: ocisim.FaultShapeAbsent, Shape: shape, AD: ad}
	}
	for _, tt := range []planned{
		{name: "both", change: both, sizes: []string{"AD-1 2 3", "AD-2 2 3", "AD-3 2 3"}, says: []string{a2 + " is not free"}},
		{
			name: "one does not exist", change: both, sim: simOptions{faults: []ocisim.Fault{absent(a2, "")}}, sizes: []string{"AD-1 2", "AD-2 2", "AD-3 2"},
			says: []string{a2 + " is left out: shape: " + a2 + " does not exist in "},
		},
		{
			name: "each in one domain", change: both, sim: simOptions{faults: []ocisim.Fault{absent(a1, "AD-1"), absent(a1, "AD-2"), absent(a2, "AD-2"), absent(a2, "AD-3")}},
			sizes: []string{"AD-1 3", "AD-3 2"}, says: []string{"is not free"}, silent: []string{"does not exist"},
		},
		{
			name: "the image is not for one", change: both, sim: simOptions{base: func(i *ocisim.BaseImage) { i.Shapes = []string{a1} }}, sizes: []string{"AD-1 2", "AD-2 2", "AD-3 2"},
			says: []string{a2 + " is left out: image ", " cannot start on " + a2},
		},
		{
			name: "both are missing, each for its own reason", change: both,
			sim:  simOptions{base: func(i *ocisim.BaseImage) { i.Shapes = []string{a2} }, faults: []ocisim.Fault{absent(a2, "")}},
			says: []string{"shape: " + a2 + " does not exist in ", " cannot start on " + a1},
		},
		{
			name: "one is missing, and of the other too much is asked", change: both,
			sim:  simOptions{build: func(b *ocisim.Tenancy) { b.Limits["standard-a1-core-count"] = 1 }, faults: []ocisim.Fault{absent(a2, "")}},
			says: []string{a2 + " is left out: shape: " + a2 + " does not exist in ", a1 + " 2 OCPU/12 GB is more than the account may have"},
		},
		{
			name: "too little of the disk", change: func(c *BuildConfig, _ *sim) { c.DiskGB = 50 },
			sim:  simOptions{wrap: rewrite("/images/", func(b string) string { return strings.Replace(b, `"sizeInMBs":47694`, `"sizeInMBs":51201`, 1) })},
			says: []string{"disk_size: image ", "(debian) needs a boot volume of 51 GB, 50 is too small"},
		},
		{
			name: "just enough of the disk", change: func(c *BuildConfig, _ *sim) { c.DiskGB = 50 }, sizes: []string{"AD-1 2", "AD-2 2", "AD-3 2"},
			sim: simOptions{wrap: rewrite("/images/", func(b string) string { return strings.Replace(b, `"sizeInMBs":47694`, `"sizeInMBs":51200`, 1) })},
		},
		{
			// Oracle: "You can still launch instances while the image is exporting".
			name: "an image that is being exported", sizes: []string{"AD-1 2", "AD-2 2", "AD-3 2"},
			sim: simOptions{wrap: rewrite("/images/", func(b string) string { return strings.Replace(b, `"AVAILABLE"`, `"EXPORTING"`, 1) })},
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestPlanSubnet(t *testing.T) {
	local := func(ad string) func(*BuildConfig, *sim) {
		return func(c *BuildConfig, s *sim) { c.Subnet = s.build.ADSubnetID(simRegion, ad) }
	}
	state := func(is string) simOptions {
		return simOptions{wrap: rewrite("/subnets/", func(b string) string { return strings.Replace(b, `"AVAILABLE"`, `"`+is+`"`, 1) })}
	}
	for _, tt := range []planned{
		{name: "of one domain", change: local("AD-2"), sizes: []string{"AD-2 2"}},
		{
			name: "of the domain that is pinned, too", sizes: []string{"AD-2 2"},
			change: func(c *BuildConfig, s *sim) {
				local("AD-2")(c, s)
				c.AvailabilityDomain, c.FirstDomain = s.ad("AD-2"), s.ad("AD-1")
			},
		},
		{
			name: "of another domain than the one that is pinned", change: func(c *BuildConfig, s *sim) { local("AD-2")(c, s); c.AvailabilityDomain = s.ad("AD-1") },
			says: []string{"availability_domain is ", "AD-1, but the subnet's availability domain is "},
		},
		{name: "terminated", sim: state("TERMINATED"), says: []string{"subnet_ocid: subnet ", " is TERMINATED, it must be AVAILABLE"}},
		{name: "being changed", sim: state("UPDATING"), sizes: []string{"AD-1 2", "AD-2 2", "AD-3 2"}},
		{
			name: "in a domain that lacks the shape", change: local("AD-2"), sim: simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultShapeAbsent, AD: "AD-2"}}},
			says: []string{"shape: " + a1 + " does not exist in ", "AD-2"}, silent: []string{"AD-1"},
		},
	} {
		t.Run(tt.name, tt.run)
	}
}

// Sizes that a shape does not come in are refused before anything is launched:
// each launch of one would be, too.
func TestPlanRefusesImpossibleSizes(t *testing.T) {
	for _, tt := range []planned{
		{name: "too much memory for each OCPU", change: func(c *BuildConfig, _ *sim) {
			c.Sizes = []Size{{Shape: a1, OCPUs: 2, MemoryGB: 12}, {Shape: a1, OCPUs: 2, MemoryGB: 200}}
		}, says: []string{"shape_config: " + a1 + " 2 OCPU/200 GB cannot be had: the shape has 1 to 64 GB of memory for each OCPU"}, silent: []string{"12 GB cannot"}},
		{name: "half an OCPU", change: func(c *BuildConfig, _ *sim) { c.Sizes = []Size{{Shape: a1, OCPUs: 0.5, MemoryGB: 6}} }, says: []string{"0.5 OCPU/6 GB cannot be had: the shape has 1 to 76 OCPUs"}},
		{name: "more memory than there is", change: func(c *BuildConfig, _ *sim) { c.Sizes = []Size{{Shape: a1, OCPUs: 76, MemoryGB: 500}} }, says: []string{"the shape has 1 to 472 GB of memory"}},
	} {
		t.Run(tt.name, tt.run)
	}
}

// What the limits say is said beside everything else, not in the next run.
func TestPlanReportsLimitsBesideTheRest(t *testing.T) {
	planned{
		name: "everything", sim: simOptions{build: func(b *ocisim.Tenancy) { b.AlwaysFree = true; b.Limits["custom-image-count"] = 0 }},
		change: func(c *BuildConfig, s *sim) {
			c.Sizes, c.SizesNamed, c.Subnet = []Size{{Shape: a1, OCPUs: 4, MemoryGB: 24}}, true, s.build.PrivateSubnetID(simRegion)
		},
		says: []string{`the limit "custom-image-count"`, "assign_public_ip: subnet", "4 OCPU/24 GB is more than the account may have", "Since June 2026 Always Free is 2 OCPUs and 12 GB"},
	}.run(t)
}

// A user who may do only what a build needs can build: what is only good to
// know is done without.
func TestPlanWithFewPermissions(t *testing.T) {
	few := simOptions{
		build: func(b *ocisim.Tenancy) { b.NoCapacityReports = true },
		faults: []ocisim.Fault{
			denied("ListLimitValues"), denied("GetResourceAvailability"), denied("ListCompartments"), denied("ListRegionSubscriptions"),
			denied("ListFaultDomains"), denied("GetTenancy"), denied("GetCompartment"),
		},
	}
	planned{
		name: "prefer", sim: few, change: func(c *BuildConfig, _ *sim) { ladder(c) }, sizes: []string{"AD-1 2 1", "AD-2 2 1", "AD-3 2 1"},
		says: []string{"Whether a machine in eu-frankfurt-1 is free is not known: how much of the free allowance"}, silent: []string{"\n"},
	}.run(t)
	planned{
		name: "require", sim: few, change: func(c *BuildConfig, _ *sim) { ladder(c); c.FreeTier = FreeRequire },
		says: []string{`free_tier = "require" forbids ` + a1 + " 2 OCPU/12 GB in eu-frankfurt-1", "does not see all compartments", "allow it to inspect tenancies", "allow it to read resource-availability"},
	}.run(t)
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, few)
		s.build.NoAccess = []string{s.build.ChildCompartmentID}
		x := newSearch(t, s, pace(1, false))
		id, _, err := x.Run(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, strings.Join(x.said, "\n"))
		}
		if n := x.count("may not ask for capacity reports"); n > 1 {
			t.Errorf("said %d times:\n%s", n, strings.Join(x.said, "\n"))
		}
		if err := x.Loop.Cloud.Terminate(context.WithoutCancel(t.Context()), id); err != nil {
			t.Error(err)
		}
	})
}

// A reply may lack anything. What is only good to know is then not known; what
// a build needs is missing; nothing else happens.
func TestPlanWithEmptyReplies(t *testing.T) {
	for _, tt := range []struct {
		path  string
		needs bool
	}{
		{"/availabilityDomains", true}, {"/images/", true}, {"/shapes", true}, {"/computeCapacityReservations/", true}, {"/subnets/", false},
		{"/faultDomains", false}, {"/resourceAvailability", false}, {"/limitValues", false}, {"/compartments", false}, {"/instances", false}, {"/regionSubscriptions", false},
	} {
		for _, empty := range []string{"[]", "[null, {}]"} {
			t.Run(tt.path+" "+empty, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSim(t, simOptions{wrap: rewrite(tt.path, func(body string) string {
						if strings.HasPrefix(body, "{") {
							return "{}"
						}
						return empty
					})})
					b := s.newBuild(t, func(c *BuildConfig) {
						if tt.path == "/computeCapacityReservations/" {
							c.Reservation = s.reserve(t, held(1, 2, ""))
						}
					})
					plan, err := b.Plan(contextFor(t, time.Minute))
					if (err != nil) != tt.needs {
						t.Errorf("%d offers, %v", len(plan.Offers), err)
					}
					seen := map[string]bool{}
					for _, o := range plan.Offers {
						if o.Zone == "" || seen[o.String()] {
							t.Errorf("offer %+v", o)
						}
						seen[o.String()] = true
					}
				})
			})
		}
	}
}
