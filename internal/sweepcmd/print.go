// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sweepcmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// printer prints a line for each thing; what one place came to stays together.
type printer struct {
	out        io.Writer
	dry, quiet bool
	mu         sync.Mutex
}

func (p *printer) print(l look) {
	if p.quiet {
		return
	}
	r := l.result
	var b strings.Builder
	say := func(format string, a ...any) {
		fmt.Fprintf(&b, "%s: %s\n", r.Place, oneLine(fmt.Sprintf(format, a...)))
	}
	verb := "removed"
	if p.dry {
		verb = "would remove"
	}
	for _, t := range r.Removed {
		say("%s %s, of build %s%s", verb, t, t.Mark.Build, expiry(t))
	}
	for _, t := range r.UnderWay {
		say("asked for the removal of %s, of build %s; it is still there", t, t.Mark.Build)
	}
	for _, x := range r.Left {
		say("left %s, of build %s: %v", x.Thing, x.Mark.Build, x.Err)
	}
	for _, x := range r.Blind {
		say("not looked at: %s: %v", x.Kind, x.Err)
	}
	if l.err != nil {
		say("could not be looked at: %v", l.err)
	} else {
		say("%d %s, %d left, %d of this plugin kept, %d of others not touched", len(r.Removed), verb, len(r.Left)+len(r.UnderWay), len(r.Kept), r.Foreign)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprint(p.out, b.String())
}

func expiry(t sweep.Thing) string {
	if t.Mark.Expires.IsZero() {
		return ""
	}
	return " (needed until " + t.Mark.Expires.UTC().Format(time.RFC3339) + ")"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// The report in JSON. Its names are kept from one version to the next.
type (
	report struct {
		DryRun bool    `json:"dry_run"`
		Places []place `json:"places"`
	}
	place struct {
		Place string `json:"place"`
		// Time is that of the cloud's clock; null if it has not told.
		Time *time.Time `json:"time"`
		// Removed is gone, or would be in a dry run.
		Removed   []item `json:"removed"`
		Left      []item `json:"left"`
		Kept      []item `json:"kept"`
		NotLooked []item `json:"not_looked_at"`
		Foreign   int    `json:"foreign"`
		Error     string `json:"error,omitempty"`
	}
	item struct {
		Kind    string     `json:"kind"`
		ID      string     `json:"id,omitempty"`
		Name    string     `json:"name,omitempty"`
		In      string     `json:"in,omitempty"`
		Build   string     `json:"build,omitempty"`
		Role    string     `json:"role,omitempty"`
		Created *time.Time `json:"created,omitempty"`
		Expires *time.Time `json:"expires,omitempty"`
		Why     string     `json:"why,omitempty"`
	}
)

func writeJSON(out io.Writer, looks []look, dry bool) error {
	r := report{DryRun: dry, Places: []place{}}
	for _, l := range looks {
		x := l.result
		p := place{Place: x.Place, Time: when(x.Now), Removed: []item{}, Left: []item{}, Kept: []item{}, NotLooked: []item{}, Foreign: x.Foreign}
		for _, t := range x.Removed {
			p.Removed = append(p.Removed, itemOf(t, ""))
		}
		for _, t := range x.UnderWay {
			p.Left = append(p.Left, itemOf(t, "its removal was asked for, and it is still there"))
		}
		for _, t := range x.Left {
			p.Left = append(p.Left, itemOf(t.Thing, t.Err.Error()))
		}
		for _, t := range x.Kept {
			p.Kept = append(p.Kept, itemOf(t.Thing, t.Why))
		}
		for _, b := range x.Blind {
			p.NotLooked = append(p.NotLooked, item{Kind: string(b.Kind), Why: b.Err.Error()})
		}
		if l.err != nil {
			p.Error = l.err.Error()
		}
		r.Places = append(r.Places, p)
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func itemOf(t sweep.Thing, why string) item {
	return item{
		Kind: string(t.Kind), ID: t.ID, Name: t.Name, In: t.In, Build: t.Mark.Build, Role: t.Mark.Role,
		Created: when(t.Created), Expires: when(t.Mark.Expires), Why: why,
	}
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
