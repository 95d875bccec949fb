// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
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
