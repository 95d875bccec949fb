// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package diskimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
)

// Format is what kind of image is made.
type Format string

// The formats.
const (
	QCOW2 Format = "qcow2"
	VMDK  Format = "vmdk" // streamOptimized; not in an [Archive]
)

// Options are how an image is made. The zero value of a field stands for its
// default.
type Options struct {
	Format      Format      // default QCOW2
	Compression Compression // default Zstd, and Deflate for a VMDK
	// Readers is how many pieces are read at the same time; default 48. Each takes
	// up to twice the size of a piece in memory.
	Readers int
	// Encoders is how many processors compress; default all of them, but no more than 16:
	// each takes up to a megabyte of memory, and so many are faster than any disk that is
	// read. There are never more than pieces are read at the same time.
	Encoders int
	// Progress is called after each piece, by one goroutine.
	Progress func(Stats)
}

// Stats is what came of a disk.
type Stats struct {
	Pieces  int64 // pieces that are done
	Read    int64 // bytes of those pieces
	Zeros   int64 // clusters among them that hold only zeros
	Packed  int64 // clusters that were compressed
	Plain   int64 // clusters that were not, as it was not asked for or would not help
	Written int64 // bytes of the image so far
}

func (o Options) withDefaults() Options {
	o.Format = cmp.Or(o.Format, QCOW2)
	if o.Format == VMDK {
		o.Compression = cmp.Or(o.Compression, Deflate)
	}
	o.Compression = cmp.Or(o.Compression, Zstd)
	if o.Readers <= 0 {
		o.Readers = 48
	}
	if o.Encoders <= 0 {
		o.Encoders = min(runtime.GOMAXPROCS(0), maxEncoders)
	}
	return o
}

// maxEncoders is how many encoders there are by default at most. EBS hands out 1000 blocks
// of a snapshot in a second, which is 500 MiB; so many make 1 GiB of deflate.
const maxEncoders = 16

// cluster is what is written of one cluster of the disk.
type cluster struct {
	index int64
	data  []byte
	raw   bool // data is not compressed
}

// layout is how clusters lie in a file. They are added in ascending order, those of zeros
// left out, and end finishes the output.
type layout interface {
	begin(ctx context.Context) error
	add(ctx context.Context, c cluster) error
	end(ctx context.Context) error
}

// newLayout makes the layout of a format for a disk of so many bytes.
func (o Options) newLayout(file *counted, size int64) layout {
	if o.Format == VMDK {
		return newVMDK(file, size)
	}
	return newQCOW2(file, size, o.Compression)
}

// counted notes how long the file is.
type counted struct {
	Output
	at int64
}

func (c *counted) Write(ctx context.Context, p []byte) error {
	c.at += int64(len(p))
	return c.Output.Write(ctx, p)
}

// Write makes an image of the source in out. Pieces are read many at a time and
// compressed on all processors, and written in their order. An error of the source,
// of the output or of ctx ends it; what the output has by then is of no use.
func Write(ctx context.Context, out Output, src Source, o Options) (Stats, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return Stats{}, err
	}
	if src.Size() <= 0 || src.PieceSize() <= 0 || src.PieceSize()%ClusterSize != 0 {
		return Stats{}, fmt.Errorf("a disk of %d bytes in pieces of %d cannot be written", src.Size(), src.PieceSize())
	}
	if o.Format == VMDK && src.Size() >= maxVMDK {
		return Stats{}, errTooLarge(src.Size())
	}
	file := &counted{Output: out}
	// Pieces of a large size are read fewer at a time, so that memory stays the same.
	readers := max(2, min(o.Readers, o.Readers*(512<<10)/src.PieceSize()))
	p := pipeline{src: src, options: o, readers: readers, file: file}
	return p.run(ctx, o.newLayout(file, src.Size()))
}

// job is one piece on its way.
type job struct {
	piece    Piece
	in, out  []byte
	ends     []int // of clusters in out, in order
	clusters []cluster
	zeros    int64
	done     chan error
}

type pipeline struct {
	src      Source
	options  Options
	readers  int
	file     *counted
	encoders chan *encoder
}

func (p *pipeline) run(ctx context.Context, l layout) (stats Stats, err error) {
	encoders := min(p.options.Encoders, p.readers)
	p.encoders = make(chan *encoder, encoders)
	for range encoders {
		e, err := newEncoder(p.options)
		if err != nil {
			return stats, err
		}
		p.encoders <- e
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var working sync.WaitGroup
	defer func() {
		cancel(err)
		working.Wait()
	}()
	// A job goes from free through todo to a reader; ordered keeps the order.
	free, todo, ordered := make(chan *job, p.readers), make(chan *job), make(chan *job, p.readers)
	for range p.readers {
		free <- &job{done: make(chan error, 1)}
		working.Go(func() {
			for j := range todo {
				j.done <- p.work(ctx, j)
			}
		})
	}
	var listing error // read after ordered is closed
	working.Go(func() {
		defer close(ordered)
		defer close(todo)
		listing = p.list(ctx, free, todo, ordered)
	})
	if err := l.begin(ctx); err != nil {
		return stats, err
	}
	for j := range ordered {
		if err := p.write(ctx, l, j, &stats); err != nil {
			return stats, err
		}
		free <- j
	}
	if listing != nil {
		return stats, listing
	}
	err = l.end(ctx)
	stats.Written = p.file.at
	return stats, err
}

// list hands out the pieces in order.
func (p *pipeline) list(ctx context.Context, free, todo, ordered chan *job) error {
	next, stop := iter.Pull2(p.src.Pieces(ctx))
	defer stop()
	var end int64
	for {
		piece, err, more := next()
		switch {
		case !more:
			return nil
		case err != nil:
			return err
		case piece.Offset < end || piece.Offset%ClusterSize != 0 || piece.Length <= 0 || piece.Length > p.src.PieceSize() ||
			piece.Offset+int64(piece.Length) > p.src.Size() || piece.Length%ClusterSize != 0 && piece.Offset+int64(piece.Length) != p.src.Size():
			return fmt.Errorf("the piece of %d bytes at %d is out of place", piece.Length, piece.Offset)
		}
		end = piece.Offset + int64(piece.Length)
		var j *job
		select {
		case j = <-free:
		case <-ctx.Done():
			return ctx.Err()
		}
		j.piece = piece
		ordered <- j // has room for all jobs
		select {
		case todo <- j:
		case <-ctx.Done():
			j.done <- ctx.Err()
			return ctx.Err()
		}
	}
}

// work reads and compresses a piece.
func (p *pipeline) work(ctx context.Context, j *job) error {
	if j.in == nil {
		j.in = make([]byte, p.src.PieceSize())
		// What does not get smaller is tried first, in the place of the last cluster.
		j.out = make([]byte, 0, p.src.PieceSize()+2*ClusterSize)
	}
	in := j.in[:j.piece.Length]
	if err := p.src.ReadPiece(ctx, j.piece, in); err != nil {
		return err
	}
	var e *encoder
	select {
	case e = <-p.encoders:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.encoders <- e }()
	j.out, j.ends, j.clusters, j.zeros = j.out[:0], j.ends[:0], j.clusters[:0], 0
	first := j.piece.Offset / ClusterSize
	for at := 0; at < len(in); at += ClusterSize {
		data := in[at:min(at+ClusterSize, len(in))]
		if e.empty(data) {
			j.zeros++
			continue
		}
		if len(data) < ClusterSize { // the end of the disk
			data = append(append(make([]byte, 0, ClusterSize), data...), e.zero[len(data):]...)
		}
		out, raw, err := e.append(j.out, data)
		if err != nil {
			return err
		}
		j.out = out
		j.ends = append(j.ends, len(out))
		j.clusters = append(j.clusters, cluster{index: first + int64(at/ClusterSize), raw: raw})
	}
	begin := 0 // out has moved while it grew
	for i, end := range j.ends {
		j.clusters[i].data = j.out[begin:end]
		begin = end
	}
	return nil
}

// write waits for a piece and writes it.
func (p *pipeline) write(ctx context.Context, l layout, j *job, stats *Stats) error {
	// A piece that ctx has cut short says so; there is no other way to wait.
	if err := <-j.done; err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, ctx.Err()) {
			return cause
		}
		return err
	}
	for _, cl := range j.clusters {
		if err := l.add(ctx, cl); err != nil {
			return err
		}
		if cl.raw {
			stats.Plain++
		} else {
			stats.Packed++
		}
	}
	stats.Pieces++
	stats.Read += int64(j.piece.Length)
	stats.Zeros += j.zeros
	stats.Written = p.file.at
	if p.options.Progress != nil {
		p.options.Progress(*stats)
	}
	return nil
}
