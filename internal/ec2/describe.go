// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
)

// instances lists instances, those that ended not long ago included.
func (c *Client) instances(ctx context.Context, by ...types.Filter) (all []types.Instance, err error) {
	err = cloud.Pages(func(token *string) (next *string, err error) {
		err = c.repeat(ctx, "describe instances", "", func(ctx context.Context) error {
			r, err := c.describeInstances(ctx, &ec2.DescribeInstancesInput{Filters: by, NextToken: token})
			if err != nil {
				return err
			}
			for _, v := range r.Reservations {
				all = append(all, v.Instances...)
			}
			next = r.NextToken
			return nil
		})
		return next, err
	})
	return all, err
}

// look is one look at an instance, without a second try.
func (c *Client) look(ctx context.Context, id string) (types.Instance, error) {
	var found *types.Instance
	err := once(ctx, "describe instance", id, func(ctx context.Context) error {
		r, err := c.describeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			return err
		}
		for _, v := range r.Reservations {
			for _, i := range v.Instances {
				if aws.ToString(i.InstanceId) == id {
					found = &i
				}
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return types.Instance{}, err
	case found == nil:
		return types.Instance{}, &Error{Op: "describe instance", Subject: id, Code: "InvalidInstanceID.NotFound", Message: "it is not there"}
	}
	return *found, nil
}

// instance is what EC2 knows of an instance.
func (c *Client) instance(ctx context.Context, id string) (i types.Instance, err error) {
	err = c.repeat(ctx, "describe instance", id, func(ctx context.Context) (err error) {
		i, err = c.look(ctx, id)
		return err
	})
	return i, err
}

// state is that of an instance.
func state(i types.Instance) types.InstanceStateName {
	if i.State == nil {
		return ""
	}
	return i.State.Name
}

// ended says whether a machine is on its way out, or gone.
func ended(s types.InstanceStateName) bool {
	return s == types.InstanceStateNameTerminated || s == types.InstanceStateNameShuttingDown
}

// lags is for waits for something that was just made: as long as it is not seen,
// that is no reason to stop waiting, up to a limit.
func lags(since time.Time) func(error) bool {
	return func(err error) bool {
		return passing(err) || missing(err) && time.Since(since) < unseen
	}
}

// notYet is for deletions of what was made at since: it may not be seen yet. Once a
// request may have deleted it, what is not there is gone.
func notYet(since time.Time) func(error) bool {
	sent, early := false, lags(since)
	return func(err error) bool {
		sent = sent || lost(err)
		return early(err) && (!sent || !missing(err))
	}
}

// imageList lists images.
func (c *Client) imageList(ctx context.Context, in ec2.DescribeImagesInput) (all []types.Image, err error) {
	err = cloud.Pages(func(token *string) (next *string, err error) {
		in.NextToken = token
		err = c.repeat(ctx, "describe images", "", func(ctx context.Context) error {
			r, err := c.describeImages(ctx, &in)
			if err != nil {
				return err
			}
			all, next = append(all, r.Images...), r.NextToken
			return nil
		})
		return next, err
	})
	return all, err
}

// ownImages lists the account's images.
func (c *Client) ownImages(ctx context.Context, by ...types.Filter) ([]types.Image, error) {
	all, err := c.imageList(ctx, ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: by, IncludeDeprecated: aws.Bool(true)})
	var live []types.Image
	for _, i := range all {
		if i.State != types.ImageStateDeregistered {
			live = append(live, i)
		}
	}
	return live, err
}

// ownSnapshots lists the account's snapshots.
func (c *Client) ownSnapshots(ctx context.Context, by ...types.Filter) (all []types.Snapshot, err error) {
	err = cloud.Pages(func(token *string) (next *string, err error) {
		err = c.repeat(ctx, "describe snapshots", "", func(ctx context.Context) error {
			r, err := c.describeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}, Filters: by, NextToken: token})
			if err != nil {
				return err
			}
			all, next = append(all, r.Snapshots...), r.NextToken
			return nil
		})
		return next, err
	})
	return all, err
}

// snapshotsOf are the ids of an image's snapshots, that of the root first.
func snapshotsOf(i types.Image) (ids []string) {
	for _, d := range i.BlockDeviceMappings {
		if d.Ebs == nil || d.Ebs.SnapshotId == nil {
			continue
		}
		if aws.ToString(d.DeviceName) == aws.ToString(i.RootDeviceName) {
			ids = append([]string{*d.Ebs.SnapshotId}, ids...)
			continue
		}
		ids = append(ids, *d.Ebs.SnapshotId)
	}
	return ids
}
