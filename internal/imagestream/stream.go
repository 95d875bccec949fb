// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package imagestream makes an object of a disk: read, packed and uploaded at the same
// time, with nothing in between on a local disk.
//
// A run that fails or is cancelled aborts its upload, because parts cost money as long
// as they are there; unless it is told to keep them. A process that is killed leaves
// them. Either way the next run finds the parts by their checksums and uploads only
// what is missing. It reads the disk once more for that: an image is a pure function of
// its disk, so nothing has to be remembered, and nothing that is remembered can be
// wrong. The upload is the slow part.
package imagestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Object is an object that comes to be in parts.
type Object interface {
	diskimage.Sink
	// Kept is how many parts need not be uploaded, since they were there.
	Kept() int
	// Commit makes the object, and is sure of its content.
	Commit(ctx context.Context) error
	// Abort removes the parts.
	Abort(ctx context.Context) error
}

// Job is what is to be done. Fields without a value have the default that their
// comment says.
type Job struct {
	Source diskimage.Source
	// Begin begins the upload, or goes on with one that was broken off.
	Begin func(ctx context.Context) (Object, error)
	// Archive, if set, puts the image into an .oci archive with this metadata.
	Archive *diskimage.Metadata
	Image   diskimage.Options
	// Uploads is how many parts are on their way at the same time; default 4. Fewer
	// where a large disk needs large parts, so that memory stays the same.
	Uploads int
	// PartSize is the size of parts in bytes; default: what [diskimage.PartSize] says.
	PartSize int
	// Keep leaves the parts of a run that failed or was cancelled for the next one.
	Keep bool
	// CleanupTimeout limits removing them otherwise; default 1 minute.
	CleanupTimeout time.Duration
	// FullSize is how many bytes of the disk are to be read, if that is known: of a
	// snapshot, its full size. Default: the size of the disk.
	FullSize int64
	// Progress is called about every ProgressEvery; default 10 seconds.
	Progress      func(Progress)
	ProgressEvery time.Duration
}

// Progress is how far a run is. Sizes are in bytes.
type Progress struct {
	Read, Full int64
	Written    int64 // of the image
	Uploaded   int64 // in parts that have arrived
	Elapsed    time.Duration
}

// String is for people.
func (p Progress) String() string {
	percent := int64(100)
	if p.Full > 0 {
		percent = min(100, 100*p.Read/p.Full)
	}
	s := fmt.Sprintf("%d %%: %s of %s read, %s uploaded", percent, size(p.Read), size(p.Full), size(p.Uploaded))
	if sec := p.Elapsed.Seconds(); sec >= 1 {
		s += fmt.Sprintf(", %.0f MiB/s", float64(p.Read)/(1<<20)/sec)
	}
	return s
}

func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// Result is what a run came to.
type Result struct {
	diskimage.Stats
	Uploaded int64 // bytes that went to the object store
	Kept     int   // parts that did not have to
	Elapsed  time.Duration
}

// partsMemory is how much the parts take, in bytes, if they are not larger than that
// allows.
const partsMemory = 96 << 20

// Run makes the object.
func Run(ctx context.Context, j Job) (_ Result, err error) {
	if s := j.Source.Size(); s > diskimage.MaxImage {
		return Result{}, fmt.Errorf("the disk has %s; OCI imports images of disks of up to %s", size(s), size(diskimage.MaxImage))
	}
	start := time.Now()
	object, err := j.Begin(ctx)
	if err != nil {
		return Result{}, err
	}
	// Only a run that goes well ends its upload; everything else undoes it.
	sink := &meter{Sink: object}
	undo := func() {}
	defer func() {
		if err == nil {
			return
		}
		undo()
		if j.Keep {
			return
		}
		c, cancel := wait.Cleanup(ctx, cmp.Or(j.CleanupTimeout, time.Minute))
		defer cancel()
		if aerr := object.Abort(c); aerr != nil {
			err = errors.Join(err, fmt.Errorf("parts of the upload are left behind: %w", aerr))
		}
	}()
	partSize := cmp.Or(j.PartSize, diskimage.PartSize(j.Source.Size()))
	uploads := max(1, min(cmp.Or(j.Uploads, 4), partsMemory/partSize-2))
	parts, err := diskimage.NewParts(sink, partSize, uploads)
	if err != nil {
		return Result{}, err
	}
	var out diskimage.Output = parts
	if j.Archive != nil {
		if out, err = diskimage.NewArchive(parts, *j.Archive); err != nil {
			return Result{}, err
		}
	}
	working, stop := context.WithCancel(ctx)
	undo = func() {
		stop()
		parts.Wait()
	}
	defer stop()
	options := j.Image
	if options.Readers == 0 && partSize > 2*diskimage.MinPart {
		options.Readers = 24 // for large parts, fewer pieces
	}
	options.Progress = j.progress(start, sink, options.Progress)
	stats, err := diskimage.Write(working, out, j.Source, options)
	if err == nil {
		err = object.Commit(ctx)
	}
	kept := object.Kept()
	return Result{stats, sink.uploaded.Load(), kept, time.Since(start)}, err
}

// progress tells how far it is from time to time.
func (j Job) progress(start time.Time, sink *meter, also func(diskimage.Stats)) func(diskimage.Stats) {
	every, told := cmp.Or(j.ProgressEvery, 10*time.Second), start
	return func(s diskimage.Stats) {
		if also != nil {
			also(s)
		}
		if now := time.Now(); j.Progress != nil && now.Sub(told) >= every {
			told = now
			j.Progress(Progress{s.Read, cmp.Or(j.FullSize, j.Source.Size()), s.Written, sink.uploaded.Load(), now.Sub(start)})
		}
	}
}

// meter counts what arrives.
type meter struct {
	diskimage.Sink
	uploaded atomic.Int64
}

func (m *meter) Part(ctx context.Context, number int, data []byte) error {
	err := m.Sink.Part(ctx, number, data)
	if err == nil {
		m.uploaded.Add(int64(len(data)))
	}
	return err
}
