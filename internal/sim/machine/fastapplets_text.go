// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// textApplets are the programs that read and write streams.
func textApplets() map[string]applet {
	return map[string]applet{
		"cat": cat, "tee": tee, "head": head, "tail": tail, "wc": wc, "grep": grep, "egrep": grep, "fgrep": grep,
		"sort": sortLines, "uniq": uniq, "tr": tr, "cut": cut, "cmp": cmp, "seq": seq,
		"gzip": gzipTool, "gunzip": gzipTool, "zcat": gzipTool, "base64": base64Tool,
		"sha256sum": digest(sha256.New), "sha512sum": digest(sha512.New), "sha1sum": digest(sha1.New), "md5sum": digest(md5.New),
	}
}

// input opens an operand; "-" is the standard input.
func (p *Process) input(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(p.Stdin), nil
	}
	info, err := p.m.tree.stat(p.Path(name), true, p.UID)
	if err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: Is a directory", name)
	}
	return p.open(name, os.O_RDONLY, 0)
}

// inputs calls f for each operand, or for the standard input.
func (p *Process) inputs(names []string, f func(name string, r io.Reader) error) int {
	if len(names) == 0 {
		names = []string{"-"}
	}
	return p.each(names, func(n string) error {
		r, err := p.input(n)
		if err != nil {
			return err
		}
		defer r.Close()
		return f(n, r)
	})
}

func cat(ctx context.Context, p *Process) int {
	_, args, err := options(p, "un", nil)
	if err != nil {
		return usage(p, err)
	}
	return p.inputs(args, func(_ string, r io.Reader) error {
		_, err := io.Copy(p.Stdout, readerWithContext{ctx, r})
		return err
	})
}

func tee(_ context.Context, p *Process) int {
	opt, args, err := options(p, "ai", map[string]string{"append": "a"})
	if err != nil {
		return usage(p, err)
	}
	flag := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if _, ok := opt['a']; ok {
		flag = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	status := 0
	out := []io.Writer{p.Stdout}
	for _, n := range args {
		f, err := p.open(n, flag, 0o666)
		if err != nil {
			status = p.fail(err)
			continue
		}
		defer f.Close()
		out = append(out, f)
	}
	if _, err := io.Copy(io.MultiWriter(out...), p.Stdin); err != nil {
		return p.fail(err)
	}
	return status
}

// counted reads head's and tail's options: -n 5, -5, -c 10, -n +2.
func counted(p *Process) (n int, from bool, inBytes bool, names []string, err error) {
	n = 10
	args := p.Args[1:]
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		a := args[0][1:]
		args = args[1:]
		if a == "q" || a == "f" {
			continue
		}
		if a[0] == 'n' || a[0] == 'c' {
			inBytes = a[0] == 'c'
			if a = a[1:]; a == "" {
				if len(args) == 0 {
					return 0, false, false, nil, errors.New("option requires an argument")
				}
				a, args = args[0], args[1:]
			}
		}
		from = strings.HasPrefix(a, "+")
		if n, err = strconv.Atoi(strings.TrimPrefix(a, "+")); err != nil || n < 0 {
			return 0, false, false, nil, fmt.Errorf("invalid number of lines: '%s'", a)
		}
	}
	return n, from, inBytes, args, nil
}

func head(_ context.Context, p *Process) int {
	n, _, inBytes, names, err := counted(p)
	if err != nil {
		return usage(p, err)
	}
	return p.inputs(names, func(_ string, r io.Reader) error {
		if inBytes {
			_, err := io.Copy(p.Stdout, io.LimitReader(r, int64(n)))
			return err
		}
		br := bufio.NewReader(r)
		for range n {
			line, err := br.ReadString('\n')
			io.WriteString(p.Stdout, line)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func tail(_ context.Context, p *Process) int {
	n, from, inBytes, names, err := counted(p)
	if err != nil {
		return usage(p, err)
	}
	return p.inputs(names, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		parts := bytes.SplitAfter(data, []byte("\n"))
		if inBytes {
			parts = bytes.Split(data, nil)
		}
		if k := len(parts); k > 0 && len(parts[k-1]) == 0 {
			parts = parts[:k-1]
		}
		skip := max(0, len(parts)-n)
		if from {
			skip = min(len(parts), max(0, n-1))
		}
		_, err = p.Stdout.Write(bytes.Join(parts[skip:], nil))
		return err
	})
}

func wc(_ context.Context, p *Process) int {
	opt, args, err := options(p, "lwcm", map[string]string{"lines": "l", "bytes": "c", "words": "w"})
	if err != nil {
		return usage(p, err)
	}
	return p.inputs(args, func(name string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		var out []string
		for _, c := range []struct {
			flag rune
			n    int
		}{{'l', bytes.Count(data, []byte("\n"))}, {'w', len(bytes.Fields(data))}, {'c', len(data)}} {
			if _, ok := opt[c.flag]; ok || len(opt) == 0 {
				out = append(out, strconv.Itoa(c.n))
			}
		}
		if name != "-" {
			out = append(out, name)
		}
		_, err = fmt.Fprintln(p.Stdout, strings.Join(out, " "))
		return err
	})
}

// basicRegexp turns a basic regular expression into Go's syntax: there, the
// bare characters ( ) { } + ? | are ordinary and the escaped ones special.
func basicRegexp(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte("(){}+?|", s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		case c == '\\' && i+1 < len(s):
			b.WriteByte(c)
			i++
			b.WriteByte(s[i])
		case strings.IndexByte("(){}+?|", c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func grep(_ context.Context, p *Process) int {
	opt, args, err := options(p, "qcivEFGnxhHose:", map[string]string{"quiet": "q", "count": "c", "ignore-case": "i",
		"invert-match": "v", "extended-regexp": "E", "fixed-strings": "F", "line-regexp": "x", "only-matching": "o"})
	if err != nil {
		return usage(p, err)
	}
	has := func(c rune) bool { _, ok := opt[c]; return ok }
	pattern, ok := opt['e']
	if !ok {
		if len(args) == 0 {
			return usage(p, errors.New("missing pattern"))
		}
		pattern, args = args[0], args[1:]
	}
	switch {
	case has('F') || strings.HasSuffix(p.Args[0], "fgrep"):
		pattern = regexp.QuoteMeta(pattern)
	case !has('E') && !strings.HasSuffix(p.Args[0], "egrep"):
		pattern = basicRegexp(pattern)
	}
	if has('x') {
		pattern = "^(?:" + pattern + ")$"
	}
	if has('i') {
		pattern = "(?i)" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return usage(p, err)
	}
	matched := false
	status := p.inputs(args, func(name string, r io.Reader) error {
		count, number := 0, 0
		prefix := ""
		if (len(args) > 1 || has('H')) && !has('h') {
			prefix = name + ":"
		}
		err := lines(r, func(line string) bool {
			number++
			if re.MatchString(line) == has('v') {
				return true
			}
			matched = true
			count++
			switch {
			case has('q'):
				return false
			case has('c'):
			case has('o') && !has('v'):
				for _, m := range re.FindAllString(line, -1) {
					fmt.Fprintln(p.Stdout, prefix+m)
				}
			case has('n'):
				fmt.Fprintf(p.Stdout, "%s%d:%s\n", prefix, number, line)
			default:
				fmt.Fprintln(p.Stdout, prefix+line)
			}
			return true
		})
		if has('c') && !has('q') {
			fmt.Fprintf(p.Stdout, "%s%d\n", prefix, count)
		}
		return err
	})
	switch {
	case matched && (status == 0 || has('q')):
		return 0
	case status != 0:
		return 2
	}
	return 1
}

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

// gzipTool is gzip, gunzip and zcat.
func gzipTool(_ context.Context, p *Process) int {
	opt, args, err := options(p, "dcfkqn123456789", map[string]string{"decompress": "d", "stdout": "c", "force": "f", "keep": "k"})
	if err != nil {
		return usage(p, err)
	}
	has := func(c rune) bool { _, ok := opt[c]; return ok }
	name := p.Args[0][strings.LastIndex(p.Args[0], "/")+1:]
	unpack := has('d') || name != "gzip"
	return p.inputs(args, func(n string, r io.Reader) error {
		var out io.Writer = p.Stdout
		var to string
		if n != "-" && !has('c') && name != "zcat" {
			to = n + ".gz"
			if unpack {
				var ok bool
				if to, ok = strings.CutSuffix(n, ".gz"); !ok {
					return fmt.Errorf("%s: unknown suffix -- ignored", n)
				}
			}
			f, err := p.open(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
			if err != nil {
				return err
			}
			defer f.Close()
			out = f
		}
		if err := recode(out, r, unpack); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		if to != "" && !has('k') {
			return p.m.tree.remove(p.Path(n), p.UID)
		}
		return nil
	})
}

func recode(w io.Writer, r io.Reader, unpack bool) error {
	if unpack {
		z, err := gzip.NewReader(r)
		if err != nil {
			return errors.New("not in gzip format")
		}
		_, err = io.Copy(w, z)
		return err
	}
	z := gzip.NewWriter(w)
	_, err := io.Copy(z, r)
	return errors.Join(err, z.Close())
}

func base64Tool(_ context.Context, p *Process) int {
	opt, args, err := options(p, "dw:", map[string]string{"decode": "d", "wrap": "w"})
	if err != nil {
		return usage(p, err)
	}
	width := 76
	if w, ok := opt['w']; ok {
		if width, err = strconv.Atoi(w); err != nil {
			return usage(p, err)
		}
	}
	return p.inputs(args, func(_ string, r io.Reader) error {
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if _, ok := opt['d']; ok {
			out, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
			p.Stdout.Write(out)
			if err != nil {
				return errors.New("invalid input")
			}
			return nil
		}
		text := base64.StdEncoding.EncodeToString(data)
		for width > 0 && len(text) > width {
			fmt.Fprintln(p.Stdout, text[:width])
			text = text[width:]
		}
		_, err = fmt.Fprint(p.Stdout, text)
		if width > 0 && text != "" {
			fmt.Fprintln(p.Stdout)
		}
		return err
	})
}

// digest makes sha256sum and its siblings, -c included.
func digest(newHash func() hash.Hash) applet {
	return func(_ context.Context, p *Process) int {
		opt, args, err := options(p, "cb", map[string]string{"check": "c", "status": "s", "quiet": "q"})
		if err != nil {
			return usage(p, err)
		}
		sum := func(r io.Reader) (string, error) {
			h := newHash()
			_, err := io.Copy(h, r)
			return fmt.Sprintf("%x", h.Sum(nil)), err
		}
		if _, check := opt['c']; !check {
			return p.inputs(args, func(n string, r io.Reader) error {
				s, err := sum(r)
				if err == nil {
					_, err = fmt.Fprintf(p.Stdout, "%s  %s\n", s, n)
				}
				return err
			})
		}
		_, silent := opt['s']
		return p.inputs(args, func(list string, r io.Reader) error {
			checked, failed := 0, 0
			err := lines(r, func(line string) bool {
				want, name, ok := strings.Cut(line, " ")
				if !ok {
					return true
				}
				checked++
				name = strings.TrimLeft(name, " *")
				verdict := "FAILED"
				if f, err := p.input(name); err == nil {
					got, err := sum(f)
					f.Close()
					if err == nil && strings.EqualFold(got, want) {
						verdict = "OK"
					}
				}
				if verdict != "OK" {
					failed++
				}
				if !silent {
					fmt.Fprintf(p.Stdout, "%s: %s\n", name, verdict)
				}
				return true
			})
			switch {
			case err != nil:
				return err
			case checked == 0:
				return fmt.Errorf("%s: no properly formatted checksum lines found", list)
			case failed > 0:
				return fmt.Errorf("WARNING: %d computed checksum did NOT match", failed)
			}
			return nil
		})
	}
}
