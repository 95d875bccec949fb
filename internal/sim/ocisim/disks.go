// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

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

// CopyDisks copies whole files. It needs no tool and suits small images. It
// cannot make a disk larger than its image.
type CopyDisks struct{}

// BootVolume copies the image.
func (CopyDisks) BootVolume(ctx context.Context, image, path string, _ int64) error {
	return copyFile(ctx, image, path)
}

// Image copies the boot volume.
func (CopyDisks) Image(ctx context.Context, volume, path string) error {
	return copyFile(ctx, volume, path)
}

// Remove deletes the file.
func (CopyDisks) Remove(path string) { _ = os.Remove(path) }

// copyFile copies in pieces, so that it can be stopped. On file systems that
// can, the kernel shares the bytes instead of copying them.
func copyFile(ctx context.Context, from, to string) (err error) {
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

// OverlayDisks makes boot volumes as qcow2 overlays on their images, in no
// time whatever their size, and flattens them into images with qemu-img. Make
// it with [NewOverlayDisks].
type OverlayDisks struct{ qemuImg string }

// NewOverlayDisks fails when qemu-img is not installed.
func NewOverlayDisks() (OverlayDisks, error) {
	path, err := exec.LookPath("qemu-img")
	if err != nil {
		return OverlayDisks{}, fmt.Errorf("overlay disks need qemu-img: %w", err)
	}
	return OverlayDisks{path}, nil
}

// BootVolume makes an overlay. It holds on to the image's bytes by a link of
// its own, since the image may be deleted while the machine runs.
func (d OverlayDisks) BootVolume(ctx context.Context, image, path string, sizeGB int64) error {
	base := path + ".base"
	if err := os.Link(image, base); err != nil {
		// Another file system: such an image was seeded, and stays.
		base = image
	}
	args := []string{"create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path}
	if size, err := checkQCOW2(image); err != nil {
		return err
	} else if sizeGB<<30 > size {
		args = append(args, strconv.FormatInt(sizeGB<<30, 10))
	}
	return d.run(ctx, args...)
}

// Image flattens the overlay.
func (d OverlayDisks) Image(ctx context.Context, volume, path string) error {
	return d.run(ctx, "convert", "-q", "-O", "qcow2", volume, path)
}

// Remove deletes the overlay and its hold on the image.
func (d OverlayDisks) Remove(path string) {
	_ = os.Remove(path)
	_ = os.Remove(path + ".base")
}

func (d OverlayDisks) run(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, d.qemuImg, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("qemu-img %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}
