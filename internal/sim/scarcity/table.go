// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Row is a line of a table: one client on one family.
type Row struct {
	Family string
	Client string
	Stats
}

// Rows sums up results by family and client, in the order in which those first
// appear.
func Rows(results []Result) []Row {
	type key struct{ family, client string }
	var order []key
	by := make(map[key][]Result)
	for _, r := range results {
		k := key{r.Family, r.Client}
		if by[k] == nil {
			order = append(order, k)
		}
		by[k] = append(by[k], r)
	}
	// All clients of a family are next to each other.
	var families []string
	for _, k := range order {
		if !slices.Contains(families, k.family) {
			families = append(families, k.family)
		}
	}
	slices.SortStableFunc(order, func(a, b key) int {
		return slices.Index(families, a.family) - slices.Index(families, b.family)
	})
	var rows []Row
	for _, k := range order {
		rows = append(rows, Row{Family: k.family, Client: k.client, Stats: Sum(by[k])})
	}
	return rows
}

// Table writes rows as a table in Markdown, which can be read as it is too.
func Table(w io.Writer, rows []Row) error {
	cells := [][]string{
		{"family", "client", "won", "lost", "median", "p95", "requests/h", "429s"},
		{"---", "---", "--:", "--:", "--:", "--:", "--:", "--:"},
	}
	last := ""
	for _, r := range rows {
		family := r.Family
		if family == last {
			family = "" // once is enough
		}
		last = r.Family
		cells = append(cells, []string{family, r.Client, fmt.Sprintf("%d/%d", r.Won, r.Runs), fmt.Sprint(r.Lost),
			inWords(r.Stats, r.Median), inWords(r.Stats, r.P95), fmt.Sprintf("%.0f", r.PerHour), fmt.Sprint(r.Throttled)})
	}
	width := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			width[i] = max(width[i], len(c))
		}
	}
	for _, line := range cells {
		for i, c := range line {
			pad := width[i]
			if i < 2 {
				pad = -pad
			}
			if _, err := fmt.Fprintf(w, "| %*s ", pad, c); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w, "|"); err != nil {
			return err
		}
	}
	return nil
}

func inWords(s Stats, d time.Duration) string {
	switch {
	case s.Won+s.Lost == 0:
		return "-" // there was nothing to win
	case d == Never:
		return "lost"
	}
	return d.Round(100 * time.Millisecond).String()
}
