// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package trace

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		Begin(t.Context(), Phase, "of nobody")("")
		r := New()
		ctx := With(t.Context(), r)
		phase := Begin(ctx, Phase, "find a machine")
		time.Sleep(time.Second)
		one := Begin(context.WithoutCancel(ctx), Request, "GET /a")
		time.Sleep(time.Second)
		two := Begin(ctx, Request, "GET /b")
		one("")
		time.Sleep(time.Second)
		two("503")
		three := Begin(ctx, Request, "GET /c")
		time.Sleep(time.Second)
		three("")
		phase("no room")
		undo := Begin(ctx, Undo, "find a machine")
		time.Sleep(60 * time.Millisecond)
		undo("")

		file := filepath.Join(t.TempDir(), "trace.json")
		if err := r.Write(file); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d document
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		type drawn struct {
			line    int
			at, dur int64
			outcome string
		}
		got := map[string]drawn{}
		for _, e := range d.Events {
			if e.Type == "X" {
				got[string(e.Category)+" "+e.Name] = drawn{e.Thread, e.At, e.Duration, e.Args["outcome"]}
			}
		}
		want := map[string]drawn{
			"phase find a machine": {0, 0, 4e6, "no room"}, "request GET /a": {1, 1e6, 1e6, ""}, "request GET /b": {1, 2e6, 1e6, "503"},
			"request GET /c": {1, 3e6, 1e6, ""}, "undo find a machine": {0, 4e6, 6e4, ""},
		}
		if len(got) != len(want) {
			t.Errorf("%d spans: %+v", len(got), got)
		}
		for name, w := range want {
			if got[name] != w {
				t.Errorf("%s: %+v, want %+v", name, got[name], w)
			}
		}
		if s := r.Summary(); s != "find a machine 4.0s, clean up after: find a machine 0.1s; 3 requests" {
			t.Errorf("summary: %q", s)
		}
	})
}

// Requests that overlap are drawn below one another, and a search that never ends does
// not fill the memory.
func TestRecorderLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		ctx := With(t.Context(), r)
		a, b := Begin(ctx, Request, "a"), Begin(ctx, Request, "b")
		time.Sleep(time.Second)
		a("")
		b("")
		lines := map[int]bool{}
		for _, e := range r.events().Events {
			if e.Type == "X" {
				lines[e.Thread] = true
			}
		}
		if !lines[1] || !lines[2] {
			t.Errorf("the lines are %v", lines)
		}
		for range most {
			Begin(ctx, Request, "more")("")
		}
		if len(r.spans) != most || r.dropped != 2 {
			t.Errorf("%d spans, %d dropped", len(r.spans), r.dropped)
		}
	})
}
