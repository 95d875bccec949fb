// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

const exportBucket = "armfree-exports"

// exporting is a template that has EC2 export the AMI to S3, where that is set up.
func (f *flying) exporting(t *testing.T) map[string]interface{} {
	t.Helper()
	if err := f.aws.AddBucket(f.account, awsRegion, exportBucket); err != nil {
		t.Fatal(err)
	}
	if err := f.aws.AddExportRole(f.account, "vmimport", exportBucket); err != nil {
		t.Fatal(err)
	}
	in := f.settings()
	in["export_image"] = map[string]interface{}{"s3_bucket_name": exportBucket, "s3_prefix": "a b+=@~/"}
	return in
}

// clean says what of an export is left.
func (f *flying) clean(t *testing.T, said string) {
	t.Helper()
	if left := f.aws.Left(); len(left) > 0 {
		t.Errorf("left at AWS: %q\n%s", left, said)
	}
}

// By way of S3 the same image arrives, byte by byte, and nothing stays on the way.
func TestStreamByS3(t *testing.T) {
	inFlight(t, blocks(30), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		image, said, err := f.copy(t.Context(), t, f.exporting(t))
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		for _, want := range []string{"EC2 is asked to export image " + f.ami + " to the bucket armfree-exports", "whether it does so for arm64 is not documented", "EC2 has exported"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not said:\n%s", want, said)
			}
		}
		f.mustLeave(t, image, said)
		f.clean(t, said)
		sameDisk(t, f.disk, f.imported(t)[0])
		for op, want := range map[string]int{"ListSnapshotBlocks": 0, "GetSnapshotBlock": 0, "DeleteObject": 1} {
			if n := f.aws.CountRequests(op); n != want {
				t.Errorf("%d times %s", n, op)
			}
		}
		if n := f.aws.CountRequests("GetObject"); n < 5 || n > 60 {
			t.Errorf("the object was read by %d requests", n)
		}
	})
}

// What EC2 would refuse is refused before anything is started.
func TestExportLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		image  func(*ec2sim.BaseImage)
		change func(t *testing.T, f *flying, in map[string]interface{})
		says   string
	}{
		"marketplace": {image: func(b *ec2sim.BaseImage) { b.ProductCode = "abc123" }, says: "it is from the Marketplace or was made of one that is (product code abc123)"},
		"encrypted":   {image: func(b *ec2sim.BaseImage) { b.Encrypted = true }, says: "its volume /dev/xvda is encrypted"},
		"hybrid":      {image: func(b *ec2sim.BaseImage) { b.BootMode = "uefi-preferred" }, says: "boot mode uefi-preferred"},
		"no bucket": {change: func(_ *testing.T, _ *flying, in map[string]interface{}) {
			in["export_image"] = map[string]interface{}{"s3_bucket_name": "there-is-none"}
		}, says: `there is no bucket "there-is-none"; create it in eu-central-1`},
		"another region": {change: func(t *testing.T, f *flying, in map[string]interface{}) {
			if err := f.aws.AddBucket(f.account, "us-east-1", "far-away"); err != nil {
				t.Fatal(err)
			}
			in["export_image"] = map[string]interface{}{"s3_bucket_name": "far-away"}
		}, says: `the bucket "far-away" is in us-east-1 and the image in eu-central-1`},
		"another region, said by a refusal": {change: func(t *testing.T, f *flying, _ map[string]interface{}) {
			fault(t, f, ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetBucketLocation", Status: 400, Code: "AuthorizationHeaderMalformed"})
		}, says: "is not in eu-central-1, where the image is"},
		"somebody else's bucket": {change: func(t *testing.T, f *flying, _ map[string]interface{}) {
			fault(t, f, ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetBucketLocation", Status: 403, Code: "AccessDenied"})
		}, says: "the user needs the permission s3:GetBucketLocation"},
		"not allowed": {change: func(t *testing.T, f *flying, _ map[string]interface{}) {
			fault(t, f, ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "ExportImage", Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."})
		}, says: "the user needs the permission ec2:ExportImage"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlyingWith(t, blocks(1), tt.image)
				f.tag(t, proven())
				in := f.exporting(t)
				if tt.change != nil {
					tt.change(t, f, in)
				}
				_, said, err := f.copy(t.Context(), t, in)
				if err == nil || !strings.Contains(said, tt.says) || !strings.Contains(said, "nothing was started") {
					t.Errorf("%v, want %q\n%s", err, tt.says, said)
				}
				if left := f.left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
				f.clean(t, said)
			})
		})
	}
}

func fault(t *testing.T, f *flying, x ec2sim.Fault) {
	t.Helper()
	if err := f.aws.AddFaults(x); err != nil {
		t.Fatal(err)
	}
}

// What EC2 says only once it is asked ends the copy with its reason, and nothing left.
func TestExportFails(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, f *flying, in map[string]interface{})
		says   []string
	}{
		"later": {func(t *testing.T, f *flying, _ map[string]interface{}) {
			fault(t, f, ec2sim.Fault{Kind: ec2sim.FaultExportFails, Message: "ClientError: GRUB2 must be enabled for BIOS or UEFI, not both"})
		}, []string{"EC2 gave up the export export-ami-", "ClientError: GRUB2 must be enabled for BIOS or UEFI, not both", "Without the block export_image"}},
		"no role": {func(_ *testing.T, _ *flying, in map[string]interface{}) {
			in["export_image"] = map[string]interface{}{"s3_bucket_name": exportBucket, "role_name": "nobody"}
		}, []string{`export_image.role_name: EC2 cannot use the role "nobody"`, "vmie.amazonaws.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.exporting(t)
				tt.change(t, f, in)
				_, said, err := f.copy(t.Context(), t, in)
				if err == nil {
					t.Fatalf("it was copied\n%s", said)
				}
				for _, want := range tt.says {
					if !strings.Contains(said, want) {
						t.Errorf("%q is not said:\n%s", want, said)
					}
				}
				if left := f.left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
				f.clean(t, said)
			})
		})
	}
}

// Whether EC2 exports images for arm64 at all is not known: where it does not, that is
// said, and how to go on.
func TestExportOfARM64IsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlyingCloud(t, blocks(1), nil, func(c *ec2sim.Config) { c.Switches.ARM64NotExportable = true })
		f.tag(t, proven())
		_, said, err := f.copy(t.Context(), t, f.exporting(t))
		if err == nil || !strings.Contains(said, "EC2 does not export image "+f.ami+"; leave the block export_image out") {
			t.Errorf("%v\n%s", err, said)
		}
		f.clean(t, said)
	})
}

// exportMoments are the requests to AWS of the way by S3, by their number. What may happen
// to the others is looked at on the way without S3.
func exportMoments(t *testing.T) map[int]string {
	t.Helper()
	moments := map[int]string{}
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		in := f.exporting(t)
		var mu sync.Mutex
		f.wire.reset(func(_ http.ResponseWriter, r *http.Request, n int) bool {
			mu.Lock()
			defer mu.Unlock()
			if amazon(r) {
				moments[n] = r.Method + " " + r.URL.Path
			}
			return false
		})
		image, said, err := f.copy(t.Context(), t, in)
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		f.mustLeave(t, image, said)
	})
	all := strings.Join(slices.Collect(maps.Values(moments)), "\n")
	for _, want := range []string{"GET /a b+=@~/export-ami-", "DELETE /a b+=@~/export-ami-", "POST /"} {
		if !strings.Contains(all, want) {
			t.Fatalf("%q is not among %q", want, all)
		}
	}
	return moments
}

// Whatever goes wrong once at any request of the way by S3, the copy comes to its end.
func TestExportOneFaultAnywhere(t *testing.T) {
	faults := map[string]func(*flying, http.ResponseWriter, *http.Request){
		"throttled": func(_ *flying, w http.ResponseWriter, r *http.Request) { awsProblem(w, r, true) },
		"500":       func(_ *flying, w http.ResponseWriter, r *http.Request) { awsProblem(w, r, false) },
		"reset":     func(*flying, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"lost": func(f *flying, _ http.ResponseWriter, r *http.Request) {
			f.serve(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		},
	}
	for i, op := range exportMoments(t) {
		for kind, fault := range faults {
			if !takes(kind, i) {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", kind, i, op), func(t *testing.T) {
				t.Parallel()
				inFlight(t, blocks(1), func(t *testing.T, f *flying) {
					f.tag(t, proven())
					in := f.exporting(t)
					happened := false
					f.wire.reset(func(w http.ResponseWriter, r *http.Request, n int) bool {
						if n != i {
							return false
						}
						happened = true
						fault(f, w, r)
						return true
					})
					image, said, err := f.copy(t.Context(), t, in)
					if err != nil || !happened || strings.Contains(said, "Cleanup:") {
						t.Fatalf("%v, happened: %t\n%s", err, happened, said)
					}
					f.mustLeave(t, image, said)
					f.clean(t, said)
					sameDisk(t, f.disk, f.imported(t)[0])
				})
			})
		}
	}
}

// Cancelled at any request, the copy ends soon: the export is cancelled and its object
// deleted.
func TestExportCancelledAnywhere(t *testing.T) {
	for i, op := range exportMoments(t) {
		t.Run(fmt.Sprintf("%d %s", i, op), func(t *testing.T) {
			sample.Case(t)
			t.Parallel()
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.exporting(t)
				ctx, cancel := context.WithCancel(t.Context())
				var at time.Time
				f.wire.reset(func(_ http.ResponseWriter, _ *http.Request, n int) bool {
					if n == i {
						at = time.Now()
						cancel()
					}
					return false
				})
				image, said, err := f.copy(ctx, t, in)
				if d := time.Since(at); at.IsZero() || d > time.Minute {
					t.Errorf("went on for %s", d)
				}
				f.clean(t, said)
				if err == nil {
					f.mustLeave(t, image, said)
					f.mustHold(t, f.disk)
				} else if left := f.left(); len(left) > 0 {
					t.Errorf("left: %q\n%s", left, said)
				}
			})
		})
	}
}

// Killed after any request, the copy is taken up by the next run, which uses or removes
// what was exported.
func TestExportKilledAnywhere(t *testing.T) {
	for i, op := range exportMoments(t) {
		t.Run(fmt.Sprintf("%d %s", i, op), func(t *testing.T) {
			sample.Case(t)
			t.Parallel()
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.exporting(t)
				ctx, cancel := context.WithCancel(t.Context())
				f.wire.reset(f.killAfter(i, cancel))
				_, _, _ = f.copy(ctx, t, in)
				f.wire.reset(nil)
				if i%2 == 1 {
					time.Sleep(time.Hour)
				}
				image, said, err := f.copy(t.Context(), t, in)
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				f.mustLeave(t, image, said)
				f.mustHold(t, f.disk)
				f.clean(t, said)
			})
		})
	}
}
