// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package imagestream_test

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/diskimage"
	"github.com/armfree/packer-plugin-armfree/internal/imagefile"
	"github.com/armfree/packer-plugin-armfree/internal/imagestream"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) { t.Helper(); synctest.Test(t, test) }

// importObject imports the object as an image for Ampere.
func (k *kit) importObject(t *testing.T) {
	t.Helper()
	m := &oci.Importer{
		Client: k.client, Label: "production", Compartment: k.tenancy.CompartmentID, Shapes: []string{"VM.Standard.A1.Flex"},
		Owner: owner.NewBuild(time.Now(), time.Hour), Timeout: time.Hour, Say: func(string, ...any) {},
	}
	link, err := k.bucket.Share(t.Context(), object, "link", cloud.Read, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	i := cloud.Import{From: link, Name: "copy", Mark: "copy", Token: m.Owner.Token("import")}
	id, job, err := m.Import(t.Context(), i)
	if err == nil {
		err = m.AwaitImport(t.Context(), id, job, func(float64) {})
	}
	if err == nil {
		err = m.Seal(t.Context(), id, i)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// From a snapshot of one cloud to an image of the other, byte by byte.
func TestSnapshotToImage(t *testing.T) {
	for _, o := range []diskimage.Options{{}, {Compression: diskimage.Deflate}, {Compression: diskimage.None}} {
		bubble(t, func(t *testing.T) {
			k := newKit(t)
			var progress []imagestream.Progress
			r, err := k.run(t.Context(), func(j *imagestream.Job) {
				j.Image, j.ProgressEvery, j.FullSize = o, time.Nanosecond, 5*block
				j.Progress = func(p imagestream.Progress) { progress = append(progress, p) }
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Read != 5*block || r.Zeros == 0 || r.Plain == 0 || r.Uploaded <= r.Written || r.Kept != 0 {
				t.Errorf("%+v", r)
			}
			if len(progress) == 0 || progress[len(progress)-1].Full != 5*block || !strings.Contains(progress[len(progress)-1].String(), "% ") && !strings.Contains(progress[len(progress)-1].String(), " %:") {
				t.Errorf("%v", progress)
			}
			if got := k.contents(); !slices.Equal(got, []string{object}) {
				t.Errorf("in the bucket: %v", got)
			}
			k.importObject(t)
			sameDisk(t, k.disk, k.imported(t))
		})
	}
}

// flow is the requests of a whole run, by operation.
func flow(t *testing.T) (aws, oci map[string]int) {
	aws, oci = map[string]int{}, map[string]int{}
	bubble(t, func(t *testing.T) {
		k := newKit(t)
		a, o := len(k.aws.Requests()), len(k.oci.Requests())
		if _, err := k.run(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for _, r := range k.aws.Requests()[a:] {
			aws[r.Op]++
		}
		for _, r := range k.oci.Requests()[o:] {
			oci[r.Op]++
		}
	})
	return aws, oci
}

// Every request of the flow, as the simulators list them, fails once in each of the
// ways that a request can fail; the image is right all the same, and nothing else is
// left.
func TestEveryRequestFails(t *testing.T) {
	aws, oci := flow(t)
	if aws["GetSnapshotBlock"] != 5 || oci["UploadPart"] < 4 || oci["CommitMultipartUpload"] != 1 {
		t.Fatalf("%v, %v", aws, oci)
	}
	check := func(t *testing.T, k *kit, hit func() int) {
		if _, err := k.run(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := k.contents(); !slices.Equal(got, []string{object}) || hit() == 0 {
			t.Errorf("in the bucket: %v; the fault was hit %d times", got, hit())
		}
		k.importObject(t)
		sameDisk(t, k.disk, k.imported(t))
	}
	for op, n := range aws {
		for _, f := range []ec2sim.Fault{
			{Kind: ec2sim.FaultStatus, Status: 500, Code: "InternalServerException"}, {Kind: ec2sim.FaultStatus, Status: 400, Code: "RequestThrottledException"},
			{Kind: ec2sim.FaultStatus, Status: 503}, {Kind: ec2sim.FaultCutAfterEffect}, {Kind: ec2sim.FaultStatusAfterEffect, Status: 500},
		} {
			for i := range n {
				t.Run(fmt.Sprintf("%s %s %d %d", op, f.Kind, f.Status, i), func(t *testing.T) {
					sample.Case(t)
					bubble(t, func(t *testing.T) {
						k := newKit(t)
						if err := k.aws.AddFaults(ec2sim.Fault{Kind: f.Kind, Op: op, Status: f.Status, Code: f.Code, Times: 1, Skip: i}); err != nil {
							t.Fatal(err)
						}
						check(t, k, func() int { return k.aws.Faults()[0].Matched })
					})
				})
			}
		}
	}
	for op, n := range oci {
		for _, f := range []ocisim.Fault{
			{Kind: ocisim.FaultStatus, Status: 500, Code: "InternalServerError"}, {Kind: ocisim.FaultStatus, Status: 429, Code: "TooManyRequests"},
			{Kind: ocisim.FaultStatus, Status: 502}, {Kind: ocisim.FaultCutAfterEffect}, {Kind: ocisim.FaultStatusAfterEffect, Status: 500, Code: "InternalServerError"},
			{Kind: ocisim.FaultMalformedHeader},
		} {
			for i := range n {
				t.Run(fmt.Sprintf("%s %s %d %d", op, f.Kind, f.Status, i), func(t *testing.T) {
					sample.Case(t)
					bubble(t, func(t *testing.T) {
						k := newKit(t)
						if err := k.oci.AddFaults(ocisim.Fault{Kind: f.Kind, Op: op, Status: f.Status, Code: f.Code, Times: 1, Skip: i}); err != nil {
							t.Fatal(err)
						}
						check(t, k, func() int { return k.oci.Faults()[0].Matched })
					})
				})
			}
		}
	}
}

// A request that fails for good ends the run, and nothing is left of it.
func TestNothingIsLeft(t *testing.T) {
	aws, oci := flow(t)
	left := func(t *testing.T, k *kit) {
		if _, err := k.run(t.Context(), nil); err == nil {
			t.Error("the run went well")
		}
		if got := k.contents(); len(got) != 0 {
			t.Errorf("left: %v", got)
		}
	}
	for op, n := range aws {
		for i := range n {
			t.Run(fmt.Sprintf("%s %d", op, i), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					k := newKit(t)
					if err := k.aws.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: op, Status: 403, Code: "AccessDeniedException", Skip: i}); err != nil {
						t.Fatal(err)
					}
					left(t, k)
				})
			})
		}
	}
	for op, n := range oci {
		for i := range n {
			t.Run(fmt.Sprintf("%s %d", op, i), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					k := newKit(t)
					if err := k.oci.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 404, Code: "BucketNotFound", Skip: i}); err != nil {
						t.Fatal(err)
					}
					left(t, k)
				})
			})
		}
	}
}

// A run whose parts were kept, or that was killed, is gone on with.
func TestSecondRun(t *testing.T) {
	_, oci := flow(t)
	for i := range oci["UploadPart"] {
		bubble(t, func(t *testing.T) {
			k := newKit(t)
			// The first part is the last one: by then all others are there.
			if err := k.oci.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "UploadPart", Status: 403, Code: "NotAllowed", Skip: i}); err != nil {
				t.Fatal(err)
			}
			if _, err := k.run(t.Context(), func(j *imagestream.Job) { j.Keep, j.Uploads = true, 1 }); err == nil {
				t.Fatal("the first run went well")
			}
			if got := k.contents(); !slices.Equal(got, []string{"up:" + object}) {
				t.Fatalf("left: %v", got)
			}
			k.oci.ResetFaults()
			before := k.oci.CountRequests("UploadPart")
			r, err := k.run(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if sent := k.oci.CountRequests("UploadPart") - before; r.Kept != i || sent != oci["UploadPart"]-i {
				t.Errorf("%d parts kept, %d sent after %d of %d", r.Kept, sent, i, oci["UploadPart"])
			}
			k.importObject(t)
			sameDisk(t, k.disk, k.imported(t))
		})
	}
}

// A cancel, wherever it comes, ends the run at once and leaves nothing.
func TestCancelled(t *testing.T) {
	for _, op := range []string{"ListSnapshotBlocks", "GetSnapshotBlock", "CreateMultipartUpload", "UploadPart", "CommitMultipartUpload"} {
		t.Run(op, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				k := newKit(t)
				// What fails is asked again, until the cancel.
				aws := ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: op, Status: 500, Code: "InternalServerException"}
				if strings.Contains(op, "Snapshot") {
					if err := k.aws.AddFaults(aws); err != nil {
						t.Fatal(err)
					}
				} else if err := k.oci.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 500, Code: "InternalServerError"}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				start := time.Now()
				_, err := k.run(ctx, nil)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 21*time.Second {
					t.Errorf("%v after %s", err, time.Since(start))
				}
				if got := k.contents(); len(got) != 0 {
					t.Errorf("left: %v", got)
				}
			})
		})
	}
}

// An upload that cannot be aborted is named.
func TestAbortFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKit(t)
		for _, op := range []string{"UploadPart", "AbortMultipartUpload"} {
			if err := k.oci.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: op, Status: 403, Code: "NotAllowed"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := k.run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "left behind") || !strings.Contains(err.Error(), object) {
			t.Error(err)
		}
	})
}

// What OCI would not take is refused before anything is begun.
func TestRefused(t *testing.T) {
	begin := func(context.Context) (imagestream.Object, error) { t.Error("begun"); return nil, errors.New("begun") }
	_, err := imagestream.Run(t.Context(), imagestream.Job{Source: sized{disk{}, 401 << 30}, Begin: begin})
	if err == nil || !strings.Contains(err.Error(), "400.0 GiB") {
		t.Error(err)
	}
}

type sized struct {
	disk
	size int64
}

func (s sized) Size() int64 { return s.size }

// An image file of somebody's own takes the same way.
func TestFileToImage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		k := newKit(t)
		data, err := os.ReadFile(k.disk)
		if err != nil {
			t.Fatal(err)
		}
		image, err := imagefile.Open(t.Context(), imagefile.Options{File: k.disk, Checksum: fmt.Sprintf("%x", sha512.Sum512(data))})
		if err != nil {
			t.Fatal(err)
		}
		defer image.Close()
		if _, err := k.run(t.Context(), func(j *imagestream.Job) { j.Source = image }); err != nil {
			t.Fatal(err)
		}
		k.importObject(t)
		sameDisk(t, k.disk, k.imported(t))
	})
}
