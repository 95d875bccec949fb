// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

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
