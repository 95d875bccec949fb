// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// exportConnections is how many connections to S3 are kept.
const exportConnections = 64

// ImageExport is an AMI that EC2 itself writes as a file into a bucket of S3, from which
// it is read. Whatever comes of that, neither the task nor the file stays.
type ImageExport struct {
	*AMI
	Bucket string
	Prefix string // of the object's name; may be empty
	Role   string // that EC2 assumes to write; empty is "vmimport"
	// Owner is the identity of the copy, by which the export of a run that was killed
	// is found again. Token tells the runs apart.
	Owner owner.Build
	Token string

	task  string
	ended bool // it writes no more
}

// The states of an export.
const (
	exportActive    = "active"
	exportCompleted = "completed"
	exportDeleted   = "deleted"
)

// Check gives every reason that can be seen why EC2 would not export the image. Describe
// must have found it.
func (x *ImageExport) Check(ctx context.Context) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("image %s cannot be exported to S3: "+format+"; without the block export_image it is read by the EBS direct APIs, which can", append([]any{x.ID}, args...)...))
	}
	if len(x.img.ProductCodes) > 0 {
		bad("it is from the Marketplace or was made of one that is (product code %s)", aws.ToString(x.img.ProductCodes[0].ProductCodeId))
	}
	if id := aws.ToString(x.img.OwnerId); x.Account != "" && id != "" && id != x.Account {
		bad("it belongs to the account %s, and only the owner may", id)
	}
	for _, d := range x.img.BlockDeviceMappings {
		if d.Ebs != nil && aws.ToBool(d.Ebs.Encrypted) {
			bad("its volume %s is encrypted", aws.ToString(d.DeviceName))
		}
	}
	if aws.ToBool(x.root.Encrypted) && len(errs) == 0 {
		bad("its snapshot %s is encrypted", aws.ToString(x.root.SnapshotId))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := x.checkBucket(ctx); err != nil {
		return err
	}
	return x.rehearse(ctx)
}

func (x *ImageExport) checkBucket(ctx context.Context) error {
	at, err := x.bucket().region(ctx)
	switch {
	case code(err, "NoSuchBucket"):
		return fmt.Errorf("export_image.s3_bucket_name: there is no bucket %q; create it in %s", x.Bucket, x.Region)
	case code(err, "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
		return fmt.Errorf("export_image.s3_bucket_name: the bucket %q is not in %s, where the image is: EC2 exports to no other region", x.Bucket, x.Region)
	case err != nil:
		return fmt.Errorf("export_image.s3_bucket_name: %w", err)
	case at != x.Region:
		return fmt.Errorf("export_image.s3_bucket_name: the bucket %q is in %s and the image in %s: EC2 exports to no other region", x.Bucket, at, x.Region)
	}
	return nil
}

// request is what EC2 is asked for.
func (x *ImageExport) request() *ec2.ExportImageInput {
	t := x.Owner.Tag(owner.RoleExport)
	t.Attempt = x.Token
	tags := t.With(nil)
	tags[buildKey] = x.Owner.ID
	in := &ec2.ExportImageInput{
		ImageId: &x.ID, DiskImageFormat: types.DiskImageFormatVmdk, ClientToken: &x.Token,
		Description:       aws.String("armfree: a copy to OCI"),
		S3ExportLocation:  &types.ExportTaskS3LocationRequest{S3Bucket: &x.Bucket},
		TagSpecifications: []types.TagSpecification{spec(types.ResourceTypeExportImageTask, tags)},
	}
	if x.Prefix != "" {
		in.S3ExportLocation.S3Prefix = &x.Prefix
	}
	if x.Role != "" {
		in.RoleName = &x.Role
	}
	return in
}

// rehearse asks whether the user may have the image exported, which has no effect.
func (x *ImageExport) rehearse(ctx context.Context) error {
	in := x.request()
	in.DryRun, in.ClientToken = aws.Bool(true), nil
	err := x.repeat(ctx, "export image", x.ID, func(ctx context.Context) error {
		_, err := x.exportImage(ctx, in)
		return err
	})
	if err == nil || code(err, "DryRunOperation") {
		return nil
	}
	return fmt.Errorf("export_image: %w", x.details(ctx, err))
}

func (x *ImageExport) bucket() bucket { return bucket{x.Client, x.Bucket} }

// key is the object that a task writes.
func (x *ImageExport) key() string { return x.Prefix + x.task + ".vmdk" }

// Open has the image exported, waits for that, and opens the file, of which size is the
// length in bytes. The export of an earlier run of the same copy is used. Close must be
// called, whatever comes of it.
func (x *ImageExport) Open(ctx context.Context, say func(format string, args ...any)) (file io.ReaderAt, size int64, err error) {
	if err := x.adopt(ctx, say); err != nil {
		return nil, 0, err
	}
	if x.task == "" {
		say("EC2 is asked to export image %s to the bucket %s; whether it does so for arm64 is not documented", x.ID, x.Bucket)
		if err := x.begin(ctx); err != nil {
			return nil, 0, err
		}
	}
	if err := x.await(ctx, say); err != nil {
		return nil, 0, err
	}
	o, err := x.bucket().open(ctx, x.key())
	if code(err, "NoSuchKey") {
		return nil, 0, fmt.Errorf("the export %s is said to be complete, but there is no object %s in the bucket %s: %w", x.task, x.key(), x.Bucket, err)
	}
	if err != nil {
		return nil, 0, err
	}
	say("EC2 has exported %.1f MB", float64(o.size)/1e6)
	return o, o.size, nil
}

// begin asks for the export. The token lets EC2 know a repeated request again.
func (x *ImageExport) begin(ctx context.Context) error {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	err := x.repeat(g, "export image", x.ID, func(ctx context.Context) error {
		r, err := x.exportImage(ctx, x.request())
		if err == nil && aws.ToString(r.ExportImageTaskId) == "" {
			err = errNoAnswer
		}
		if err == nil {
			x.task = *r.ExportImageTaskId
		}
		return err
	})
	if lost(err) { // it may be under way
		if ferr := x.adopt(g, func(string, ...any) {}); ferr != nil {
			return errors.Join(err, fmt.Errorf("and whether the export is under way cannot be seen: %w", ferr))
		}
		if x.task != "" {
			err = nil
		}
	}
	switch {
	case err == nil:
		return ctx.Err()
	case code(err, "NotExportable"):
		return fmt.Errorf("EC2 does not export image %s; leave the block export_image out, and the image is read by the EBS direct APIs: %w", x.ID, err)
	case code(err, "InvalidParameter") && mentionsRole(err):
		return fmt.Errorf("export_image.role_name: EC2 cannot use the role %q, which must let vmie.amazonaws.com assume it and write to the bucket %s: %w", cmp.Or(x.Role, "vmimport"), x.Bucket, err)
	}
	return x.details(ctx, err)
}

// mentionsRole says that it is about the role: there is no code for that.
func mentionsRole(err error) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(strings.ToLower(e.Message), "role")
}

// adopt looks for the export of an earlier run that is of use. Others of it are ended.
func (x *ImageExport) adopt(ctx context.Context, say func(format string, args ...any)) error {
	all, err := x.exports(ctx)
	if err != nil {
		return x.details(ctx, err)
	}
	for _, t := range all {
		mark, is := ours(t.Tags)
		s := aws.ToString(t.Status)
		if !is || mark.Build != x.Owner.ID || aws.ToString(t.ImageId) != x.ID || s != exportActive && s != exportCompleted {
			continue
		}
		found := x.exportOf(t)
		found.AMI, found.Owner = x.AMI, x.Owner
		if found.Bucket != x.Bucket || found.Prefix != x.Prefix {
			continue
		}
		if s == exportCompleted { // its file may have been removed
			there, err := found.written(ctx)
			if err != nil && !forbidden(err) {
				return err
			}
			if !there {
				continue
			}
		}
		if x.task == "" {
			err := found.take(ctx, mark)
			if err == nil {
				x.task, x.ended = found.task, found.ended
				say("The export %s of an earlier run is used", x.task)
				continue
			}
			say("The export %s of an earlier run is not used, since its expiry cannot be renewed: %v", found.task, err)
		}
		if err := found.Close(ctx); err != nil {
			say("The export %s of an earlier run is left: %v", found.task, err)
		}
	}
	return nil
}

// look is one look at the task.
func (x *ImageExport) look(ctx context.Context) (t types.ExportImageTask, err error) {
	err = once(ctx, "describe export task", x.task, func(ctx context.Context) error {
		r, err := x.describeExports(ctx, &ec2.DescribeExportImageTasksInput{ExportImageTaskIds: []string{x.task}})
		if err == nil && len(r.ExportImageTasks) != 1 {
			err = &Error{Op: "describe export task", Subject: x.task, Code: "InvalidExportTaskID.NotFound", Message: "it is not there"}
		}
		if err == nil {
			t = r.ExportImageTasks[0]
		}
		return err
	})
	return t, err
}

// exportPace is how often an export is looked at, which takes minutes.
func exportPace() wait.Pace {
	return wait.Pace{First: 2 * time.Second, Max: 15 * time.Second, Factor: 1.5}
}

// await waits until the task has written its file.
func (x *ImageExport) await(ctx context.Context, say func(format string, args ...any)) error {
	far := ""
	l := wait.Loop{
		What: "the export " + x.task, Pace: exportPace(), Tolerate: lags(time.Now()),
		Progress: func(d time.Duration) { say("Still waiting for the export %s (%s%s)", x.task, d, far) },
	}
	return l.Until(ctx, func(ctx context.Context) (bool, error) {
		t, err := x.look(ctx)
		if err != nil {
			return false, err
		}
		switch s := aws.ToString(t.Status); s {
		case exportActive:
			far = ""
			for _, w := range []struct{ text, after string }{{aws.ToString(t.StatusMessage), ""}, {aws.ToString(t.Progress), " %"}} {
				if w.text != "" {
					far += ", " + w.text + w.after
				}
			}
			return false, nil
		case exportCompleted:
			x.ended = true
			return true, nil
		default:
			x.ended = s == exportDeleted
			return false, fmt.Errorf("EC2 gave up the export %s of image %s (it is %s): %s. Without the block export_image the image is read by the EBS direct APIs", x.task, x.ID, s, cmp.Or(aws.ToString(t.StatusMessage), "it does not say why"))
		}
	})
}

// Close ends the export, if it is under way, and removes its file. ctx is one for
// cleaning up.
func (x *ImageExport) Close(ctx context.Context) error {
	if x.task == "" {
		return nil
	}
	if err := x.end(ctx); err != nil {
		return fmt.Errorf("the export %s and its object %s in the bucket %s may be left: %w", x.task, x.key(), x.Bucket, err)
	}
	if err := x.bucket().remove(ctx, x.key()); err != nil {
		return fmt.Errorf("the object %s in the bucket %s is left: %w", x.key(), x.Bucket, err)
	}
	x.task = ""
	return nil
}

// Tidy is Close for the exports of earlier runs as well.
func (x *ImageExport) Tidy(ctx context.Context) error {
	err := x.Close(ctx)
	quiet := func(string, ...any) {}
	return errors.Join(err, x.adopt(ctx, quiet), x.Close(ctx))
}

// end cancels the task and waits until it writes no more.
func (x *ImageExport) end(ctx context.Context) error {
	if x.ended {
		return nil
	}
	cancelled := x.repeat(ctx, "cancel export task", x.task, func(ctx context.Context) error {
		_, err := x.cancelExport(ctx, &ec2.CancelExportTaskInput{ExportTaskId: &x.task})
		return err
	})
	if forbidden(cancelled) {
		return cancelled
	}
	// One that is complete, or gone, cannot be cancelled; that is seen by its state.
	l := wait.Loop{What: "the end of the export " + x.task, Pace: exportPace(), Tolerate: passing}
	err := l.Until(ctx, func(ctx context.Context) (bool, error) {
		t, err := x.look(ctx)
		if missing(err) {
			return true, nil
		}
		s := aws.ToString(t.Status)
		if err == nil && s == exportActive && cancelled != nil {
			return false, cancelled
		}
		return err == nil && (s == exportCompleted || s == exportDeleted), err
	})
	x.ended = err == nil
	return err
}
