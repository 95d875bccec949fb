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
	"strings"
	"syscall"
)

// Process is one program that runs on a Fast machine. It sees that machine's
// files only, with the rights of its user.
type Process struct {
	Args   []string // Args[0] is the program as it was called
	Env    []string // "NAME=value"
	Dir    string   // working directory
	UID    int      // 0 is root
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	m     *fastMachine
	umask fs.FileMode
}

// Path makes name absolute.
func (p *Process) Path(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join("/", p.Dir) + "/" + name
}

// ReadFile returns what the guest's file name holds.
func (p *Process) ReadFile(name string) ([]byte, error) {
	f, err := p.open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile writes the guest's file name.
func (p *Process) WriteFile(name string, data []byte, perm fs.FileMode) error {
	f, err := p.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Stat describes the guest's file name; links are followed.
func (p *Process) Stat(name string) (fs.FileInfo, error) {
	return p.m.tree.stat(p.Path(name), true, p.UID)
}

// Disk writes what the machine's disk would hold if it went off now.
func (p *Process) Disk(w io.Writer) error { return p.m.tree.pack(w) }

// Getenv returns a variable's value, or "".
func (p *Process) Getenv(name string) string {
	for i := len(p.Env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(p.Env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// with returns a copy of the environment with one variable set.
func withEnv(env []string, name, value string) []string {
	out := make([]string, 0, len(env)+1)
	for _, e := range env {
		if !strings.HasPrefix(e, name+"=") {
			out = append(out, e)
		}
	}
	return append(out, name+"="+value)
}

// open opens a file or one of the few devices there are.
func (p *Process) open(name string, flag int, perm fs.FileMode) (io.ReadWriteCloser, error) {
	switch full := path.Clean(p.Path(name)); full {
	case "/dev/null":
		return device{r: bytes.NewReader(nil), w: io.Discard}, nil
	case "/dev/zero":
		return device{r: zeros{}, w: io.Discard}, nil
	case "/dev/urandom", "/dev/random":
		return device{r: randomBytes{}, w: io.Discard}, nil
	case "/dev/stdin":
		return device{r: p.Stdin, w: io.Discard}, nil
	case "/dev/stdout":
		return device{r: bytes.NewReader(nil), w: p.Stdout}, nil
	case "/dev/stderr":
		return device{r: bytes.NewReader(nil), w: p.Stderr}, nil
	}
	return p.m.tree.open(p.Path(name), flag, perm&^p.umask, p.UID)
}

type device struct {
	r io.Reader
	w io.Writer
}

func (d device) Read(b []byte) (int, error)  { return d.r.Read(b) }
func (d device) Write(b []byte) (int, error) { return d.w.Write(b) }
func (d device) Close() error                { return nil }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// fail prints an error as coreutils do and returns status 1.
func (p *Process) fail(err error) int {
	fmt.Fprintf(p.Stderr, "%s: %s\n", path.Base(p.Args[0]), plain(err))
	return 1
}

// plain words an error like strerror does.
func plain(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		var no syscall.Errno
		if errors.As(pe.Err, &no) {
			s := no.Error()
			return fmt.Sprintf("%s: %s", pe.Path, strings.ToUpper(s[:1])+s[1:])
		}
		return fmt.Sprintf("%s: %v", pe.Path, pe.Err)
	}
	return err.Error()
}

// child is the process a program starts: same streams, other arguments.
func (p *Process) child(args ...string) *Process {
	c := *p
	c.Args = args
	return &c
}

// run finds the program that Args[0] names and runs it: a file of the machine,
// or one of the programs that the machine is born with. The status is 127 when
// there is none and 126 when it cannot be executed.
func (p *Process) run(ctx context.Context) int {
	if ctx.Err() != nil {
		return 130
	}
	name := p.Args[0]
	file, found := p.lookup(name)
	if !found {
		if applet, ok := p.m.applets[path.Base(name)]; ok && (!strings.Contains(name, "/") || inBin(p.Path(name))) {
			return applet(ctx, p)
		}
		if strings.Contains(name, "/") {
			fmt.Fprintf(p.Stderr, "bash: %s: No such file or directory\n", name)
		} else {
			fmt.Fprintf(p.Stderr, "bash: %s: command not found\n", name)
		}
		return 127
	}
	return p.runFile(ctx, file)
}

func inBin(name string) bool {
	switch path.Dir(path.Clean(name)) {
	case "/bin", "/sbin", "/usr/bin", "/usr/sbin":
		return true
	}
	return false
}

// lookup finds a program's file, by PATH unless its name has a slash.
func (p *Process) lookup(name string) (string, bool) {
	if strings.Contains(name, "/") {
		_, err := p.m.tree.stat(p.Path(name), true, p.UID)
		return p.Path(name), !errors.Is(err, fs.ErrNotExist)
	}
	for _, dir := range strings.Split(p.Getenv("PATH"), ":") {
		if dir == "" {
			continue
		}
		file := p.Path(path.Join(dir, name))
		if info, err := p.m.tree.stat(file, true, p.UID); err == nil && !info.IsDir() &&
			p.m.tree.access(file, p.UID, 0o1) == nil {
			return file, true
		}
	}
	return "", false
}

func (p *Process) runFile(ctx context.Context, file string) int {
	cannot := func(status int, why string) int {
		fmt.Fprintf(p.Stderr, "bash: %s: %s\n", p.Args[0], why)
		return status
	}
	info, err := p.m.tree.stat(file, true, p.UID)
	switch {
	case err != nil:
		return cannot(126, "Permission denied")
	case info.IsDir():
		return cannot(126, "Is a directory")
	case p.m.tree.access(file, p.UID, 0o1) != nil || p.m.noExec(file):
		return cannot(126, "Permission denied")
	}
	// The kernel reads the file, whoever may: a program need not be readable.
	data, err := p.m.tree.readFile(file, 0)
	if err != nil {
		return cannot(126, "Input/output error")
	}
	if bytes.HasPrefix(data, []byte("\x7fELF")) {
		if p.m.driver.ELF == nil {
			return cannot(126, "cannot execute binary file: Exec format error")
		}
		return p.m.driver.ELF(ctx, p)
	}
	if line, ok := bytes.CutPrefix(data, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		interp := strings.Fields(string(line))
		if len(interp) == 0 {
			return cannot(126, "bad interpreter: No such file or directory")
		}
		args := append(interp, file)
		if len(interp) > 2 { // Linux passes the rest of the line as one argument
			args = []string{interp[0], strings.Join(interp[1:], " "), file}
		}
		return p.child(append(args, p.Args[1:]...)...).run(ctx)
	}
	if bytes.IndexByte(data[:min(len(data), 512)], 0) >= 0 {
		return cannot(126, "cannot execute binary file: Exec format error")
	}
	return p.child(append([]string{"sh", file}, p.Args[1:]...)...).run(ctx)
}
