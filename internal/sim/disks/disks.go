// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package disks has the files behind the images and volumes of a simulated
// cloud: qcow2 files that are made from each other by copying or as overlays. It
// also reads the VMDKs that are imported.
package disks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Disks turns images into boot volumes and back. Both are qcow2 files.
type Disks interface {
	// BootVolume makes a disk at path that begins as the image and belongs to
	// one machine alone. sizeGB, if not 0, is the size that was asked for.
	BootVolume(ctx context.Context, image, path string, sizeGB int64) error
	// Image makes an image at path that stands on its own, out of a boot
	// volume that nobody writes to meanwhile.
	Image(ctx context.Context, volume, path string) error
	// Remove deletes a boot volume.
	Remove(path string)
}

// Copy copies whole files. It needs no tool and suits small images. It
// cannot make a disk larger than its image.
type Copy struct{}

// BootVolume copies the image.
func (Copy) BootVolume(ctx context.Context, image, path string, _ int64) error {
	return CopyFile(ctx, image, path)
}

// Image copies the boot volume.
func (Copy) Image(ctx context.Context, volume, path string) error {
	return CopyFile(ctx, volume, path)
}

// Remove deletes the file.
func (Copy) Remove(path string) { _ = os.Remove(path) }

// CopyFile copies a file in pieces, so that it can be stopped. On file systems that
// can, the kernel shares the bytes instead of copying them.
func CopyFile(ctx context.Context, from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copy a disk: %w", err)
	}
	defer func() { _ = src.Close() }()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("copy a disk: %w", err)
	}
	defer func() {
		err = errors.Join(err, dst.Close())
		if err != nil {
			_ = os.Remove(to)
		}
	}()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := io.CopyN(dst, src, 64<<20)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("copy a disk: %w", err)
		}
	}
}

// Overlay makes boot volumes as qcow2 overlays on their images, in no
// time whatever their size, and flattens them into images with qemu-img. Make
// it with [NewOverlay].
type Overlay struct{ qemuImg string }

// NewOverlay fails when qemu-img is not installed.
func NewOverlay() (Overlay, error) {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return Overlay{}, fmt.Errorf("overlay disks need qemu-img: %w", err)
	}
	return Overlay{path}, nil
}

// BootVolume makes an overlay. It holds on to the image's bytes by a link of
// its own, since the image may be deleted while the machine runs.
func (d Overlay) BootVolume(ctx context.Context, image, path string, sizeGB int64) error {
	base := path + ".base"
	if err := os.Link(image, base); err != nil {
		// Another file system: such an image was seeded, and stays.
		base = image
	}
	args := []string{"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path}
	if size, err := CheckQCOW2(image); err != nil {
		return err
	} else if sizeGB<<30 > size {
		args = append(args, strconv.FormatInt(sizeGB<<30, 10))
	}
	return d.run(ctx, args...)
}

// Image flattens the overlay.
func (d Overlay) Image(ctx context.Context, volume, path string) error {
	return d.run(ctx, "convert", "-q", "-O", "qcow2", volume, path)
}

// Remove deletes the overlay and its hold on the image.
func (d Overlay) Remove(path string) {
	_ = os.Remove(path)
	_ = os.Remove(path + ".base")
}

func (d Overlay) run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, d.qemuImg, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
