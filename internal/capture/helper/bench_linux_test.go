// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package helper

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sshhost"
)

// spent is what a pipeline took: of time, of the processors of the machine and of this
// computer, and of the machine's memory.
type spent struct {
	time, machine, here time.Duration
	memory              int64 // bytes, of all its processes on the machine together
	stored              int64 // bytes that arrived
}

// row is what one pipeline came to over all rounds.
type row struct {
	name string
	run  func() spent
	runs []spent
}

func (r row) median(of func(spent) float64) float64 {
	var all []float64
	for _, s := range r.runs {
		all = append(all, of(s))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// bench is one disk, a machine that has it, and an Object Storage.
type bench struct {
	*testing.B
	dir, disk, key string
	host           *sshhost.Host
	store          *benchStore
	watch          *watch
}

// BenchmarkCapture is `make bench-capture`: a machine's disk captured by the helper, beside
// dd and zstd over SSH and an upload, in turns. The helper, the plugin's end of it, and
// each of the other programs are processes of their own; both ways have the same server
// of SSH, the same disk, which both read past the caches, and the same Object Storage.
func BenchmarkCapture(b *testing.B) {
	for _, name := range []string{"dd", "zstd", "ssh", "mke2fs"} {
		if tool(name) == "" {
			b.Fatalf("%s is needed", name)
		}
	}
	mib, rounds := setting("BENCH_MIB", 1024), setting("BENCH_ROUNDS", 3)
	for _, kind := range []string{"fresh", "used", "full"} {
		b.Run(kind, func(b *testing.B) { benchDisk(b, kind, mib, rounds) })
	}
}

func benchDisk(b *testing.B, kind string, mib, rounds int) {
	k := &bench{B: b, dir: b.TempDir(), store: newBenchStore(b), watch: newWatch()}
	k.disk = makeDisk(b, kind, mib)
	host, err := sshhost.Start()
	if err != nil {
		b.Fatal(err)
	}
	defer host.Close()
	host.Begun, host.Ran = k.watch.begun, k.watch.ran
	k.host, k.key = host, filepath.Join(k.dir, "key")
	if err := os.WriteFile(k.key, host.Key, 0o600); err != nil {
		b.Fatal(err)
	}
	rows := []row{
		{name: "armfree, straight from the machine", run: func() spent { return k.ours("direct") }},
		{name: "armfree, through this computer", run: func() spent { return k.ours("relay") }},
		{name: "dd, zstd -1 -T0, SSH, upload", run: func() spent { return k.theirs("zstd -1 -T0").then(k.upload()) }},
		{name: "dd, zstd, SSH, upload", run: func() spent { return k.theirs("zstd").then(k.upload()) }},
		{name: "dd, zstd -1 -T0, SSH, a file here", run: func() spent { return k.theirs("zstd -1 -T0") }},
	}
	for n := range rounds {
		for i := range rows {
			// Nobody comes always first.
			r := &rows[(i+n)%len(rows)]
			s := r.run()
			r.runs = append(r.runs, s)
			b.Logf("%s: %s: %s, %s of the machine's processors, %s of ours, %d MiB of memory, %d MiB arrived", kind, r.name,
				s.time.Round(time.Millisecond), s.machine.Round(time.Millisecond), s.here.Round(time.Millisecond), s.memory>>20, s.stored>>20)
		}
	}
	seconds := func(s spent) float64 { return s.time.Seconds() }
	i, err := os.Stat(k.disk)
	if err != nil {
		b.Fatal(err)
	}
	size := float64(i.Size()) / (1 << 20)
	fmt.Printf("\n%s: a disk of %.0f MiB, %d rounds in turns, %d processors for all, TLS and SSH over loopback\n\n", kind, size, rounds, runtime.NumCPU())
	fmt.Println("| pipeline | median | disk, MiB/s | CPU of the machine | CPU here | memory of the machine | arrived | time beside the first |")
	fmt.Println("|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, r := range rows {
		t := r.median(seconds)
		fmt.Printf("| %s | %.1f s | %.0f | %.1f s | %.1f s | %.0f MiB | %.0f MiB | %.2f |\n", r.name, t, size/t,
			r.median(func(s spent) float64 { return s.machine.Seconds() }), r.median(func(s spent) float64 { return s.here.Seconds() }),
			r.median(func(s spent) float64 { return float64(s.memory) / (1 << 20) }), r.median(func(s spent) float64 { return float64(s.stored) / (1 << 20) }),
			t/rows[0].median(seconds))
	}
	b.ReportMetric(size/rows[0].median(seconds), "MiB/s")
}

func (s spent) then(t spent) spent {
	return spent{s.time + t.time, s.machine + t.machine, s.here + t.here, max(s.memory, t.memory), max(s.stored, t.stored)}
}

// ours is a capture.
func (k *bench) ours(route string) spent {
	k.store.reset()
	s := k.local(nil, "plugin", route, k.host.Address, k.key, k.disk, k.store.url(), k.store.ca(k.dir))
	s.stored = k.store.bytes()
	if s.stored == 0 {
		k.Fatal("nothing has arrived")
	}
	return s
}

// theirs is what one does by hand.
func (k *bench) theirs(pack string) spent {
	_, port, _ := strings.Cut(k.host.Address, ":")
	to, err := os.Create(filepath.Join(k.dir, "disk.zst"))
	if err != nil {
		k.Fatal(err)
	}
	defer to.Close()
	s := k.process(to, nil, "ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-i", k.key, "-p", port,
		"root@127.0.0.1", "dd if="+k.disk+" bs=4M iflag=direct status=none | "+pack)
	i, err := to.Stat()
	if err != nil || i.Size() == 0 {
		k.Fatal("nothing has arrived", err)
	}
	s.stored = i.Size()
	return s
}

// upload brings that file into the bucket, in parts.
func (k *bench) upload() spent {
	k.store.reset()
	return k.local(nil, "upload", filepath.Join(k.dir, "disk.zst"), k.store.url(), k.store.ca(k.dir))
}

// local is a part of this program in a process of its own.
func (k *bench) local(to *os.File, what ...string) spent {
	return k.process(to, []string{benchChild + "=" + strings.Join(what, "\n")}, os.Args[0], "-test.run=^$")
}

// process is a program here, and what it had run on the machine.
func (k *bench) process(to *os.File, env []string, name string, args ...string) spent {
	k.Helper()
	k.watch.reset()
	ctx, cancel := context.WithTimeout(k.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if to != nil {
		cmd.Stdout = to
	}
	start := time.Now()
	if err := cmd.Run(); err != nil {
		k.Fatalf("%s %q: %v\n%s", name, args, err, said.String())
	}
	s := spent{time: time.Since(start), here: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	s.machine, s.memory = k.watch.ended()
	return s
}
