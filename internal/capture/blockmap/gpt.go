// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package blockmap

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"math"
	"slices"
)

const (
	gptHeader     = 92 // bytes
	maxPartitions = 1024
	maxEntry      = 4096 // bytes
)

// readGPT lists the partitions of a GUID partition table, in their order on the disk.
// There are none where the table is not one, is damaged, or speaks of partitions that
// overlap or lie beyond the disk.
func readGPT(r io.ReaderAt, size int64) ([]Area, error) {
	for _, sector := range []int64{512, 4096} {
		if size < 64*sector {
			continue
		}
		header := make([]byte, sector)
		if err := fill(r, header, sector); err != nil {
			return nil, err
		}
		if parts, ok, err := parseGPT(r, header, sector, size); ok || err != nil {
			return parts, err
		}
	}
	return nil, nil
}

func parseGPT(r io.ReaderAt, h []byte, sector, size int64) (parts []Area, ok bool, err error) {
	le := binary.LittleEndian
	length := le.Uint32(h[12:])
	if string(h[:8]) != "EFI PART" || length < gptHeader || int64(length) > sector {
		return nil, false, nil
	}
	sum := le.Uint32(h[16:])
	own := slices.Clone(h[:length])
	clear(own[16:20])
	number := func(p []byte) int64 { return int64(min(le.Uint64(p), math.MaxInt64)) } //nolint:gosec // bounded
	first, count, entry := number(h[72:]), int64(le.Uint32(h[80:])), int64(le.Uint32(h[84:]))
	if crc32.ChecksumIEEE(own) != sum || count > maxPartitions || entry < 128 || entry > maxEntry ||
		first > size/sector || first*sector > size-count*entry {
		return nil, false, nil
	}
	table := make([]byte, count*entry)
	if err := fill(r, table, first*sector); err != nil {
		return nil, false, err
	}
	if crc32.ChecksumIEEE(table) != le.Uint32(h[88:]) {
		return nil, false, nil
	}
	for i := range count {
		e := table[i*entry:]
		if [16]byte(e) == ([16]byte{}) {
			continue
		}
		from, to := number(e[32:]), number(e[40:])
		if from > to || to >= size/sector {
			return nil, false, nil
		}
		parts = append(parts, Area{Span: Span{from * sector, (to + 1) * sector}, Number: int(i) + 1})
	}
	slices.SortFunc(parts, func(a, b Area) int { return int(min(1, max(-1, a.Start-b.Start))) })
	for i := 1; i < len(parts); i++ {
		if parts[i].Start < parts[i-1].End {
			return nil, false, nil
		}
	}
	return parts, true, nil
}
