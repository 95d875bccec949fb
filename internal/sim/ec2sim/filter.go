// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/base64"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// filter narrows a list down: one of the values must fit.
type filter struct {
	Name   string   `aws:",required"`
	Values []string `aws:"Value"`
}

// attributes are what a list can be filtered by, by the filter's name.
type attributes[T any] map[string]func(T) []string

// narrow applies filters. What has tags can be filtered by them as well.
func narrow[T any](list []T, filters []filter, by attributes[T]) ([]T, error) {
	for _, f := range filters {
		value := by[f.Name]
		if key, isTag := strings.CutPrefix(f.Name, "tag:"); isTag {
			value = func(r T) []string {
				if v, has := tagsOf(r)[key]; has {
					return []string{v}
				}
				return nil
			}
		} else if f.Name == "tag-key" {
			value = func(r T) []string { return slices.Collect(maps.Keys(tagsOf(r))) }
		}
		if value == nil {
			return nil, errValue("The filter '%s' is invalid", f.Name)
		}
		if len(f.Values) == 0 {
			return nil, errValue("The filter '%s' must have values", f.Name)
		}
		list = slices.DeleteFunc(slices.Clone(list), func(r T) bool {
			return !slices.ContainsFunc(value(r), func(have string) bool {
				return slices.ContainsFunc(f.Values, func(want string) bool { return fits(want, have) })
			})
		})
	}
	return list, nil
}

// fits compares with * and ? as wildcards; a backslash takes their meaning.
func fits(pattern, text string) bool {
	if !strings.ContainsAny(pattern, `*?\`) {
		return pattern == text
	}
	// path.Match has one more kind of wildcard and stops at slashes.
	clean := strings.NewReplacer("[", `\[`, "/", "\x00").Replace(pattern)
	ok, err := path.Match(clean, strings.ReplaceAll(text, "/", "\x00"))
	return err == nil && ok
}

func tagsOf(r any) tagMap {
	if has, is := r.(resource); is {
		return has.base().tags
	}
	return nil
}

// one is a single value of an attribute; an empty one is none.
func one(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func truth(b bool) []string { return []string{strconv.FormatBool(b)} }

// paging are the parameters of lists that come in pages.
type paging struct {
	MaxResults *int
	NextToken  string
}

// page cuts a list. The token is opaque to clients.
func page[T any](list []T, p paging, least int) (cut []T, next string, err error) {
	start := 0
	if p.NextToken != "" {
		raw, err := base64.RawURLEncoding.DecodeString(p.NextToken)
		if err == nil {
			start, err = strconv.Atoi(strings.TrimPrefix(string(raw), "from:"))
		}
		if err != nil || start < 0 || start > len(list) {
			return nil, "", refuse("InvalidPaginationToken", "The token %q is invalid", p.NextToken)
		}
	}
	list = list[start:]
	if p.MaxResults == nil {
		return list, "", nil
	}
	n := *p.MaxResults
	if n < least || n > 1000 {
		return nil, "", errValue("Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and 1000.", n, least)
	}
	if n < len(list) {
		return list[:n], base64.RawURLEncoding.EncodeToString([]byte("from:" + strconv.Itoa(start+n))), nil
	}
	return list, "", nil
}
