// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// noTempDir is the interpreter's folder for named pipes. It cannot exist on
// any host, so process substitution fails rather than touch one.
const noTempDir = "/dev/null/armfree"

// shell is what sh, bash and each SSH session run: it understands sh's
// arguments and interprets the program they name.
func shell(ctx context.Context, p *Process) int {
	name := path.Base(p.Args[0])
	args := p.Args[1:]
	var opts []string
	var command *string
	fromStdin := false
	for len(args) > 0 && command == nil && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		if strings.HasPrefix(a, "--") { // --login, --norc, ...: nothing here is read at start
			continue
		}
		for _, c := range a[1:] {
			switch c {
			case 'c':
				if len(args) == 0 {
					fmt.Fprintf(p.Stderr, "%s: -c: option requires an argument\n", name)
					return 2
				}
				command = &args[0]
			case 'o':
				if len(args) > 0 {
					opts = append(opts, a[:1]+"o", args[0])
					args = args[1:]
				}
			case 's':
				fromStdin = true
			case 'l', 'i':
			default:
				opts = append(opts, a[:1]+string(c))
			}
		}
		if command != nil {
			args = args[1:]
		}
	}

	var src io.Reader
	params := args
	switch {
	case command != nil:
		src = strings.NewReader(*command)
		if len(args) > 0 { // the first names the shell, $0
			name, params = args[0], args[1:]
		}
	case len(args) > 0 && !fromStdin:
		data, err := p.ReadFile(args[0])
		if err != nil {
			fmt.Fprintf(p.Stderr, "%s: %s\n", name, plain(err))
			return 127
		}
		src, name, params = bytes.NewReader(data), args[0], args[1:]
	default:
		data, err := io.ReadAll(p.Stdin)
		if err != nil {
			return p.fail(err)
		}
		src = bytes.NewReader(data)
		p.Stdin = bytes.NewReader(nil)
	}
	return p.interpret(ctx, name, src, opts, params)
}

// interpret runs a shell program with every access to files and programs led
// into the machine.
func (p *Process) interpret(ctx context.Context, name string, src io.Reader, opts, params []string) int {
	prog, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(src, name)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%v\n", err)
		return 2
	}
	if at := findProcSubst(prog); at != "" {
		fmt.Fprintf(p.Stderr, "%s: line %s: process substitution is not possible here\n", name, at)
		return 2
	}
	sh := &shellState{p: p}
	sh.umask.Store(uint32(p.umask))
	runner, err := interp.New(
		interp.Env(expand.ListEnviron(append(shellEnv(p), "TMPDIR="+noTempDir)...)),
		interp.StdIO(p.Stdin, p.Stdout, p.Stderr),
		interp.Dir("/"),
		interp.CallHandler(sh.call),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return sh.exec }),
		interp.OpenHandler(sh.open),
		interp.ReadDirHandler2(func(_ context.Context, name string) ([]fs.DirEntry, error) {
			return p.m.tree.readDir(name, p.UID)
		}),
		interp.StatHandler(func(_ context.Context, name string, follow bool) (fs.FileInfo, error) {
			return p.m.tree.stat(name, follow, p.UID)
		}),
		interp.AccessHandler(func(_ context.Context, name string, mode interp.AccessMode) error {
			return p.m.tree.access(name, p.UID, fs.FileMode(mode))
		}),
	)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", name, err)
		return 2
	}
	if err := sh.settle(ctx, runner, opts, params); err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\n", name, err)
		return 2
	}
	err = runner.Run(ctx, prog)
	if status, ok := interp.IsExitStatus(err); ok {
		return int(status)
	}
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		return 130
	}
	fmt.Fprintf(p.Stderr, "%s: %v\n", name, err)
	return 1
}

// findProcSubst returns where a program uses <( ) or >( ), or "". The
// interpreter would make a named pipe on the host for it.
func findProcSubst(prog *syntax.File) (at string) {
	syntax.Walk(prog, func(n syntax.Node) bool {
		if ps, ok := n.(*syntax.ProcSubst); ok && at == "" {
			at = ps.Pos().String()
		}
		return true
	})
	return at
}

// settle moves a new interpreter to where it belongs: it only starts in
// folders of the host, and its TMPDIR is none of the guest's. Options come
// last, so that -x does not show any of this.
func (sh *shellState) settle(ctx context.Context, r *interp.Runner, opts, params []string) error {
	prologue := "cd " + quote(sh.p.Dir) + " 2>/dev/null || cd /; unset OLDPWD TMPDIR"
	if tmp := sh.p.Getenv("TMPDIR"); tmp != "" {
		prologue += "; export TMPDIR=" + quote(tmp)
	}
	pre, err := syntax.NewParser().Parse(strings.NewReader(prologue), "")
	if err != nil {
		return err
	}
	if err := r.Run(ctx, pre); err != nil {
		return err
	}
	return interp.Params(append(append(opts, "--"), params...)...)(r)
}

func shellEnv(p *Process) []string {
	env := make([]string, 0, len(p.Env)+3)
	for _, e := range p.Env {
		if !strings.HasPrefix(e, "TMPDIR=") {
			env = append(env, e)
		}
	}
	uid := strconv.Itoa(p.UID)
	return append(env, "UID="+uid, "EUID="+uid, "GID="+uid)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// shellState is what the handlers of one interpreter share.
type shellState struct {
	p     *Process
	umask atomic.Uint32
}

// process is the program that the interpreter is about to run.
func (sh *shellState) process(ctx context.Context, args []string) *Process {
	hc := interp.HandlerCtx(ctx)
	c := sh.p.child(args...)
	c.Dir = hc.Dir
	c.umask = fs.FileMode(sh.umask.Load())
	c.Stdin, c.Stdout, c.Stderr = hc.Stdin, hc.Stdout, hc.Stderr
	if hc.Stdin == nil {
		c.Stdin = bytes.NewReader(nil)
	}
	c.Env = environ(hc.Env)
	return c
}

// environ lists what a program inherits. A variable may come up several times,
// from the outermost scope to the innermost; the last word counts.
func environ(e expand.Environ) []string {
	values := make(map[string]string)
	var order []string
	e.Each(func(name string, v expand.Variable) bool {
		if !v.Exported || !v.IsSet() || v.Kind != expand.String || name == "UID" || name == "EUID" || name == "GID" {
			delete(values, name)
			return true
		}
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = v.String()
		return true
	})
	var env []string
	for _, name := range order {
		if v, ok := values[name]; ok {
			env = append(env, name+"="+v)
			delete(values, name)
		}
	}
	return env
}

// call steps in before the interpreter's own builtins that would ask the host.
func (sh *shellState) call(ctx context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "umask", "type", "hash", "ulimit", "kill":
		return append([]string{"builtin-" + args[0]}, args[1:]...), nil
	case "command":
		if len(args) > 1 && (args[1] == "-v" || args[1] == "-V") {
			return append([]string{"builtin-type", args[1]}, args[2:]...), nil
		}
	case "pwd":
		return []string{"pwd"}, nil
	case "source", ".":
		if len(args) > 1 && !path.IsAbs(args[1]) {
			p := sh.process(ctx, args)
			file := p.Path(args[1])
			if !strings.Contains(args[1], "/") {
				for _, dir := range strings.Split(p.Getenv("PATH"), ":") {
					if at := path.Join(dir, args[1]); dir != "" && p.m.tree.access(at, p.UID, 0o4) == nil {
						file = at
						break
					}
				}
			}
			args = append([]string{args[0], file}, args[2:]...)
		}
	}
	return args, nil
}

func (sh *shellState) exec(ctx context.Context, args []string) error {
	p := sh.process(ctx, args)
	var status int
	switch args[0] {
	case "builtin-umask":
		status = sh.setUmask(p)
	case "builtin-type":
		status = typeOf(ctx, p)
	case "builtin-hash", "builtin-ulimit":
	case "builtin-kill":
		// Background jobs are not processes here; there is nobody to signal.
		fmt.Fprintf(p.Stderr, "bash: kill: (%s) - No such process\n", p.Args[len(p.Args)-1])
		status = 1
	default:
		status = p.run(ctx)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if status == 0 {
		return nil
	}
	return interp.ExitStatus(uint8(status))
}

func (sh *shellState) setUmask(p *Process) int {
	if len(p.Args) == 1 {
		fmt.Fprintf(p.Stdout, "%04o\n", sh.umask.Load())
		return 0
	}
	n, err := strconv.ParseUint(p.Args[1], 8, 12)
	if err != nil {
		fmt.Fprintf(p.Stderr, "umask: %s: octal number expected\n", p.Args[1])
		return 1
	}
	sh.umask.Store(uint32(n) & 0o777)
	return 0
}

// typeOf is command -v (and type): where a program is.
func typeOf(_ context.Context, p *Process) int {
	status := 0
	for _, name := range p.Args[1:] {
		if strings.HasPrefix(name, "-") {
			continue
		}
		file, ok := p.lookup(name)
		_, applet := p.m.applets[name]
		switch {
		case interp.IsBuiltin(name):
			fmt.Fprintln(p.Stdout, name)
		case ok && p.m.tree.access(file, p.UID, 0o1) == nil:
			fmt.Fprintln(p.Stdout, file)
		case applet:
			fmt.Fprintln(p.Stdout, "/usr/bin/"+name)
		default:
			status = 1
		}
	}
	return status
}

func (sh *shellState) open(ctx context.Context, name string, flag int, perm fs.FileMode) (io.ReadWriteCloser, error) {
	p := sh.process(ctx, []string{"sh"})
	f, err := p.open(name, flag, perm)
	if err != nil {
		// The interpreter prints errors of this very type and goes on.
		var pe *os.PathError
		if errors.As(err, &pe) {
			return nil, &os.PathError{Op: pe.Op, Path: name, Err: pe.Err}
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}
