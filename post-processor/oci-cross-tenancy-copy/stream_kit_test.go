// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

const (
	awsRegion = "eu-central-1"
	ebsBlock  = 512 << 10
)

// flying is a virtual cloud with Amazon's beside it, where there is an AMI.
type flying struct {
	*virtual
	aws     *ec2sim.Cloud
	account *ec2sim.Account
	ami     string
	disk    string // a qcow2 file with what is on the AMI's disk
}

// noise is a disk of 8 GiB of which a few blocks hold something that cannot be
// compressed.
type noise []int64

func (noise) Size() int64    { return 8 << 30 }
func (noise) PieceSize() int { return ebsBlock }

func (n noise) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for _, i := range n {
			if !yield(diskimage.Piece{Offset: i * ebsBlock, Length: ebsBlock}, nil) {
				return
			}
		}
	}
}

func (noise) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	r := rand.New(rand.NewPCG(uint64(p.Offset), 7))
	for i := 0; i < len(buf); i += 8 {
		v := r.Uint64()
		for j := range min(8, len(buf)-i) {
			buf[i+j] = byte(v >> (8 * j))
		}
	}
	clear(buf[3*len(buf)/4:])
	return nil
}

// blocks are n blocks at the beginning of a disk, one in the middle and the last one.
func blocks(n int64) noise {
	var all noise
	for i := range n {
		all = append(all, i)
	}
	return append(all, 9000, 16383)
}

// memory is an image file in memory.
type memory struct{ bytes.Buffer }

func (m *memory) Write(_ context.Context, p []byte) error {
	_, err := m.Buffer.Write(p)
	return err
}

func (m *memory) Finish(_ context.Context, front []byte) error {
	copy(m.Bytes(), front)
	return nil
}

// qcow2 writes a disk into a file.
func qcow2(t *testing.T, d diskimage.Source) string {
	t.Helper()
	var m memory
	if _, err := diskimage.Write(t.Context(), &m, d, diskimage.Options{Compression: diskimage.None}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(path, m.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newFlying(t *testing.T, d noise) *flying { t.Helper(); return newFlyingWith(t, d, nil) }

func newFlyingWith(t *testing.T, d noise, change func(*ec2sim.BaseImage)) *flying {
	t.Helper()
	return newFlyingCloud(t, d, change, nil)
}

func newFlyingCloud(t *testing.T, d noise, change func(*ec2sim.BaseImage), config func(*ec2sim.Config)) *flying {
	t.Helper()
	f := &flying{virtual: newVirtual(t), account: ec2sim.NewAccount("build"), disk: qcow2(t, d)}
	image := ec2sim.BaseImage{Name: "debian-12-arm64-mine", Path: f.disk, Owner: f.account, Regions: []string{awsRegion}}
	if change != nil {
		change(&image)
	}
	cfg := ec2sim.Config{
		Accounts: []*ec2sim.Account{f.account}, Driver: machine.Idle{}, WorkDir: t.TempDir(), Offline: true, Images: []ec2sim.BaseImage{image},
	}
	if config != nil {
		config(&cfg)
	}
	var err error
	f.aws, err = ec2sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.aws.Close(); err != nil {
			t.Error(err)
		}
	})
	oracle := f.wire.next
	f.wire.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case amazon(r):
			f.aws.ServeHTTP(w, r)
		case r.Host == "images.example":
			http.ServeFile(w, r, f.disk)
		default:
			oracle.ServeHTTP(w, r)
		}
	})
	f.ami = f.aws.ImageID(awsRegion, "debian-12-arm64-mine")
	f.wire.reset(nil)
	return f
}

// amazon says whose host a request is for.
func amazon(r *http.Request) bool { return strings.Contains(r.Host, "amazonaws.com") }

// inFlight plays a test in virtual time.
func inFlight(t *testing.T, d noise, test func(t *testing.T, f *flying)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newFlying(t, d)) })
}

// settings is a template that copies the AMI.
func (f *flying) settings() map[string]interface{} {
	in := f.virtual.settings("direct")
	delete(in, "source_image_ocid")
	in["source_ami"] = f.ami
	in["aws"] = map[string]interface{}{"region": awsRegion, "access_key": f.account.AccessKeyID, "secret_key": f.account.SecretAccessKey}
	return in
}

// client is EC2 as the owner of the account sees it.
func (f *flying) client() *ec2.Client {
	return ec2.NewFromConfig(aws.Config{
		Region: awsRegion, HTTPClient: f.http, Credentials: credentials.NewStaticCredentialsProvider(f.account.AccessKeyID, f.account.SecretAccessKey, ""),
	})
}

// tag gives the AMI and its snapshot tags as a build would.
func (f *flying) tag(t *testing.T, tags map[string]string) {
	t.Helper()
	var list []ec2types.Tag
	for k, v := range tags {
		list = append(list, ec2types.Tag{Key: &k, Value: &v})
	}
	images, err := f.client().DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{f.ami}})
	if err != nil {
		t.Fatal(err)
	}
	shot := *images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
	if _, err := f.client().CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{f.ami, shot}, Tags: list}); err != nil {
		t.Fatal(err)
	}
	f.wire.reset(nil)
}

// after copies what a builder made.
func (f *flying) after(ctx context.Context, t *testing.T, in map[string]interface{}, a packersdk.Artifact) (string, string, error) {
	t.Helper()
	p := &PostProcessor{Mask: new(mask.Masker), HTTP: f.http}
	if err := p.Configure(in); err != nil {
		t.Fatal(err)
	}
	var out inpacker.Output
	got, _, _, err := p.PostProcess(ctx, &packersdk.BasicUi{Writer: &out, ErrorWriter: &out}, a)
	if err != nil {
		return "", out.String() + err.Error(), err
	}
	return got.Id(), out.String(), nil
}

// imported are the files of the images that were imported.
func (f *flying) imported(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.dir, "images", "*.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(name string) bool { return name == f.base })
}

// mustHold says that there is one imported image, and that its disk is the one of a file.
func (f *flying) mustHold(t *testing.T, disk string) {
	t.Helper()
	files := f.imported(t)
	if len(files) != 1 {
		t.Fatalf("files %q", files)
	}
	sameDisk(t, disk, files[0])
}

// mustHoldBytes says that there is one imported image, and that its disk has these bytes and
// no other.
func (f *flying) mustHoldBytes(t *testing.T, want []byte) {
	t.Helper()
	files := f.imported(t)
	if len(files) != 1 {
		t.Fatalf("files %q", files)
	}
	d, err := machine.OpenDisk(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got := make([]byte, d.Size())
	if _, err := d.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the disk of %d bytes is not the %d bytes that were in the file", len(got), len(want))
	}
}

// sameDisk compares two qcow2 files by the simulators' own reader, block by block.
func sameDisk(t *testing.T, want, got string) {
	t.Helper()
	if err := machine.SameDisks(want, got); err != nil {
		t.Error(err)
	}
}
