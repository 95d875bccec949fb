// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"context"
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

// scp is the far end of the scp protocol, by which Packer uploads (-t) and
// downloads (-f): one line per file or folder, a zero byte for "go on".
func scp(_ context.Context, p *Process) int {
	var sink, source, recursive, mustBeDir bool
	var names []string
	for _, a := range p.Args[1:] {
		if a == "--" {
			continue
		}
		if len(a) < 2 || a[0] != '-' {
			names = append(names, a)
			continue
		}
		for _, c := range a[1:] {
			switch c {
			case 't':
				sink = true
			case 'f':
				source = true
			case 'r':
				recursive = true
			case 'd':
				mustBeDir = true
			case 'v', 'p', 'q':
			default:
				return usage(p, fmt.Errorf("unknown option -- %c", c))
			}
		}
	}
	if len(names) == 0 || sink == source {
		return usage(p, errors.New("only -t and -f with a name are possible here"))
	}
	s := &scpSession{p: p, in: bufio.NewReader(p.Stdin)}
	var err error
	if sink {
		err = s.receive(names[0], mustBeDir)
	} else {
		for _, n := range names {
			if err = s.await(); err == nil {
				err = s.send(n, recursive)
			}
		}
	}
	if err != nil {
		s.complain(err)
		return 1
	}
	return 0
}

type scpSession struct {
	p  *Process
	in *bufio.Reader
}

func (s *scpSession) ok() error {
	_, err := s.p.Stdout.Write([]byte{0})
	return err
}

func (s *scpSession) complain(err error) {
	fmt.Fprintf(s.p.Stdout, "\x01scp: %s\n", plain(err))
	fmt.Fprintf(s.p.Stderr, "scp: %s\n", plain(err))
}

// await reads the other side's answer.
func (s *scpSession) await() error {
	b, err := s.in.ReadByte()
	if err != nil {
		return err
	}
	if b == 0 {
		return nil
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return err
	}
	return fmt.Errorf("the client says: %s", strings.TrimSpace(line))
}

func (s *scpSession) receive(name string, mustBeDir bool) error {
	isDir := false
	if info, err := s.p.Stat(name); err == nil && info.IsDir() {
		isDir = true
	}
	if mustBeDir && !isDir {
		return fmt.Errorf("%s: Not a directory", name)
	}
	dirs := []string{name}
	var mtime time.Time
	if err := s.ok(); err != nil {
		return err
	}
	for {
		line, err := s.in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return nil
		}
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		at := dirs[len(dirs)-1]
		switch {
		case line == "":
			return errors.New("protocol error: empty line")
		case line[0] == 'T':
			sec, _, _ := strings.Cut(line[1:], " ")
			n, err := strconv.ParseInt(sec, 10, 64)
			if err != nil {
				return errors.New("protocol error: bad time")
			}
			mtime = time.Unix(n, 0)
		case line[0] == 'E':
			if len(dirs) == 1 {
				return errors.New("protocol error: unexpected E")
			}
			dirs = dirs[:len(dirs)-1]
		case line[0] == 'C' || line[0] == 'D':
			mode, size, base, err := scpHeader(line[1:])
			if err != nil {
				return err
			}
			to := at
			if isDir || len(dirs) > 1 {
				to = path.Join(s.p.Path(at), base)
			}
			if line[0] == 'D' {
				if err := s.p.m.tree.mkdirAll(s.p.Path(to), mode&^s.p.umask, s.p.UID); err != nil {
					return err
				}
				dirs = append(dirs, to)
			} else if err := s.file(to, mode, size, mtime); err != nil {
				return err
			}
		default:
			return fmt.Errorf("protocol error: %q", line)
		}
		if err := s.ok(); err != nil {
			return err
		}
	}
}

// scpHeader reads "0644 12 name".
func scpHeader(line string) (fs.FileMode, int64, string, error) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 || f[2] == "" || f[2] == "." || f[2] == ".." || strings.Contains(f[2], "/") {
		return 0, 0, "", fmt.Errorf("protocol error: %q", line)
	}
	mode, err := strconv.ParseUint(f[0], 8, 12)
	size, err2 := strconv.ParseInt(f[1], 10, 64)
	if err := errors.Join(err, err2); err != nil || size < 0 {
		return 0, 0, "", fmt.Errorf("protocol error: %q", line)
	}
	return fs.FileMode(mode) & fs.ModePerm, size, f[2], nil
}

func (s *scpSession) file(name string, mode fs.FileMode, size int64, mtime time.Time) error {
	f, err := s.p.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if err := s.ok(); err != nil {
		f.Close()
		return err
	}
	_, err = io.CopyN(f, s.in, size)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if !mtime.IsZero() {
		if err := s.p.m.tree.chtimes(s.p.Path(name), mtime, s.p.UID); err != nil {
			return err
		}
	}
	return s.await()
}

func (s *scpSession) send(name string, recursive bool) error {
	info, err := s.p.Stat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		if !recursive {
			return fmt.Errorf("%s: not a regular file", name)
		}
		return s.sendDir(name, info)
	}
	f, err := s.p.open(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(s.p.Stdout, "C%04o %d %s\n", octal(info.Mode()), info.Size(), path.Base(name))
	if err := s.await(); err != nil {
		return err
	}
	if _, err := io.CopyN(s.p.Stdout, f, info.Size()); err != nil {
		return err
	}
	if err := s.ok(); err != nil {
		return err
	}
	return s.await()
}

func (s *scpSession) sendDir(name string, info fs.FileInfo) error {
	entries, err := s.p.m.tree.readDir(s.p.Path(name), s.p.UID)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.p.Stdout, "D%04o 0 %s\n", octal(info.Mode()), path.Base(name))
	if err := s.await(); err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.send(path.Join(name, e.Name()), true); err != nil {
			return err
		}
	}
	fmt.Fprint(s.p.Stdout, "E\n")
	return s.await()
}
