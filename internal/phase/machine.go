// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/launch"
	"github.com/armfree/packer-plugin-armfree/internal/lifeline"
	"github.com/armfree/packer-plugin-armfree/internal/wait"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// FindMachine looks for a machine wherever the plan says that one may be.
type FindMachine struct {
	UI    packersdk.Ui
	Cloud cloud.Cloud
	Token func(parts ...string) string
	// Plan checks everything that can be checked before something costs money
	// and lists the offers in the order of preference.
	Plan func(ctx context.Context) (cloud.Plan, error)
	// Policy paces the search. Its deadline is Timeout from the beginning of the
	// search; what the plan knows is added to it.
	Policy  capacity.Policy
	Timeout time.Duration
	// TimeoutOption is the setting that raises Timeout; messages name it.
	TimeoutOption string
	// Hold is how long the offers of a cloud wait for those of the others, from
	// the beginning of the search.
	Hold map[string]time.Duration
	// Found, if set, is called once there is a machine.
	Found func(*FindMachine)
	// Leave, if set, says whether the end of the machine need not be waited for when all
	// went well.
	Leave func(*FindMachine) bool
	// Again, if set, is called before a machine is looked for once more.
	Again func()

	// Results of Run.
	ID      string
	Offer   capacity.Offer
	Address string

	made []string  // every machine that exists because of us
	open wait.Open // launches that may have made one that nobody saw, by token
	runs int
}

// Name implements Phase.
func (p *FindMachine) Name() string { return "find a machine" }

// Run implements Phase.
func (p *FindMachine) Run(ctx context.Context) error {
	// A second run (-on-error=ask) must not find a second machine.
	if err := p.remove(ctx); err != nil {
		return err
	}
	p.runs++
	if p.runs > 1 && p.Again != nil {
		p.Again()
	}
	plan, err := p.Plan(ctx)
	if err != nil {
		return err
	}
	for _, n := range plan.Notes {
		p.UI.Say(n)
	}
	start := time.Now()
	p.UI.Sayf("Looking for a machine for up to %s: %s", capacity.Short(p.Timeout), summary(plan.Offers))
	if first, later, d := p.held(plan.Offers); d > 0 {
		p.UI.Sayf("For the first %s only %s is asked, after that %s as well", capacity.Short(d), first, later)
	}
	policy := p.Policy
	policy.Deadline = start.Add(p.Timeout)
	policy.Worked = plan.Worked
	policy.Clouds = map[string]capacity.Terms{}
	maps.Copy(policy.Clouds, p.Policy.Clouds)
	for name, d := range p.Hold {
		terms := policy.Clouds[name]
		terms.NotBefore = start.Add(d)
		policy.Clouds[name] = terms
	}
	policy.NoAsking = policy.NoAsking || plan.NoAsking
	var tried []capacity.Tried
	loop := launch.Loop{
		Cloud:  p.Cloud,
		Offers: plan.Offers,
		Policy: policy,
		Token:  func(parts ...string) string { return p.Token(append(parts, strconv.Itoa(p.runs))...) },
		Say:    func(f string, a ...any) { p.UI.Sayf(f, a...) },
		Made:   func(id string) { p.made = append(p.made, id) },
		Gone:   p.gone,
		Tried:  func(t []capacity.Tried) { tried = t },
		Open:   p.open.Add,
		Closed: p.open.Close,
		Ready:  lifeline.Alive,
	}
	p.ID, p.Offer, err = loop.Run(ctx)
	if attempts(tried) > 1 || err != nil {
		for _, line := range capacity.Table(tried) {
			p.UI.Say(line)
		}
	}
	if err != nil {
		return p.explain(err)
	}
	if p.Address, err = p.Cloud.Address(ctx, p.ID); err != nil {
		return err
	}
	if p.Found != nil {
		p.Found(p)
	}
	p.UI.Sayf("Machine %s runs in %s after %s, address %s", p.ID, p.Offer, time.Since(start).Round(time.Second), p.Address)
	return nil
}

// summary counts where a machine is looked for: "3 availability domains in
// eu-frankfurt-1, as VM.Standard.A1.Flex 2 OCPU/12 GB or ...".
func summary(offers []capacity.Offer) string {
	var zones, regions []string
	add := func(list *[]string, s string) {
		if !slices.Contains(*list, s) {
			*list = append(*list, s)
		}
	}
	for _, o := range offers {
		add(&zones, o.Region+" "+o.Zone)
		add(&regions, o.Region)
	}
	what := "availability domain"
	for _, o := range offers {
		switch {
		case o.Cloud == "aws" && offers[0].Cloud == "aws":
			what = "availability zone"
		case o.Cloud != offers[0].Cloud:
			what = "place"
		}
	}
	if len(zones) != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s in %s, as %s", len(zones), what, strings.Join(regions, ", "), strings.Join(capacity.Sizes(offers), " or "))
}

// held says which clouds wait for which, if any do.
func (p *FindMachine) held(offers []capacity.Offer) (first, later string, d time.Duration) {
	for _, o := range offers {
		name := strings.ToUpper(o.Cloud)
		if hold := p.Hold[o.Cloud]; hold > 0 {
			later, d = name, hold
		} else {
			first = name
		}
	}
	if first == "" || later == "" {
		return "", "", 0
	}
	return first, later, d
}

// attempts counts the launches.
func attempts(tried []capacity.Tried) (n int) {
	for _, t := range tried {
		n += t.Attempts
	}
	return n
}

// explain says what might have helped a search that ended without a machine.
func (p *FindMachine) explain(err error) error {
	var none *launch.NoMachineError
	if !errors.As(err, &none) {
		return err
	}
	if none.Late {
		return fmt.Errorf("%w (%s = %q). Try again later, give it more time, or widen the search: more sizes, more availability domains, another region", err, p.TimeoutOption, capacity.Short(p.Timeout))
	}
	return err
}

func (p *FindMachine) gone(id string) {
	for i, m := range p.made {
		if m == id {
			p.made = append(p.made[:i], p.made[i+1:]...)
			return
		}
	}
}

// use does work with the machine, and ends it when the machine does: the error then
// says what became of the machine, and not what the work made of that.
func (p *FindMachine) use(ctx context.Context, work func(context.Context) error) error {
	mortal, is := p.Cloud.(cloud.Mortal)
	if !is {
		return work(ctx)
	}
	inner, stop := context.WithCancel(ctx)
	defer stop()
	end := make(chan error, 1)
	go func() {
		err := mortal.AwaitEnd(inner, p.ID)
		end <- err
		if err != nil {
			stop()
		}
	}()
	err := work(inner)
	stop()
	gone := <-end
	if err == nil || ctx.Err() != nil {
		return err
	}
	if gone == nil { // a connection may break before its end has been seen
		gone = mortal.Gone(ctx, p.ID)
	}
	if gone != nil {
		log.Printf("[INFO] the machine has ended, and this came of it: %v", err)
		return gone
	}
	return err
}

// Undo implements Phase: no machine outlives its build, but for those that the cloud
// has agreed to end.
func (p *FindMachine) Undo(ctx context.Context, failed error) error {
	if failed == nil && p.Leave != nil && p.Leave(p) {
		p.leave(ctx)
	}
	return p.remove(ctx)
}

// remove makes sure that there is no machine, and none that shows up later.
func (p *FindMachine) remove(ctx context.Context) error {
	err := p.terminate(ctx)
	lerr := p.lost().settle(ctx, func(ctx context.Context, token string) ([]string, error) {
		ids, err := p.Cloud.Find(ctx, token)
		for _, id := range ids {
			if !slices.Contains(p.made, id) {
				p.made = append(p.made, id)
			}
		}
		if len(ids) > 0 {
			p.End(ctx) // others may have to be looked for for longer
		}
		return ids, err
	})
	return errors.Join(err, lerr, p.terminate(ctx))
}

// leave asks for the end of the machines and forgets those whose end the cloud has
// accepted. Of the others terminate makes sure.
func (p *FindMachine) leave(ctx context.Context) {
	p.made = slices.DeleteFunc(p.made, func(id string) bool {
		return p.ask(ctx, id, "; its end is not waited for (skip_termination_wait)")
	})
}

// terminate removes the machines that are known. What could not be removed is told
// once.
func (p *FindMachine) terminate(ctx context.Context) error {
	var errs []error
	for _, id := range p.made {
		p.UI.Sayf("Terminating machine %s and its disk", id)
		err := p.Cloud.Terminate(ctx, id)
		switch {
		case errors.Is(err, context.Canceled): // cleaning up has no other end of that kind than a second Ctrl-C
			errs = append(errs, fmt.Errorf("machine %s may still be there: its end was not waited for", id))
		case err != nil:
			errs = append(errs, fmt.Errorf("machine %s could not be terminated, please do so by hand: %w", id, err))
		}
	}
	p.made = nil
	return errors.Join(errs...)
}

// Made implements Maker.
func (p *FindMachine) Made() (list []string) {
	for _, id := range p.made {
		list = append(list, "machine "+id)
	}
	return append(list, p.lost().made()...)
}

func (p *FindMachine) lost() lostReplies {
	return lostReplies{UI: p.UI, Open: &p.open, what: "machine", by: `instance whose tag "armfree" has attempt=`}
}

// End asks for the end of what costs money, before something is undone that may
// take long. Undo makes sure of it.
func (p *FindMachine) End(ctx context.Context) {
	for _, id := range p.made {
		p.ask(ctx, id, "")
	}
}

// ask asks once for the end of a machine, and says so, and what more there is to say.
// Whether the cloud has accepted is returned.
func (p *FindMachine) ask(ctx context.Context, id, more string) bool {
	err := p.Cloud.AskTermination(ctx, id)
	if err != nil {
		log.Printf("[WARN] machine %s cannot be terminated yet: %v", id, err)
		return false
	}
	p.UI.Sayf("Machine %s is being terminated%s", id, more)
	return true
}
