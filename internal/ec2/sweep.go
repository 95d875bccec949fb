// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// Leftovers is one region of an account, for a sweep; it implements sweep.Cloud.
type Leftovers struct {
	*Client
	// Profiles says that temporary roles and instance profiles are looked for: they
	// are the same in all regions.
	Profiles bool
	// Rest says that so is what goes with the machine, unless something went wrong:
	// spot requests and network interfaces; and what copies leave that have EC2 export
	// an image. A build needs no permission for those.
	Rest bool
}

// Leftovers are what builds like this one may have left where it takes place, and
// where its image is copied to.
func (b *Build) Leftovers() []sweep.Cloud {
	all := []sweep.Cloud{&Leftovers{Client: b.Client, Profiles: b.cfg.Policy != ""}}
	for _, c := range b.cfg.Image.Copies {
		all = append(all, &Leftovers{Client: b.In(c.Region)})
	}
	return all
}

// Place implements sweep.Cloud.
func (l *Leftovers) Place() string { return "aws " + l.Region }

// List implements sweep.Cloud. Only images are listed whole: those of others may
// use what is ours.
func (l *Leftovers) List(ctx context.Context) (sweep.Listing, error) {
	lists := map[sweep.Kind]func(context.Context) ([]listed, error){
		sweep.Instance: l.listInstances, sweep.Volume: l.listVolumes, sweep.Group: l.listGroups, sweep.KeyPair: l.listKeyPairs,
		sweep.Image: l.listImages, sweep.Snapshot: l.listSnapshots,
	}
	if l.Rest {
		lists[sweep.Spot], lists[sweep.Interface] = l.listSpotRequests, l.listInterfaces
		lists[sweep.Export] = l.listExports
	}
	if l.Profiles {
		lists[sweep.Profile], lists[sweep.Role] = l.listProfiles, l.listOwnRoles
	}
	var out sweep.Listing
	users := map[string][]string{} // by what they use
	var mu sync.Mutex
	var wg sync.WaitGroup
	for kind, list := range lists {
		wg.Go(func() {
			things, err := list(ctx)
			mu.Lock()
			defer mu.Unlock()
			for _, t := range things {
				for _, used := range t.uses {
					users[used] = append(users[used], t.ID)
				}
				out.Things = append(out.Things, t.Thing)
			}
			if err != nil {
				out.Blind = append(out.Blind, sweep.Blind{Kind: kind, Err: err, Refused: forbidden(err)})
			}
		})
	}
	wg.Wait()
	if len(out.Blind) == len(lists) {
		return sweep.Listing{}, fmt.Errorf("nothing can be listed in %s: %w", l.Region, l.explain(out.Blind[0].Err))
	}
	for i, t := range out.Things {
		out.Things[i].UsedBy = append(t.UsedBy, users[t.ID]...)
	}
	if l.by.told.Load() {
		out.Now = l.Now()
	}
	return out, nil
}

// listed is a thing, and the ids of what it uses.
type listed struct {
	sweep.Thing
	uses []string
}

// thing is a resource with our tag, or without.
func thing(kind sweep.Kind, id, name *string, tags []types.Tag, created *time.Time) listed {
	t := listed{Thing: sweep.Thing{Kind: kind, ID: aws.ToString(id), Name: aws.ToString(name), Created: aws.ToTime(created)}}
	t.Mark, t.Ours = ours(tags)
	return t
}

// withTag finds what has our tag.
func withTag() types.Filter { return filter("tag-key", owner.Key) }

func (l *Leftovers) listInstances(ctx context.Context) (all []listed, err error) {
	list, err := l.instances(ctx, withTag())
	for _, i := range list {
		if !ended(state(i)) {
			t := thing(sweep.Instance, i.InstanceId, nil, i.Tags, i.LaunchTime)
			for _, g := range i.SecurityGroups {
				t.uses = append(t.uses, aws.ToString(g.GroupId))
			}
			all = append(all, t)
		}
	}
	return all, err
}

// paged lists all pages of something.
func (l *Leftovers) paged(ctx context.Context, op string, page func(ctx context.Context, token *string) (next *string, err error)) error {
	return cloud.Pages(func(token *string) (next *string, err error) {
		err = l.repeat(ctx, op, "", func(ctx context.Context) (err error) {
			next, err = page(ctx, token)
			return err
		})
		return next, err
	})
}

func (l *Leftovers) listVolumes(ctx context.Context) (all []listed, err error) {
	err = l.paged(ctx, "describe volumes", func(ctx context.Context, token *string) (*string, error) {
		r, err := l.describeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: []types.Filter{withTag()}, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, v := range r.Volumes {
			t := thing(sweep.Volume, v.VolumeId, nil, v.Tags, v.CreateTime)
			for _, a := range v.Attachments {
				t.UsedBy = append(t.UsedBy, aws.ToString(a.InstanceId))
			}
			if v.State != types.VolumeStateDeleting && v.State != types.VolumeStateDeleted {
				all = append(all, t)
			}
		}
		return r.NextToken, nil
	})
	return all, err
}

func (l *Leftovers) listGroups(ctx context.Context) (all []listed, err error) {
	err = l.paged(ctx, "describe security groups", func(ctx context.Context, token *string) (*string, error) {
		r, err := l.describeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{withTag()}, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, g := range r.SecurityGroups {
			all = append(all, thing(sweep.Group, g.GroupId, g.GroupName, g.Tags, nil))
		}
		return r.NextToken, nil
	})
	return all, err
}

func (l *Leftovers) listKeyPairs(ctx context.Context) (all []listed, err error) {
	err = l.repeat(ctx, "describe key pairs", "", func(ctx context.Context) error {
		r, err := l.describeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{Filters: []types.Filter{withTag()}})
		if err != nil {
			return err
		}
		for _, k := range r.KeyPairs {
			all = append(all, thing(sweep.KeyPair, k.KeyPairId, k.KeyName, k.Tags, k.CreateTime))
		}
		return nil
	})
	return all, err
}

func (l *Leftovers) listImages(ctx context.Context) (all []listed, err error) {
	list, err := l.ownImages(ctx)
	for _, i := range list {
		t := thing(sweep.Image, i.ImageId, i.Name, i.Tags, nil)
		if at, perr := time.Parse(time.RFC3339, aws.ToString(i.CreationDate)); perr == nil {
			t.Created = at
		}
		t.uses = snapshotsOf(i)
		if i.State != types.ImageStateDeregistered {
			all = append(all, t)
		}
	}
	return all, err
}

func (l *Leftovers) listSnapshots(ctx context.Context) (all []listed, err error) {
	list, err := l.ownSnapshots(ctx, withTag())
	for _, s := range list {
		all = append(all, thing(sweep.Snapshot, s.SnapshotId, nil, s.Tags, s.StartTime))
	}
	return all, err
}

func (l *Leftovers) listInterfaces(ctx context.Context) (all []listed, err error) {
	err = l.paged(ctx, "describe network interfaces", func(ctx context.Context, token *string) (*string, error) {
		r, err := l.describeInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{withTag()}, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, n := range r.NetworkInterfaces {
			t := thing(sweep.Interface, n.NetworkInterfaceId, nil, n.TagSet, nil)
			if n.Attachment != nil && n.Attachment.InstanceId != nil {
				t.UsedBy = []string{*n.Attachment.InstanceId}
			}
			all = append(all, t)
		}
		return r.NextToken, nil
	})
	return all, err
}

func (l *Leftovers) listSpotRequests(ctx context.Context) (all []listed, err error) {
	err = l.paged(ctx, "describe spot requests", func(ctx context.Context, token *string) (*string, error) {
		r, err := l.describeSpotRequests(ctx, &ec2.DescribeSpotInstanceRequestsInput{Filters: []types.Filter{withTag(), filter("state", "open", "active")}, NextToken: token})
		if err != nil {
			return nil, err
		}
		for _, s := range r.SpotInstanceRequests {
			t := thing(sweep.Spot, s.SpotInstanceRequestId, nil, s.Tags, s.CreateTime)
			if s.InstanceId != nil {
				t.UsedBy = []string{*s.InstanceId}
			}
			all = append(all, t)
		}
		return r.NextToken, nil
	})
	return all, err
}
