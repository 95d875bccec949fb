// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// dice is a cloud in which anything may happen to a launch, at any time.
type dice struct {
	asked
	r *rand.Rand
}

func newDice(seed uint64) *dice {
	d := &dice{r: rand.New(rand.NewPCG(seed, 2))}
	d.answer = func(int, capacity.Offer) fate { return d.fate() }
	d.reply = func(int, capacity.Ask) capacity.Reply {
		switch d.r.IntN(20) {
		case 0:
			return capacity.Reply{Outcome: capacity.Transient, Reason: "502"}
		case 1:
			return capacity.Reply{Outcome: capacity.Throttled, Reason: "429"}
		}
		return capacity.Reply{Hints: []capacity.Hint{capacity.Hint(d.r.IntN(3)), capacity.Full}}
	}
	return d
}

func (d *dice) fate() fate {
	verdict := func(o capacity.Outcome, ambiguous bool) cloud.Verdict {
		return cloud.Verdict{Result: capacity.Result{Outcome: o, Reason: "r"}, Ambiguous: ambiguous}
	}
	switch n := d.r.IntN(40); {
	case n == 0:
		return fate{}
	case n < 4: // it comes into being, and dies
		v := verdict(capacity.NoCapacity, false)
		return fate{dies: &v}
	case n < 8: // the reply is lost; the machine may be there
		return fate{verdict: verdict(capacity.Transient, true), exists: d.r.IntN(2) == 0}
	case n < 10:
		return fate{takes: time.Duration(d.r.IntN(40)) * time.Second}
	case n < 12:
		return fate{verdict: verdict(capacity.Throttled, false)}
	case n < 14:
		return fate{verdict: verdict(capacity.LimitDoubtful, false)}
	}
	return fate{verdict: verdict(capacity.NoCapacity, false)}
}

// AwaitMachine decides once about each machine.
func (d *dice) AwaitMachine(ctx context.Context, _ string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.r.IntN(3) == 0 {
		return verdictError{cloud.Verdict{Result: capacity.Result{Outcome: capacity.NoCapacity, Reason: "died"}}}
	}
	return nil
}

// Whatever happens, and whenever it is cancelled: there are never two machines,
// and the caller knows of each that is left, by its id or by its token.
func FuzzLoop(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, uint16(seed*97))
	}
	f.Fuzz(func(t *testing.T, seed uint64, cancelAfter uint16) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if seed%3 == 0 {
				time.AfterFunc(time.Duration(cancelAfter)*time.Second, cancel)
			}
			d := newDice(seed)
			d.lags = seed%5 == 0
			var made, open []string
			l := Loop{
				Cloud: d,
				Policy: capacity.Policy{
					Interval: 10 * time.Second, Jitter: 0.1, Deadline: time.Now().Add(3 * time.Hour), Retries: 2, NoAsking: seed%4 == 0, Seed: seed,
				},
				Offers: []capacity.Offer{{Zone: "AD-1", Shape: "A1", OCPUs: 2, MemoryGB: 12}, {Zone: "AD-1", Shape: "A1", OCPUs: 1, MemoryGB: 6}},
				Token:  owner.NewBuild(time.Now(), time.Hour).Token,
				Say:    func(string, ...any) {},
				Made:   func(id string) { made = append(made, id) },
				Gone:   func(id string) { made = slices.DeleteFunc(made, func(m string) bool { return m == id }) },
				Open:   func(token string) { open = append(open, token) },
			}
			id, _, err := l.Run(ctx)
			var none *NoMachineError
			switch {
			case err == nil && (len(made) != 1 || made[0] != id || d.alive[id] == ""):
				t.Errorf("found %q, made %v, alive %v", id, made, d.alive)
			case err != nil && ctx.Err() == nil && !errors.As(err, &none):
				t.Errorf("ended with %v", err)
			}
			// A list that lags may hide one machine of a lost reply.
			if most := map[bool]int{true: 2, false: 1}[d.lags]; d.most > most {
				t.Errorf("%d machines at once", d.most)
			}
			for id, token := range d.alive {
				if !slices.Contains(made, id) && !slices.Contains(open, token) {
					t.Errorf("nobody knows of %s", fmt.Sprint(id, " ", token))
				}
			}
		})
	})
}
