// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package launch looks for a machine until there is one.
//
// It is the shell around the pure search of internal/capacity: it asks the
// search for the next move, asks the cloud for a machine, tells the search
// what came of it, and says every step of the way. It never holds two machines
// that it knows of, it never forgets one (an id is recorded before it is waited for,
// and a reply that got lost is looked up by its token), and a cancelled
// context ends it at once with whatever it made handed to the caller.
//
// Every launch is said in a line of its own. Reports come every few seconds for
// hours, so they are said when something has changed, and summed up every few
// minutes.
package launch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// requestGrace is how long a launch request that is under way, and looking for what
// came of it, may go on after a cancel. Cut off, it would leave open whether there is
// a machine.
const requestGrace = 20 * time.Second

// lookups is how often a machine whose launch reply was lost is looked for; a
// list may lag behind a creation.
const lookups = 4

// Said is where the loop tells what it does: one sentence at a time.
type Said func(format string, args ...any)

// Loop looks for one machine.
type Loop struct {
	Cloud  cloud.Launcher
	Policy capacity.Policy
	Offers []capacity.Offer
	// Token makes the retry token of one attempt.
	Token func(parts ...string) string
	Say   Said
	// Made is called with the id of every machine that comes into being, before
	// it is waited for, and Gone when it has been removed again.
	Made func(id string)
	Gone func(id string)
	// Tried, if set, is called at the end, however it ends, with what is known
	// of every offer.
	Tried func([]capacity.Tried)
	// Open, if set, is called with the token of a launch of which it is not clear what
	// came of it, and Closed with that of one whose machine is known.
	Open   func(token string)
	Closed func(token string)
	// Ready, if set, is asked right before each launch; an error ends the search.
	Ready func(ctx context.Context) error
}

// NoMachineError says that the search ended without a machine.
type NoMachineError struct {
	Why  string
	Late bool      // the time was over; more of it might have helped
	Page help.Page // about what kept it from a machine; empty is capacity
}

func (e *NoMachineError) Error() string { return "no machine could be had: " + e.Why }

// HelpPage is the page about it.
func (e *NoMachineError) HelpPage() help.Page { return cmp.Or(e.Page, help.Capacity) }

// Run returns the id of a running machine and the offer it runs on. An error
// is ctx's, or a *NoMachineError.
func (l *Loop) Run(ctx context.Context) (id string, offer capacity.Offer, err error) {
	search := capacity.New(l.Policy, time.Now(), l.Offers)
	if l.Tried != nil {
		defer func() { l.Tried(search.Tried()) }()
	}
	tell := newNarrator(l.Say, search)
	var page help.Page // about the first refusal that is for good
	for attempt := 1; ; {
		if err := ctx.Err(); err != nil {
			return "", capacity.Offer{}, err
		}
		move := search.Next(time.Now())
		switch {
		case move.GiveUp != "":
			d := l.Policy.Deadline
			none := &NoMachineError{Why: move.GiveUp, Late: !d.IsZero() && !time.Now().Before(d)}
			if !none.Late {
				none.Page = page
			}
			return "", capacity.Offer{}, none
		case move.Ask != nil:
			reply := l.report(ctx, *move.Ask)
			if err := ctx.Err(); err != nil {
				return "", capacity.Offer{}, err
			}
			search.Answer(*move.Ask, time.Now(), reply)
			tell.reply(*move.Ask, reply)
		case move.Try == nil:
			if err := wait.Sleep(ctx, time.Until(move.Until)); err != nil {
				return "", capacity.Offer{}, err
			}
		default:
			id, verdict, err := l.attempt(ctx, *move.Try, attempt)
			if err != nil {
				search.Observe(*move.Try, time.Now(), capacity.Result{Outcome: capacity.Transient, Reason: "interrupted"})
				return "", capacity.Offer{}, err
			}
			search.Observe(*move.Try, time.Now(), verdict.Result)
			if id != "" {
				l.Say("Attempt %d: %s: launched (%s)", attempt, *move.Try, id)
				return id, *move.Try, nil
			}
			switch verdict.Outcome {
			case capacity.Rejected, capacity.RejectedForm, capacity.LimitReached:
				page = cmp.Or(page, verdict.Page)
			default: // what passes is not why the search ends
			}
			tell.attempt(attempt, *move.Try, verdict)
			attempt++
		}
	}
}

// report asks what is free, in a cloud that can be asked.
func (l *Loop) report(ctx context.Context, q capacity.Ask) capacity.Reply {
	r, ok := l.Cloud.(cloud.Reporter)
	if !ok {
		return capacity.Reply{Outcome: capacity.Rejected}
	}
	return r.Report(ctx, q)
}

// removeLimit is how long it may take to remove a machine that did not come up.
const removeLimit = 10 * time.Minute

// resends is how often a launch whose reply was lost, and of which no machine
// can be seen, is sent again with its own token.
const resends = 2

// attempt asks for one machine. It returns the id of a running one, or a
// verdict; an error only when ctx is done or something made could not be
// removed (holding two machines is never an option).
func (l *Loop) attempt(ctx context.Context, o capacity.Offer, n int) (string, cloud.Verdict, error) {
	token := l.Token("launch", o.Region, o.String(), strconv.Itoa(n))
	id, v, err := l.settle(ctx, o, token)
	if id == "" || err != nil {
		return "", v, err
	}
	err = l.Cloud.AwaitMachine(ctx, id)
	if err == nil {
		return id, cloud.Verdict{Result: capacity.Result{Outcome: capacity.Launched}}, nil
	}
	if ctx.Err() != nil {
		return "", cloud.Verdict{}, ctx.Err() // the caller undoes what Made told
	}
	v = l.Cloud.Classify(err)
	c, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	if terr := l.Cloud.Terminate(c, id); ctx.Err() != nil {
		return "", v, ctx.Err() // the caller undoes what Made told
	} else if terr != nil {
		return "", v, fmt.Errorf("machine %s did not come up (%s) and cannot be removed: %w", id, v.Reason, terr)
	}
	l.Gone(id)
	return "", l.Cloud.Examine(ctx, o, v), ctx.Err()
}

// settle sends a launch until it is clear what came of it. A lost reply is
// looked up by the token; if no machine can be seen, the same request is sent
// again: by the token the cloud knows it, and gives the machine it made the
// first time, however late that shows in a list.
//
// A cancel does not cut requests short, since that would leave open whether there
// is a machine; all that is under way then has requestGrace together. Nor is a
// machine asked for after it: what a launch needs is made before, and then it is
// asked once more whether there is anybody to have the machine.
func (l *Loop) settle(ctx context.Context, o capacity.Offer, token string) (string, cloud.Verdict, error) {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	if s, ok := l.Cloud.(cloud.Sundries); ok {
		if err := s.MakeSundries(ctx, o, token); err != nil {
			return "", l.Cloud.Classify(err), ctx.Err()
		}
	}
	for sent := 1; ; sent++ {
		if err := l.wanted(ctx); err != nil {
			return "", cloud.Verdict{}, err
		}
		id, err := l.Cloud.Launch(ctx, o, token)
		if err == nil {
			l.made(id, token)
			return id, cloud.Verdict{}, ctx.Err()
		}
		v := l.Cloud.Classify(err)
		if !v.Ambiguous {
			return "", l.Cloud.Examine(ctx, o, v), ctx.Err()
		}
		if l.Open != nil {
			l.Open(token)
		}
		id, err = l.find(g, token)
		if err != nil {
			return "", v, fmt.Errorf("the reply to a launch was lost (%s) and the machine cannot be looked up: %w", v.Reason, err)
		}
		if id != "" {
			l.confirmed(id, token, v)
			return id, v, ctx.Err()
		}
		if ctx.Err() != nil {
			return "", v, ctx.Err()
		}
		if sent > resends {
			return l.wait(ctx, token, v)
		}
		l.Say("It is not clear what came of the launch: %s. Asking again with the same token in %s", v.Reason, l.Policy.Interval)
		if err := wait.Sleep(ctx, l.Policy.Interval); err != nil {
			return "", v, err
		}
	}
}

// wanted says whether there still is somebody who wants a machine.
func (l *Loop) wanted(ctx context.Context) error {
	if err := ctx.Err(); err != nil || l.Ready == nil {
		return err
	}
	return l.Ready(ctx)
}

// wait looks for the machine of a launch of which no reply came through until a list
// would show it: another launch, with a token of its own, might make a second one.
func (l *Loop) wait(ctx context.Context, token string, v cloud.Verdict) (string, cloud.Verdict, error) {
	l.Say("It is still not clear what came of the launch: %s. Looking for its machine for %s before there is another launch", v.Reason, capacity.Short(wait.Unseen))
	var found string
	var open wait.Open
	lost := time.Now()
	open.Add(token)
	_, err := open.Settle(ctx, func(ctx context.Context, token string) (bool, error) {
		ids, err := l.Cloud.Find(ctx, token)
		switch {
		case err == nil && len(ids) > 0:
			found = ids[0]
		case err != nil && time.Since(lost) < wait.Unseen:
			return false, nil // there is time to look again
		}
		return found != "", err
	})
	switch {
	case found != "":
		l.confirmed(found, token, v)
	case ctx.Err() == nil && err != nil:
		return "", v, fmt.Errorf("the reply to a launch was lost (%s) and the machine cannot be looked up: %w", v.Reason, err)
	}
	return found, v, ctx.Err()
}

// confirmed tells of a machine whose launch had no reply.
func (l *Loop) confirmed(id, token string, v cloud.Verdict) {
	l.made(id, token)
	l.Say("The launch was not confirmed (%s), but the machine is there (%s)", v.Reason, id)
}

// made tells of the machine of a launch.
func (l *Loop) made(id, token string) {
	l.Made(id)
	if l.Closed != nil {
		l.Closed(token)
	}
}

// find looks for the machine of a launch whose reply was lost. It does not wait for
// a list that lags behind: asking again tells more, and after a cancel whoever
// undoes the search looks on.
func (l *Loop) find(ctx context.Context, token string) (string, error) {
	var found string
	looks := 0
	err := wait.Loop{
		What: "the machine of a lost launch reply", Pace: wait.Quick,
		Tolerate: func(error) bool { return looks < lookups },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		looks++
		ids, err := l.Cloud.Find(ctx, token)
		if err != nil {
			return false, err
		}
		if len(ids) > 0 {
			found = ids[0]
		}
		return found != "" || looks >= lookups, nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return "", err
	}
	return found, nil
}
