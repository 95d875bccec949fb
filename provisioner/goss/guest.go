// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// guest is the machine behind a communicator.
//
// Communicators are made for programs that run to their end: transfers take no
// context, a lost connection can look like exit code 0, and behind Packer's RPC
// a transfer that was cut short reports success. So every call runs beside us
// and is abandoned when the context ends, a script counts as finished only when
// its last line came back, and content is compared by digest by those who call.
type guest struct {
	comm packersdk.Communicator
	// mark is a word that every script has in it, by which whoever owns the
	// connection tells ours from those of others.
	mark string
	// mask takes secrets out of what the machine said, before a part of it is
	// quoted; nil if there are none.
	mask        func(string) string
	calls       sync.WaitGroup // those under way, abandoned ones included
	interrupted atomic.Bool    // a call was abandoned
}

// endMark is the last line of every script.
const endMark = "armfree:end=yes"

// Limits for what is taken from the machine into memory.
const (
	maxAnswer = 256 << 10
	maxResult = 64 << 20
)

// answers are the lines "armfree:key=value" that a script printed.
type answers map[string][]string

// one returns the only or last value for a key, or "".
func (a answers) one(key string) string {
	if v := a[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// sh runs a script in a POSIX shell. What it was for ends the sentence "could
// not ...". What the script may read, such as a password, is given on standard
// input, because command lines can be read by everybody on the machine.
func (g *guest) sh(ctx context.Context, what, script, input string) (answers, error) {
	var stdout, stderr limited
	stdout.max, stderr.max = maxAnswer, maxAnswer
	cmd := &packersdk.RemoteCmd{
		Command: "sh -c " + quote(": "+g.mark+"\n"+script+"\nprintf '"+endMark+"\\n'\n"),
		Stdout:  &stdout, Stderr: &stderr,
	}
	if input != "" {
		cmd.Stdin = strings.NewReader(input)
	}
	code := 0
	err := g.do(ctx, func() error {
		if err := g.comm.Start(ctx, cmd); err != nil {
			return err
		}
		code = cmd.Wait()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("could not %s: %w", what, err)
	}
	found, ended := answers{}, false
	for line := range strings.Lines(stdout.String()) {
		line = strings.TrimRight(line, "\r\n")
		if line == endMark {
			ended = true
		}
		if rest, ok := strings.CutPrefix(line, "armfree:"); ok {
			if key, value, ok := strings.Cut(rest, "="); ok {
				found[key] = append(found[key], value)
			}
		}
	}
	switch {
	case code == 0 && ended:
		return found, nil
	case code == 0 || code == packersdk.CmdDisconnect:
		return nil, fmt.Errorf("could not %s: the connection to the machine was lost", what)
	}
	return nil, fmt.Errorf("could not %s: the shell ended with exit code %d%s", what, code, lastWords(g.masked(stderr.lines())))
}

// upload writes data to a file on the machine.
func (g *guest) upload(ctx context.Context, name string, data []byte) error {
	// With a size the SSH communicator needs no temporary copy on this host.
	var info fs.FileInfo = uploadInfo{path.Base(name), int64(len(data))}
	err := g.do(ctx, func() error {
		return g.comm.Upload(name, &cancelled{ctx, bytes.NewReader(data)}, &info)
	})
	if err != nil {
		return fmt.Errorf("could not upload %s: %w", name, err)
	}
	return nil
}

// download reads a file on the machine.
func (g *guest) download(ctx context.Context, name string) ([]byte, error) {
	out := &limited{max: maxResult, strict: true}
	if err := g.do(ctx, func() error { return g.comm.Download(name, out) }); err != nil {
		return nil, fmt.Errorf("could not download %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// do runs one call of the communicator and returns when it does, or when ctx
// ends.
func (g *guest) do(ctx context.Context, call func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	g.calls.Go(func() { done <- call() })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		g.interrupted.Store(true)
		return ctx.Err()
	}
}

// settle waits until abandoned calls have ended, or until ctx does.
func (g *guest) settle(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		g.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// masked is a whole text without secrets.
func (g *guest) masked(text string) string {
	if g.mask == nil {
		return text
	}
	return g.mask(text)
}

// lastWords is the last thing that was printed, as the end of a sentence. It is
// cut, so that it must have no secrets in it.
func lastWords(printed string) string {
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return fmt.Sprintf(": %.200q", last)
	}
	return ""
}

// cancelled is a reader that fails once its context has ended, so that a
// transfer in the hands of a communicator ends too.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// limited keeps what is written to it up to a limit. Beyond it a strict one
// fails and another one forgets. It may be written to after nobody reads it any
// more.
type limited struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	max    int
	strict bool
	more   bool // something was forgotten
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := l.max - l.buf.Len()
	if len(p) <= room {
		return l.buf.Write(p)
	}
	if l.strict {
		return 0, errors.New("it is larger than anything that goss prints")
	}
	l.more = true
	l.buf.Write(p[:room])
	return len(p), nil
}

// Bytes returns what was kept; it is never nil, since nothing is an answer too.
func (l *limited) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]byte{}, l.buf.Bytes()...)
}

func (l *limited) String() string { return string(l.Bytes()) }

// lines are the whole lines of what was kept: half of one may hold half of a
// secret.
func (l *limited) lines() string {
	kept := l.String()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more {
		return kept[:strings.LastIndexByte(kept, '\n')+1]
	}
	return kept
}

// uploadInfo describes a file that exists in memory only.
type uploadInfo struct {
	name string
	size int64
}

func (i uploadInfo) Name() string       { return i.name }
func (i uploadInfo) Size() int64        { return i.size }
func (i uploadInfo) Mode() fs.FileMode  { return 0o600 }
func (i uploadInfo) ModTime() time.Time { return time.Time{} }
func (i uploadInfo) IsDir() bool        { return false }
func (i uploadInfo) Sys() any           { return nil }
