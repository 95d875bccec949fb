// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// large is a disk of so many bytes, of which every so many blocks one has something in
// it that does not get smaller.
type large struct{ size, every int64 }

func (l large) Size() int64  { return l.size }
func (large) PieceSize() int { return block }

func (l large) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for at := int64(0); at < l.size; at += l.every * block {
			if !yield(diskimage.Piece{Offset: at, Length: block}, nil) {
				return
			}
		}
	}
}

func (large) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	x := uint64(p.Offset)*0x9e3779b97f4a7c15 + 1
	for i := 0; i < len(buf); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(buf[i:], x)
	}
	return nil
}

// packed is a disk of so many bytes in a qcow2 file whose clusters are as large as they may be;
// every so many of them one is there, compressed by zstd to nearly as much.
type packed struct{ size, every int64 }

// qcow2 is the file. One cluster in it stands for all.
func (p packed) qcow2() ([]byte, error) {
	const cluster, flagCompressed = 2 << 20, 1 << 62
	data := make([]byte, cluster)
	if err := (large{}).ReadPiece(context.Background(), diskimage.Piece{Offset: 1}, data); err != nil {
		return nil, err
	}
	for i := 0; i < cluster; i += 32 << 10 {
		clear(data[i : i+4<<10])
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	frame := z.EncodeAll(data, nil)
	file := append(make([]byte, 2*cluster), frame...) // header and L1 table, L2 table, the cluster
	be := binary.BigEndian
	copy(file, "QFI\xfb")
	be.PutUint32(file[4:], 3)
	be.PutUint32(file[20:], 21)
	be.PutUint64(file[24:], uint64(p.size))
	be.PutUint32(file[36:], 1) // a table of 2 MiB is about 512 GiB
	be.PutUint64(file[40:], 512)
	be.PutUint64(file[72:], 1<<3) // the method is said
	be.PutUint32(file[100:], 112)
	file[104] = 1 // zstd
	be.PutUint64(file[512:], cluster)
	sectors := uint64(len(frame)-1) / 512
	for i := int64(0); i < p.size/cluster; i += p.every {
		be.PutUint64(file[cluster+8*i:], flagCompressed|sectors<<(62-(21-8))|2*cluster)
	}
	return file, nil
}

// nowhere is an object store that forgets, slowly if it is told to.
type nowhere struct {
	takes time.Duration // each part

	mu    sync.Mutex
	parts int
}

func (n *nowhere) Part(context.Context, int, []byte) error {
	time.Sleep(n.takes)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.parts++
	return nil
}

func (*nowhere) Kept() int                    { return 0 }
func (*nowhere) Commit(context.Context) error { return nil }
func (*nowhere) Abort(context.Context) error  { return nil }

// usage looks at the memory of the process.
type usage struct{ peak uint64 }

func (u *usage) look(diskimage.Stats) {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	u.peak = max(u.peak, s[0].Value.Uint64()-s[1].Value.Uint64())
}

// Memory has a bound, whatever the size of the disk and whatever is on it: also of the
// largest disk that can be imported, whose parts are large and whose tables are long; of an
// image file that must be unpacked first, in clusters of the largest size; on however many
// processors; in either form; and where the uploads are so slow that everything else waits for
// them, so that all that can be full is full.
func TestMemory(t *testing.T) {
	sample.Not(t)
	full, sparse := large{1 << 30, 1}, large{diskimage.MaxImage, 600}
	for name, tt := range map[string]struct {
		disk       diskimage.Source
		file       packed // of which there is a qcow2 file
		form       diskimage.Format
		processors int
		slow       bool
	}{
		"1 GiB":                     {disk: full},
		"400 GiB":                   {disk: sparse, slow: true},
		"VMDK":                      {disk: full, form: diskimage.VMDK, slow: true},
		"64 processors":             {disk: full, processors: 64, slow: true},
		"64 processors and 400 GiB": {disk: sparse, processors: 64, slow: true},
		"64 processors and a VMDK":  {disk: sparse, form: diskimage.VMDK, processors: 64, slow: true},
		"qcow2 file":                {file: packed{1 << 30, 1}, processors: 64, slow: true},
		"qcow2 file of 400 GiB":     {file: packed{diskimage.MaxImage, 400}, processors: 64, slow: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.processors > 0 {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(tt.processors))
				}
				src := tt.disk
				if tt.file.size > 0 {
					file, err := tt.file.qcow2()
					if err == nil {
						src, err = diskimage.Open(bytes.NewReader(file), int64(len(file)))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				debug.FreeOSMemory() // what was before does not count
				var to nowhere
				var in usage
				if tt.slow {
					to.takes = time.Minute
				}
				j := imagestream.Job{
					Source: src, Begin: func(context.Context) (imagestream.Object, error) { return &to, nil },
					Image: diskimage.Options{Format: tt.form, Progress: in.look},
				}
				if tt.form != diskimage.VMDK {
					j.Archive = &diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12"}
				}
				r, err := imagestream.Run(t.Context(), j)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%d bytes in %d parts, at most %d MiB", r.Written, to.parts, in.peak>>20)
				if in.peak > 256<<20 || r.Written < 600<<20 || to.parts < 15 {
					t.Errorf("%d bytes in %d parts took %d MiB of memory", r.Written, to.parts, in.peak>>20)
				}
			})
		})
	}
}
