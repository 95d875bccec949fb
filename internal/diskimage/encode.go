// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// Compression is how clusters are compressed.
type Compression string

// The compressions.
const (
	Zstd    Compression = "zstd"    // QEMU 5.1 and later
	Deflate Compression = "deflate" // every reader
	None    Compression = "none"
)

// deflateWindow is what readers of qcow2 must be able to look back, and no more.
const deflateWindow = 4 << 10

// encoder compresses clusters one after the other.
type encoder struct {
	kind  Compression
	zero  []byte // of one cluster
	zstd  *zstd.Encoder
	flate *flate.Writer
	into  bytes.Buffer
}

func newEncoder(o Options) (*encoder, error) {
	e := &encoder{kind: o.Compression, zero: make([]byte, ClusterSize)}
	var err error
	switch o.Compression {
	case Zstd:
		// One frame of one segment for each cluster, as qemu-img makes them; QEMU
		// ignores checksums. The next level makes files 4 % smaller in twice the time.
		e.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
			zstd.WithEncoderCRC(false), zstd.WithWindowSize(ClusterSize), zstd.WithSingleSegment(true))
	case Deflate:
		e.flate, err = flate.NewWriterWindow(&e.into, deflateWindow)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", o.Compression, err)
	}
	return e, nil
}

// empty says that there are only zeros.
func (e *encoder) empty(cluster []byte) bool { return bytes.Equal(cluster, e.zero[:len(cluster)]) }

// append appends a compressed cluster to dst, or the cluster itself where that is no
// longer.
func (e *encoder) append(dst, cluster []byte) (out []byte, raw bool, err error) {
	begin := len(dst)
	switch e.kind {
	case Zstd:
		dst = e.zstd.EncodeAll(cluster, dst)
	case Deflate:
		if dst, err = e.deflate(dst, cluster); err != nil {
			return nil, false, err
		}
	default:
		return append(dst, cluster...), true, nil
	}
	if len(dst)-begin >= ClusterSize {
		return append(dst[:begin], cluster...), true, nil
	}
	return dst, false, nil
}

func (e *encoder) deflate(dst, cluster []byte) ([]byte, error) {
	e.into.Reset()
	e.flate.Reset(&e.into)
	if _, err := e.flate.Write(cluster); err != nil {
		return nil, fmt.Errorf("deflate: %w", err)
	}
	if err := e.flate.Close(); err != nil {
		return nil, fmt.Errorf("deflate: %w", err)
	}
	return append(dst, e.into.Bytes()...), nil
}

// check says what is wrong with options.
func (o Options) check() error {
	if o.Compression != Zstd && o.Compression != Deflate && o.Compression != None {
		return fmt.Errorf("the compression %q is not one of %q, %q and %q", o.Compression, Zstd, Deflate, None)
	}
	return nil
}
