// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// pieceSize is the size of pieces of files.
const pieceSize = 512 << 10

// maxDisk is the largest disk that is read, in bytes. EBS has no larger ones.
const maxDisk = 64 << 40

// Open reads an image file of so many bytes: qcow2, VMDK, raw, or an .oci archive with a
// qcow2 file. It looks at the content to tell which. The file must stand on its own.
func Open(file io.ReaderAt, size int64) (Source, error) {
	begin := make([]byte, 512)
	n, err := file.ReadAt(begin, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the image: %w", err)
	}
	begin = begin[:n]
	for magic, what := range map[string]string{
		"# Disk DescriptorFile": "the description of a VMDK whose data is in other files", "COWD": "an extent of an ESX server", "vhdxfile": "a VHDX", "conectix": "a VHD", "QED\x00": "a QED image",
		"\x1f\x8b": "compressed by gzip", "\xfd7zXZ\x00": "compressed by xz", "\x28\xb5\x2f\xfd": "compressed by zstd", "BZh": "compressed by bzip2", "PK\x03\x04": "a zip archive",
	} {
		if bytes.HasPrefix(begin, []byte(magic)) {
			return nil, fmt.Errorf("the image is %s; unpack it, or convert it with \"qemu-img convert -O qcow2\"", what)
		}
	}
	switch {
	case bytes.HasPrefix(begin, []byte("QFI\xfb")):
		return openQCOW2(file, size)
	case bytes.HasPrefix(begin, []byte("KDMV")):
		return openVMDK(file, size)
	case n == 512 && bytes.HasPrefix(begin[257:], []byte("ustar")):
		return openOCI(file, size)
	}
	// Every disk that a machine boots from has this mark, with MBR and with GPT. A page
	// of HTML that says that the image has moved has not.
	if n < 512 || begin[510] != 0x55 || begin[511] != 0xaa {
		return nil, errors.New("the image is neither qcow2, VMDK, an .oci archive nor the raw bytes of a disk with a partition table")
	}
	if size > maxDisk {
		return nil, fmt.Errorf("the image has %d bytes, more than any disk that can be imported", size)
	}
	return rawFile{file, size}, nil
}

// rawFile is a file with the bytes of a disk.
type rawFile struct {
	file io.ReaderAt
	size int64
}

// Size implements [Source]: disks have whole sectors.
func (r rawFile) Size() int64 { return (r.size + 511) &^ 511 }

// PieceSize implements [Source].
func (rawFile) PieceSize() int { return pieceSize }

// Pieces implements [Source].
func (r rawFile) Pieces(context.Context) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		for at := int64(0); at < r.Size(); at += pieceSize {
			if !yield(Piece{at, int(min(pieceSize, r.Size()-at))}, nil) {
				return
			}
		}
	}
}

// ReadPiece implements [Source].
func (r rawFile) ReadPiece(_ context.Context, p Piece, buf []byte) error {
	n, err := r.file.ReadAt(buf[:min(int64(len(buf)), r.size-p.Offset)], p.Offset)
	if end := p.Offset+int64(n) == r.size; err != nil && (!end || !errors.Is(err, io.EOF)) {
		return fmt.Errorf("read the image at %d: %w", p.Offset, noEOF(err))
	}
	clear(buf[n:])
	return nil
}

// spares are things that one goroutine at a time uses, and the next one after it. There are
// never more than were in use at the same time: a sync.Pool drops some and makes new ones,
// which is too much of things that have megabytes.
type spares[T any] struct {
	mu   sync.Mutex
	free []*T
}

// get is one that nobody uses.
func (s *spares[T]) get() *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		t := s.free[n-1]
		s.free = s.free[:n-1]
		return t
	}
	return new(T)
}

func (s *spares[T]) put(t *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, t)
}

// noEOF says that an end came too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
