// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// set is a line, and what became of the process.
type set struct {
	Line
	signals chan os.Signal
	gone    atomic.Bool
	exit    atomic.Int64 // 0: it goes on; else the code and one more

	mu   sync.Mutex
	said []string
}

func start(t *testing.T) *set {
	s := &set{signals: make(chan os.Signal)}
	s.Alive = func() bool { return !s.gone.Load() }
	s.Exit = func(code int) { s.exit.CompareAndSwap(0, int64(code)+1) }
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go s.Watch(ctx, s.signals)
	return s
}

func (s *set) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, text)
}

// build is a run that makes something, and undoes it in a time.
func (s *set) build(t *testing.T, undo time.Duration) (why chan error, undone chan error) {
	why, undone = make(chan error, 1), make(chan error, 1)
	ctx, end := s.begin(t.Context(), s.say)
	Rest(ctx, func() []string { return []string{"sweep --build x"} })
	go func() {
		defer end()
		<-ctx.Done()
		why <- context.Cause(ctx)
		c, cancel := wait.Cleanup(ctx, time.Hour)
		defer cancel()
		undone <- wait.Sleep(c, undo)
	}()
	return why, undone
}

func TestLostPacker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		why, undone := s.build(t, time.Minute)
		time.Sleep(time.Hour)
		if len(why) > 0 || s.exit.Load() != 0 {
			t.Fatal("it did not go on while Packer was there")
		}
		lost := time.Now()
		s.gone.Store(true)
		if err := <-why; !errors.Is(err, ErrNoPacker) || time.Since(lost) > 5*time.Second {
			t.Errorf("cancelled after %s by %v", time.Since(lost), err)
		}
		if s.exit.Load() != 0 {
			t.Error("the process ended before it was tidy")
		}
		if err := <-undone; err != nil {
			t.Errorf("it was not undone: %v", err)
		}
		synctest.Wait()
		if s.exit.Load() != 2 {
			t.Error("the process goes on for nobody")
		}
		ctx, end := s.begin(t.Context(), s.say)
		defer end()
		if ctx.Err() == nil || Alive(ctx) == nil {
			t.Error("another run began for nobody")
		}
	})
}

// Without anything to do the process ends as well: Packer may die while it starts.
func TestLostPackerAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.gone.Store(true)
		time.Sleep(time.Second)
		if s.exit.Load() != 2 {
			t.Error("the process goes on for nobody")
		}
	})
}

// The connection may be gone before anybody has looked at the parent.
func TestLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.Wait(t.Context())
		why, undone := s.build(t, time.Minute)
		s.Wait(t.Context())
		if err := <-why; !errors.Is(err, ErrNoPacker) || <-undone != nil {
			t.Errorf("%v", err)
		}
	})
}

func TestSignals(t *testing.T) {
	const second = time.Second
	type at struct {
		after time.Duration
		is    os.Signal
	}
	tests := []struct {
		name      string
		signals   []at
		undo      time.Duration
		cancelled bool
		tidy      bool          // it was undone
		within    time.Duration // of the last signal
		says      bool
		twice     bool // says it twice
		exit      bool
	}{
		{name: "nothing", signals: nil},
		{name: "a pipe that nobody reads", signals: []at{{0, syscall.SIGPIPE}}},
		{name: "Ctrl-C", signals: []at{{0, os.Interrupt}}, undo: 5 * time.Minute, cancelled: true, tidy: true, within: 5 * time.Minute},
		{name: "the terminal is closed", signals: []at{{0, syscall.SIGHUP}}, undo: 5 * time.Minute, cancelled: true, tidy: true, within: 5 * time.Minute},
		{name: "one Ctrl-C that arrives twice", signals: []at{{0, os.Interrupt}, {100 * time.Millisecond, os.Interrupt}}, undo: time.Minute, cancelled: true, tidy: true, within: time.Minute},
		{name: "Ctrl-C twice", signals: []at{{0, os.Interrupt}, {second, os.Interrupt}}, undo: time.Hour, cancelled: true, within: 5 * second, says: true},
		{name: "Ctrl-C twice, almost done", signals: []at{{0, os.Interrupt}, {second, os.Interrupt}}, undo: 2 * second, cancelled: true, tidy: true, within: 2 * second, says: true},
		{name: "Ctrl-C three times", signals: []at{{0, os.Interrupt}, {second, os.Interrupt}, {second, os.Interrupt}}, undo: time.Hour, cancelled: true, within: 5 * second, says: true, exit: true},
		{name: "SIGTERM, and then Ctrl-C once", signals: []at{{0, syscall.SIGTERM}, {second, os.Interrupt}}, undo: time.Minute, cancelled: true, tidy: true, within: time.Minute},
		{name: "SIGTERM, and then Ctrl-C twice", signals: []at{{0, syscall.SIGTERM}, {second, os.Interrupt}, {second, os.Interrupt}}, undo: time.Hour, cancelled: true, within: 5 * second, says: true},
		{name: "Ctrl-C and SIGTERM, and then Ctrl-C", signals: []at{{0, os.Interrupt}, {second, syscall.SIGTERM}, {second, os.Interrupt}}, undo: time.Hour, cancelled: true, within: 5 * second, says: true, twice: true},
		{name: "a CI system that loses patience", signals: []at{{0, os.Interrupt}, {7500 * time.Millisecond, syscall.SIGTERM}}, undo: time.Minute, cancelled: true, tidy: true, within: time.Minute, says: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t)
				why, undone := s.build(t, tt.undo)
				for _, x := range tt.signals {
					time.Sleep(x.after)
					s.signals <- x.is
				}
				heard := time.Now()
				if !tt.cancelled {
					time.Sleep(time.Minute)
					if len(why) > 0 {
						t.Errorf("cancelled by %v", <-why)
					}
					return
				}
				if err := <-why; !errors.Is(err, errInterrupted) {
					t.Errorf("cancelled by %v", err)
				}
				if err := <-undone; (err == nil) != tt.tidy {
					t.Errorf("undoing: %v", err)
				}
				if d := time.Since(heard); d > tt.within {
					t.Errorf("it took %s", d)
				}
				synctest.Wait()
				if got := strings.Contains(strings.Join(s.said, "\n"), "sweep --build x"); got != tt.says || len(s.said) > 1 != tt.twice {
					t.Errorf("said %q", s.said)
				}
				time.Sleep(time.Minute)
				if got := s.exit.Load() != 0; got != tt.exit {
					t.Errorf("exit: %v", got)
				}
			})
		})
	}
}

// Something that does not listen to its context does not keep the process.
func TestDeafRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		_, end := s.begin(t.Context(), s.say)
		defer end()
		s.signals <- os.Interrupt
		time.Sleep(time.Second)
		s.signals <- os.Interrupt
		time.Sleep(6 * time.Second)
		if s.exit.Load() != 2 {
			t.Error("the process goes on")
		}
	})
}

// A run within a run adds what it may leave, and takes that back when it is over.
func TestRestOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		ctx, end := s.begin(t.Context(), s.say)
		defer end()
		one := func(line string) func() []string { return func() []string { return []string{line} } }
		Rest(ctx, one("sweep --build copy"))
		over := Rest(ctx, one("sweep --build verified"))
		Rest(ctx, one("sweep --build verifying"))
		Rest(ctx, one("sweep --build copy")) // said once
		over()
		over()
		s.signals <- os.Interrupt
		time.Sleep(time.Second)
		s.signals <- os.Interrupt
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := strings.Join(s.said, "\n"); !strings.HasSuffix(got, "leaves:\nsweep --build copy\nsweep --build verifying") {
			t.Errorf("said %q", got)
		}
	})
}

func TestWithoutLine(t *testing.T) {
	Rest(t.Context(), nil)()
	if err := Alive(t.Context()); err != nil {
		t.Error(err)
	}
}

// The process that runs the tests has a parent, which is there.
func TestParent(t *testing.T) {
	l := New()
	if !l.Alive() || Binary() == "" {
		t.Error("this process is an orphan")
	}
}

// slowArtifact takes a minute to be removed.
type slowArtifact struct {
	packersdk.Artifact
	done atomic.Bool
}

func (a *slowArtifact) Destroy() error {
	time.Sleep(time.Minute)
	a.done.Store(true)
	return nil
}

// fixed is a builder with an artifact.
type fixed struct {
	packersdk.Builder
	artifact packersdk.Artifact
}

func (f fixed) Run(context.Context, packersdk.Ui, packersdk.Hook) (packersdk.Artifact, error) {
	return f.artifact, nil
}

// Packer asks for the removal of an artifact, and dies while that goes on.
func TestLostPackerWhileAnArtifactGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		inner := &slowArtifact{}
		ui := packersdk.TestUi(t)
		a, err := s.Builder(fixed{artifact: inner}).Run(t.Context(), ui, nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = a.Destroy() }()
		time.Sleep(time.Second)
		s.gone.Store(true)
		time.Sleep(30 * time.Second)
		if s.exit.Load() != 0 {
			t.Error("the process ended in the middle of it")
		}
		time.Sleep(40 * time.Second)
		if s.exit.Load() != 2 || !inner.done.Load() {
			t.Errorf("exit %d, removed %t", s.exit.Load(), inner.done.Load())
		}
		if a, err := s.Builder(fixed{}).Run(t.Context(), ui, nil); a != nil || err != nil {
			t.Errorf("no artifact has become %v, %v", a, err)
		}
	})
}
