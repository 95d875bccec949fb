// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ebsdirect

import (
	"bytes"
	"context"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const region = "eu-central-1"

// kit is a cloud with one snapshot, whose bytes the test knows.
type kit struct {
	*ec2sim.Cloud
	account  *ec2sim.Account
	http     *http.Client
	snapshot string
	path     string
	blocks   map[int32][]byte
}

type kitOptions struct {
	config func(*ec2sim.Config)
	wrap   func(http.Handler) http.Handler
}

// known is a disk of known blocks.
type known map[int32][]byte

func (known) Size() int64    { return 8 << 30 }
func (known) PieceSize() int { return blockSize }

func (k known) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	var indexes []int32
	for i := range k {
		indexes = append(indexes, i)
	}
	slices.Sort(indexes)
	return func(yield func(diskimage.Piece, error) bool) {
		for _, i := range indexes {
			if !yield(diskimage.Piece{Offset: int64(i) * blockSize, Length: blockSize}, nil) {
				return
			}
		}
	}
}

func (k known) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	copy(buf, k[int32(p.Offset/blockSize)])
	return nil
}

// file is an Output.
type file struct{ bytes.Buffer }

func (f *file) Write(_ context.Context, p []byte) error {
	_, err := f.Buffer.Write(p)
	return err
}

func (f *file) Finish(_ context.Context, front []byte) error {
	copy(f.Bytes(), front)
	return nil
}

// erased is what test disks have where blocks of zeros are to be: a writer would leave
// them out, and only those are listed that were written.
func erased() []byte { return bytes.Repeat([]byte("ERASE ME"), blockSize/8) }

// disk is the image of a disk and its blocks. It is made once, for hundreds of tests.
var disk = sync.OnceValues(func() ([]byte, map[int32][]byte) {
	blocks := map[int32][]byte{}
	r := rand.NewChaCha8([32]byte{3, 4})
	for n, i := range []int32{0, 1, 2, 3, 7, 40, 41, 42, 300, 301, 5000, 5001, 9000, 16382, 16383} {
		b := make([]byte, blockSize)
		for j := 0; j < len(b); j += 1024 {
			b[j] = byte(r.Uint64() | 1)
		}
		if n%5 == 3 {
			b = erased()
		}
		blocks[i] = b
	}
	var out file
	if _, err := diskimage.Write(context.Background(), &out, known(blocks), diskimage.Options{Compression: diskimage.None}); err != nil {
		panic(err)
	}
	image := bytes.ReplaceAll(out.Bytes(), []byte("ERASE ME"), make([]byte, 8))
	for i, b := range blocks {
		if bytes.HasPrefix(b, []byte("ERASE ME")) {
			blocks[i] = make([]byte, blockSize)
		}
	}
	return image, blocks
})

func newKit(t *testing.T, o kitOptions) *kit {
	t.Helper()
	image, blocks := disk()
	k := &kit{account: ec2sim.NewAccount("build"), blocks: blocks}
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.qcow2")
	k.path = path
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := ec2sim.Config{
		Accounts: []*ec2sim.Account{k.account}, Driver: machine.Idle{}, WorkDir: dir, Offline: true,
		Images: []ec2sim.BaseImage{{Name: "mine", Path: path, Owner: k.account, Regions: []string{region}}},
	}
	if o.config != nil {
		o.config(&cfg)
	}
	var err error
	if k.Cloud, err = ec2sim.New(cfg); err != nil {
		t.Fatal(err)
	}
	var front http.Handler = k.Cloud
	if o.wrap != nil {
		front = o.wrap(front)
	}
	k.http = simnet.Pipe(front)
	t.Cleanup(func() {
		k.http.CloseIdleConnections()
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	list, err := ec2.NewFromConfig(k.config()).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil || len(list.Images) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	k.snapshot = *list.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
	return k
}

func (k *kit) config() aws.Config {
	return aws.Config{
		Region: region, Credentials: credentials.NewStaticCredentialsProvider(k.account.AccessKeyID, k.account.SecretAccessKey, ""),
		HTTPClient: k.http, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (k *kit) api() *ebs.Client { return ebs.NewFromConfig(k.config()) }

// fail adds faults.
func (k *kit) fail(t *testing.T, faults ...ec2sim.Fault) {
	t.Helper()
	if err := k.AddFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

// read reads the whole snapshot, as an image is written of it, and checks every block.
func (k *kit) read(t *testing.T, o Options, also func(diskimage.Piece)) (*Reader, error) {
	t.Helper()
	r, err := Open(t.Context(), k.api(), k.snapshot, o)
	if err != nil {
		return nil, err
	}
	var out file
	watched := &watched{Reader: r, also: also}
	if _, err := diskimage.Write(t.Context(), &out, watched, diskimage.Options{Readers: 4, Compression: diskimage.None}); err != nil {
		return r, err
	}
	src, err := diskimage.Open(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	buf, n := make([]byte, blockSize), 0
	for p, err := range src.Pieces(t.Context()) {
		if err == nil {
			err = src.ReadPiece(t.Context(), p, buf)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n++; !bytes.Equal(buf, k.blocks[int32(p.Offset/blockSize)]) {
			t.Fatalf("block %d differs", p.Offset/blockSize)
		}
	}
	if s := r.Stats(); n != 12 || s.Blocks != 15 || s.Zeros != 3 {
		t.Fatalf("%d blocks are not zero; %+v", n, s)
	}
	return r, nil
}

// watched tells of each block that is asked for.
type watched struct {
	*Reader
	also func(diskimage.Piece)
}

func (w *watched) ReadPiece(ctx context.Context, p diskimage.Piece, buf []byte) error {
	if w.also != nil {
		w.also(p)
	}
	return w.Reader.ReadPiece(ctx, p, buf)
}

// many gives a kit another snapshot, of so many blocks in a row.
func many(t *testing.T, k *kit, n int32) {
	t.Helper()
	blocks := known{}
	for i := range n {
		blocks[i] = bytes.Repeat([]byte{byte(i) | 1}, blockSize)
	}
	var out file
	if _, err := diskimage.Write(t.Context(), &out, blocks, diskimage.Options{Compression: diskimage.Deflate}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(k.path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}
