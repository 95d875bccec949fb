// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// wrapAll puts several wraps around a cloud, the first outermost.
func wrapAll(wraps ...func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		for _, w := range slices.Backward(wraps) {
			h = w(h)
		}
		return h
	}
}

// matrix is what came of all runs.
type matrix struct {
	sizes []string
	count map[string]int // of runs, by what came of them

	mu   sync.Mutex
	cell map[string]map[string]string // by request and mishap
	rows []string
}

func (m *matrix) add(cloud string, n int, op, mishap, outcome string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := fmt.Sprintf("%-7s %3d %s", cloud, n, op)
	if m.cell == nil {
		m.cell = map[string]map[string]string{}
	}
	if m.cell[row] == nil {
		m.cell[row] = map[string]string{}
		m.rows = append(m.rows, row)
	}
	m.cell[row][mishap] = outcome
	if m.count == nil {
		m.count = map[string]int{}
	}
	m.count[outcome]++
}

// String is the matrix, and its sums.
func (m *matrix) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	slices.Sort(m.rows)
	for i, x := range mishaps() {
		fmt.Fprintf(&b, "%c = %s\n", 'A'+i, x.name)
	}
	b.WriteString(". went on to the end   l so did Packer, before it took the signal: all images were finished   x ended, nothing left   i ended, with the image that it had finished   n left and named   s removed by one sweep   - did not come so far   ! wrong   blank: not tried\n\n")
	fmt.Fprintf(&b, "%-46s", "request")
	for i := range mishaps() {
		fmt.Fprintf(&b, " %c", 'A'+i)
	}
	b.WriteString("\n")
	sums := map[string]map[string]int{}
	for _, row := range m.rows {
		fmt.Fprintf(&b, "%-46s", row)
		for _, x := range mishaps() {
			o := m.cell[row][x.name]
			fmt.Fprintf(&b, " %1s", o)
			if key := strings.Fields(row)[0] + " " + x.name; o != "" {
				if sums[key] == nil {
					sums[key] = map[string]int{}
				}
				sums[key][o]++
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| cloud | mishap | runs | went on to the end | signal too late | ended, nothing left | ended, with a finished image | left and named | removed by one sweep | not reached | wrong |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, cloud := range []string{"oci", "aws", "capture", "inside"} {
		for _, x := range mishaps() {
			s := sums[cloud+" "+x.name]
			if s == nil {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %d | %d | %d | %d | %d | %d |\n", cloud, x.name, s["."]+s["l"]+s["x"]+s["i"]+s["n"]+s["s"]+s["-"]+s["!"], s["."], s["l"], s["x"], s["i"], s["n"], s["s"], s["-"], s["!"])
		}
	}
	return b.String() + "\n" + strings.Join(m.sizes, "\n") + "\n"
}
