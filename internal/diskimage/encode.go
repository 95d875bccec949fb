// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// Compression is how clusters are compressed.
type Compression string

// The compressions.
const (
	Zstd    Compression = "zstd"    // QEMU 5.1 and later; not in a VMDK
	Deflate Compression = "deflate" // every reader; the only one of a VMDK
	None    Compression = "none"    // not in a VMDK
)

const (
	// deflateWindow is what readers of qcow2 must be able to look back, and no more.
	deflateWindow = 4 << 10
	// grainLevel is the level for the grains of a VMDK, whose readers look back as far as
	// deflate can. Of the files of a Linux system it makes 7 % more than qemu-img does, with
	// a third of its work; level 3 makes 12 % more, and 6 takes a sixth longer for 2 % less.
	grainLevel = 5
)

// encoder compresses clusters one after the other.
type encoder struct {
	kind    Compression
	always  bool   // also what does not get smaller: the format knows nothing else
	zero    []byte // of one cluster
	zstd    *zstd.Encoder
	deflate deflater
	into    bytes.Buffer
}

// deflater makes one stream after the other.
type deflater interface {
	io.WriteCloser
	Reset(w io.Writer)
}

func newEncoder(o Options) (*encoder, error) {
	e := &encoder{kind: o.Compression, always: o.Format == VMDK, zero: make([]byte, ClusterSize)}
	var err error
	switch {
	case o.Format == VMDK: // with the head and the checksum of zlib
		e.deflate, err = zlib.NewWriterLevel(&e.into, grainLevel)
	case o.Compression == Zstd:
		// One frame of one segment for each cluster, as qemu-img makes them; QEMU
		// ignores checksums. The next level makes files 4 % smaller in twice the time.
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(ClusterSize), zstd.WithSingleSegment(true))
	case o.Compression == Deflate:
		e.deflate, err = flate.NewWriterWindow(&e.into, deflateWindow)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", o.Compression, err)
	}
	return e, nil
}

// empty says that there are only zeros.
func (e *encoder) empty(cluster []byte) bool { return bytes.Equal(cluster, e.zero[:len(cluster)]) }

// append appends a compressed cluster to dst, or the cluster itself where that is no
// longer and the format allows it.
func (e *encoder) append(dst, cluster []byte) (out []byte, raw bool, err error) {
	begin := len(dst)
	switch e.kind {
	case Zstd:
		dst = e.zstd.EncodeAll(cluster, dst)
	case Deflate:
		if dst, err = e.pack(dst, cluster); err != nil {
			return nil, false, err
		}
	default:
		return append(dst, cluster...), true, nil
	}
	if len(dst)-begin >= ClusterSize && !e.always {
		return append(dst[:begin], cluster...), true, nil
	}
	return dst, false, nil
}

func (e *encoder) pack(dst, cluster []byte) ([]byte, error) {
	e.into.Reset()
	e.deflate.Reset(&e.into)
	if _, err := e.deflate.Write(cluster); err != nil {
		return nil, fmt.Errorf("deflate: %w", err)
	}
	if err := e.deflate.Close(); err != nil {
		return nil, fmt.Errorf("deflate: %w", err)
	}
	return append(dst, e.into.Bytes()...), nil
}

// check says what is wrong with options.
func (o Options) check() error {
	if o.Compression != Zstd && o.Compression != Deflate && o.Compression != None {
		return fmt.Errorf("the compression %q is not one of %q, %q and %q", o.Compression, Zstd, Deflate, None)
	}
	switch {
	case o.Format != QCOW2 && o.Format != VMDK:
		return fmt.Errorf("the format %q is not one of %q and %q", o.Format, QCOW2, VMDK)
	case o.Format == VMDK && o.Compression != Deflate:
		return fmt.Errorf("a VMDK is compressed by %q and by nothing else, not by %q", Deflate, o.Compression)
	}
	return nil
}
