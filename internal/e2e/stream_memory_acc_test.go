// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// noise is a disk of so many bytes at its beginning that cannot be compressed.
type noise int64

func (noise) Size() int64    { return 8 << 30 }
func (noise) PieceSize() int { return 512 << 10 }

func (n noise) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for at := int64(0); at < int64(n); at += 512 << 10 {
			if !yield(diskimage.Piece{Offset: at, Length: 512 << 10}, nil) {
				return
			}
		}
	}
}

func (noise) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	var seed [32]byte
	copy(seed[:], fmt.Append(nil, p.Offset))
	_, err := rand.NewChaCha8(seed).Read(buf)
	return err
}

// imageFile is an Output.
type imageFile struct{ *os.File }

func (f imageFile) Write(_ context.Context, p []byte) error {
	_, err := f.File.Write(p)
	return err
}

func (f imageFile) Finish(_ context.Context, front []byte) error {
	_, err := f.WriteAt(front, 0)
	return err
}

// noiseFile is a qcow2 file with so much noise.
func noiseFile(t *testing.T, n noise) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	_, err = diskimage.Write(t.Context(), imageFile{f}, n, diskimage.Options{Compression: diskimage.None})
	if cerr := f.Close(); err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	return image
}

// peak is the most memory that a plugin of a Packer with this home has had so far, in
// bytes.
func peak(home string) (most int64) {
	envs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range envs {
		if b, err := os.ReadFile(e); err != nil || !bytes.Contains(b, []byte("HOME="+home)) {
			continue
		}
		proc := filepath.Dir(e)
		if exe, err := os.Readlink(filepath.Join(proc, "exe")); err != nil || !strings.Contains(filepath.Base(exe), "packer-plugin-armfree") {
			continue
		}
		status, err := os.Open(filepath.Join(proc, "status"))
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(status); lines.Scan(); {
			var kib int64
			if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kib); n == 1 {
				most = max(most, kib<<10)
			}
		}
		_ = status.Close()
	}
	return most
}

// The plugin moves a disk that is larger than the memory that it may take.
func TestAccStreamMemory(t *testing.T) {
	alone(t)
	const data, limit = 512 << 20, 256 << 20
	home := t.TempDir()
	p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, home)
	if err != nil {
		t.Fatal(err)
	}
	s := stage.ForTest(t, stage.Options{Image: noiseFile(t, data)})
	report := filepath.Join(t.TempDir(), "report.json")
	var most atomic.Int64
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			most.Store(max(most.Load(), peak(home)))
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	var out inpacker.Output
	start := time.Now()
	err = p.Run(t.Context(), "testdata", s.Env(), &out, "build", "-color=false", "-var", "ami="+s.AWS.Foreign, "-var", "report="+report, "stream-only.pkr.hcl")
	took := time.Since(start)
	close(done)
	<-stopped
	t.Logf("%s\n%d MiB in %s, at most %.0f MiB of memory", out.String(), int64(data)>>20, took.Round(time.Second), float64(most.Load())/(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if n := most.Load(); n == 0 || n > limit {
		t.Errorf("%d MiB of memory, want at most %d", n>>20, limit>>20)
	}
	o := readReport(t, report)
	if !o.OK || len(o.Destinations) != 1 || o.Destinations[0].Status != "copied" {
		t.Errorf("%+v", o)
	}
	if left := s.Left(o.Destinations[0].Image); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Packer and its plugins are killed in the middle of the way, as when a computer is
// switched off: the next run uploads what is missing, and nothing is left on any disk.
func TestAccStreamKilled(t *testing.T) {
	alone(t)
	home := t.TempDir()
	p, err := runpacker.Install(t.Context(), os.Getenv("ACC_PACKER"), os.Getenv("ACC_PLUGIN"), runpacker.Source, home)
	if err != nil {
		t.Fatal(err)
	}
	mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-stream", os.Getpid())
	w := &tripwire.Wire{Op: "UploadPart", Nth: 3, Pull: func() { killAll(mark) }}
	s := stage.ForTest(t, stage.Options{Image: noiseFile(t, 60<<20), Wrap: w.Wrap})
	w.Watch(s.Cloud)
	report := filepath.Join(t.TempDir(), "report.json")
	run := func(env ...string) (string, error) {
		var out inpacker.Output
		err := p.Run(t.Context(), "testdata", append(s.Env(), env...), &out, "build", "-color=false", "-var", "ami="+s.AWS.Foreign, "-var", "report="+report, "stream-only.pkr.hcl")
		return out.String(), err
	}
	said, err := run(mark)
	if _, pulled := w.Pulled(); !pulled || err == nil {
		t.Fatalf("it was not killed: %v\n%s", err, said)
	}
	if left, _ := filepath.Glob(filepath.Join(home, "tmp", "armfree-*")); len(left) > 0 {
		t.Errorf("on this disk: %q", left)
	}
	before := s.Cloud.CountRequests("UploadPart")
	said, err = run()
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	after := s.Cloud.CountRequests("UploadPart") - before
	if !strings.Contains(said, "parts were there from an earlier run") || before < 3 || after > 4 {
		t.Errorf("%d parts by the first run, %d by the second", before, after)
	}
	o := readReport(t, report)
	if left := s.Left(o.Destinations[0].Image); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
