// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package launch

import (
	"fmt"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// How often it is said that nothing has changed: often while somebody may be
// watching, then seldom.
const (
	sumUpSoon  = time.Minute
	sumUpLater = 5 * time.Minute
	soonEnds   = 5 * time.Minute
)

// narrator says what the search does.
type narrator struct {
	say    Said
	search *capacity.Search
	start  time.Time
	told   time.Time         // when something was last said
	seen   map[string]string // what was last said of a zone
	looks  int               // reports that nothing was said of
}

func newNarrator(say Said, s *capacity.Search) *narrator {
	now := time.Now()
	return &narrator{say: say, search: s, start: now, told: now, seen: map[string]string{}}
}

// attempt says what an attempt came to and what comes next.
func (n *narrator) attempt(number int, o capacity.Offer, v cloud.Verdict) {
	n.line("Attempt %d: %s: %s: %s", number, o, v.Outcome, v.Reason)
}

// reply says what a report says, where that is news.
func (n *narrator) reply(q capacity.Ask, r capacity.Reply) {
	if r.Hints == nil {
		if r.Reason == "" {
			return // the cloud cannot be asked, which is nobody's fault
		}
		n.line("%s: %s: %s", q.Zone, r.Outcome, r.Reason)
		return
	}
	n.looks++
	news := digest(q, r)
	every := sumUpLater
	if time.Since(n.start) < soonEnds {
		every = sumUpSoon
	}
	key := q.Cloud + " " + q.Region + " " + q.Zone
	switch {
	case n.seen[key] != news:
		n.seen[key] = news
		n.line("%s: %s, says the capacity report", q.Zone, news)
	case time.Since(n.told) >= every:
		looks := "1 report"
		if n.looks != 1 {
			looks = fmt.Sprintf("%d reports", n.looks)
		}
		n.line("Nothing new after %s (%s since the last line)", capacity.Short(time.Since(n.start)), looks)
	}
}

// line says something, with the outlook behind it.
func (n *narrator) line(format string, args ...any) {
	now := time.Now()
	n.told, n.looks = now, 0
	text := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	n.say("%s %s", text, n.search.Outlook(now))
}

// digest is a report in a few words: "A1 2 OCPU/12 GB has room in FD-2 and FD-3;
// no capacity for A1 1 OCPU/6 GB".
func digest(q capacity.Ask, r capacity.Reply) string {
	free := map[string][]string{}
	missing, unknown := 0, 0
	for i, o := range q.Offers {
		if i >= len(r.Hints) {
			break
		}
		switch r.Hints[i] {
		case capacity.Unknown:
			unknown++
		case capacity.Free:
			free[o.Size()] = append(free[o.Size()], o.FaultDomain)
		case capacity.Missing:
			missing++
		}
	}
	if unknown == len(q.Offers) {
		return "nothing that is understood"
	}
	if missing == len(q.Offers) {
		return "the hardware for " + list(capacity.Sizes(q.Offers), "or") + " is not there"
	}
	var said []string
	var none []capacity.Offer
	for _, o := range q.Offers {
		domains := free[o.Size()]
		switch {
		case domains == nil:
			none = append(none, o)
			continue
		case len(domains) == 0:
			continue // has been said
		case domains[0] != "":
			said = append(said, o.Size()+" has room in "+list(domains, "and"))
		case len(domains) > 1:
			said = append(said, o.Size()+" has room in "+list(domains[1:], "and"))
		default:
			said = append(said, o.Size()+" has room")
		}
		free[o.Size()] = []string{}
	}
	if len(none) > 0 {
		said = append(said, "no capacity for "+list(capacity.Sizes(none), "or"))
	}
	return strings.Join(said, "; ")
}

// list is "a, b or c".
func list(words []string, and string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " " + and + " " + words[last]
}
