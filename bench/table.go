// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// spread is what came of several runs.
type spread[T cmp.Ordered] struct{ median, least, most T }

func spreadOf[T cmp.Ordered](all []T) spread[T] {
	all = slices.Sorted(slices.Values(all))
	return spread[T]{all[len(all)/2], all[0], all[len(all)-1]}
}

// seconds is a spread of durations for people.
func seconds(s spread[time.Duration]) string {
	return fmt.Sprintf("%.2f s (%.2f-%.2f)", s.median.Seconds(), s.least.Seconds(), s.most.Seconds())
}

// ratio is by how much a is more than b.
func ratio(a, b float64) string {
	if b <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// table prints rows, of which the first is the head, as Markdown that is aligned for
// people as well. The first column is text, the others are numbers.
func table(out io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell), 3)
		}
	}
	line := func(row []string) {
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(out, "| %-*s |", widths[i], cell)
			} else {
				fmt.Fprintf(out, " %*s |", widths[i], cell)
			}
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out)
	line(rows[0])
	rule := make([]string, len(widths))
	for i, w := range widths {
		rule[i] = strings.Repeat("-", w)
		if i > 0 {
			rule[i] = strings.Repeat("-", w-1) + ":"
		}
	}
	line(rule)
	for _, row := range rows[1:] {
		line(row)
	}
}
