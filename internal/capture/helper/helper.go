// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package helper is what runs on the machine whose disk is captured: it quiets the
// machine, reads the disk, and makes the object of it, part by part.
//
// Nothing is believed. The disk is read past all caches; its file systems must be
// consistent before the first block is read; and after the last one the kernel must not
// have written a single sector to it meanwhile, and its tables must be what they were.
package helper

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capture/blockmap"
	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Quiet is a disk that nothing writes to any more.
type Quiet struct {
	Path string
	Size int64
	Disk io.ReaderAt
	// Parts are its partitions as the kernel has them; nil if that is not known.
	Parts []blockmap.Part
	// Written is how much has been written to it so far, in any unit.
	Written func() (int64, error)
	Close   func() error
}

// Helper is one run.
type Helper struct {
	In  io.Reader
	Out io.Writer
	// Quiet brings the machine to the point where nothing writes to its disk.
	Quiet func(ctx context.Context, job wire.Job, say func(string, ...any)) (*Quiet, error)
	Hello wire.Hello
	// HTTP replaces the client that uploads; tests set it.
	HTTP *http.Client
}

// errNoJob says that the plugin has gone, or does not need the helper after all.
var errNoJob = errors.New("there was no job")

// Run says hello, waits for a job and does it. What went wrong is said to the plugin,
// too.
func (h Helper) Run(ctx context.Context) error {
	out := wire.NewWriter(h.Out)
	h.Hello.Version = wire.Version
	if err := out.Message(ctx, wire.Message{Hello: &h.Hello}); err != nil {
		return err
	}
	// The machine may be held for long after the plugin has given up, which waits for that.
	beats, still := context.WithCancel(context.WithoutCancel(ctx))
	defer still()
	go beat(beats, out)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := bufio.NewReader(h.In)
	line, err := in.ReadBytes('\n')
	if errors.Is(err, io.EOF) && len(bytes.TrimSpace(line)) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNoJob, err)
	}
	// The plugin closes its end when it gives up.
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	var job wire.Job
	err = json.Unmarshal(line, &job)
	if err == nil {
		err = h.do(ctx, job, out)
	}
	if err != nil {
		return errors.Join(err, last(ctx, out, wire.Message{Error: err.Error()}))
	}
	return nil
}

// lastWord is how long the plugin has to take the last message after it has gone, or
// nothing takes what it is sent.
const lastWord = 10 * time.Second

// last sends a message that is of use after a cancel, too.
func last(ctx context.Context, out *wire.Writer, m wire.Message) error {
	ctx, cancel := wait.Grace(ctx, lastWord)
	defer cancel()
	return out.Message(ctx, m)
}

// beat says from time to time that we are there.
func beat(ctx context.Context, out *wire.Writer) {
	for wait.Sleep(ctx, wire.BeatEvery) == nil && out.Message(ctx, wire.Message{Beat: true}) == nil {
	}
}

// uploads is how many parts are on their way at the same time.
const uploads = 4

func (h Helper) do(ctx context.Context, job wire.Job, out *wire.Writer) (err error) {
	say := func(format string, args ...any) {
		_ = out.Message(ctx, wire.Message{Say: fmt.Sprintf(format, args...)})
	}
	sink := partSink(relaySink{out})
	direct := false
	if job.URL != "" {
		// While the machine can still look names up.
		d, derr := newDirect(ctx, job, out, h.HTTP)
		if derr != nil {
			say("Object Storage cannot be reached from the machine, so the image goes through this computer: %v", derr)
		} else {
			sink, direct = d, true
		}
	}
	q, err := h.Quiet(ctx, job, say)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	if q.Size > diskimage.MaxImage {
		return fmt.Errorf("the disk has %d GB, and OCI imports images of up to %d GB", q.Size>>30, int64(diskimage.MaxImage)>>30)
	}
	before, err := look(q)
	if err != nil {
		return err
	}
	var areas []string
	for _, a := range before.Map.Areas {
		what := fmt.Sprintf("%s, %.0f MB", a.Name(), float64(a.End-a.Start)/1e6)
		switch {
		case a.Whole != "":
			what += ", read as a whole: " + a.Whole
		case a.Free > 0:
			what += fmt.Sprintf(", of which %.0f MB are free", float64(a.Free)/1e6)
		}
		areas = append(areas, what)
	}
	if err := out.Message(ctx, wire.Message{Begin: &wire.Begin{Device: q.Path, Size: q.Size, Stored: before.Map.Stored(), Areas: areas, Direct: direct}}); err != nil {
		return err
	}
	stats, err := write(ctx, job, q, before.Map, sink, out)
	if err != nil {
		return err
	}
	after, err := look(q)
	if err != nil {
		return fmt.Errorf("after it was read: %w", err)
	}
	if after.written != before.written || after.digest != before.digest {
		return fmt.Errorf("the disk changed while it was read (%d sectors were written), so that the image is of no use", after.written-before.written)
	}
	return last(ctx, out, wire.Message{Done: &wire.Done{Stats: stats, Digest: fmt.Sprintf("%x", after.digest)}})
}

// seen is a look at a disk.
type seen struct {
	*blockmap.Map
	written int64
	digest  [sha256.Size]byte // of everything that was looked at
}

// look reads the tables of the disk. It fails if a file system is not consistent.
func look(q *Quiet) (s seen, err error) {
	if s.written, err = q.Written(); err != nil {
		return s, err
	}
	sum := sha256.New()
	if q.Parts == nil {
		s.Map, err = blockmap.Read(&summed{q.Disk, sum}, q.Size)
	} else {
		s.Map, err = blockmap.ReadUsed(&summed{q.Disk, sum}, q.Size, q.Parts)
	}
	if err != nil {
		return s, err
	}
	if err := s.Map.Unclean(); err != nil {
		return s, fmt.Errorf("the disk is not consistent: %w", err)
	}
	sum.Sum(s.digest[:0])
	return s, nil
}

// summed notes what is read.
type summed struct {
	io.ReaderAt
	sum io.Writer
}

func (s *summed) ReadAt(p []byte, at int64) (int, error) {
	n, err := s.ReaderAt.ReadAt(p, at)
	_, _ = s.sum.Write(p[:n])
	return n, err
}

// partSink takes parts and can be waited for.
type partSink interface{ diskimage.Sink }

// relaySink sends parts to the plugin.
type relaySink struct{ out *wire.Writer }

func (r relaySink) Part(ctx context.Context, number int, data []byte) error {
	return r.out.Part(ctx, number, data)
}

// write makes the object.
func write(ctx context.Context, job wire.Job, q *Quiet, m *blockmap.Map, sink partSink, out *wire.Writer) (diskimage.Stats, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, err := diskimage.NewParts(sink, diskimage.PartSize(q.Size), uploads)
	if err != nil {
		return diskimage.Stats{}, err
	}
	defer parts.Wait()
	defer cancel()
	archive, err := diskimage.NewArchive(parts, job.Metadata)
	if err != nil {
		return diskimage.Stats{}, err
	}
	told := time.Now()
	return diskimage.Write(ctx, archive, blockmap.Source{Disk: q.Disk, Map: m}, diskimage.Options{
		Compression: job.Compression, Readers: 16,
		Progress: func(s diskimage.Stats) {
			if now := time.Now(); now.Sub(told) >= time.Second {
				told = now
				_ = out.Message(ctx, wire.Message{At: &wire.Progress{Read: s.Read, Written: s.Written}})
			}
		},
	})
}

// System is PRETTY_NAME of an os-release file.
func System(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"'`)
		}
	}
	return ""
}
