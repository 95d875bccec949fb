// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strconv"
	"strings"
)

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
