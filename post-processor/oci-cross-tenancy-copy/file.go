// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/imagefile"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// file is an image file of the user's own. It is known by its digest.
type file struct {
	imagefile.Options
	id   string
	open *imagefile.Image
}

// file is the one that the template names.
func (p *PostProcessor) file(ctx context.Context) (subject, error) {
	f := &file{Options: p.config.file()}
	f.HTTP, f.Limit = p.HTTP, max(p.config.SizeLimitInGBs, 0)<<30
	err := fileThere(f.File)
	if err != nil {
		return subject{}, err
	}
	if f.Checksum == "" {
		f.Computed = true
		if f.Checksum, err = imagefile.Digest(ctx, f.File); err != nil {
			return subject{}, err
		}
	}
	if f.id, err = f.ID(); err != nil {
		return subject{}, err
	}
	return subject{id: f.id, label: f.Place(), disk: f, kept: "The copy can be run again"}, nil
}

// Describe implements imagecopy.Disk. What is at a URL is looked at once it is there, and a
// file of which the template has the digest once that is known to be right.
func (f *file) Describe(context.Context) (cloud.Image, error) {
	img := cloud.Image{ID: f.id, Name: f.Name()}
	img.OS, img.OSVersion = oci.SystemOf(img.Name)
	if f.URL != "" {
		return img, nil
	}
	i, err := os.Stat(f.File)
	if err != nil {
		return img, fmt.Errorf("source_file: %w", err)
	}
	img.SizeGB = gigabytes(i.Size())
	if !f.Computed {
		return img, nil
	}
	if err := f.fits(); err != nil {
		return img, fmt.Errorf("source_file: %s: %w", f.File, err)
	}
	return img, nil
}

// fits says why OCI would not import the disk, as far as the file's first bytes tell.
func (f *file) fits() error {
	r, err := os.Open(f.File)
	if err != nil {
		return err
	}
	defer r.Close()
	i, err := r.Stat()
	if err != nil {
		return err
	}
	d, err := diskimage.Open(r, i.Size())
	if err == nil && d.Size() > diskimage.MaxImage {
		err = fmt.Errorf("it has a disk of %d GiB; OCI imports up to %d", gigabytes(d.Size()), gigabytes(diskimage.MaxImage))
	}
	return err
}

func gigabytes(n int64) int64 { return (n + 1<<30 - 1) >> 30 }

// Open implements imagecopy.Disk.
func (f *file) Open(ctx context.Context, say func(string, ...any)) (diskimage.Source, int64, error) {
	options, stop := f.Options, func() {}
	if f.URL != "" {
		say("Downloading %s", f.Place())
		options.Progress, stop = telling(ctx, say)
	}
	start := time.Now()
	i, err := imagefile.Open(ctx, options)
	stop()
	var large *imagefile.TooLargeError
	switch {
	case errors.As(err, &large) && large.Size == 0:
		return nil, 0, fmt.Errorf("size_limit_in_gbs: %s has more than %d GB, which is the limit; raise the limit, or set it to -1 for none", f.Place(), gigabytes(large.Limit))
	case errors.As(err, &large):
		return nil, 0, fmt.Errorf("size_limit_in_gbs: %s has %d GB, and the limit is %d; raise the limit, or set it to -1 for none", f.Place(), gigabytes(large.Size), gigabytes(large.Limit))
	case err != nil:
		return nil, 0, err
	}
	f.open = i
	if f.URL != "" {
		say("Downloaded %.1f MB in %s; the digest is right", float64(i.Length)/1e6, time.Since(start).Round(time.Second))
	}
	return i, 0, nil
}

// telling says how far a download is, from time to time, until it is stopped.
func telling(ctx context.Context, say func(string, ...any)) (progress func(done, of int64), stop func()) {
	var done, of atomic.Int64
	stop = wait.Tell(ctx, func(d time.Duration) {
		const mb = 1e6
		if of := of.Load(); of > 0 {
			say("Downloading for %s: %.1f of %.1f MB", d, float64(done.Load())/mb, float64(of)/mb)
		} else {
			say("Downloading for %s: %.1f MB", d, float64(done.Load())/mb)
		}
	})
	return func(d, o int64) { done.Store(d); of.Store(o) }, stop
}

// Unchanged implements imagecopy.Steady.
func (f *file) Unchanged() error { return f.open.Unchanged() }

// Close implements imagecopy.Disk.
func (f *file) Close() error {
	if f.open == nil {
		return nil
	}
	err := f.open.Close()
	f.open = nil
	return err
}

// Remove implements imagecopy.Disk: files are the user's.
func (*file) Remove(context.Context) error { return nil }
