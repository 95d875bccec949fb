// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
)

// liar is a service that says what it wants.
type liar struct {
	pages [][]int32
	size  int64
	block int32
	body  []byte
	sum   string
	n     int32
	kind  string
}

func (l *liar) ListSnapshotBlocks(_ context.Context, in *ebs.ListSnapshotBlocksInput, _ ...func(*ebs.Options)) (*ebs.ListSnapshotBlocksOutput, error) {
	page := 0
	if in.NextToken != nil {
		page = len(*in.NextToken)
	}
	out := &ebs.ListSnapshotBlocksOutput{BlockSize: &l.block, VolumeSize: &l.size, ExpiryTime: aws.Time(time.Now().Add(time.Hour))}
	if page < len(l.pages) {
		for _, i := range l.pages[page] {
			out.Blocks = append(out.Blocks, types.Block{BlockIndex: &i, BlockToken: aws.String("t")})
		}
	}
	if page+1 < len(l.pages) {
		out.NextToken = aws.String(string(make([]byte, page+1)))
	}
	return out, nil
}

func (l *liar) GetSnapshotBlock(context.Context, *ebs.GetSnapshotBlockInput, ...func(*ebs.Options)) (*ebs.GetSnapshotBlockOutput, error) {
	return &ebs.GetSnapshotBlockOutput{BlockData: io.NopCloser(bytes.NewReader(l.body)), Checksum: &l.sum, DataLength: &l.n, ChecksumAlgorithm: types.ChecksumAlgorithm(l.kind)}, nil
}

// FuzzList reads lists of blocks: what is handed out is within the volume, in order,
// and once.
func FuzzList(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 2}, 1, int64(8), int32(blockSize))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2}, 2, int64(1), int32(blockSize))
	f.Add([]byte{0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1}, 1, int64(1<<40), int32(1))
	f.Add([]byte{}, 0, int64(-1), int32(0))
	f.Fuzz(func(t *testing.T, raw []byte, each int, size int64, block int32) {
		l := &liar{size: size, block: block}
		for i := 0; i+4 <= len(raw) && len(l.pages) < 64; i += 4 {
			if n := len(l.pages); n == 0 || each > 0 && len(l.pages[n-1]) >= each {
				l.pages = append(l.pages, nil)
			}
			n := len(l.pages) - 1
			l.pages[n] = append(l.pages[n], int32(binary.BigEndian.Uint32(raw[i:]))) //nolint:gosec // on purpose
		}
		r, err := Open(t.Context(), l, "snap-1", Options{Patience: time.Millisecond})
		if err != nil {
			return
		}
		last := int64(-1)
		for p, err := range r.Pieces(t.Context()) {
			if err != nil {
				return
			}
			if p.Offset <= last || p.Length != blockSize || p.Offset+int64(p.Length) > r.Size() {
				t.Fatalf("%+v after %d in a volume of %d", p, last, r.Size())
			}
			last = p.Offset
		}
	})
}

// FuzzBlock reads blocks: one that is taken is whole and has its checksum.
func FuzzBlock(f *testing.F) {
	whole := make([]byte, blockSize)
	whole[7] = 1
	sum := sha256.Sum256(whole)
	zero := sha256.Sum256(make([]byte, blockSize))
	good, none := base64.StdEncoding.EncodeToString(sum[:]), base64.StdEncoding.EncodeToString(zero[:])
	f.Add(blockSize, byte(1), good, int32(blockSize), "SHA256")
	f.Add(blockSize, byte(0), none, int32(blockSize), "SHA256")
	f.Add(blockSize-1, byte(1), good, int32(blockSize), "SHA256")
	f.Add(blockSize+1, byte(1), good, int32(blockSize), "SHA256")
	f.Add(blockSize, byte(2), good, int32(blockSize), "SHA256")
	f.Add(3, byte(1), "!", int32(-1), "")
	f.Fuzz(func(t *testing.T, length int, seven byte, sum string, n int32, kind string) {
		body := make([]byte, max(0, min(length, 2*blockSize)))
		if len(body) > 7 {
			body[7] = seven
		}
		r := &Reader{api: &liar{body: body, sum: sum, n: n, kind: kind}, id: "snap-1", zeroSum: none}
		buf := bytes.Repeat([]byte{0xee}, blockSize)
		zero, err := r.get(t.Context(), 0, "t", buf)
		if err != nil {
			return
		}
		if zero {
			clear(buf)
		}
		got := sha256.Sum256(buf)
		if want, err := base64.StdEncoding.DecodeString(sum); err != nil || !bytes.Equal(got[:], want) || len(body) != blockSize {
			t.Errorf("%d bytes were taken for %q", len(body), sum)
		}
	})
}
