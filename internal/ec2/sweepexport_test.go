// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

const exportsBucket = "exports-of-tests"

// exports is a cloud with a bucket for exports, and n images to export.
func exports(t *testing.T, n int) (s *sim, images []string) {
	t.Helper()
	s = newSim(t, simOptions{config: func(c *ec2sim.Config) {
		for i := range n {
			c.Images = append(c.Images, ec2sim.BaseImage{Name: fmt.Sprint("export", i), Path: c.Images[0].Path, Owner: c.Accounts[0], Regions: []string{simRegion}})
		}
	}})
	if err := s.AddBucket(s.account, simRegion, exportsBucket); err != nil {
		t.Fatal(err)
	}
	if err := s.AddExportRole(s.account, "vmimport", exportsBucket); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		images = append(images, s.ImageID(simRegion, fmt.Sprint("export", i)))
	}
	return s, images
}

// exporting begins what a copy begins that is killed then. The copy's time is over
// after life.
func (s *sim) exporting(t *testing.T, image, prefix string, life time.Duration) *ImageExport {
	t.Helper()
	o := owner.Derive(time.Now(), life, image)
	x := &ImageExport{AMI: &AMI{Client: s.client(t), ID: image}, Bucket: exportsBucket, Prefix: prefix, Owner: o, Token: owner.NewBuild(time.Now(), life).Token("export-image", image)}
	if err := x.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return x
}

// stuck lets the next export take for ever.
func (s *sim) stuck(t *testing.T) {
	t.Helper()
	if err := s.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultSlow, Op: "ExportImage", State: "active", Delay: ec2sim.Duration(1000 * time.Hour), Times: 1}); err != nil {
		t.Fatal(err)
	}
}

// complete waits until an export has written its file.
func (s *sim) complete(t *testing.T, x *ImageExport) {
	t.Helper()
	if err := x.await(t.Context(), s.say); err != nil {
		t.Fatal(err)
	}
}

// foreign begins an export that is not ours, by the tag that it has, if any.
func (s *sim) foreign(t *testing.T, image, tag string) string {
	t.Helper()
	in := &ec2.ExportImageInput{ImageId: &image, DiskImageFormat: types.DiskImageFormatVmdk, S3ExportLocation: &types.ExportTaskS3LocationRequest{S3Bucket: aws.String(exportsBucket), S3Prefix: aws.String("a/")}}
	if tag != "" {
		in.TagSpecifications = []types.TagSpecification{spec(types.ResourceTypeExportImageTask, map[string]string{owner.Key: tag})}
	}
	r, err := s.client(t).exportImage(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *r.ExportImageTaskId
}

// A sweep ends the exports of killed copies and removes their files, once the copies'
// time is over; and nothing of others, nor of copies that go on.
func TestSweepExports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, images := exports(t, 7)
		s.stuck(t)
		active := s.exporting(t, images[0], "a/", time.Hour)
		whole := s.exporting(t, images[1], "a/", time.Hour)
		s.complete(t, whole)
		closed := s.exporting(t, images[2], "", time.Hour)
		s.complete(t, closed)
		gone := closed.task
		if err := closed.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := s.sweep(t, nil); len(r.Removed)+len(r.Left) > 0 || !strings.Contains(fmt.Sprint(r.Kept), active.task) || !strings.Contains(fmt.Sprint(r.Kept), whole.task) || strings.Contains(fmt.Sprint(r.Kept), gone) {
			t.Errorf("before their time is over: %+v", r)
		}
		time.Sleep(2 * time.Hour)

		// What nobody may touch: others' tasks and files, a mark of another role, one that is
		// none, and a copy that goes on.
		past := time.Now().Add(-time.Hour)
		mark := owner.Tag{Build: "aaaaaaaaaaaaaaaa", Role: owner.RoleExport, Expires: past}
		s.stuck(t)
		theirs := []string{s.foreign(t, images[3], "")}
		mark.Role = owner.RoleImage
		theirs = append(theirs, s.foreign(t, images[4], mark.String()))
		theirs = append(theirs, s.foreign(t, images[5], strings.Replace(mark.String(), "build=", "built=", 1)))
		s.stuck(t)
		alive := s.exporting(t, images[6], "a/", time.Hour)
		time.Sleep(20 * time.Minute)
		before := s.Left()

		dry := s.sweep(t, func(w *sweep.Sweep) { w.DryRun = true })
		r := s.sweep(t, nil)
		if len(r.Left)+len(r.UnderWay)+len(r.Blind) > 0 || len(dry.Removed) != 2 {
			t.Errorf("announced %v, left %v, under way %v, not seen %v", dry.Removed, r.Left, r.UnderWay, r.Blind)
		}
		var names []string
		for _, x := range r.Removed {
			names = append(names, x.String())
		}
		want := []string{
			"export of an image " + exportsBucket + "/a/" + active.task + ".vmdk (" + active.task + ")",
			"export of an image " + exportsBucket + "/a/" + whole.task + ".vmdk (" + whole.task + ")",
		}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("removed %q", names)
		}
		after := strings.Join(s.Left(), "\n")
		for _, id := range []string{active.task, whole.task} {
			if strings.Contains(after, id) {
				t.Errorf("%s is left:\n%s", id, after)
			}
		}
		for _, id := range append(theirs, alive.task) {
			if !strings.Contains(after, id) {
				t.Errorf("%s is gone:\n%s\nof\n%s", id, after, strings.Join(before, "\n"))
			}
		}
		if again := s.sweep(t, nil); len(again.Removed) > 0 {
			t.Errorf("again: %v", again.Removed)
		}
		// Whoever names the copy says that it is over.
		r = s.sweep(t, func(w *sweep.Sweep) { w.Rules.Builds = []string{alive.Owner.ID} })
		if len(r.Removed) != 1 || r.Removed[0].ID != alive.task {
			t.Errorf("by its id: %+v", r)
		}
	})
}

// However the cloud answers, an export is removed, or named.
func TestSweepExportFaults(t *testing.T) {
	for _, op := range []string{"DescribeExportImageTasks", "CancelExportTask", "HeadObject", "DeleteObject"} {
		for _, f := range []ec2sim.Fault{
			{Kind: ec2sim.FaultStatus, Status: 500, Code: "InternalError", Message: "try again", Times: 2},
			{Kind: ec2sim.FaultStatus, Status: 503, Code: "SlowDown", Message: "slow down", Times: 2},
			{Kind: ec2sim.FaultCutAfterEffect, Times: 1},
			{Kind: ec2sim.FaultStatusAfterEffect, Status: 502, Times: 1},
			{Kind: ec2sim.FaultStatus, Status: 403, Code: "AccessDenied", Message: "not you"},
		} {
			t.Run(fmt.Sprintf("%s-%s-%d", op, f.Kind, f.Status), func(t *testing.T) {
				sample.Case(t)
				bubble(t, func(t *testing.T) {
					s, images := exports(t, 2)
					s.stuck(t)
					active := s.exporting(t, images[0], "", time.Hour)
					whole := s.exporting(t, images[1], "", time.Hour)
					s.complete(t, whole)
					time.Sleep(2 * time.Hour)
					f.Op = op
					if err := s.AddFaults(f); err != nil {
						t.Fatal(err)
					}
					r := s.sweep(t, nil)
					if f.Status == 403 {
						var left []string
						for _, x := range r.Left {
							left = append(left, x.ID)
						}
						slices.Sort(left)
						both := []string{active.task, whole.task}
						slices.Sort(both)
						want := map[string][]string{"CancelExportTask": {active.task}, "DeleteObject": both}[op]
						if blind := len(r.Blind) == 1 && r.Blind[0].Kind == sweep.Export && r.Blind[0].Refused; !slices.Equal(left, want) || blind != (want == nil) {
							t.Errorf("left %q, want %q; not seen %v", left, want, r.Blind)
						}
						return
					}
					if len(r.Left)+len(r.UnderWay)+len(r.Blind) > 0 || len(r.Removed) != 2 {
						t.Errorf("removed %v, left %v, under way %v, not seen %v", r.Removed, r.Left, r.UnderWay, r.Blind)
					}
					if left := strings.Join(s.Left(), "\n"); strings.Contains(left, "export-ami-") {
						t.Errorf("left:\n%s", left)
					}
				})
			})
		}
	}
}

// A run that goes on with the export of an earlier one says so by its expiry: a sweep
// that has listed it before leaves it alone, and so does the next.
func TestSweepExportTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, images := exports(t, 1)
		s.stuck(t)
		first := s.exporting(t, images[0], "a/", time.Hour)
		time.Sleep(2 * time.Hour)
		second := &ImageExport{AMI: first.AMI, Bucket: first.Bucket, Prefix: first.Prefix, Owner: owner.Derive(time.Now(), time.Hour, images[0]), Token: "second"}
		r := s.sweep(t, func(w *sweep.Sweep) {
			w.Removing = func(sweep.Thing) {
				if err := second.adopt(t.Context(), s.say); err != nil {
					t.Error(err)
				}
			}
		})
		if second.task != first.task || len(r.Removed)+len(r.Left) > 0 || len(r.Kept) != 1 || !strings.Contains(r.Kept[0].Why, "its build may need it until") {
			t.Errorf("taken over: %s of %s; %+v", second.task, first.task, r)
		}
		if r := s.sweep(t, nil); len(r.Removed)+len(r.Left) > 0 {
			t.Errorf("the next: %+v", r)
		}
		if err := second.Close(t.Context()); err != nil {
			t.Error(err)
		}

		// Where that cannot be said, it is not gone on with.
		s.stuck(t)
		third := s.exporting(t, images[0], "a/", time.Hour)
		time.Sleep(30 * time.Minute)
		if err := s.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "CreateTags", Status: 403, Code: "UnauthorizedOperation", Message: "not you"}); err != nil {
			t.Fatal(err)
		}
		fourth := &ImageExport{AMI: first.AMI, Bucket: first.Bucket, Prefix: first.Prefix, Owner: owner.Derive(time.Now(), time.Hour, images[0]), Token: "fourth"}
		if err := fourth.adopt(t.Context(), s.say); err != nil || fourth.task != "" {
			t.Errorf("%q, %v", fourth.task, err)
		}
		if left := strings.Join(s.Left(), "\n"); strings.Contains(left, third.task) || !strings.Contains(s.text(), "is not used, since its expiry cannot be renewed") {
			t.Errorf("%s\n%s", left, s.text())
		}
	})
}
