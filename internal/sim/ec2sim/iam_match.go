// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"regexp"
	"strings"
)

// conditionKeys are the keys of a request by their names in lower case, since
// case does not matter in policies.
type conditionKeys map[string][]string

// keysOf gathers the keys of a request and of one of its resources.
func keysOf(contexts ...map[string][]string) conditionKeys {
	keys := conditionKeys{}
	for _, context := range contexts {
		for name, values := range context {
			keys[strings.ToLower(name)] = values
		}
	}
	return keys
}

// escaped stands before a character of a pattern that means itself.
const escaped = '\x00'

var variableForm = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand puts values in the place of policy variables. A variable without a
// value makes the text match nothing.
func (k conditionKeys) expand(text string, variables bool) (string, bool) {
	if !variables || !strings.Contains(text, "${") {
		return text, true
	}
	known := true
	out := variableForm.ReplaceAllStringFunc(text, func(found string) string {
		name := found[2 : len(found)-1]
		if name == "*" || name == "?" || name == "$" {
			return string(escaped) + name
		}
		name, standard, hasStandard := strings.Cut(name, ",")
		values := k[strings.ToLower(strings.TrimSpace(name))]
		value := strings.Trim(strings.TrimSpace(standard), "'")
		if len(values) == 1 {
			value = values[0]
		} else if !hasStandard {
			known = false
		}
		return strings.NewReplacer("*", string(escaped)+"*", "?", string(escaped)+"?").Replace(value)
	})
	return out, known
}

// plain is an expanded text without the marks.
func plain(text string) string { return strings.ReplaceAll(text, string(escaped), "") }

// like compares with * and ? as wildcards.
func like(pattern, text string) bool {
	p, s := []rune(pattern), []rune(text)
	var match func(i, j int) bool
	match = func(i, j int) bool {
		for ; i < len(p); i++ {
			switch {
			case p[i] == '*':
				for i < len(p) && p[i] == '*' {
					i++
				}
				for ; j <= len(s); j++ {
					if match(i, j) {
						return true
					}
				}
				return false
			case j == len(s):
				return false
			case p[i] == escaped && i+1 < len(p):
				if i++; p[i] != s[j] {
					return false
				}
			case p[i] != '?' && p[i] != s[j]:
				return false
			}
			j++
		}
		return j == len(s)
	}
	return match(0, 0)
}

// likeAction compares names of actions, whose case does not matter.
func likeAction(pattern, action string) bool {
	return like(strings.ToLower(pattern), strings.ToLower(action))
}

// likeARN compares ARNs part by part: wildcards stay within their part, but
// one at the end of a short pattern stands for all that follows.
func likeARN(pattern, arn string) bool {
	if pattern == "*" {
		return true
	}
	want, have := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(want) < 6 && strings.HasSuffix(pattern, "*") && len(have) == 6 {
		last := len(want) - 1
		have = append(have[:last:last], strings.Join(have[last:], ":"))
	}
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if !like(want[i], have[i]) {
			return false
		}
	}
	return true
}
