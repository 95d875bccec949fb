// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// disks are the maps that every variant is tried with.
func disks() map[string]testDisk {
	far := newDisk(strings.Repeat(".", 5*tableEntries)+"t", 0)
	return map[string]testDisk{
		"empty":                         newDisk("................", 0),
		"only zeros":                    newDisk("00000000", 0),
		"full of noise":                 newDisk(strings.Repeat("n", 100), 0),
		"full of text":                  newDisk(strings.Repeat("t", 100), 0),
		"mixed":                         newDisk(strings.Repeat("t0nb.....tt00nn.btn", 20), 0),
		"a byte at the end":             newDisk("........b", 0),
		"a last cluster cut short":      newDisk("t.......n", 1024),
		"not whole sectors":             newDisk("ttn", 100),
		"one sector":                    newDisk("b", ClusterSize-512),
		"one byte":                      newDisk("b", ClusterSize-1),
		"several tables":                newDisk("t"+strings.Repeat(".", tableEntries-2)+"tn"+strings.Repeat(".", tableEntries)+"n", 0),
		"tables that are absent":        far,
		"the last entry of a table":     newDisk(strings.Repeat(".", tableEntries-1)+"t", 0),
		"the first entry of the second": newDisk(strings.Repeat(".", tableEntries)+"t", 512),
		"several tables of grains":      newDisk("t"+strings.Repeat(".", grainsOfTable-2)+"tn"+strings.Repeat(".", grainsOfTable)+"t", 700),
	}
}

func TestQEMUReadsWhatIsWritten(t *testing.T) {
	sample.Not(t)
	needQemuImg(t)
	for name, d := range disks() {
		for _, o := range variants() {
			t.Run(o.name()+" "+name, func(t *testing.T) {
				file, _ := written(t, d, o)
				held(t, d, o, file)
			})
		}
	}
}

// Maps by chance, larger ones than the table has.
func TestQEMUReadsRandomDisks(t *testing.T) {
	sample.Not(t)
	needQemuImg(t)
	for seed := range uint64(8) {
		d := randomDisk(rand.New(rand.NewPCG(seed, 0)))
		o := variants()[seed%4]
		file, _ := written(t, d, o)
		held(t, d, o, file)
	}
}

func randomDisk(r *rand.Rand) testDisk {
	d := testDisk{clusters: make([]pattern, 1+r.IntN(1200)), seed: r.Uint64(), piece: ClusterSize << r.IntN(6)}
	d.size = int64(len(d.clusters))*ClusterSize - int64(r.IntN(2))*int64(r.IntN(ClusterSize))
	for c := 0; c < len(d.clusters); {
		kind := pattern(r.IntN(5))
		for range 1 + r.IntN(40) {
			if c < len(d.clusters) {
				d.clusters[c] = kind
				c++
			}
		}
	}
	return d
}

// What is written is read back by our own reader, where there is no QEMU, too.
func TestWrittenAndRead(t *testing.T) {
	for name, d := range disks() {
		for _, o := range variants() {
			t.Run(o.name()+" "+name, func(t *testing.T) {
				file, _ := written(t, d, o)
				src, err := Open(bytes.NewReader(file), int64(len(file)))
				if err != nil {
					t.Fatal(err)
				}
				same(t, d, src)
			})
		}
	}
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4}, uint16(0), uint8(0))
	f.Add([]byte{2, 2, 3, 3, 0, 0, 0, 0, 0, 2}, uint16(700), uint8(1))
	f.Add(bytes.Repeat([]byte{3}, 70), uint16(1), uint8(2))
	f.Add([]byte{3, 4, 1, 0, 2, 2}, uint16(900), uint8(3))
	f.Fuzz(func(t *testing.T, blocks []byte, cut uint16, variant uint8) {
		if len(blocks) == 0 || len(blocks) > 200 {
			return
		}
		d := testDisk{size: int64(len(blocks))*ClusterSize - int64(cut), seed: 1, piece: ClusterSize << (variant % 4)}
		if d.size <= 0 {
			return
		}
		for _, b := range blocks {
			d.clusters = append(d.clusters, pattern(b%5))
		}
		o := variants()[int(variant)%len(variants())]
		file, s := written(t, d, o)
		src, err := Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, d, src)
		if s.Read > d.size || s.Packed+s.Plain+s.Zeros > int64(len(blocks)) {
			t.Errorf("%+v", s)
		}
	})
}

// The same disk makes the same bytes: on that rests that a second run need not upload
// what is there.
func TestTheSameBytesEachTime(t *testing.T) {
	d := randomDisk(rand.New(rand.NewPCG(7, 0)))
	for _, o := range variants() {
		want, _ := written(t, d, o)
		for _, readers := range []int{1, 3, 50} {
			o.Readers, o.Encoders = readers, 1+readers%4
			if got, _ := written(t, d, o); !bytes.Equal(got, want) {
				t.Errorf("%s: other bytes with %d readers", o.name(), readers)
			}
		}
	}
}

func TestStats(t *testing.T) {
	var last Stats
	_, s := written(t, newDisk("ttnn00.t........", 0), Options{Progress: func(s Stats) { last = s }})
	if s.Packed != 3 || s.Plain != 2 || s.Zeros != 3 || s.Pieces != 1 || s.Read != 8*ClusterSize || last.Pieces != 1 {
		t.Errorf("%+v, at last %+v", s, last)
	}
}

func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	d := newDisk(strings.Repeat("tn", 320), 0)
	t.Run("the source", func(t *testing.T) {
		d := d
		d.fail = func(p Piece) error {
			if p.Offset == 20*pieceSize {
				return broken
			}
			return nil
		}
		var m memory
		if _, err := Write(t.Context(), &m, d, Options{}); !errors.Is(err, broken) || m.finished {
			t.Errorf("%v, finished: %v", err, m.finished)
		}
	})
	t.Run("a part", func(t *testing.T) {
		for _, at := range []int{1, 2, 3, 9} {
			m := &memory{fail: func(n int) error {
				if n == at {
					return broken
				}
				return nil
			}}
			parts, err := NewParts(m, 2<<20, 3)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Write(t.Context(), parts, d, Options{}); !errors.Is(err, broken) {
				t.Errorf("part %d: %v", at, err)
			}
			parts.Wait()
			if m.parts[1] != nil {
				t.Error("the first part was uploaded all the same")
			}
		}
	})
	t.Run("a cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		d := d
		d.fail = func(p Piece) error {
			if p.Offset == 30*pieceSize {
				cancel(broken)
			}
			return ctx.Err()
		}
		if _, err := Write(ctx, &memory{}, d, Options{}); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
	t.Run("a cancel while nothing moves", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		m := &memory{fail: func(int) error { <-ctx.Done(); return ctx.Err() }}
		parts, err := NewParts(m, 1<<20, 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Write(ctx, parts, d, Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		parts.Wait()
	})
	if _, err := Write(t.Context(), &memory{}, d, Options{Compression: "lz4"}); err == nil || !strings.Contains(err.Error(), "compression \"lz4\"") {
		t.Error(err)
	}
}

// Pieces that overlap, go backwards or leave the disk are refused.
func TestPiecesOutOfPlace(t *testing.T) {
	for _, pieces := range [][]Piece{
		{{0, ClusterSize}, {0, ClusterSize}}, {{ClusterSize, ClusterSize}, {0, ClusterSize}}, {{512, ClusterSize}}, {{0, 512}},
		{{0, 0}}, {{0, 1 << 30}}, {{8 * ClusterSize, ClusterSize}},
	} {
		if _, err := Write(t.Context(), &memory{}, listed{newDisk("tttttttt", 0), pieces}, Options{}); err == nil {
			t.Errorf("%v were taken", pieces)
		}
	}
}
