// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

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
