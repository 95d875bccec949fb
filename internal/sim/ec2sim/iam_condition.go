// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// policyCondition is one line of a Condition: an operator, a key and values.
type policyCondition struct {
	operator string // without prefix and suffix
	set      string // ForAllValues, ForAnyValue or ""
	ifExists bool
	key      string
	values   []string
}

// comparison tells whether the value of a request fits one of a policy.
type comparison func(want, have string) bool

// ordered compares by an order, after both texts were read.
func ordered[T any](read func(string) (T, bool), order func(a, b T) int, fits func(order int) bool) comparison {
	return func(want, have string) bool {
		w, ok1 := read(want)
		h, ok2 := read(have)
		return ok1 && ok2 && fits(order(h, w))
	}
}

func readNumber(s string) (float64, bool) {
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func readDate(s string) (time.Time, bool) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(n, 0), err == nil
}

func inBlock(want, have string) bool {
	address, err := netip.ParseAddr(have)
	if err != nil {
		return false
	}
	if block, err := netip.ParsePrefix(want); err == nil {
		return block.Contains(address)
	}
	one, err := netip.ParseAddr(want)
	return err == nil && one == address
}

// operators has the comparisons by name. The negated ones are not there: see
// positive.
func operators() map[string]comparison {
	same := func(want, have string) bool { return plain(want) == have }
	fold := func(want, have string) bool { return strings.EqualFold(plain(want), have) }
	list := map[string]comparison{
		"StringEquals": same, "StringEqualsIgnoreCase": fold, "StringLike": like, "BinaryEquals": same,
		"Bool": fold, "IpAddress": inBlock, "ArnEquals": likeARN, "ArnLike": likeARN,
	}
	for name, fits := range map[string]func(int) bool{
		"Equals":            func(o int) bool { return o == 0 },
		"LessThan":          func(o int) bool { return o < 0 },
		"LessThanEquals":    func(o int) bool { return o <= 0 },
		"GreaterThan":       func(o int) bool { return o > 0 },
		"GreaterThanEquals": func(o int) bool { return o >= 0 },
	} {
		list["Numeric"+name] = ordered(readNumber, cmp.Compare[float64], fits)
		list["Date"+name] = ordered(readDate, time.Time.Compare, fits)
	}
	return list
}

// positive is the operator that a negated one denies.
func positive(operator string) (name string, negated bool) {
	if operator == "NotIpAddress" {
		return "IpAddress", true
	}
	for _, kind := range []string{"String", "Numeric", "Date", "Arn"} {
		if rest, is := strings.CutPrefix(operator, kind+"Not"); is {
			return kind + rest, true
		}
	}
	return operator, false
}

// readConditions reads {"StringEquals": {"aws:RequestTag/k": ["a", "b"]}}.
func readConditions(raw json.RawMessage) ([]policyCondition, error) {
	blocks, err := jsonObject(raw)
	if err != nil {
		return nil, err
	}
	known := operators()
	var list []policyCondition
	for name, raw := range blocks {
		c := policyCondition{operator: name}
		if set, rest, has := strings.Cut(name, ":"); has {
			c.set, c.operator = set, rest
			if set != "ForAllValues" && set != "ForAnyValue" {
				return nil, fmt.Errorf("invalid condition type : %s", name)
			}
		}
		c.operator, c.ifExists = strings.CutSuffix(c.operator, "IfExists")
		stem, _ := positive(c.operator)
		if known[stem] == nil && c.operator != "Null" || c.operator == "Null" && (c.ifExists || c.set != "") {
			return nil, fmt.Errorf("invalid condition type : %s", name)
		}
		keys, err := jsonObject(raw)
		if err != nil {
			return nil, err
		}
		for key, raw := range keys {
			if !strings.Contains(key, ":") {
				return nil, fmt.Errorf("actions/conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc")
			}
			c.key = key
			if c.values, err = conditionValues(raw); err != nil {
				return nil, err
			}
			if c.operator == "Bool" || c.operator == "Null" {
				if slices.ContainsFunc(c.values, func(v string) bool { return v != "true" && v != "false" && !strings.Contains(v, "${") }) {
					return nil, fmt.Errorf("the values of %s are true and false", name)
				}
			}
			list = append(list, c)
		}
	}
	return list, nil
}

// conditionValues reads a value or a list of them; numbers and truth values
// are texts too.
func conditionValues(raw json.RawMessage) ([]string, error) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	list, is := value.([]any)
	if !is {
		list = []any{value}
	}
	var out []string
	for _, v := range list {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case bool, float64:
			out = append(out, fmt.Sprint(v))
		default:
			return nil, fmt.Errorf("%s cannot be the value of a condition", raw)
		}
	}
	return out, nil
}

// holds tells whether a request fulfils the condition.
func (c policyCondition) holds(keys conditionKeys, variables bool) bool {
	have, exists := keys[strings.ToLower(c.key)]
	if c.operator == "Null" {
		return slices.Contains(c.values, strconv.FormatBool(!exists))
	}
	stem, negated := positive(c.operator)
	compare := operators()[stem]
	fits := func(value string) bool {
		return slices.ContainsFunc(c.values, func(want string) bool {
			text, known := keys.expand(want, variables)
			return known && compare(text, value)
		}) != negated
	}
	switch {
	case c.set == "ForAllValues":
		return !slices.ContainsFunc(have, func(v string) bool { return !fits(v) })
	case !exists && c.ifExists:
		return true
	case c.set == "ForAnyValue":
		return slices.ContainsFunc(have, fits)
	case !exists:
		return negated
	}
	// A key with several values needs one of the sets; without it nothing fits.
	return len(have) == 1 && fits(have[0])
}
