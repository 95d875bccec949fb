// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// step is a phase that records what happens to it.
type step struct {
	name   string
	log    *[]string
	errs   []error // of successive runs; none means success
	undo   error
	hang   bool // Run waits for its context
	onFail bool // UndoOnAbort
}

func (s *step) Name() string   { return s.name }
func (s *step) Made() []string { return []string{"machine " + s.name} }

func (s *step) Run(ctx context.Context) error {
	*s.log = append(*s.log, "run "+s.name)
	if s.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return err
	}
	return nil
}

func (s *step) Undo(ctx context.Context, failed error) error {
	word := "undo "
	if failed != nil {
		word = "undo after failure "
	}
	if ctx.Err() != nil {
		word = "too late to undo "
	}
	*s.log = append(*s.log, word+s.name)
	return s.undo
}

func (s *step) UndoOnAbort() bool { return s.onFail }

type tty struct{ lines []string }

func (t *tty) ReadString() (string, error) {
	if len(t.lines) == 0 {
		return "", errors.New("no more answers")
	}
	l := t.lines[0]
	t.lines = t.lines[1:]
	return l, nil
}
func (*tty) Close() error { return nil }

func ui(answers ...string) (packersdk.Ui, *bytes.Buffer) {
	var out bytes.Buffer
	return &packersdk.BasicUi{Writer: &out, ErrorWriter: &out, TTY: &tty{answers}}, &out
}

func TestRunner(t *testing.T) {
	bad := errors.New("it broke")
	tests := []struct {
		name    string
		onError string
		answers []string
		phases  func(log *[]string) []Phase
		want    []string
		says    string
		err     error
	}{
		{
			name: "undone in reverse order",
			phases: func(l *[]string) []Phase {
				return []Phase{&step{name: "a", log: l}, &step{name: "b", log: l}}
			},
			want: []string{"run a", "run b", "undo b", "undo a"},
		},
		{
			name: "a phase that failed is undone too, later ones never begin",
			phases: func(l *[]string) []Phase {
				return []Phase{&step{name: "a", log: l}, &step{name: "b", log: l, errs: []error{bad}}, &step{name: "c", log: l}}
			},
			want: []string{"run a", "run b", "undo after failure b", "undo after failure a"},
			err:  bad,
		},
		{
			name: "what cannot be undone is named and does not spoil the result",
			phases: func(l *[]string) []Phase {
				return []Phase{&step{name: "a", log: l, undo: errors.New("machine x is left")}, &step{name: "b", log: l}}
			},
			want: []string{"run a", "run b", "undo b", "undo a"},
			says: "machine x is left",
		},
		{
			name: "abort leaves everything", onError: Abort,
			phases: func(l *[]string) []Phase {
				return []Phase{&step{name: "a", log: l}, &step{name: "b", log: l, errs: []error{bad}}}
			},
			want: []string{"run a", "run b"},
			says: "Aborted: machine a is left as it is", err: bad,
		},
		{
			name: "abort does not leave what a good build made", onError: Abort,
			phases: func(l *[]string) []Phase { return []Phase{&step{name: "a", log: l}} },
			want:   []string{"run a", "undo a"},
		},
		{
			name: "run-cleanup-provisioner undoes only that", onError: RunCleanupSet,
			phases: func(l *[]string) []Phase {
				return []Phase{&step{name: "a", log: l}, &step{name: "b", log: l, onFail: true, errs: []error{bad}}}
			},
			want: []string{"run a", "run b", "undo after failure b"},
			err:  bad,
		},
		{
			name: "ask, retry, then it works", onError: AskUser, answers: []string{"r"},
			phases: func(l *[]string) []Phase { return []Phase{&step{name: "a", log: l, errs: []error{bad}}} },
			want:   []string{"run a", "run a", "undo a"},
		},
		{
			name: "ask, abort", onError: AskUser, answers: []string{"a"},
			phases: func(l *[]string) []Phase { return []Phase{&step{name: "a", log: l, errs: []error{bad}}} },
			want:   []string{"run a"}, err: bad,
		},
		{
			name: "ask, clean up", onError: AskUser, answers: []string{"c"},
			phases: func(l *[]string) []Phase { return []Phase{&step{name: "a", log: l, errs: []error{bad}}} },
			want:   []string{"run a", "undo after failure a"}, err: bad,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log []string
			u, out := ui(tt.answers...)
			err := Runner{UI: u, OnError: tt.onError, CleanupTimeout: time.Minute}.Run(t.Context(), tt.phases(&log)...)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if !slices.Equal(log, tt.want) {
				t.Errorf("did %q, want %q", log, tt.want)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("said %q, want %q in it", out, tt.says)
			}
		})
	}
}

func TestCancelIsObeyedAndUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		u, _ := ui()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		err := Runner{UI: u, CleanupTimeout: time.Minute}.Run(ctx, &step{name: "a", log: &log}, &step{name: "b", log: &log, hang: true}, &step{name: "c", log: &log})
		want := []string{"run a", "run b", "undo after failure b", "undo after failure a"}
		if !errors.Is(err, context.Canceled) || !slices.Equal(log, want) {
			t.Errorf("%v; did %q, want %q", err, log, want)
		}
	})
}

func TestDebugPausesBeforeEachPhase(t *testing.T) {
	var log []string
	u, out := ui("", "")
	if err := (Runner{UI: u, Debug: true, CleanupTimeout: time.Minute}).Run(t.Context(), &step{name: "a", log: &log}, &step{name: "b", log: &log}); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "Press enter"); n != 2 {
		t.Errorf("paused %d times:\n%s", n, out)
	}
}
