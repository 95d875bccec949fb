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

// fileApplets are the programs about files and folders.
func fileApplets() map[string]applet {
	return map[string]applet{
		"mkdir": mkdir, "rmdir": rmdir, "rm": rm, "mv": mv, "cp": cp, "ln": ln, "ls": ls, "chmod": chmod, "chown": chown,
		"touch": touch, "mktemp": mktemp, "stat": stat, "readlink": readlink, "realpath": readlink, "basename": basename,
		"dirname": dirname, "dd": dd, "truncate": truncate, "install": install,
	}
}

// each calls f for every operand and reports each error; one is enough for
// status 1.
func (p *Process) each(names []string, f func(string) error) int {
	if len(names) == 0 {
		return usage(p, errors.New("missing operand"))
	}
	status := 0
	for _, n := range names {
		if err := f(n); err != nil {
			status = p.fail(err)
		}
	}
	return status
}

func mkdir(_ context.Context, p *Process) int {
	opt, args, err := options(p, "pm:v", map[string]string{"parents": "p", "mode": "m"})
	if err != nil {
		return usage(p, err)
	}
	perm := fs.ModePerm &^ p.umask
	return p.each(args, func(n string) error {
		make := p.m.tree.mkdir
		if _, ok := opt['p']; ok {
			make = p.m.tree.mkdirAll
		}
		if err := make(p.Path(n), perm, p.UID); err != nil {
			return err
		}
		if m, ok := opt['m']; ok {
			return p.chmod(n, m)
		}
		return nil
	})
}

func rmdir(_ context.Context, p *Process) int {
	return p.each(p.Args[1:], func(n string) error {
		info, err := p.m.tree.stat(p.Path(n), false, p.UID)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("failed to remove '%s': Not a directory", n)
		}
		return p.m.tree.remove(p.Path(n), p.UID)
	})
}

func rm(_ context.Context, p *Process) int {
	opt, args, err := options(p, "rRfvd", map[string]string{"recursive": "r", "force": "f"})
	if err != nil {
		return usage(p, err)
	}
	_, force := opt['f']
	_, r1 := opt['r']
	_, r2 := opt['R']
	if len(args) == 0 && force {
		return 0
	}
	return p.each(args, func(n string) error {
		if path.Clean(p.Path(n)) == "/" {
			return errors.New("it is dangerous to operate recursively on '/'")
		}
		err := p.removeAll(n, r1 || r2)
		if force && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (p *Process) removeAll(name string, recursive bool) error {
	info, err := p.m.tree.stat(p.Path(name), false, p.UID)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if !recursive {
			return fmt.Errorf("cannot remove '%s': Is a directory", name)
		}
		entries, err := p.m.tree.readDir(p.Path(name), p.UID)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := p.removeAll(name+"/"+e.Name(), true); err != nil {
				return err
			}
		}
	}
	return p.m.tree.remove(p.Path(name), p.UID)
}

// target returns where an operand of mv, cp or ln goes: into a folder, or to
// the name itself.
func (p *Process) target(from, to string) string {
	if info, err := p.m.tree.stat(p.Path(to), true, p.UID); err == nil && info.IsDir() {
		return path.Join(p.Path(to), path.Base(from))
	}
	return p.Path(to)
}

func mv(_ context.Context, p *Process) int {
	_, args, err := options(p, "fnv", nil)
	if err != nil || len(args) < 2 {
		return usage(p, fmt.Errorf("missing operand (%v)", err))
	}
	to := args[len(args)-1]
	return p.each(args[:len(args)-1], func(n string) error {
		return p.m.tree.rename(p.Path(n), p.target(n, to), p.UID)
	})
}

func cp(_ context.Context, p *Process) int {
	opt, args, err := options(p, "rRafpvd", map[string]string{"recursive": "r", "archive": "a"})
	if err != nil || len(args) < 2 {
		return usage(p, fmt.Errorf("missing operand (%v)", err))
	}
	recursive := false
	for _, c := range "rRa" {
		if _, ok := opt[c]; ok {
			recursive = true
		}
	}
	to := args[len(args)-1]
	return p.each(args[:len(args)-1], func(n string) error {
		return p.copyTree(p.Path(n), p.target(n, to), recursive)
	})
}

func (p *Process) copyTree(from, to string, recursive bool) error {
	info, err := p.m.tree.stat(from, !recursive, p.UID)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := p.m.tree.readlink(from, p.UID)
		if err != nil {
			return err
		}
		return p.m.tree.symlink(target, to, p.UID)
	case !info.IsDir():
		return p.copyFile(from, to, info.Mode()&fs.ModePerm)
	case !recursive:
		return fmt.Errorf("-r not specified; omitting directory '%s'", from)
	}
	if err := p.m.tree.mkdirAll(to, info.Mode()&fs.ModePerm, p.UID); err != nil {
		return err
	}
	entries, err := p.m.tree.readDir(from, p.UID)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := p.copyTree(path.Join(from, e.Name()), path.Join(to, e.Name()), true); err != nil {
			return err
		}
	}
	return nil
}

func (p *Process) copyFile(from, to string, perm fs.FileMode) error {
	in, err := p.open(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := p.open(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// install copies one file with a mode, or makes folders (-d).
func install(_ context.Context, p *Process) int {
	opt, args, err := options(p, "dDm:o:g:v", nil)
	if err != nil {
		return usage(p, err)
	}
	mode := "755"
	if m, ok := opt['m']; ok {
		mode = m
	}
	finish := func(n string) error {
		if err := p.chmod(n, mode); err != nil {
			return err
		}
		if o, ok := opt['o']; ok {
			return p.chown(n, o)
		}
		return nil
	}
	if _, ok := opt['d']; ok {
		return p.each(args, func(n string) error {
			if err := p.m.tree.mkdirAll(p.Path(n), 0o755, p.UID); err != nil {
				return err
			}
			return finish(n)
		})
	}
	if len(args) != 2 {
		return usage(p, errors.New("two operands are needed"))
	}
	to := p.target(args[0], args[1])
	if _, ok := opt['D']; ok {
		if err := p.m.tree.mkdirAll(path.Dir(to), 0o755, p.UID); err != nil {
			return p.fail(err)
		}
	}
	return p.each(args[:1], func(n string) error {
		if err := p.copyFile(n, to, 0o600); err != nil {
			return err
		}
		return finish(to)
	})
}

func ln(_ context.Context, p *Process) int {
	opt, args, err := options(p, "sfnv", nil)
	if err != nil || len(args) != 2 {
		return usage(p, fmt.Errorf("two operands are needed (%v)", err))
	}
	if _, ok := opt['s']; !ok {
		return usage(p, errors.New("only symbolic links (-s) are possible here"))
	}
	to := p.target(args[0], args[1])
	if _, ok := opt['f']; ok {
		if err := p.m.tree.remove(to, p.UID); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return p.fail(err)
		}
	}
	if err := p.m.tree.symlink(args[0], to, p.UID); err != nil {
		return p.fail(err)
	}
	return 0
}

func ls(_ context.Context, p *Process) int {
	opt, args, err := options(p, "alA1dhR", nil)
	if err != nil {
		return usage(p, err)
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	_, long := opt['l']
	_, dirOnly := opt['d']
	_, all := opt['a']
	_, most := opt['A']
	show := func(info fs.FileInfo, name string) {
		if !long {
			fmt.Fprintln(p.Stdout, name)
			return
		}
		user := accountByUID(p.m.tree.metaOf(info).uid).name
		fmt.Fprintf(p.Stdout, "%s 1 %s %s %d %s %s\n", modeString(info.Mode()), user, user, info.Size(),
			info.ModTime().UTC().Format("Jan _2 15:04"), name)
	}
	return p.each(args, func(n string) error {
		info, err := p.m.tree.stat(p.Path(n), false, p.UID)
		if err != nil {
			return err
		}
		if !info.IsDir() || dirOnly {
			show(info, n)
			return nil
		}
		entries, err := p.m.tree.readDir(p.Path(n), p.UID)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") && !all && !most {
				continue
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			show(info, e.Name())
		}
		return nil
	})
}

// modeString is the mode as ls -l shows it.
func modeString(m fs.FileMode) string {
	b := []byte("-" + m.Perm().String()[1:])
	switch {
	case m.IsDir():
		b[0] = 'd'
	case m&fs.ModeSymlink != 0:
		b[0] = 'l'
	}
	for _, s := range []struct {
		bit fs.FileMode
		at  int
		x   byte
	}{{fs.ModeSetuid, 3, 's'}, {fs.ModeSetgid, 6, 's'}, {fs.ModeSticky, 9, 't'}} {
		if m&s.bit != 0 {
			if b[s.at] == '-' {
				s.x -= 'a' - 'A'
			}
			b[s.at] = s.x
		}
	}
	return string(b)
}

// octal is the mode as chmod and stat -c %a write it.
func octal(m fs.FileMode) uint32 {
	n := uint32(m.Perm())
	for bit, v := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			n |= v
		}
	}
	return n
}

func fromOctal(n uint32) fs.FileMode {
	m := fs.FileMode(n) & fs.ModePerm
	for bit, v := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if n&v != 0 {
			m |= bit
		}
	}
	return m
}

func (p *Process) chmod(name, mode string) error {
	if n, err := strconv.ParseUint(mode, 8, 13); err == nil {
		return p.m.tree.chmod(p.Path(name), fromOctal(uint32(n)), p.UID)
	}
	info, err := p.m.tree.stat(p.Path(name), true, p.UID)
	if err != nil {
		return err
	}
	m, err := symbolicMode(info.Mode()&permMask, mode)
	if err != nil {
		return err
	}
	return p.m.tree.chmod(p.Path(name), m, p.UID)
}

// symbolicMode applies "u+x,go-rwx" to a mode.
func symbolicMode(m fs.FileMode, spec string) (fs.FileMode, error) {
	for _, clause := range strings.Split(spec, ",") {
		at := strings.IndexAny(clause, "+-=")
		if at < 0 {
			return 0, fmt.Errorf("invalid mode: '%s'", spec)
		}
		var who, bits fs.FileMode
		for _, c := range clause[:at] {
			w, ok := map[rune]fs.FileMode{'u': 0o700, 'g': 0o070, 'o': 0o007, 'a': 0o777}[c]
			if !ok {
				return 0, fmt.Errorf("invalid mode: '%s'", spec)
			}
			who |= w
		}
		if who == 0 {
			who = 0o777
		}
		for _, c := range clause[at+1:] {
			b, ok := map[rune]fs.FileMode{'r': 0o444, 'w': 0o222, 'x': 0o111, 'X': 0o111, 's': 0, 't': 0}[c]
			if !ok {
				return 0, fmt.Errorf("invalid mode: '%s'", spec)
			}
			bits |= b
		}
		switch clause[at] {
		case '+':
			m |= bits & who
		case '-':
			m &^= bits & who
		case '=':
			m = m&^who | bits&who
		}
	}
	return m, nil
}

func chmod(_ context.Context, p *Process) int {
	return p.withRecursion(func(n, mode string) error { return p.chmod(n, mode) })
}

func chown(_ context.Context, p *Process) int {
	return p.withRecursion(func(n, owner string) error { return p.chown(n, owner) })
}

// withRecursion runs "program [-R] value name...".
func (p *Process) withRecursion(f func(name, value string) error) int {
	args := p.Args[1:]
	recursive := false
	for len(args) > 0 && (args[0] == "-R" || args[0] == "-v" || args[0] == "-f" || args[0] == "--") {
		recursive = recursive || args[0] == "-R"
		args = args[1:]
	}
	if len(args) < 2 {
		return usage(p, errors.New("missing operand"))
	}
	var walk func(n string) error
	walk = func(n string) error {
		if err := f(n, args[0]); err != nil {
			return err
		}
		if info, err := p.Stat(n); !recursive || err != nil || !info.IsDir() {
			return err
		}
		entries, err := p.m.tree.readDir(p.Path(n), p.UID)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := walk(n + "/" + e.Name()); err != nil {
				return err
			}
		}
		return nil
	}
	return p.each(args[1:], walk)
}

func (p *Process) chown(name, owner string) error {
	user, _, _ := strings.Cut(owner, ":")
	if user == "" {
		return nil // only the group, which this machine does not have
	}
	uid, err := strconv.Atoi(user)
	if err != nil {
		a, ok := accountByName(user)
		if !ok {
			return fmt.Errorf("invalid user: '%s'", owner)
		}
		uid = a.uid
	}
	return p.m.tree.chown(p.Path(name), uid, p.UID)
}

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

func stat(_ context.Context, p *Process) int {
	opt, args, err := options(p, "c:L", map[string]string{"format": "c"})
	if err != nil {
		return usage(p, err)
	}
	format, ok := opt['c']
	if !ok {
		format = "  File: %n\n  Size: %s\t%F\nAccess: (%a/%A)  Uid: (%u/%U)\nModify: %Y"
	}
	_, follow := opt['L']
	return p.each(args, func(n string) error {
		info, err := p.m.tree.stat(p.Path(n), follow, p.UID)
		if err != nil {
			return err
		}
		kind := "regular file"
		switch {
		case info.IsDir():
			kind = "directory"
		case info.Mode()&fs.ModeSymlink != 0:
			kind = "symbolic link"
		case info.Size() == 0:
			kind = "regular empty file"
		}
		uid := p.m.tree.metaOf(info).uid
		user := accountByUID(uid).name
		_, err = fmt.Fprintln(p.Stdout, strings.NewReplacer("%n", n, "%s", fmt.Sprint(info.Size()), "%F", kind,
			"%a", strconv.FormatUint(uint64(octal(info.Mode())), 8), "%A", modeString(info.Mode()), "%u", fmt.Sprint(uid), "%U", user,
			"%g", fmt.Sprint(uid), "%G", user, "%Y", fmt.Sprint(info.ModTime().Unix())).Replace(format))
		return err
	})
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
