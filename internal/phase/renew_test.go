// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// renewed is a place with one machine of the build.
type renewed struct {
	Site
	sync.Mutex
	until time.Time // of the machine
	made  time.Time // what is made now is needed until then
	asked int
	deaf  error
}

func (r *renewed) Leftovers() []sweep.Cloud                { return []sweep.Cloud{r} }
func (r *renewed) Extend(until time.Time)                  { r.set(func() { r.made = until }) }
func (*renewed) Place() string                             { return "here" }
func (*renewed) Remove(context.Context, sweep.Thing) error { return nil }
func (*renewed) Gone(context.Context, sweep.Thing) error   { return nil }

// set does something while nothing is renewed.
func (r *renewed) set(do func()) {
	r.Lock()
	defer r.Unlock()
	do()
}

func (r *renewed) List(context.Context) (sweep.Listing, error) {
	r.Lock()
	defer r.Unlock()
	r.asked++
	mark := owner.Tag{Build: "b", Role: owner.RoleInstance, Expires: r.until}
	return sweep.Listing{Now: time.Now(), Things: []sweep.Thing{{Kind: sweep.Instance, ID: "i", Ours: true, Mark: mark}}}, r.deaf
}

func (r *renewed) Renew(_ context.Context, t sweep.Thing) error {
	r.set(func() { r.until = t.Mark.Expires })
	return nil
}

// However long a build takes, its machine never expires while it goes on; a build that
// takes no longer than it seemed asks for nothing.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 9 * time.Hour
		u, out := ui()
		r := &renewed{until: time.Now().Add(life)}
		b := &Build{UI: u, Site: r, ID: "b", Life: life}
		stop := b.keep(t.Context())
		sleep := func(d time.Duration) {
			r.set(func() {}) // what was read here was read before what is written next
			time.Sleep(d)
			synctest.Wait() // from then on nothing is written
		}
		sleep(2 * time.Hour)
		if r.asked > 0 {
			t.Error("it was renewed at once")
		}
		for range 100 {
			sleep(time.Hour)
			if left := time.Until(r.until); left < life/2 {
				t.Fatalf("only %s are left", left)
			}
		}
		if r.asked > 40 || out.Len() > 0 {
			t.Errorf("asked %d times, said %q", r.asked, out)
		}
		// The cloud does not answer for three hours: that is said once, and made up for.
		r.set(func() { r.deaf = errors.New("503") })
		needed := r.until
		sleep(3 * time.Hour)
		r.set(func() { r.deaf = nil })
		sleep(20 * time.Minute)
		if said := out.String(); strings.Count(said, "503") != 1 || !strings.Contains(said, "from "+needed.UTC().Format(time.RFC3339)+" on a sweep may take it for a leftover") {
			t.Errorf("said %q", said)
		}
		if time.Until(r.until) < life-time.Hour {
			t.Errorf("%s are left", time.Until(r.until))
		}
		stop()
		asked := r.asked
		sleep(24 * time.Hour)
		if r.asked != asked {
			t.Error("it goes on after the build")
		}
		b.extend()
		if time.Until(r.made) != life {
			t.Errorf("what is made is needed until %s", r.made)
		}
	})
}
