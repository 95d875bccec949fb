// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// host is a communicator whose machine is this one. Commands really run, in
// sessions of their own as under sshd, and files really move; what goes wrong
// is chosen by the test.
type host struct {
	t   testing.TB
	bin string // programs that take precedence over this machine's

	// Each hook may replace what would happen to a call; nil changes nothing.
	start    func(n int, cmd *packersdk.RemoteCmd) (handled bool)
	upload   func(name string, r io.Reader) (io.Reader, error)
	download func(name string, data []byte) ([]byte, error)

	mu       sync.Mutex
	commands []string
}

func newHost(t testing.TB) *host {
	t.Helper()
	needUnix(t)
	return &host{t: t, bin: t.TempDir()}
}

// program puts a shell script on the machine, in front of the real program of
// that name.
func (h *host) program(name, script string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) Start(ctx context.Context, cmd *packersdk.RemoteCmd) error {
	h.mu.Lock()
	h.commands = append(h.commands, cmd.Command)
	n := len(h.commands)
	h.mu.Unlock()
	if h.start != nil && h.start(n, cmd) {
		return nil
	}
	// Like Packer's SSH communicator, this one does not end a command when the
	// context does.
	c := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", cmd.Command)
	c.Stdin, c.Stdout, c.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
	c.Env = append(os.Environ(), "PATH="+h.bin+":"+os.Getenv("PATH"), "GOSS_FMT=structured", "GOSS_MAX_CONCURRENT=0")
	c.Dir = "/"
	asSession(c)
	if err := c.Start(); err != nil {
		return err
	}
	go func() {
		err := c.Wait()
		code := 0
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.ExitCode() < 0:
			code = 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
		case errors.As(err, &exit):
			code = exit.ExitCode()
		}
		cmd.SetExited(code)
	}()
	return nil
}

func (h *host) Upload(name string, r io.Reader, info *os.FileInfo) error {
	if info == nil {
		return errors.New("an upload without a size makes a copy on the Packer host")
	}
	if h.upload != nil {
		var err error
		if r, err = h.upload(name, r); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, (*info).Mode())
}

func (h *host) Download(name string, w io.Writer) error {
	data, err := os.ReadFile(name)
	if err == nil && h.download != nil {
		data, err = h.download(name, data)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

func (h *host) UploadDir(string, string, []string) error   { return errors.ErrUnsupported }
func (h *host) DownloadDir(string, string, []string) error { return errors.ErrUnsupported }

// said returns all command lines that were run.
func (h *host) said() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.commands, "\n")
}

// screen is a Ui that keeps what was printed.
type screen struct {
	packersdk.Ui
	heard func(line string) // is told what is shown; nil: nobody is
	mu    sync.Mutex
	lines []string
}

func newScreen() *screen { return &screen{Ui: &packersdk.BasicUi{Writer: io.Discard}} }

func (s *screen) Say(line string) {
	if s.heard != nil {
		s.heard(line)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}
func (s *screen) Error(line string)          { s.Say("E " + line) }
func (s *screen) Sayf(f string, args ...any) { s.Say(fmt.Sprintf(f, args...)) }

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// here is the folder of this package, wherever a test goes.
var here, _ = os.Getwd()

// scratch is the folder for programs that all tests share.
var scratch string

// standin builds the program that takes goss's place, once, and packs it: to
// do that for each test takes longer than the test.
var standin = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(scratch, "standin")
	cmd := exec.Command("go", "build", "-o", bin, "-ldflags", "-s -w", "./testdata/standin")
	cmd.Dir = here
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the stand-in: %w\n%s", err, out)
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return "", err
	}
	return bin, os.WriteFile(bin+".gz", gzipped(data), 0o600)
})

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "goss-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// check is one use of the provisioner with the stand-in on this machine.
type check struct {
	t       testing.TB
	host    *host
	ui      *screen
	base    string // remote_folder
	tests   string // a folder with the recordings and the gossfile goss.yaml
	options map[string]any
	dropIn  bool
	box     proof.Box
	data    map[string]any // what the builder generated
}

// newCheck prepares a check whose gossfile gives the stand-in these orders.
func newCheck(t testing.TB, orders ...string) *check {
	t.Helper()
	bin, err := standin()
	if err != nil {
		t.Fatal(err)
	}
	c := &check{t: t, host: newHost(t), ui: newScreen(), base: t.TempDir(), tests: filepath.Join(t.TempDir(), "checks")}
	if err := os.CopyFS(c.tests, os.DirFS(filepath.Join(here, "testdata"))); err != nil {
		t.Fatal(err)
	}
	c.file("goss.yaml", ordered(orders...))
	c.options = map[string]any{
		"tests": []string{c.tests}, "goss_file": "checks/goss.yaml",
		"goss_binary": bin + ".gz", "remote_folder": c.base, "use_sudo": false,
	}
	return c
}

// ordered is a gossfile with orders for the stand-in.
func ordered(orders ...string) string {
	text := gossfileText
	for _, o := range orders {
		text += "# " + o + "\n"
	}
	return text
}

func (c *check) file(name, content string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.tests, name), []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// patient is for machines of which nothing is known but that they are slow:
// other tests run on this one.
var patient = limits{remove: 10 * time.Minute, settle: 10 * time.Minute}

// run prepares and provisions.
func (c *check) run(ctx context.Context) error {
	c.t.Helper()
	var p Provisioner
	p.DropIn = c.dropIn
	p.box = c.box
	p.within = patient
	if err := p.Prepare(c.options); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return p.Provision(ctx, c.ui, c.host, c.data)
}

// left lists what is in the machine's folder.
func (c *check) left() []string {
	c.t.Helper()
	entries, err := os.ReadDir(c.base)
	if err != nil {
		c.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// mustBeClean fails the test if the machine is not as it was.
func (c *check) mustBeClean() {
	c.t.Helper()
	if left := c.left(); len(left) > 0 {
		c.t.Errorf("left on the machine: %s", strings.Join(left, ", "))
	}
}

// running reports which of the processes still run. A process that has ended
// and that nobody has asked about does not.
func running(t testing.TB, pids []string) []string {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(pids), func(pid string) bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return true
		}
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		return bytes.HasPrefix(rest, []byte("Z")) || bytes.HasPrefix(rest, []byte("X"))
	})
}

// quoteGo writes a string as the stand-in's orders have it.
func quoteGo(s string) string { return strconv.Quote(s) }

// quoteJSON writes a string as Go's encoder does.
func quoteJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
