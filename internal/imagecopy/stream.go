// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagecopy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
)

// Disk is an image whose bytes can be read here: a snapshot, or a file.
type Disk interface {
	// Describe looks the image up and says why it cannot be copied.
	Describe(ctx context.Context) (cloud.Image, error)
	// Open opens what Describe has found. full is how many bytes of it are going to
	// be read, or 0 if that is not known.
	Open(ctx context.Context, say func(format string, args ...any)) (src diskimage.Source, full int64, err error)
	// Close gives up what Open took; it is called after each Open.
	Close() error
	// Remove deletes the image. None is no error.
	Remove(ctx context.Context) error
}

// Tidier is what a [Source] or a [Disk] may be: one that makes something of its own to be
// read, which a run that was killed leaves.
type Tidier interface {
	// Tidy removes what any run of the copy left of that. None is no error. ctx is one
	// for cleaning up.
	Tidy(ctx context.Context) error
}

// Steady is what a [Disk] may be: one that somebody may write to while it is read.
type Steady interface {
	// Unchanged fails if that happened since Open. It is called after the last byte was
	// read, and before the object is made.
	Unchanged() error
}

// steadyObject is an object that is made only of a disk that stayed as it was.
type steadyObject struct {
	imagestream.Object
	disk Steady
}

func (o steadyObject) Commit(ctx context.Context) error {
	if err := o.disk.Unchanged(); err != nil {
		return err
	}
	return o.Object.Commit(ctx)
}

// Streamed is the source of an image that this computer reads, packs and uploads,
// all at the same time and with nothing on a local disk.
type Streamed struct {
	Disk
	// Begin begins the upload of an object for the copy with an id, or goes on with one that
	// was begun at a time that is mine; nil is any time.
	Begin func(ctx context.Context, object, id string, mine func(begun time.Time) bool) (imagestream.Object, error)
	// MadeBy is the id that Begin was given for an object; empty if that is not how the
	// object came to be.
	MadeBy func(ctx context.Context, object string) (id string, err error)
	// Metadata is what the archive says of the image. What it leaves out is as Describe
	// found it.
	Metadata diskimage.Metadata
	// Image is how the image file is made. A VMDK is the object itself, without an archive.
	Image diskimage.Options
	// Label is what people call it: an id, or the name of a file.
	Label string
	// Timeout limits reading and uploading.
	Timeout time.Duration

	image cloud.Image
}

// Describe implements Source.
func (s *Streamed) Describe(ctx context.Context) (cloud.Image, error) {
	img, err := s.Disk.Describe(ctx)
	s.image = img
	return img, err
}

// Tidy implements Tidier.
func (s *Streamed) Tidy(ctx context.Context) error {
	if t, is := s.Disk.(Tidier); is {
		return t.Tidy(ctx)
	}
	return nil
}

// Deliver implements Source. Parts of an upload that did not come to its end stay: they
// are used by a run that takes this one up, and removed with the object otherwise.
func (s *Streamed) Deliver(ctx context.Context, d Delivery) error {
	if d.Again {
		if used, err := s.takeUp(ctx, d); used || err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	err := s.stream(limited, d)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return fmt.Errorf("the image could not be read and uploaded within %s (the limit is the option \"export_timeout\"): %w", s.Timeout, err)
	}
	return err
}

// takeUp says whether the object of an earlier run is there. One comes to be with its last
// byte. Another one under its name is removed, unless the user chose the name: it may be
// anybody's then.
func (s *Streamed) takeUp(ctx context.Context, d Delivery) (bool, error) {
	_, there, err := d.Store.Size(ctx, d.Object)
	if err != nil || !there {
		return false, err
	}
	made, err := s.Recognize(ctx, d.Object, d.Owner.ID)
	switch {
	case err != nil:
		return false, err
	case made:
		d.Say("The object of an earlier run is used")
		return true, nil
	case !ours(d.Object):
		return false, fmt.Errorf("the object %q is none that an earlier run of this copy made, and stays; choose another object_name or delete it", d.Object)
	}
	d.Say("The object %s is none that an earlier run of this copy made: it is made again", d.Object)
	return false, d.Store.Remove(ctx, d.Object)
}

// Recognize implements Recognizer.
func (s *Streamed) Recognize(ctx context.Context, object, id string) (bool, error) {
	by, err := s.MadeBy(ctx, object)
	return by == id, err
}

func (s *Streamed) stream(ctx context.Context, d Delivery) (err error) {
	src, full, err := s.Open(ctx, d.Say)
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return err
	}
	if full > 0 {
		d.Say("Reading %.1f MB of %s into the object %s", float64(full)/1e6, s.Label, d.Object)
	} else {
		d.Say("Reading %s into the object %s", s.Label, d.Object)
	}
	r, err := imagestream.Run(ctx, imagestream.Job{
		Source: src, FullSize: full, Archive: s.archive(), Image: s.Image, Keep: true, ProgressEvery: time.Second,
		Begin: func(ctx context.Context) (imagestream.Object, error) {
			o, err := s.Begin(ctx, d.Object, d.Owner.ID, d.Mine)
			if disk, is := s.Disk.(Steady); is && err == nil {
				o = steadyObject{o, disk}
			}
			return o, err
		},
		Progress: func(p imagestream.Progress) { d.Progress(100 * float64(p.Read) / float64(max(p.Full, p.Read, 1))) },
	})
	if err != nil {
		return err
	}
	took := max(r.Elapsed.Seconds(), 0.001)
	d.Say("Read %.1f MB at %.0f MB/s, packed into %.1f MB", float64(r.Read)/1e6, float64(r.Read)/1e6/took, float64(r.Uploaded)/1e6)
	if r.Kept > 0 {
		d.Say("%d parts were there from an earlier run", r.Kept)
	}
	return nil
}

// archive is what the archive around the image says of it; nil if there is none.
func (s *Streamed) archive() *diskimage.Metadata {
	if s.Image.Format == diskimage.VMDK {
		return nil
	}
	meta := s.Metadata
	meta.OperatingSystem = cmp.Or(meta.OperatingSystem, s.image.OS)
	meta.OperatingSystemVersion = cmp.Or(meta.OperatingSystemVersion, s.image.OSVersion)
	return &meta
}
