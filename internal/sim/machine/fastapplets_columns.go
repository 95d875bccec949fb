// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
)

func sortLines(_ context.Context, p *Process) int {
	opt, args, err := options(p, "runV", nil)
	if err != nil {
		return usage(p, err)
	}
	var all []string
	status := p.inputs(args, func(_ string, r io.Reader) error {
		return lines(r, func(l string) bool { all = append(all, l); return true })
	})
	_, numeric := opt['n']
	sort.SliceStable(all, func(i, j int) bool {
		if numeric {
			a, _ := strconv.ParseFloat(strings.TrimSpace(all[i]), 64)
			b, _ := strconv.ParseFloat(strings.TrimSpace(all[j]), 64)
			if a != b {
				return a < b
			}
		}
		return all[i] < all[j]
	})
	if _, ok := opt['r']; ok {
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
	_, unique := opt['u']
	for i, l := range all {
		if !unique || i == 0 || l != all[i-1] {
			fmt.Fprintln(p.Stdout, l)
		}
	}
	return status
}

func uniq(_ context.Context, p *Process) int {
	_, args, err := options(p, "", nil)
	if err != nil {
		return usage(p, err)
	}
	first, last := true, ""
	return p.inputs(args, func(_ string, r io.Reader) error {
		return lines(r, func(l string) bool {
			if first || l != last {
				fmt.Fprintln(p.Stdout, l)
			}
			first, last = false, l
			return true
		})
	})
}

func seq(_ context.Context, p *Process) int {
	bounds := []int{1}
	for _, a := range p.Args[1:] {
		n, err := strconv.Atoi(a)
		if err != nil {
			return usage(p, err)
		}
		bounds = append(bounds, n)
	}
	if len(bounds) < 2 || len(bounds) > 3 {
		return usage(p, errors.New("one or two operands are needed"))
	}
	for i := bounds[len(bounds)-2]; i <= bounds[len(bounds)-1]; i++ {
		fmt.Fprintln(p.Stdout, i)
	}
	return 0
}

// charSet expands tr's notation: ranges, \n, \t and the usual classes.
func charSet(s string) []rune {
	s = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00", "[:upper:]", "A-Z", "[:lower:]", "a-z",
		"[:digit:]", "0-9", "[:space:]", " \t\n\r").Replace(s)
	in := []rune(s)
	var out []rune
	for i := 0; i < len(in); i++ {
		if i+2 < len(in) && in[i+1] == '-' && in[i] <= in[i+2] {
			for c := in[i]; c <= in[i+2]; c++ {
				out = append(out, c)
			}
			i += 2
			continue
		}
		out = append(out, in[i])
	}
	return out
}

func tr(_ context.Context, p *Process) int {
	opt, args, err := options(p, "dcs", nil)
	_, del := opt['d']
	_, complement := opt['c']
	if err != nil || len(args) == 0 || !del && len(args) != 2 {
		return usage(p, fmt.Errorf("missing operand (%v)", err))
	}
	from := charSet(args[0])
	var to []rune
	if len(args) > 1 {
		to = charSet(args[1])
	}
	data, err := io.ReadAll(p.Stdin)
	if err != nil {
		return p.fail(err)
	}
	out := strings.Map(func(c rune) rune {
		at := strings.IndexRune(string(from), c)
		if at >= 0 {
			at = len([]rune(string(from)[:at]))
		}
		switch {
		case (at >= 0) == complement:
			return c
		case del:
			return -1
		case len(to) == 0:
			return c
		}
		return to[min(max(at, 0), len(to)-1)]
	}, string(data))
	io.WriteString(p.Stdout, out)
	return 0
}

func cut(_ context.Context, p *Process) int {
	opt, args, err := options(p, "d:f:c:s", nil)
	if err != nil {
		return usage(p, err)
	}
	delimiter, ok := opt['d']
	if !ok {
		delimiter = "\t"
	}
	spec, fields := opt['f']
	if !fields {
		spec, delimiter = opt['c'], ""
	}
	return p.inputs(args, func(_ string, r io.Reader) error {
		var bad error
		err := lines(r, func(line string) bool {
			if delimiter != "" && !strings.Contains(line, delimiter) {
				fmt.Fprintln(p.Stdout, line)
				return true
			}
			all := strings.Split(line, delimiter)
			var out []string
			for _, part := range strings.Split(spec, ",") {
				a, b, isRange := strings.Cut(part, "-")
				lo, err := strconv.Atoi("0" + a)
				hi, err2 := strconv.Atoi("0" + b)
				if err != nil || err2 != nil || lo+hi == 0 {
					bad = fmt.Errorf("invalid field value '%s'", spec)
					return false
				}
				if !isRange {
					hi = lo
				} else if b == "" {
					hi = len(all)
				}
				for i := max(lo, 1); i <= min(hi, len(all)); i++ {
					out = append(out, all[i-1])
				}
			}
			fmt.Fprintln(p.Stdout, strings.Join(out, delimiter))
			return true
		})
		return errors.Join(err, bad)
	})
}

func cmp(_ context.Context, p *Process) int {
	opt, args, err := options(p, "s", nil)
	if err != nil || len(args) != 2 {
		return usage(p, fmt.Errorf("two operands are needed (%v)", err))
	}
	var data [2][]byte
	for i, n := range args {
		r, err := p.input(n)
		if err == nil {
			data[i], err = io.ReadAll(r)
			r.Close()
		}
		if err != nil {
			p.fail(err)
			return 2
		}
	}
	if bytes.Equal(data[0], data[1]) {
		return 0
	}
	if _, silent := opt['s']; !silent {
		fmt.Fprintf(p.Stdout, "%s %s differ\n", args[0], args[1])
	}
	return 1
}
