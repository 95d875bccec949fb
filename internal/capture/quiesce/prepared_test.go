// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// write writes a file below folders that need not be there.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// mustPrepare prepares and fails the test with what was said.
func (r *real) mustPrepare(t *testing.T, clean bool) Disk {
	t.Helper()
	d, err := r.Prepare(t.Context(), clean, "", "")
	if err != nil {
		t.Fatalf("%v\n%s", err, strings.Join(r.said, "\n"))
	}
	return d
}

// Logs are empty, also those to which somebody writes when asked to end.
func TestPrepareLastWords(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		log := filepath.Join(r.root, "var/log/x")
		write(t, log, "before\n")
		r.grace = 3 * time.Minute // a busy computer takes its time
		writer := holds(t, "exec 3>"+r.data+"/open; trap 'sleep 4; echo bye >>"+log+"; exit' TERM")
		r.mustPrepare(t, true)
		if err := writer.Wait(); err != nil {
			t.Errorf("it had no time for its last words: %v", err)
		}
		if text := read(t, log); text != "" {
			t.Errorf("a log has %q", text)
		}
		if err := r.Release(); err != nil {
			t.Error(err)
		}
	})
}

// What is not on the captured disk is left alone, and logs are emptied where they are.
func TestPrepareCleansItsDisk(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		write(t, filepath.Join(r.data, "log/ours/a.log"), "x")
		write(t, filepath.Join(r.root, "home/me/.bash_history"), "x")
		if err := errors.Join(os.MkdirAll(filepath.Join(r.root, "var"), 0o755), os.Symlink("../data/log", filepath.Join(r.root, "var/log"))); err != nil {
			t.Fatal(err)
		}
		var others []string
		for _, name := range []string{"data/log/theirs/b.log", "data/log/journal/1/c.journal", "home/they/.bash_history", "etc/machine-id"} {
			path := filepath.Join(r.root, name)
			folder := filepath.Dir(path)
			if err := os.MkdirAll(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", folder, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			write(t, path, "theirs")
			others = append(others, path)
		}
		r.mustPrepare(t, true)
		for _, path := range others {
			if text := read(t, path); text != "theirs" {
				t.Errorf("%s has %q", path, text)
			}
		}
		if text := read(t, filepath.Join(r.data, "log/ours/a.log")); text != "" {
			t.Errorf("a log has %q", text)
		}
		if _, err := os.Stat(filepath.Join(r.root, "home/me/.bash_history")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the history of a shell stays: %v", err)
		}
		err := r.Release()
		for _, path := range others {
			err = errors.Join(err, unix.Unmount(filepath.Dir(path), 0))
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// What a mount does not allow it does not allow while it is read-only, nor afterwards.
func TestPrepareKeepsFlags(t *testing.T) {
	alone(t, func(t *testing.T) {
		for name, flags := range map[string]uintptr{
			"all":                   unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME,
			"times are always kept": unix.MS_STRICTATIME | unix.MS_NODEV,
			"the mount alone":       unix.MS_NOSUID | unix.MS_RDONLY | unix.MS_BIND,
		} {
			t.Run(name, func(t *testing.T) {
				r := newReal(t, ext4())
				if err := unix.Mount("", r.data, "", unix.MS_REMOUNT|flags, ""); err != nil {
					t.Fatal(err)
				}
				if err := unix.Mount("", r.root, "", unix.MS_REMOUNT|unix.MS_SYNCHRONOUS|unix.MS_LAZYTIME, ""); err != nil {
					t.Fatal(err)
				}
				options := func() (list []string) {
					all, err := r.at.mounts()
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range all {
						if m.point == r.root || m.point == r.data {
							line := read(t, "/proc/self/mountinfo")
							line = line[strings.Index("\n"+line, "\n"+m.id+" "):]
							list = append(list, strings.SplitN(line, "\n", 2)[0])
						}
					}
					return list
				}
				before := options()
				r.mustPrepare(t, false)
				for _, line := range options() {
					if !strings.Contains(line, r.data) {
						continue
					}
					for word, flag := range map[string]uintptr{"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC} {
						if flags&flag != 0 && !strings.Contains(line, ","+word+",") && !strings.Contains(line, ","+word+" ") {
							t.Errorf("%s is not in %s", word, line)
						}
					}
				}
				if err := r.Release(); err != nil {
					t.Error(err)
				}
				if after := options(); !slices.Equal(before, after) {
					t.Errorf("before %q\nafter  %q", before, after)
				}
			})
		}
	})
}

// What was swapped to is known as that again in a second attempt.
func TestPrepareSwaps(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		if err := unix.Unmount(r.data, 0); err != nil {
			t.Fatal(err)
		}
		tool(t, "mkswap", r.disks[1])
		tool(t, "swapon", "-p", "7", r.disks[1])
		off := func() { tool(t, "swapoff", r.disks[1]) }
		defer func() { off() }()
		for range 2 {
			d := r.mustPrepare(t, false)
			if len(d.Parts) != 2 || d.Parts[1].Mounted != "swap" {
				t.Errorf("%+v", d.Parts)
			}
			if err := r.Release(); err != nil {
				t.Error(err)
			}
			if text := read(t, "/proc/swaps"); !strings.Contains(text, r.disks[1]) || !strings.HasSuffix(text, "\t7\n") {
				t.Errorf("not swapped to any more: %s", text)
				off = func() {}
			}
		}
		off()
		off = func() {}
		tool(t, "mke2fs", "-q", "-F", "-t", "ext4", r.disks[1])
		mountAgain(t, r)
	})
}

// running says whether a process has not ended.
func running(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	return !strings.Contains(read(t, fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)), "State:\tZ")
}

// A program of the machine that passes the connection on must not end. If it writes to the
// disk the capture is refused, before anything is stopped.
func TestPrepareOverAProgram(t *testing.T) {
	alone(t, func(t *testing.T) {
		for name, tt := range map[string]struct {
			holds string
			works bool
		}{
			"it writes":                  {"exec 3>FOLDER/open", false},
			"it uses files long deleted": {"echo >FOLDER/gone; exec 3<FOLDER/gone; rm FOLDER/gone", true},
		} {
			t.Run(name, func(t *testing.T) {
				r := newReal(t, ext4())
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				_, port, _ := net.SplitHostPort(l.Addr().String())
				relay := holds(t, "exec 4<>/dev/tcp/127.0.0.1/"+port+"; "+strings.ReplaceAll(tt.holds, "FOLDER", r.data))
				conn, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				other := holds(t, "exec 3>"+r.root+"/open")
				_, client, _ := net.SplitHostPort(conn.RemoteAddr().String())
				env := []string{"SSH_CONNECTION=127.0.0.1 " + client + " 127.0.0.1 " + port}
				if tt.works {
					env = append(env, "ARMFREE_TEST_WORKS=1")
				}
				out, err := r.ofChild(t, env...)
				if err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				if says := fmt.Sprintf("bash (process %d) has open for writing %s/open; nothing was stopped in this attempt; connect", relay.Process.Pid, r.data); !tt.works && !strings.Contains(out, says) {
					t.Errorf("it does not say %q:\n%s", says, out)
				}
				if tt.works && strings.Count(out, "Orphans:true") != 1 {
					t.Error(out)
				}
				if !running(t, relay) {
					t.Error("the connection is gone")
				}
				if running(t, other) == tt.works {
					t.Errorf("who writes was ended: %t", tt.works)
				}
			})
		}
	})
}

// A network device that a program serves is known with that program.
func TestCarriers(t *testing.T) {
	root := tree(t, map[string]string{
		"1/environ": "", "20/environ": "HOME=/\x00SSH_CONNECTION=192.0.2.1 50000 127.0.0.1 22\x00", "21/environ": "SSH_CONNECTION=x y z 1\x00",
		"30/fd/5 -> /dev/net/tun": "", "30/fdinfo/5": "pos:\t0\nflags:\t0104002\niff:\tlo\n",
		"31/fd/5 -> /dev/net/tun": "", "31/fdinfo/5": "iff:\ttun9\n",
		"32/fd/7 -> /dev/null": "", "32/fdinfo/7": "iff:\tlo\n",
	})
	r := roots{proc: root}
	if got := r.carriers([]int{21, 20, 1}); !slices.Equal(got, []int{30}) {
		t.Errorf("%v", got)
	}
	if got := r.carriers([]int{21, 1}); len(got) > 0 {
		t.Errorf("without a connection: %v", got)
	}
}

// The other end of a connection is found, whatever kind of socket has it.
func TestSocket(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("not here: %v", err)
			continue
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		to := "127.0.0.1"
		if address == "[::1]:0" {
			to = "::1"
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(to, port), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		client, server := conn.LocalAddr().(*net.TCPAddr).AddrPort(), conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		if kernel().socket(client, server) == "" || kernel().socket(server, client) == "" {
			t.Errorf("%s: no socket from %s to %s", address, client, server)
		}
		if got := kernel().socket(client, client); got != "" {
			t.Errorf("%s: a socket from one end to the same: %s", address, got)
		}
	}
}

// What the kernel has still to do is waited for before anything is looked at.
func TestPrepareWaits(t *testing.T) {
	alone(t, func(t *testing.T) {
		r := newReal(t, ext4())
		pending := filepath.Join(r.at.sys, "block", filepath.Base(r.disks[0]), "inflight")
		if err := os.Remove(pending); err != nil {
			t.Fatal(err)
		}
		write(t, pending, "       0        1\n")
		begun := time.Now()
		time.AfterFunc(2*time.Second, func() {
			done := pending + ".new"
			if err := errors.Join(os.WriteFile(done, []byte("       0        0\n"), 0o600), os.Rename(done, pending)); err != nil {
				t.Error(err)
			}
		})
		r.mustPrepare(t, false)
		if d := time.Since(begun); d < 2*time.Second {
			t.Errorf("it was ready after %s", d)
		}
		if err := r.Release(); err != nil {
			t.Error(err)
		}
	})
}
