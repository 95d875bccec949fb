// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// shotsOf are the volumes of a machine that its image will have, the root first.
func (b *Build) shotsOf(i types.Instance) (list []shot) {
	for _, d := range i.BlockDeviceMappings {
		name := aws.ToString(d.DeviceName)
		left := slices.ContainsFunc(b.cfg.Image.Devices, func(x BlockDevice) bool { return x.Device == name && x.NoDevice })
		if d.Ebs == nil || d.Ebs.VolumeId == nil || left {
			continue
		}
		s := shot{device: name, volume: *d.Ebs.VolumeId}
		if name == aws.ToString(i.RootDeviceName) {
			list = append([]shot{s}, list...)
			continue
		}
		list = append(list, s)
	}
	if len(list) > 0 && list[0].device != aws.ToString(i.RootDeviceName) {
		return nil
	}
	return list
}

// take asks for a snapshot of a volume, once: there is no token by which EC2 would
// know the request again.
func (b *Build) take(ctx context.Context, m *making, s *shot, role string) (string, error) {
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	early := func(err error) bool {
		return ctx.Err() == nil && (passing(err) && !lost(err) || code(err, "SnapshotCreationPerVolumeRateExceeded"))
	}
	err := b.repeatIf(g, repeatFor, opShot, s.volume, early, func(ctx context.Context) error {
		r, err := b.createSnapshot(ctx, &ec2.CreateSnapshotInput{
			VolumeId: &s.volume, Description: aws.String(fmt.Sprintf("%s of %s", s.device, b.cfg.Image.Name)),
			TagSpecifications: []types.TagSpecification{b.shotTags(role, m.token)},
		})
		if err == nil && r.SnapshotId == nil {
			err = errNoAnswer
		}
		if err == nil {
			s.id = *r.SnapshotId
		}
		return err
	})
	b.images.note(b.Region, s.id)
	return s.id, b.details(ctx, err)
}

// takeRest takes the snapshots of the other volumes. One whose reply is lost is
// looked for as long as the list may lag behind, and taken again if it is not there.
func (b *Build) takeRest(ctx context.Context, m *making) error {
	for n := range m.shots {
		s := &m.shots[n]
		for try := 0; s.id == ""; try++ {
			_, err := b.take(ctx, m, s, owner.RoleVolume)
			if err == nil {
				break
			}
			if !lost(err) || try > 2 {
				return err
			}
			m.doubtful = true
			open := b.images.lost(b.Region)
			open.Add(s.volume)
			if _, err := open.Settle(ctx, func(ctx context.Context, volume string) (bool, error) {
				id, err := b.shotOf(ctx, volume, m.token)
				if volume == s.volume {
					s.id = id
				}
				return id != "", err
			}); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// shotOf is the snapshot of a volume that was asked for with token, if there is one.
func (b *Build) shotOf(ctx context.Context, volume, token string) (id string, err error) {
	all, err := b.ownSnapshots(ctx, append(b.ofBuild(), filter("volume-id", volume))...)
	for _, x := range all {
		if t, is := ours(x.Tags); is && t.Attempt == token {
			id = aws.ToString(x.SnapshotId)
		}
	}
	b.images.note(b.Region, id)
	return id, err
}

// dropDoubles removes the snapshots of the build that are in no image: those of
// requests that nothing was seen of, so that they were made again.
func (b *Build) dropDoubles(ctx context.Context, m *making) {
	used := map[string]bool{}
	for _, s := range m.shots {
		used[s.id] = true
	}
	images, err := b.ownImages(ctx, b.ofBuild()...)
	for _, i := range images {
		for _, s := range snapshotsOf(i) {
			used[s] = true
		}
	}
	var all []types.Snapshot
	if err == nil {
		all, err = b.ownSnapshots(ctx, b.ofBuild()...)
	}
	for _, x := range all {
		id := aws.ToString(x.SnapshotId)
		if t, is := ours(x.Tags); !is || t.Build != b.owner.ID || used[id] {
			continue
		}
		if derr := b.removeSnapshot(ctx, id); derr != nil {
			err = fmt.Errorf("snapshot %s: %w", id, derr)
			continue
		}
		b.say("Snapshot %s of a request that was sent again has shown up, and was deleted", id)
	}
	if err != nil && ctx.Err() == nil {
		b.say("The image is finished, but what an unconfirmed request may have made could not be removed; a later build or the command sweep does so: %v", err)
	}
}

// awaitShots waits until all snapshots are complete.
func (b *Build) awaitShots(ctx context.Context, m *making) error {
	var mu sync.Mutex
	progress := map[string]string{}
	begun := time.Now()
	return each(m.shots, func(s shot) error {
		return wait.Loop{
			What: "snapshot " + s.id, Timeout: b.cfg.ImageTimeout, Option: "image_timeout", Pace: wait.Slow, Tolerate: lags(begun),
			Progress: func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				b.say("Still waiting for snapshot %s (%s%s)", s.id, d, progress[s.id])
			},
		}.Until(ctx, func(ctx context.Context) (done bool, err error) {
			err = once(ctx, "describe snapshot", s.id, func(ctx context.Context) error {
				r, err := b.describeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{s.id}})
				if err != nil || len(r.Snapshots) == 0 {
					return err
				}
				x := r.Snapshots[0]
				mu.Lock()
				defer mu.Unlock()
				if p := aws.ToString(x.Progress); p != "" {
					progress[s.id] = ", " + p
				}
				switch x.State {
				case types.SnapshotStateCompleted:
					done = true
				case types.SnapshotStateError, types.SnapshotStateRecoverable:
					return &Error{Op: "create snapshot", Subject: s.id, Message: strings.TrimSpace("it failed: " + aws.ToString(x.StateMessage))}
				}
				return nil
			})
			return done, err
		})
	})
}

// each does something to all at the same time and returns the first error.
func each[T any](list []T, do func(T) error) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for n, x := range list {
		wg.Go(func() { errs[n] = do(x) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
