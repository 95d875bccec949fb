// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The things that are recognised wherever they stand.
var (
	ocidPattern     = regexp.MustCompile(`ocid1\.([a-z0-9]+)\.oc[0-9]+\.[a-z0-9-]*\.[a-z0-9]+`)
	adPattern       = regexp.MustCompile(`\b[A-Za-z0-9]{2,8}:[A-Z0-9-]+-AD-[0-9]\b`)
	parTokenPattern = regexp.MustCompile(`/p/([A-Za-z0-9_-]{20,})/`)
	sshKeyPattern   = regexp.MustCompile(`^(ssh-|ecdsa-)[a-z0-9-]+ AAAA\S+`)
)

// leastValue is the length below which a value is too likely to occur by
// accident to be replaced everywhere.
const leastValue = 6

// names gives placeholders to the identifiers of a session.
type names struct {
	placeholder map[string]string // by value
	count       map[string]int    // by kind
	replacer    *strings.Replacer // nil when placeholder has changed
}

func newNames(known map[string]string) (*names, error) {
	n := &names{placeholder: map[string]string{}, count: map[string]int{}}
	for name, value := range known {
		if len(value) < leastValue {
			return nil, fmt.Errorf("the value %q of %s is too short to be recognised", value, name)
		}
		if strings.ContainsAny(name, ".${}:") || name == "" {
			return nil, fmt.Errorf("%q cannot be a placeholder's name", name)
		}
		if other, twice := n.placeholder[value]; twice {
			return nil, fmt.Errorf("%s and %s have the same value", name, other)
		}
		n.placeholder[value] = name
	}
	return n, nil
}

// learn makes a placeholder for a value of some kind, unless it has one.
func (n *names) learn(kind, value string) {
	if _, known := n.placeholder[value]; known || len(value) < leastValue {
		return
	}
	n.count[kind]++
	n.placeholder[value] = kind + "." + strconv.Itoa(n.count[kind])
	n.replacer = nil
}

// recognise learns whatever in a text can be told by its looks.
func (n *names) recognise(text string) {
	for _, m := range ocidPattern.FindAllStringSubmatch(text, -1) {
		n.learn(m[1], m[0])
	}
	for _, m := range adPattern.FindAllString(text, -1) {
		n.learn("ad", m)
	}
	for _, m := range parTokenPattern.FindAllStringSubmatch(text, -1) {
		n.learn("par-token", m[1])
	}
}

// hide puts placeholders in place of all values that have one, also where
// they are escaped for a path or a query.
func (n *names) hide(text string) string {
	n.recognise(text)
	if n.replacer == nil {
		type pair struct{ value, name string }
		var pairs []pair
		for value, name := range n.placeholder {
			pairs = append(pairs, pair{value, "${" + name + "}"})
			if escaped := url.PathEscape(value); escaped != value {
				pairs = append(pairs, pair{escaped, "${" + name + ":path}"})
			}
			if escaped := url.QueryEscape(value); escaped != value && escaped != url.PathEscape(value) {
				pairs = append(pairs, pair{escaped, "${" + name + ":query}"})
			}
		}
		// The replacer takes the first that fits: a value before its prefix.
		slices.SortFunc(pairs, func(a, b pair) int {
			return cmp.Or(cmp.Compare(len(b.value), len(a.value)), cmp.Compare(a.value, b.value))
		})
		var flat []string
		for _, p := range pairs {
			flat = append(flat, p.value, p.name)
		}
		n.replacer = strings.NewReplacer(flat...)
	}
	return n.replacer.Replace(text)
}

// hideInBody is hide for a string of a request's JSON body, where more can
// stand that must not be kept or would not mean the same later.
func (n *names) hideInBody(field, text string) string {
	switch {
	case strings.Contains(text, "PRIVATE KEY"):
		return "${secret}"
	case sshKeyPattern.MatchString(text):
		return "${ssh-public-key}"
	case field == "user_data":
		return "${user-data}"
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return fmt.Sprintf("${now%+ds}", int64(time.Until(t).Round(time.Second)/time.Second))
	}
	return n.hide(text)
}

// learnReply learns the identifiers in a reply that only their place gives
// away.
func (n *names) learnReply(body any) {
	mapStrings(body, "", func(field, s string) string {
		n.recognise(s)
		switch field {
		case "etag", "uploadId", "id":
			n.learn(strings.ToLower(strings.TrimSuffix(field, "Id")), s)
		}
		return s
	})
}

// placeholderPattern finds placeholders: name or kind.number, and how the
// value is escaped.
var placeholderPattern = regexp.MustCompile(`\$\{([a-z0-9.-]+)(:path|:query)?\}`)

// nowPattern finds times that are counted from now.
var nowPattern = regexp.MustCompile(`\$\{now([+-][0-9]+)s\}`)

// values is the way back: what the placeholders stand for in a replay.
type values map[string]string

// reveal puts values in place of placeholders. It fails on those that no reply
// has told yet.
func (v values) reveal(text string) (string, error) {
	text = nowPattern.ReplaceAllStringFunc(text, func(m string) string {
		seconds, err := strconv.ParseInt(nowPattern.FindStringSubmatch(m)[1], 10, 64)
		if err != nil {
			return m
		}
		return time.Now().Add(time.Duration(seconds) * time.Second).UTC().Format(time.RFC3339)
	})
	var missing string
	text = placeholderPattern.ReplaceAllStringFunc(text, func(m string) string {
		parts := placeholderPattern.FindStringSubmatch(m)
		value, known := v[parts[1]]
		if !known {
			missing = m
			return m
		}
		return escape(value, parts[2])
	})
	if missing != "" {
		return "", fmt.Errorf("nothing has told what %s is", missing)
	}
	return text, nil
}

func escape(value, how string) string {
	switch how {
	case ":path":
		return url.PathEscape(value)
	case ":query":
		return url.QueryEscape(value)
	default:
		return value
	}
}

// match compares a text with a template. Placeholders that are not bound yet
// take what stands in their place; it is bound only if all else fits.
func (v values) match(template, text string) error {
	var pattern strings.Builder
	var unbound []string
	pattern.WriteString("^")
	rest := template
	for {
		at := placeholderPattern.FindStringSubmatchIndex(rest)
		if at == nil {
			pattern.WriteString(regexp.QuoteMeta(rest))
			break
		}
		pattern.WriteString(regexp.QuoteMeta(rest[:at[0]]))
		m := placeholderPattern.FindStringSubmatch(rest[at[0]:at[1]])
		if value, known := v[m[1]]; known {
			pattern.WriteString(regexp.QuoteMeta(escape(value, m[2])))
		} else {
			pattern.WriteString("(.+?)")
			unbound = append(unbound, m[1])
		}
		rest = rest[at[1]:]
	}
	pattern.WriteString("$")
	compiled, err := regexp.Compile("(?s)" + pattern.String())
	if err != nil {
		return fmt.Errorf("template %q: %w", template, err)
	}
	groups := compiled.FindStringSubmatch(text)
	if groups == nil {
		shown, err := v.reveal(template)
		if err != nil {
			shown = template
		}
		return fmt.Errorf("got %q, want %q", text, shown)
	}
	for i, name := range unbound {
		v[name] = groups[i+1]
	}
	return nil
}
