// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// An export that a killed copy has left is found by the tags of its task: the file in S3
// carries none, and has the id of the task in its name. EC2 tells of a task for some time
// after it has ended, so that one whose file is gone is none.

// exports lists the account's exports.
func (c *Client) exports(ctx context.Context) (all []types.ExportImageTask, err error) {
	err = cloud.Pages(func(token *string) (next *string, err error) {
		err = c.repeat(ctx, "describe export tasks", "", func(ctx context.Context) error {
			r, err := c.describeExports(ctx, &ec2.DescribeExportImageTasksInput{NextToken: token})
			if err == nil {
				all, next = append(all, r.ExportImageTasks...), r.NextToken
			}
			return err
		})
		return next, err
	})
	return all, err
}

// exportOf is the export that a task carries out.
func (c *Client) exportOf(t types.ExportImageTask) *ImageExport {
	x := &ImageExport{AMI: &AMI{Client: c, ID: aws.ToString(t.ImageId)}, task: aws.ToString(t.ExportImageTaskId)}
	x.ended = aws.ToString(t.Status) == exportCompleted
	if at := t.S3ExportLocation; at != nil {
		x.Bucket, x.Prefix = aws.ToString(at.S3Bucket), aws.ToString(at.S3Prefix)
	}
	return x
}

// written says whether the file of a complete export is still there.
func (x *ImageExport) written(ctx context.Context) (bool, error) {
	_, err := x.bucket().open(ctx, x.key())
	if code(err, "NoSuchKey", "NoSuchBucket") {
		return false, nil
	}
	return err == nil, err
}

// listExports lists exports that have not ended, and those whose file is there.
func (l *Leftovers) listExports(ctx context.Context) (all []listed, err error) {
	tasks, err := l.exports(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, t := range tasks {
		x, s := l.exportOf(t), aws.ToString(t.Status)
		it := thing(sweep.Export, t.ExportImageTaskId, aws.String(x.Bucket+"/"+x.key()), t.Tags, nil)
		it.In = x.Bucket
		if !it.Ours || s == exportDeleted {
			continue
		}
		if s == exportCompleted {
			there, err := x.written(ctx)
			if err != nil {
				errs = append(errs, fmt.Errorf("whether %s is still in the bucket %s: %w", x.key(), x.Bucket, err))
			}
			if !there {
				continue
			}
		} else {
			it.uses = append(it.uses, x.ID)
		}
		all = append(all, it)
	}
	return all, errors.Join(errs...)
}

// removeExport ends an export and removes its file, if it still has the mark that was
// listed: another run of its copy may have taken it over meanwhile.
func (l *Leftovers) removeExport(ctx context.Context, t sweep.Thing) error {
	at := &ImageExport{AMI: &AMI{Client: l.Client}, task: t.ID}
	var task types.ExportImageTask
	err := l.repeat(ctx, "describe export task", t.ID, func(ctx context.Context) (err error) {
		task, err = at.look(ctx)
		return err
	})
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if mark, is := ours(task.Tags); is != t.Ours || mark.String() != t.Mark.String() {
		return &sweep.Changed{Mark: mark, Ours: is}
	}
	return l.exportOf(task).Close(ctx)
}

// take makes the export of an earlier run this one's, so that nobody takes it for a
// leftover as long as it is being read.
func (x *ImageExport) take(ctx context.Context, mark owner.Tag) error {
	if !mark.Expires.Before(x.Owner.Expires) {
		return nil
	}
	t := x.Owner.Tag(owner.RoleExport)
	t.Attempt = mark.Attempt // which names the request that made it
	return x.repeat(ctx, "create tags of", x.task, func(ctx context.Context) error {
		_, err := x.createTags(ctx, &ec2.CreateTagsInput{Resources: []string{x.task}, Tags: tagList(map[string]string{owner.Key: t.String()})})
		return err
	})
}
