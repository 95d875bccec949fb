// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Outlook says in one sentence what comes next, why it does not come sooner,
// and how long the search may still take: "Next: AD-2 in 9s, 5h48m left".
func (s *Search) Outlook(now time.Time) string {
	m := s.Next(now)
	if m.GiveUp != "" {
		return "Giving up"
	}
	at, what := now, "the end of the search"
	if m.Try == nil && m.Ask == nil {
		at = m.Until
		if s.policy.Deadline.IsZero() || at.Before(s.policy.Deadline) {
			m = s.Next(at)
		}
	}
	why := s.why(now)
	switch {
	case m.Try != nil:
		what = m.Try.String()
	case m.Ask != nil:
		what = m.Ask.Zone
	}
	text := "Next: " + what
	if d := at.Sub(now); d > 0 {
		text += " in " + Short(d)
	}
	if why != "" {
		text += " (" + why + ")"
	}
	if d := s.policy.Deadline; !d.IsZero() {
		text += ", " + Short(d.Sub(now)) + " left"
	}
	return text
}

// why is the reason for a wait that is longer than the ordinary pace.
func (s *Search) why(now time.Time) string {
	for _, a := range s.accounts {
		if until := a.paused(now); !until.IsZero() {
			return "a limit is reported that own use does not explain, so nothing is launched for up to " + Short(until.Sub(now)) + " unless a report sees room"
		}
		if a.pace.slow > 1 {
			return "slowed down to a request every " + Short(a.pace.slowed()) + ", because the cloud throttled this account"
		}
	}
	return ""
}

// Short is d without what does not matter at its size: 9s, 12m30s, 5h48m.
func Short(d time.Duration) string {
	switch {
	case d >= time.Hour:
		d = d.Round(time.Minute)
	case d >= time.Second:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Millisecond)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Table is what the search knows of its offers, one line for each zone, size
// and answer, with the fault domains that gave the same answer in one line:
//
//	place            size                          launched  asked  last answer
//	Uocm:PHX-AD-1    VM.Standard.A1.Flex 2 OCPU…   3         120    no capacity: Out of host capacity.
//
// It is empty if nothing was tried.
func Table(tried []Tried) []string {
	type line struct {
		zone, size, answer string
		attempts, asked    int
		domains            []string
	}
	var lines []line
	for _, t := range tried {
		if t.Attempts == 0 && t.Asked == 0 && !t.Closed {
			continue
		}
		answer := t.Last.String()
		if reason := plain(t.Reason); reason != "" {
			answer += ": " + reason
		}
		if why := plain(t.Why); t.Closed && t.Attempts == 0 {
			answer = why
		} else if t.Closed && why != answer {
			answer += "; then " + why
		}
		i := slices.IndexFunc(lines, func(l line) bool {
			return l.zone == t.Offer.Zone && l.size == t.Offer.Size() && (l.answer == answer || t.Attempts == 0 && !t.Closed)
		})
		if i < 0 {
			i = len(lines)
			lines = append(lines, line{zone: t.Offer.Zone, size: t.Offer.Size(), answer: answer})
		}
		l := &lines[i]
		l.attempts += t.Attempts
		l.asked = max(l.asked, t.Asked)
		if t.Attempts > 0 && t.Offer.FaultDomain != "" {
			l.domains = append(l.domains, t.Offer.FaultDomain)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	rows := [][]string{{"place", "size", "launches", "reports", "last answer"}}
	for _, l := range lines {
		place := l.zone
		if len(l.domains) > 0 {
			place += " (also " + strings.Join(l.domains, ", ") + ")"
		}
		rows = append(rows, []string{place, l.size, fmt.Sprint(l.attempts), fmt.Sprint(l.asked), l.answer})
	}
	return columns(rows)
}

// plain is a reason without the id of a request, which never is the same.
func plain(reason string) string {
	if i := strings.LastIndex(reason, " ("); i > 0 && strings.Contains(reason[i:], "request ") {
		return reason[:i]
	}
	return reason
}

// columns aligns rows, the last column as it is.
func columns(rows [][]string) []string {
	width := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, cell := range r {
			width[i] = max(width[i], len(cell))
		}
	}
	var out []string
	for _, r := range rows {
		var b strings.Builder
		for i, cell := range r {
			if i == len(r)-1 {
				b.WriteString(cell)
				break
			}
			fmt.Fprintf(&b, "%-*s  ", width[i], cell)
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}
