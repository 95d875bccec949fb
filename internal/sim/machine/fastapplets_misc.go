// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

type randomBytes struct{}

func (randomBytes) Read(b []byte) (int, error) { return rand.Read(b) }

func touch(_ context.Context, p *Process) int {
	_, args, err := options(p, "cam", nil)
	if err != nil {
		return usage(p, err)
	}
	return p.each(args, func(n string) error {
		if _, err := p.Stat(n); errors.Is(err, fs.ErrNotExist) {
			return p.WriteFile(n, nil, 0o666)
		}
		return p.m.tree.chtimes(p.Path(n), time.Now(), p.UID)
	})
}

func mktemp(_ context.Context, p *Process) int {
	opt, args, err := options(p, "dp:tqu", map[string]string{"directory": "d", "tmpdir": "p"})
	if err != nil || len(args) > 1 {
		return usage(p, fmt.Errorf("too many templates (%v)", err))
	}
	dir, inDir := opt['p']
	if dir == "" {
		if dir = p.Getenv("TMPDIR"); dir == "" {
			dir = "/tmp"
		}
	}
	template := "tmp.XXXXXXXXXX"
	if _, t := opt['t']; t {
		inDir = true
	}
	if len(args) == 1 {
		template = args[0]
	} else {
		inDir = true
	}
	if inDir {
		template = path.Join(dir, template)
	}
	stem := strings.TrimRight(template, "X")
	n := len(template) - len(stem)
	if n < 3 {
		fmt.Fprintf(p.Stderr, "mktemp: too few X's in template '%s'\n", template)
		return 1
	}
	random := make([]byte, n)
	rand.Read(random)
	name := stem + strings.ToLower(base32.StdEncoding.EncodeToString(random)[:n])
	if _, ok := opt['d']; ok {
		err = p.m.tree.mkdir(p.Path(name), 0o700, p.UID)
	} else {
		var f *os.File
		if f, err = p.m.tree.open(p.Path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600, p.UID); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return p.fail(err)
	}
	fmt.Fprintln(p.Stdout, name)
	return 0
}

func readlink(_ context.Context, p *Process) int {
	opt, args, err := options(p, "fem", nil)
	if err != nil {
		return usage(p, err)
	}
	canonical := len(opt) > 0 || path.Base(p.Args[0]) == "realpath"
	return p.each(args, func(n string) error {
		if canonical {
			rel, err := p.m.tree.resolve(p.Path(n), true, p.UID)
			if err != nil {
				return err
			}
			fmt.Fprintln(p.Stdout, path.Join("/", rel))
			return nil
		}
		target, err := p.m.tree.readlink(p.Path(n), p.UID)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.Stdout, target)
		return nil
	})
}

func basename(_ context.Context, p *Process) int {
	if len(p.Args) < 2 {
		return usage(p, errors.New("missing operand"))
	}
	b := path.Base(p.Args[1])
	if len(p.Args) > 2 && b != p.Args[2] {
		b = strings.TrimSuffix(b, p.Args[2])
	}
	fmt.Fprintln(p.Stdout, b)
	return 0
}

func dirname(_ context.Context, p *Process) int {
	return p.each(p.Args[1:], func(n string) error {
		fmt.Fprintln(p.Stdout, path.Dir(n))
		return nil
	})
}

func truncate(_ context.Context, p *Process) int {
	opt, args, err := options(p, "s:", map[string]string{"size": "s"})
	if err != nil {
		return usage(p, err)
	}
	size, err := blocks(opt['s'])
	if err != nil {
		return usage(p, err)
	}
	return p.each(args, func(n string) error {
		f, err := p.m.tree.open(p.Path(n), os.O_WRONLY|os.O_CREATE, 0o666&^p.umask, p.UID)
		if err != nil {
			return err
		}
		return errors.Join(f.Truncate(size), f.Close())
	})
}

// blocks reads "512", "4k", "1M" or "2G".
func blocks(s string) (int64, error) {
	unit := int64(1)
	if s != "" {
		if u, ok := map[byte]int64{'k': 1 << 10, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}[s[len(s)-1]]; ok {
			unit, s = u, s[:len(s)-1]
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("invalid number: '%s'", s)
	}
	return n * unit, nil
}

func dd(ctx context.Context, p *Process) int {
	var in io.Reader = p.Stdin
	var out io.Writer = p.Stdout
	bs, count := int64(512), int64(-1)
	for _, a := range p.Args[1:] {
		name, value, _ := strings.Cut(a, "=")
		var err error
		switch name {
		case "if":
			var f io.ReadWriteCloser
			if f, err = p.open(value, os.O_RDONLY, 0); err == nil {
				defer f.Close()
				in = f
			}
		case "of":
			var f io.ReadWriteCloser
			if f, err = p.open(value, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666); err == nil {
				defer f.Close()
				out = f
			}
		case "bs":
			bs, err = blocks(value)
		case "count":
			count, err = blocks(value)
		case "status", "conv", "oflag", "iflag":
		default:
			err = fmt.Errorf("unrecognized operand '%s'", a)
		}
		if err != nil {
			return p.fail(err)
		}
	}
	if count >= 0 {
		in = io.LimitReader(in, bs*count)
	}
	if _, err := io.Copy(out, readerWithContext{ctx, in}); err != nil {
		return p.fail(err)
	}
	return 0
}

// readerWithContext stops a copy that has no end.
type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}
