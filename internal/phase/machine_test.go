// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

var (
	errLost = errors.New("no reply")
	errBad  = errors.New("it broke")
)

// site is a cloud that holds machines and images by the tokens they were asked
// for with.
type site struct {
	machines, images map[string]string // id -> token
	address          error
	start, find      error         // what asking for an image, or looking for it, comes to
	tries            int           // how many requests for an image come to that; 0 is all
	made             bool          // the image is made although start is an error
	asked            int           // requests for an image so far
	takes            time.Duration // until an image is finished
	taken            bool          // there may be one image only, as of one name
	finish, remove   error
	onStart          func()
	lag              time.Duration // until lists show what was made
	born             map[string]time.Time
	launch           error // what asking for a machine comes to; it is made all the same
	onLaunch         func()
	leave            bool  // the end of a machine is not waited for
	leaves           error // what asking for that end comes to
}

func newSite() *site {
	return &site{machines: map[string]string{}, images: map[string]string{}, born: map[string]time.Time{}}
}

func (s *site) Launch(_ context.Context, _ capacity.Offer, token string) (string, error) {
	id := "machine " + token
	s.machines[id] = token
	s.born[id] = time.Now()
	if s.onLaunch != nil {
		s.onLaunch()
	}
	if s.launch != nil {
		return "", s.launch
	}
	return id, nil
}

func (s *site) Find(ctx context.Context, token string) ([]string, error) {
	return s.seen(s.machines, token), errors.Join(s.find, ctx.Err())
}

// seen is what the lists show of what was made for token.
func (s *site) seen(all map[string]string, token string) (ids []string) {
	for id, t := range all {
		if t == token && time.Since(s.born[id]) >= s.lag {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *site) AwaitMachine(context.Context, string) error { return nil }
func (s *site) Classify(err error) cloud.Verdict {
	return cloud.Verdict{Result: capacity.Result{Outcome: capacity.Transient, Reason: err.Error()}, Ambiguous: s.Lost(err)}
}
func (s *site) Examine(_ context.Context, _ capacity.Offer, v cloud.Verdict) cloud.Verdict {
	return v
}
func (s *site) Address(context.Context, string) (string, error) { return "10.0.0.1", s.address }
func (s *site) Lost(err error) bool                             { return errors.Is(err, errLost) }
func (s *site) AskTermination(context.Context, string) error    { return s.leaves }

func (s *site) FinishImage(_ context.Context, id string) (string, error) {
	time.Sleep(s.takes)
	return id, s.finish
}

func (s *site) Terminate(ctx context.Context, id string) error {
	if s.remove == nil {
		delete(s.machines, id)
	}
	return errors.Join(s.remove, ctx.Err())
}

func (s *site) StartImage(_ context.Context, _, token string) (string, error) {
	if s.onStart != nil {
		s.onStart()
	}
	s.asked++
	id := "image " + token
	start := s.start
	if s.tries > 0 && s.asked > s.tries {
		start = nil
		if s.taken && len(s.images) > 0 {
			return "", errBad
		}
	}
	if start == nil || s.made {
		s.images[id] = token
		s.born[id] = time.Now()
	}
	if start != nil {
		return "", start
	}
	return id, nil
}

func (s *site) FindImages(ctx context.Context, token string) ([]string, error) {
	return s.seen(s.images, token), errors.Join(s.find, ctx.Err())
}

func (s *site) DeleteImage(ctx context.Context, id string) error {
	if s.remove == nil {
		delete(s.images, id)
	}
	return errors.Join(s.remove, ctx.Err())
}

// build runs the two phases and then one that comes to bad.
func (s *site) build(ctx context.Context, bad error) (*MakeImage, string, error) {
	u, out := ui()
	token := func(parts ...string) string { return strings.Join(parts, " ") }
	find := &FindMachine{
		UI: u, Cloud: s, Token: token, Timeout: time.Hour,
		Policy: capacity.Policy{Interval: 10 * time.Second}, TimeoutOption: "capacity_timeout",
		Plan: func(context.Context) (cloud.Plan, error) {
			return cloud.Plan{Offers: []capacity.Offer{{Region: "r1", Zone: "AD-1", Shape: "A1"}}, Notes: []string{"AD-2 was left out."}}, nil
		},
	}
	find.Leave = func(*FindMachine) bool { return s.leave }
	image := &MakeImage{UI: u, Cloud: s, Token: token, Machine: find}
	last := &step{name: "last", log: new([]string), errs: []error{bad}}
	err := (&Runner{UI: u, CleanupTimeout: 5 * time.Minute}).Run(ctx, find, image, last)
	return image, out.String(), err
}

func TestMachineAndImage(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*site)
		last    error // of a phase after the image
		says    []string
		fails   bool
		machine bool // is left
		keeps   bool // the image
	}{
		{name: "all is well", says: []string{"AD-2 was left out.", "1 availability domain in r1, as A1"}},
		{name: "the reply is lost, the image is there", change: func(s *site) { s.start, s.made = errLost, true }, says: []string{"but the image is there"}},
		{name: "the reply is lost, there is no image", change: func(s *site) { s.start = errLost }, says: []string{"no reply"}, fails: true},
		{name: "the reply is lost and nobody can look", change: func(s *site) { s.start, s.find = errLost, errBad }, says: []string{"no reply", "cannot be looked up: it broke"}, fails: true},
		{name: "the reply is lost once, and there is no image", change: func(s *site) { s.start, s.tries = errLost, 1 }, says: []string{"Asking for the image again", "A1 1 1 1 2 is ready after 2m"}},
		{name: "an image shows up when another one is asked for", change: func(s *site) {
			s.start, s.tries, s.made, s.taken, s.lag = errLost, 1, true, true, 125*time.Second
		}, says: []string{"Asking for the image again", "is ready"}},
		{name: "an image shows up after all, and the build fails", last: errBad, change: func(s *site) {
			s.start, s.tries, s.made, s.lag, s.takes = errLost, 1, true, 125*time.Second, time.Minute
		}, fails: true, says: []string{"A1 1 1 1 2 is ready"}},
		{name: "refused", change: func(s *site) { s.start = errBad }, says: []string{"it broke"}, fails: true},
		{name: "the image comes to nothing", change: func(s *site) { s.finish = errBad }, says: []string{"it broke", "Deleting the unfinished image"}, fails: true},
		{name: "the image is finished, and not all that it should be", change: func(s *site) { s.finish = &cloud.Kept{Err: errBad} }, says: []string{"it broke"}, fails: true, keeps: true},
		{name: "a later phase fails", last: errBad, says: []string{"Deleting the unfinished image", "Terminating machine"}, fails: true},
		{name: "no address", change: func(s *site) { s.address = errBad }, says: []string{"it broke", "Terminating machine ", " and its disk"}, fails: true},
		{name: "it cannot be terminated", change: func(s *site) { s.remove = errBad }, says: []string{"could not be terminated, please do so by hand: it broke"}, machine: true},
		{name: "its end is not waited for", change: func(s *site) { s.leave = true }, says: []string{"its end is not waited for"}, machine: true},
		{name: "its end is not accepted at once", change: func(s *site) { s.leave, s.leaves = true, errBad }, says: []string{"Terminating machine"}},
		{name: "the end of a build that fails is waited for", change: func(s *site) { s.leave = true }, last: errBad, says: []string{"Terminating machine"}, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite()
				if tt.change != nil {
					tt.change(s)
				}
				image, said, err := s.build(t.Context(), tt.last)
				if (err != nil) != tt.fails {
					t.Fatalf("%v\n%s", err, said)
				}
				if err != nil {
					said += err.Error()
				}
				for _, want := range tt.says {
					if !strings.Contains(said, want) {
						t.Errorf("%q is not said:\n%s", want, said)
					}
				}
				if (len(s.machines) > 0) != tt.machine {
					t.Errorf("machines left: %v", s.machines)
				}
				if tt.fails && len(s.images) > 0 != tt.keeps || !tt.fails && (len(s.images) != 1 || s.images[image.ID] == "") {
					t.Errorf("images %v, made %q", s.images, image.ID)
				}
			})
		})
	}
}

// A cancel in the middle of the request for an image still learns its id.
func TestCancelWhileAnImageIsAskedFor(t *testing.T) {
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			s := newSite()
			s.onStart = cancel
			if lost {
				s.start, s.made = errLost, true
			}
			_, said, err := s.build(ctx, nil)
			if !errors.Is(err, context.Canceled) || len(s.images)+len(s.machines) > 0 {
				t.Errorf("%v, left %v %v\n%s", err, s.images, s.machines, said)
			}
		})
	}
}

// A phase that is run again first removes what its first run made, and asks
// with another token.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite()
		image, said, err := s.build(t.Context(), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		first := image.ID
		if err := image.Run(t.Context()); err != nil || image.ID == first || len(s.images) != 1 {
			t.Errorf("%v; images %v", err, s.images)
		}
		find := image.Machine
		for range 2 {
			if err := find.Run(t.Context()); err != nil || len(s.machines) != 1 || s.machines[find.ID] == "" {
				t.Errorf("%v; machines %v", err, s.machines)
			}
		}
		if err := find.Undo(t.Context(), nil); err != nil || len(s.machines) > 0 {
			t.Errorf("%v; machines %v", err, s.machines)
		}
	})
}

// What a request made whose reply was lost is found, however late a list shows it,
// by the build or by its undoing. What is not found is named.
func TestLostReplies(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *site, cancel func())
		says   string
		fails  bool
		left   bool
	}{
		{name: "an image, shown after 100 seconds", change: func(s *site, _ func()) { s.start, s.made, s.lag = errLost, true, 100*time.Second }, says: "The reply was lost, but the image is there"},
		{
			name: "an image, and a cancel", change: func(s *site, cancel func()) {
				s.start, s.made, s.lag, s.onStart = errLost, true, 100*time.Second, cancel
			},
			says: "Deleting the unfinished image", fails: true,
		},
		{
			name: "no image", change: func(s *site, _ func()) { s.start = errLost }, fails: true,
			says: "should there be something all the same, it is the image or snapshot whose tag \"armfree\" has attempt=image machine launch r1 ",
		},
		{
			name: "an image that is never shown, and a cancel", change: func(s *site, cancel func()) { s.start, s.made, s.lag, s.onStart = errLost, true, time.Hour, cancel },
			says: "it is the image or snapshot whose tag \"armfree\" has attempt=image ", fails: true, left: true,
		},
		{
			name: "a machine, and a cancel", change: func(s *site, cancel func()) { s.launch, s.lag, s.onLaunch = errLost, 100*time.Second, cancel },
			says: "Terminating machine ", fails: true,
		},
		{
			name: "a machine that is never shown, and a cancel", change: func(s *site, cancel func()) { s.launch, s.lag, s.onLaunch = errLost, time.Hour, cancel },
			says: "it is the instance whose tag \"armfree\" has attempt=launch r1 ", fails: true, left: true,
		},
		{
			name: "a machine that nobody may look for", change: func(s *site, cancel func()) { s.launch, s.find, s.lag, s.onLaunch = errLost, errBad, time.Hour, cancel },
			says: "it is the instance whose tag \"armfree\" has attempt=launch r1 ", fails: true, left: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s := newSite()
				tt.change(s, cancel)
				image, said, err := s.build(ctx, nil)
				if err != nil {
					said += err.Error()
				}
				if (err != nil) != tt.fails || !strings.Contains(said, tt.says) {
					t.Errorf("%v\n%s", err, said)
				}
				if left := len(s.machines) + len(s.images); tt.fails && (left > 0) != tt.left || !tt.fails && s.images[image.ID] == "" {
					t.Errorf("left: %v %v\n%s", s.machines, s.images, said)
				}
			})
		})
	}
}
