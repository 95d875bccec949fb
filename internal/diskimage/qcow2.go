// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"context"
	"encoding/binary"
)

// What qcow2 files look like; see QEMU's docs/interop/qcow2.
const (
	qcow2Magic        = 0x514649fb // "QFI" 0xfb
	clusterBits       = 16
	tableEntries      = ClusterSize / 8 // of an L2 table, and of a cluster of the L1 table
	refcountEntries   = ClusterSize / 2 // 16 bits each
	flagCopied        = 1 << 63
	flagCompressed    = 1 << 62
	sectorsShift      = 62 - (clusterBits - 8) // in the entry of a compressed cluster
	incompatibleZstd  = 1 << 3
	headerLength      = 112
	compressionIsZstd = 1

	// rawQueue is how many plain clusters are written together. Each such group has
	// to begin at a multiple of a cluster, and the space before it is lost.
	rawQueue = 32
)

// qcow2 writes a qcow2 file of version 3. Tables follow the data that they are about;
// only the header lies in front.
type qcow2 struct {
	file *counted
	size int64
	kind Compression

	l1    []uint64
	l2    []byte // the table being filled, as it will be written
	table int64  // its number
	used  bool   // it has an entry
	zero  []byte // of one cluster
	refs  refcounts
	queue []int64 // plain clusters that wait, by their numbers
	plain []byte  // and their bytes
}

func newQCOW2(file *counted, size int64, kind Compression) *qcow2 {
	size = (size + 511) &^ 511
	return &qcow2{
		file: file, size: size, kind: kind,
		l1: make([]uint64, (size+ClusterSize*tableEntries-1)/(ClusterSize*tableEntries)), l2: make([]byte, ClusterSize),
		zero: make([]byte, ClusterSize),
	}
}

func (q *qcow2) begin(ctx context.Context) error {
	_, err := q.put(ctx, q.zero) // the header
	return err
}

func (q *qcow2) add(ctx context.Context, c cluster) error {
	if t := c.index / tableEntries; t != q.table {
		if err := q.endTable(ctx); err != nil {
			return err
		}
		q.table = t
	}
	q.used = true
	if c.raw {
		q.plain = append(q.plain, c.data...)
		if q.queue = append(q.queue, c.index); len(q.queue) < rawQueue {
			return nil
		}
		return q.flush(ctx)
	}
	at := q.file.at
	if err := q.file.Write(ctx, c.data); err != nil {
		return err
	}
	last := at + int64(len(c.data)) - 1
	for n := at / ClusterSize; n <= last/ClusterSize; n++ {
		q.refs.add(n)
	}
	q.enter(c.index, flagCompressed|uint64(last/512-at/512)<<sectorsShift|uint64(at))
	return nil
}

// enter makes an entry in the table being filled.
func (q *qcow2) enter(index int64, entry uint64) {
	binary.BigEndian.PutUint64(q.l2[8*(index%tableEntries):], entry)
}

// refcounts are how often each cluster of the file is used. They are kept as they will
// be written, in blocks: the table of a large image is never moved to grow.
type refcounts struct {
	blocks [][]byte
	len    int64 // clusters of the file
}

// add counts a use of a cluster.
func (r *refcounts) add(n int64) {
	for int64(len(r.blocks)) <= n/refcountEntries {
		r.blocks = append(r.blocks, make([]byte, ClusterSize))
	}
	at := r.blocks[n/refcountEntries][2*(n%refcountEntries):]
	binary.BigEndian.PutUint16(at, binary.BigEndian.Uint16(at)+1)
	r.len = max(r.len, n+1)
}

// put writes whole clusters at the next multiple of a cluster.
func (q *qcow2) put(ctx context.Context, p []byte) (at int64, err error) {
	if rest := q.file.at % ClusterSize; rest > 0 {
		if err := q.file.Write(ctx, q.zero[rest:]); err != nil {
			return 0, err
		}
	}
	at = q.file.at
	for n := range int64(len(p) / ClusterSize) {
		q.refs.add(at/ClusterSize + n)
	}
	return at, q.file.Write(ctx, p)
}

// flush writes the plain clusters.
func (q *qcow2) flush(ctx context.Context) error {
	if len(q.queue) == 0 {
		return nil
	}
	at, err := q.put(ctx, q.plain)
	for i, index := range q.queue {
		q.enter(index, flagCopied|uint64(at+int64(i)*ClusterSize))
	}
	q.queue, q.plain = q.queue[:0], q.plain[:0]
	return err
}

// endTable writes the L2 table, unless it is empty.
func (q *qcow2) endTable(ctx context.Context) error {
	if !q.used {
		return nil
	}
	if err := q.flush(ctx); err != nil {
		return err
	}
	at, err := q.put(ctx, q.l2)
	q.l1[q.table] = flagCopied | uint64(at)
	clear(q.l2)
	q.used = false
	return err
}

func (q *qcow2) end(ctx context.Context) error {
	if err := q.endTable(ctx); err != nil {
		return err
	}
	l1At, err := q.put(ctx, words(q.l1))
	if err != nil {
		return err
	}
	// The counts count themselves: the clusters of the blocks, and of the table that
	// points to the blocks.
	have := q.refs.len
	var blocks, tables int64
	for {
		b := (have + blocks + tables + refcountEntries - 1) / refcountEntries
		t := (b + tableEntries - 1) / tableEntries
		if b == blocks && t == tables {
			break
		}
		blocks, tables = b, t
	}
	for n := range blocks + tables {
		q.refs.add(have + n)
	}
	for _, b := range q.refs.blocks {
		if err := q.file.Write(ctx, b); err != nil {
			return err
		}
	}
	table := make([]uint64, blocks)
	for n := range blocks {
		table[n] = uint64(have+n) * ClusterSize
	}
	tableAt := q.file.at
	if err := q.file.Write(ctx, words(table)); err != nil {
		return err
	}
	return q.file.Finish(ctx, q.header(l1At, tableAt, tables))
}

// header is the first cluster.
func (q *qcow2) header(l1At, refcountsAt, refcountClusters int64) []byte {
	h := make([]byte, ClusterSize)
	be := binary.BigEndian
	be.PutUint32(h[0:], qcow2Magic)
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], clusterBits)
	be.PutUint64(h[24:], uint64(q.size))
	be.PutUint32(h[36:], uint32(len(q.l1)))
	be.PutUint64(h[40:], uint64(l1At))
	be.PutUint64(h[48:], uint64(refcountsAt))
	be.PutUint32(h[56:], uint32(refcountClusters))
	be.PutUint32(h[96:], 4) // counts of 1<<4 bits
	be.PutUint32(h[100:], headerLength)
	if q.kind == Zstd {
		be.PutUint64(h[72:], incompatibleZstd)
		h[104] = compressionIsZstd
	}
	return h
}

// words are numbers as they lie in the file, in whole clusters.
func words(list []uint64) []byte {
	p := make([]byte, (len(list)*8+ClusterSize-1)/ClusterSize*ClusterSize)
	for i, w := range list {
		binary.BigEndian.PutUint64(p[8*i:], w)
	}
	return p
}
