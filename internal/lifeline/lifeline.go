// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"context"
	"errors"
	"log"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

const (
	// look is how often the parent is looked at.
	look = 250 * time.Millisecond
	// echo is how soon after a signal the same key press may arrive again, by way of
	// a program that passes signals on to a group that has them already.
	echo = 500 * time.Millisecond
	// last is how long cleaning up may go on after the second interrupt. It is enough
	// to ask for the end of a machine.
	last = 3 * time.Second
	// unwind is how long what is under way may take after that to end.
	unwind = 2 * time.Second
)

// ErrNoPacker is why a run is cancelled whose Packer is gone.
var ErrNoPacker = errors.New("the Packer that this runs for is gone")

// errInterrupted is why a run is cancelled by a signal.
var errInterrupted = errors.New("interrupted")

// Line is one process and what it does for Packer.
type Line struct {
	// Alive says whether Packer is still there.
	Alive func() bool
	// Exit ends the process, with what it does.
	Exit func(code int)

	mu      sync.Mutex
	runs    map[*run]bool
	idle    chan struct{} // closed when the last run ends
	why     error         // why nothing may be begun any more
	signals int           // of all kinds
	presses int           // of Ctrl-C among them, which others do not make more
	heard   time.Time     // the last of them
}

// run is one build or copy.
type run struct {
	line   *Line
	say    func(string)
	cancel context.CancelCauseFunc
	cut    context.CancelFunc // ends cleaning up, too

	mu    sync.Mutex
	rests []*rest
}

// rest says how to remove what something of a run may leave.
type rest struct{ commands func() []string }

type key struct{}

// begin ties a run to the process. The context that it returns ends with Packer, and
// by a signal.
func (l *Line) begin(ctx context.Context, say func(string)) (_ context.Context, end func()) {
	r := &run{line: l, say: say}
	ctx, r.cancel = context.WithCancelCause(context.WithValue(ctx, key{}, r))
	stop, cut := context.WithCancel(context.WithoutCancel(ctx))
	r.cut = cut
	ctx = wait.WithStop(ctx, stop)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs == nil {
		l.runs = map[*run]bool{}
	}
	if len(l.runs) == 0 {
		l.idle = make(chan struct{})
	}
	l.runs[r] = true
	if l.why != nil {
		r.cancel(l.why)
	}
	return ctx, func() {
		r.cancel(context.Canceled)
		cut()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.runs, r)
		if len(l.runs) == 0 {
			close(l.idle)
		}
	}
}

// Rest says how to remove by hand what the run of ctx may leave: commands returns
// that. It adds to what others have said of the same run; undo takes it back, once
// there is nothing of it. Without a line it does nothing.
func Rest(ctx context.Context, commands func() []string) (undo func()) {
	r, ok := ctx.Value(key{}).(*run)
	if !ok {
		return func() {}
	}
	one := &rest{commands}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rests = append(r.rests, one)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rests = slices.DeleteFunc(r.rests, func(x *rest) bool { return x == one })
	}
}

// Alive is an error if the Packer that ctx is a run for is gone, by a look at this
// moment. Without a line it is nil.
func Alive(ctx context.Context) error {
	if r, ok := ctx.Value(key{}).(*run); ok && !r.line.Alive() {
		return ErrNoPacker
	}
	return nil
}

// Watch listens to signals and looks at the parent until ctx ends.
func (l *Line) Watch(ctx context.Context, signals <-chan os.Signal) {
	go func() {
		for wait.Sleep(ctx, look) == nil {
			if !l.Alive() {
				l.Wait(ctx)
				l.Exit(1)
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			l.hear(ctx, s)
		}
	}
}

// Wait cancels what is still under way, because Packer is gone, and returns when all
// of it has ended.
func (l *Line) Wait(context.Context) {
	l.mu.Lock()
	idle := l.idle
	busy := len(l.runs) > 0
	l.mu.Unlock()
	if !busy {
		return
	}
	log.Printf("[WARN] %v: cleaning up", ErrNoPacker)
	l.cancel(ErrNoPacker)
	<-idle
}

// cancel ends all runs, and those that are yet to begin.
func (l *Line) cancel(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		l.why = why
	}
	for r := range l.runs {
		r.cancel(why)
	}
}

// hear counts a signal and does what is to be done.
func (l *Line) hear(ctx context.Context, s os.Signal) {
	if s == syscall.SIGPIPE {
		return // whoever wrote has the error
	}
	now := time.Now()
	l.mu.Lock()
	if l.signals > 0 && now.Sub(l.heard) < echo {
		l.mu.Unlock()
		return
	}
	l.signals++
	l.heard = now
	if s == os.Interrupt {
		l.presses++
	}
	n, presses := l.signals, l.presses
	l.mu.Unlock()
	switch {
	case n == 1:
		l.cancel(errInterrupted)
	case s != os.Interrupt:
		// Who sends these ends it all in a moment, and there may be one to go.
		l.tell("This is being ended while it cleans up.")
	case presses == 1: // it is being cancelled already
	case presses == 2:
		l.tell("Interrupted again: this ends within " + (last + unwind).String() + ", whatever is left.")
		go l.stop(ctx)
	default:
		l.Exit(1)
	}
}

// stop ends the process soon, whatever is under way.
func (l *Line) stop(ctx context.Context) {
	_ = wait.Sleep(ctx, last)
	l.mu.Lock()
	idle, busy := l.idle, len(l.runs) > 0
	for r := range l.runs {
		r.cut()
	}
	l.mu.Unlock()
	if !busy {
		return
	}
	late, cancel := context.WithTimeout(ctx, unwind)
	defer cancel()
	select {
	case <-idle: // its error is on the way to Packer
	case <-late.Done():
		l.Exit(1)
	}
}

// tell says on the screen of every run how the rest can be removed.
func (l *Line) tell(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.runs {
		go r.tell(why) // Packer may not read any more
	}
}

func (r *run) tell(why string) {
	r.mu.Lock()
	rests := slices.Clone(r.rests)
	r.mu.Unlock()
	lines := []string{why}
	var all []string
	for _, x := range rests {
		for _, c := range x.commands() {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	if len(all) > 0 {
		lines = append(append(lines, "This removes what it leaves:"), all...)
	}
	r.say(strings.Join(lines, "\n"))
}
