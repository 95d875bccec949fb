// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"strings"
	"testing"
)

// Whether a machine is launched, left out or forbidden, and what is said about
// it: nothing where it is free.
func TestDecide(t *testing.T) {
	two := Size{Shape: a1, OCPUs: 2, MemoryGB: 12}
	has := func(a *account, ocpus, memoryGB float32) {
		a.used.machines = append(a.used.machines, running{shape: a1, ocpus: ocpus, memoryGB: memoryGB})
	}
	const (
		freely = "yes"  // launched without a word
		paid   = "paid" // launched, and what is not free is said
		maybe  = "?"    // launched, and that it is not known to be free is said
		no     = "no"   // not launched, and why is said
	)
	for _, tt := range []struct {
		name   string
		change func(*account)
		size   Size
		// What becomes of it under prefer if the user named the size, under
		// prefer if it is our choice, and under require.
		named, own, require string
		says                []string
	}{
		{name: "it fits", named: freely, own: freely, require: freely},
		{name: "it fits beside what runs", size: Size{Shape: a1, OCPUs: 1, MemoryGB: 6}, change: func(a *account) { has(a, 1, 6) }, named: freely, own: freely, require: freely},
		{name: "machines of other shapes take nothing from it", change: func(a *account) {
			a.used.machines = []running{{shape: a2, ocpus: 8, memoryGB: 64}, {shape: bare, ocpus: 160, memoryGB: 1024}, {shape: micro, ocpus: 1, memoryGB: 1}}
		}, named: freely, own: freely, require: freely},
		{
			name: "too large", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 24}, named: paid, own: no, require: no,
			says: []string{"2 OCPUs and 12 GB are free (free_allowance; Oracle halved it in June 2026)", "0 OCPUs and 0 GB are in use", "this would add 4 and 24"},
		},
		{name: "too much memory", size: Size{Shape: a1, OCPUs: 2, MemoryGB: 13}, named: paid, own: no, require: no, says: []string{"this would add 2 and 13"}},
		{
			name: "too large beside what runs", change: func(a *account) { has(a, 1, 6) }, named: paid, own: no, require: no,
			says: []string{"1 OCPUs and 6 GB are in use", "this would add 2 and 12"},
		},
		{name: "too large beside what is seen, whatever is not", change: func(a *account) { has(a, 1, 6); a.used.whole = false }, named: paid, own: no, require: no, says: []string{"1 OCPUs and 6 GB are in use"}},
		{
			name: "fits beside what is seen", change: func(a *account) { a.used.whole = false }, named: maybe, own: maybe, require: no,
			says: []string{"how much of the free allowance is in use cannot be told, since this user does not see all compartments"},
		},
		{name: "the old allowance", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 24}, change: func(a *account) { a.allowance = Allowance{4, 24, 200} }, named: freely, own: freely, require: freely},
		{
			name: "not the home region", change: func(a *account) { a.home = "us-ashburn-1" }, named: paid, own: paid, require: no,
			says: []string{"machines are free in the home region only, which is us-ashburn-1"},
		},
		{
			name: "unknown home region", change: func(a *account) { a.home = "" }, named: maybe, own: maybe, require: no,
			says: []string{"whether eu-frankfurt-1 is the home region, in which alone machines are free, cannot be told", "allow it to inspect tenancies"},
		},
		{
			name: "a shape that is paid for", size: Size{Shape: a2, OCPUs: 1, MemoryGB: 6}, change: func(a *account) { a.billing[a2] = "PAID" }, named: paid, own: paid, require: no,
			says: []string{a2 + " is not free, of the Ampere shapes only " + a1 + " is"},
		},
		{
			name: "a shape of which that is not known", size: Size{Shape: a2, OCPUs: 1, MemoryGB: 6}, named: paid, own: paid, require: no,
			says: []string{a2 + " is not free"},
		},
		{
			name: "the free shape where it is paid for", change: func(a *account) { a.billing[a1] = "PAID" }, named: paid, own: paid, require: no,
			says: []string{a1 + " is PAID"},
		},
		{name: "the free shape of which that is not known", change: func(a *account) { delete(a.billing, a1) }, named: freely, own: freely, require: freely},
		{name: "a shape that is always free", size: Size{Shape: micro}, change: func(a *account) { has(a, 2, 12) }, named: maybe, own: maybe, require: no, says: []string{"OCI calls this shape free, and how much of that is in use is not looked at, only for " + a1}},
		{name: "storage for just this one", change: func(a *account) { a.storageGB = 153 }, named: freely, own: freely, require: freely},
		{
			name: "storage is full, of a size that was asked for", change: func(a *account) { a.storageGB, a.bootNamed = 154, true }, named: paid, own: paid, require: no,
			says: []string{"200 GB of boot and block volumes are free (free_allowance), 154 GB are in use, and the boot volume would add 47"},
		},
		{
			name: "storage is full", change: func(a *account) { a.storageGB = 154 }, named: paid, own: no, require: no,
			says: []string{"200 GB of boot and block volumes are free (free_allowance), 154 GB are in use, and the boot volume would add 47"},
		},
		{
			name: "storage is not known", change: func(a *account) { a.storageGB = -1 }, named: maybe, own: maybe, require: no,
			says: []string{"how much storage is in use cannot be told", "total-storage-gb", "allow it to read resource-availability"},
		},
		{
			name: "preemptible", change: func(a *account) { a.extra = "a preemptible machine" }, named: paid, own: paid, require: no,
			says: []string{"a preemptible machine is not part of the Always Free allowance"},
		},
		{
			name: "reserved", change: func(a *account) { a.extra = "reserved capacity" }, named: paid, own: paid, require: no,
			says: []string{"reserved capacity is not part of the Always Free allowance"},
		},
		{
			name: "too large where nothing is free, so that a smaller one would not be either", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 24}, named: paid, own: paid, require: no,
			change: func(a *account) { a.home = "us-ashburn-1" }, says: []string{"this would add 4 and 24", "us-ashburn-1"},
		},
		{
			name: "too large, and preemptible", size: Size{Shape: a1, OCPUs: 4, MemoryGB: 24}, named: paid, own: paid, require: no,
			change: func(a *account) { a.extra = "a preemptible machine" }, says: []string{"this would add 4 and 24", "preemptible"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := account{
				region: "eu-frankfurt-1", home: "eu-frankfurt-1", billing: map[string]string{a1: "LIMITED_FREE", micro: "ALWAYS_FREE"},
				used: usage{whole: true}, bootGB: 47, allowance: Allowance{2, 12, 200},
			}
			if tt.change != nil {
				tt.change(&a)
			}
			if tt.size == (Size{}) {
				tt.size = two
			}
			for _, c := range []struct {
				under string
				f     FreeTier
				named bool
				want  string
				begin string
			}{
				{"prefer, named", FreePrefer, true, tt.named, " in eu-frankfurt-1 is launched as asked, and is not free: "},
				{"prefer, our choice", FreePrefer, false, tt.own, map[string]string{
					paid: " in eu-frankfurt-1 is launched as asked, and is not free: ", no: " in eu-frankfurt-1 is left out, it would not be free: ",
				}[tt.own]},
				{"require, named", FreeRequire, true, tt.require, `free_tier = "require" forbids `},
				{"require, our choice", FreeRequire, false, tt.require, `free_tier = "require" forbids `},
				{"ignore, named", FreeIgnore, true, freely, ""},
				{"ignore, our choice", FreeIgnore, false, freely, ""},
			} {
				ok, note := a.decide(c.f, tt.size, c.named)
				if ok == (c.want == no) || (note == "") != (c.want == freely) {
					t.Errorf("%s: %t, %q; want %s", c.under, ok, note, c.want)
				}
				if note == "" {
					continue
				}
				if c.want == maybe {
					checkText(t, note, append(tt.says, "Whether a machine in eu-frankfurt-1 is free is not known: "), nil)
					continue
				}
				checkText(t, note, append(tt.says, c.begin, tt.size.String()), nil)
				if c.want == no && c.f == FreePrefer && !strings.HasSuffix(note, `To launch it all the same, name it by shape_config or set free_tier = "ignore"`) {
					t.Errorf("%s: no way out is named: %s", c.under, note)
				}
				if strings.Contains(note, "\n") || strings.Count(note, tt.size.String()) != 1 {
					t.Errorf("%s: %q", c.under, note)
				}
			}
		})
	}
}

// Under require every reason is named, those that are only possible last.
func TestCostsAreAllNamed(t *testing.T) {
	a := account{region: "eu-paris-1", billing: map[string]string{"VM.Standard.A2.Flex": "PAID"}, storageGB: 500, bootGB: 100, allowance: Allowance{2, 12, 200}, extra: "a preemptible machine"}
	ok, note := a.decide(FreeRequire, Size{Shape: "VM.Standard.A2.Flex", OCPUs: 2, MemoryGB: 12}, true)
	const want = `free_tier = "require" forbids VM.Standard.A2.Flex 2 OCPU/12 GB in eu-paris-1: a preemptible machine is not part of the Always Free allowance; ` +
		`VM.Standard.A2.Flex is not free, of the Ampere shapes only VM.Standard.A1.Flex is; ` +
		`200 GB of boot and block volumes are free (free_allowance), 500 GB are in use, and the boot volume would add 100; ` +
		`whether eu-paris-1 is the home region, in which alone machines are free, cannot be told, since this user may not read the region subscriptions (allow it to inspect tenancies)`
	if ok || note != want {
		t.Errorf("%t\ngot  %s\nwant %s", ok, note, want)
	}
}
