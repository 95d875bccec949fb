// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package trace records what a build spends its time on: its phases, and the requests
// to the cloud in them.
//
// What is recorded is written in Chrome's Trace Event Format, which browsers
// (chrome://tracing) and https://ui.perfetto.dev show as a picture. No part of a
// request but its method, its path or its action is kept, so a trace holds no secret.
package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is what a span is of.
type Kind string

// The kinds of spans.
const (
	Phase   Kind = "phase"
	Undo    Kind = "undo"
	Request Kind = "request"
)

// most is how many spans are kept: those of a search of a day. What comes after that is
// counted only.
const most = 100_000

// span is something that took time.
type span struct {
	kind       Kind
	name       string
	begin, end time.Time
	outcome    string // how it ended: empty, or what went wrong
}

// Recorder keeps the spans of one build.
type Recorder struct {
	mu      sync.Mutex
	start   time.Time
	spans   []span
	dropped int
}

// New is a recorder whose time begins now.
func New() *Recorder { return &Recorder{start: time.Now()} }

type key struct{}

// With returns ctx for work that r records.
func With(ctx context.Context, r *Recorder) context.Context { return context.WithValue(ctx, key{}, r) }

// Begin says that something begins. Call end when it has ended; outcome says how, and is
// empty when nothing went wrong. It does nothing without a recorder in ctx.
func Begin(ctx context.Context, kind Kind, name string) (end func(outcome string)) {
	r, ok := ctx.Value(key{}).(*Recorder)
	if !ok {
		return func(string) {}
	}
	begin := time.Now()
	return func(outcome string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.spans) == most {
			r.dropped++
			return
		}
		r.spans = append(r.spans, span{kind, name, begin, time.Now(), outcome})
	}
}

// Outcome is how a request ended.
func Outcome(resp *http.Response, err error) string {
	switch {
	case err != nil || resp == nil:
		return "no reply"
	case resp.StatusCode >= http.StatusMultipleChoices:
		return resp.Status
	}
	return ""
}

// Write puts what was recorded so far into a file, whose former content is lost.
func (r *Recorder) Write(file string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := json.Marshal(r.events())
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644) //nolint:gosec // a trace is to be looked at
}

// document and event are those of the Trace Event Format.
type document struct {
	Events []event        `json:"traceEvents"`
	Unit   string         `json:"displayTimeUnit"`
	Other  map[string]any `json:"otherData"`
}

type event struct {
	Name     string            `json:"name"`
	Category Kind              `json:"cat,omitempty"`
	Type     string            `json:"ph"`
	At       int64             `json:"ts"` // in microseconds, from the start
	Duration int64             `json:"dur,omitempty"`
	Process  int               `json:"pid"`
	Thread   int               `json:"tid"`
	Args     map[string]string `json:"args,omitempty"`
}

// events draws phases on the first line, and requests that overlap below one another.
func (r *Recorder) events() document {
	d := document{Unit: "ms", Other: map[string]any{"start": r.start.UTC().Format(time.RFC3339Nano), "dropped": r.dropped}, Events: []event{
		{Name: "thread_name", Type: "M", Process: 1, Args: map[string]string{"name": "phases"}},
	}}
	all := slices.SortedStableFunc(slices.Values(r.spans), func(a, b span) int { return a.begin.Compare(b.begin) })
	var free []time.Time // by line of requests, when its last one ended
	for _, s := range all {
		e := event{Name: s.name, Category: s.kind, Type: "X", At: s.begin.Sub(r.start).Microseconds(), Duration: s.end.Sub(s.begin).Microseconds(), Process: 1}
		if s.outcome != "" {
			e.Args = map[string]string{"outcome": s.outcome}
		}
		if s.kind == Request {
			line := slices.IndexFunc(free, func(end time.Time) bool { return !end.After(s.begin) })
			if line < 0 {
				line = len(free)
				free = append(free, time.Time{})
				d.Events = append(d.Events, event{Name: "thread_name", Type: "M", Process: 1, Thread: 1 + line, Args: map[string]string{"name": fmt.Sprintf("requests %d", 1+line)}})
			}
			free[line], e.Thread = s.end, 1+line
		}
		d.Events = append(d.Events, e)
	}
	return d
}

// Summary is how long the phases took, in their order, and how many requests there were.
func (r *Recorder) Summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []string
	requests := 0
	for _, s := range slices.SortedStableFunc(slices.Values(r.spans), func(a, b span) int { return cmp.Compare(a.begin.UnixNano(), b.begin.UnixNano()) }) {
		if s.kind == Request {
			requests++
			continue
		}
		if d := s.end.Sub(s.begin); d >= 50*time.Millisecond {
			name := s.name
			if s.kind == Undo {
				name = "clean up after: " + name
			}
			parts = append(parts, fmt.Sprintf("%s %.1fs", name, d.Seconds()))
		}
	}
	return fmt.Sprintf("%s; %d requests", strings.Join(parts, ", "), requests+r.dropped)
}
