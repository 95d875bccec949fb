// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/ebsdirect"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	awsRegion = "eu-central-1"
	ociRegion = "eu-frankfurt-1"
	object    = "debian.oci"
	block     = 512 << 10
	partSize  = 256 << 10
)

var tenancy = sync.OnceValue(func() *ocisim.Tenancy {
	t, err := ocisim.NewTenancy("build", ociRegion)
	if err != nil {
		panic(err)
	}
	return t
})

// kit is both clouds, with a snapshot in one and an empty bucket in the other.
type kit struct {
	aws      *ec2sim.Cloud
	oci      *ocisim.Cloud
	dir      string // of the OCI simulator
	disk     string // of the snapshot
	snapshot string
	tenancy  *ocisim.Tenancy
	blocks   *ec2.Client
	client   *oci.Client
	bucket   *oci.Bucket
}

// memory is an Output.
type memory struct{ bytes.Buffer }

func (m *memory) Write(_ context.Context, p []byte) error {
	_, err := m.Buffer.Write(p)
	return err
}

func (m *memory) Finish(_ context.Context, front []byte) error {
	copy(m.Bytes(), front)
	return nil
}

// disk is made of few blocks, far apart, with something in each.
type disk struct{ indexes []int64 }

func (disk) Size() int64    { return 8 << 30 }
func (disk) PieceSize() int { return block }

func (d disk) Pieces(context.Context) iter.Seq2[diskimage.Piece, error] {
	return func(yield func(diskimage.Piece, error) bool) {
		for _, i := range d.indexes {
			if !yield(diskimage.Piece{Offset: i * block, Length: block}, nil) {
				return
			}
		}
	}
}

func (disk) ReadPiece(_ context.Context, p diskimage.Piece, buf []byte) error {
	r := rand.New(rand.NewPCG(uint64(p.Offset), 1))
	clear(buf)
	for i := range buf[:len(buf)/2] { // noise, then zeros, and a text between
		buf[i] = byte(r.Uint32())
	}
	copy(buf[3*len(buf)/4:], bytes.Repeat([]byte("some text of the disk\n"), 2000))
	return nil
}

func newKit(t *testing.T, indexes ...int64) *kit {
	t.Helper()
	if indexes == nil {
		indexes = []int64{0, 1, 700, 9000, 16383}
	}
	k := &kit{dir: t.TempDir()}
	var image memory
	if _, err := diskimage.Write(t.Context(), &image, disk{indexes}, diskimage.Options{Compression: diskimage.None}); err != nil {
		t.Fatal(err)
	}
	k.disk = filepath.Join(t.TempDir(), "disk.qcow2")
	if err := os.WriteFile(k.disk, image.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	k.startAWS(t)
	k.startOCI(t)
	return k
}

func pipe(t *testing.T, h http.Handler) *http.Client {
	c := simnet.Pipe(h)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (k *kit) startAWS(t *testing.T) {
	t.Helper()
	account := ec2sim.NewAccount("build")
	var err error
	k.aws, err = ec2sim.New(ec2sim.Config{
		Accounts: []*ec2sim.Account{account}, Driver: machine.Idle{}, WorkDir: t.TempDir(), Offline: true,
		Images: []ec2sim.BaseImage{{Name: "mine", Path: k.disk, Owner: account, Regions: []string{awsRegion}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.aws.Close() })
	web := pipe(t, k.aws)
	if k.blocks, err = ec2.NewClient(t.Context(), ec2.Credentials{
		Region: awsRegion, AccessKey: account.AccessKeyID, SecretKey: account.SecretAccessKey, NoIMDS: true,
	}, ec2.Options{HTTP: web}); err != nil {
		t.Fatal(err)
	}
	list, err := awsec2.NewFromConfig(aws.Config{
		Region: awsRegion, HTTPClient: web, Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
	}).DescribeImages(t.Context(), &awsec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil || len(list.Images) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	k.snapshot = *list.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId
}

func (k *kit) startOCI(t *testing.T) {
	t.Helper()
	k.tenancy = tenancy()
	var err error
	k.oci, err = ocisim.New(ocisim.Config{Tenancies: []*ocisim.Tenancy{k.tenancy}, Driver: machine.Idle{}, WorkDir: k.dir, MinPartSize: partSize})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.oci.Close() })
	web := pipe(t, k.oci)
	if k.client, err = oci.NewClient(oci.Credentials{
		Tenancy: k.tenancy.ID, User: k.tenancy.UserID, Fingerprint: k.tenancy.Fingerprint(), KeyPEM: k.tenancy.PrivateKeyPEM(), Region: ociRegion,
	}, oci.Options{HTTP: web}); err != nil {
		t.Fatal(err)
	}
	sdk, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(k.tenancy.ID, k.tenancy.UserID, ociRegion, k.tenancy.Fingerprint(), k.tenancy.PrivateKeyPEM(), nil))
	if err != nil {
		t.Fatal(err)
	}
	sdk.HTTPClient = web
	name := "images"
	if _, err := sdk.CreateBucket(t.Context(), objectstorage.CreateBucketRequest{
		NamespaceName: &k.tenancy.Namespace, CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &name, CompartmentId: &k.tenancy.CompartmentID},
	}); err != nil {
		t.Fatal(err)
	}
	k.bucket = &oci.Bucket{Client: k.client, Namespace: k.tenancy.Namespace, Bucket: name}
}

// run streams the snapshot into the bucket.
func (k *kit) run(ctx context.Context, change func(*imagestream.Job)) (imagestream.Result, error) {
	src, err := ebsdirect.Open(ctx, k.blocks.Blocks(64), k.snapshot, ebsdirect.Options{Patience: time.Minute})
	if err != nil {
		return imagestream.Result{}, err
	}
	j := imagestream.Job{
		Source: src, PartSize: partSize, Uploads: 3,
		Begin:   func(ctx context.Context) (imagestream.Object, error) { return k.bucket.Upload(ctx, object) },
		Archive: &diskimage.Metadata{OperatingSystem: "Debian", OperatingSystemVersion: "12", Shapes: diskimage.ArmShapes()},
	}
	if change != nil {
		change(&j)
	}
	return imagestream.Run(ctx, j)
}

// contents is what is in the bucket: objects, and "up:" uploads.
func (k *kit) contents() (all []string) {
	for _, b := range k.oci.Inventory().Tenancies[0].Regions[0].Buckets {
		for _, o := range b.Objects {
			all = append(all, o.Name)
		}
		for _, u := range b.Uploads {
			all = append(all, "up:"+u.Object)
		}
	}
	return all
}

// sameDisk compares two qcow2 files by the simulators' own reader.
func sameDisk(t *testing.T, a, b string) {
	t.Helper()
	one, err := machine.OpenDisk(a)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	two, err := machine.OpenDisk(b)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if one.Size() != two.Size() {
		t.Fatalf("%d bytes and %d", one.Size(), two.Size())
	}
	indexes := map[int64]bool{}
	for _, d := range []*machine.Disk{one, two} {
		list, err := d.Blocks(block)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			indexes[i] = true
		}
	}
	if len(indexes) == 0 {
		t.Fatal("both disks are empty")
	}
	p, q := make([]byte, block), make([]byte, block)
	for i := range indexes {
		if _, err := one.ReadAt(p, i*block); err != nil {
			t.Fatal(err)
		}
		if _, err := two.ReadAt(q, i*block); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, q) {
			t.Errorf("block %d differs", i)
		}
	}
}

// imported is the file of the object's disk, as an import leaves it.
func (k *kit) imported(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "images", "*.qcow2"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	return files[0]
}

// What is on this computer must not decide about tests.
func TestMain(m *testing.M) {
	if what := os.Getenv(benchChild); what != "" {
		if err := child(context.Background(), what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}
