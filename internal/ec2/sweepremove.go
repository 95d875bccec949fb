// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// Temporary roles and instance profiles have the name that a build gives them, which
// says all: IAM lists no tags.

func (l *Leftovers) listProfiles(ctx context.Context) (all []listed, err error) {
	err = l.paged(ctx, "list instance profiles", func(ctx context.Context, marker *string) (*string, error) {
		r, err := l.listInstanceProfiles(ctx, &iam.ListInstanceProfilesInput{Marker: marker})
		if err != nil {
			return nil, err
		}
		for _, p := range r.InstanceProfiles {
			all = append(all, named(sweep.Profile, p.Arn, p.InstanceProfileName, p.CreateDate))
		}
		return r.Marker, nil
	})
	return all, err
}

func (l *Leftovers) listOwnRoles(ctx context.Context) (all []listed, err error) {
	err = l.paged(ctx, "list roles", func(ctx context.Context, marker *string) (*string, error) {
		r, err := l.listRoles(ctx, &iam.ListRolesInput{Marker: marker})
		if err != nil {
			return nil, err
		}
		for _, p := range r.Roles {
			all = append(all, named(sweep.Role, p.Arn, p.RoleName, p.CreateDate))
		}
		return r.Marker, nil
	})
	return all, err
}

// named is a resource whose name is its mark.
func named(kind sweep.Kind, id, name *string, created *time.Time) listed {
	t := thing(kind, id, name, nil, created)
	by, role, err := owner.ParseName(t.Name)
	t.Mark, t.Ours = owner.Tag{Build: by.ID, Role: role, Expires: by.Expires}, err == nil
	return t
}

// patient makes a call again as long as what it is about is still in use: for as
// long as ctx allows, and then says what it was last told.
func (l *Leftovers) patient(ctx context.Context, op, id string, used func(error) bool, call func(context.Context) error) error {
	limit := goneFor
	if end, is := ctx.Deadline(); is {
		limit = max(min(limit, time.Until(end)-time.Second), time.Second)
	}
	err := l.repeatIf(ctx, limit, op, id, func(err error) bool { return passing(err) || used(err) }, call)
	if missing(err) {
		return nil
	}
	return err
}

// Remove implements sweep.Cloud.
func (l *Leftovers) Remove(ctx context.Context, t sweep.Thing) error {
	id, name := t.ID, t.Name
	inUse := func(codes ...string) func(error) bool { return func(err error) bool { return code(err, codes...) } }
	switch t.Kind {
	case sweep.Instance:
		return l.patient(ctx, "terminate instance", id, inUse(), func(ctx context.Context) error {
			_, err := l.terminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
			return err
		})
	case sweep.Spot:
		return l.cancelSpot(ctx, id)
	case sweep.Interface:
		return l.patient(ctx, "delete network interface", id, inUse("InvalidNetworkInterface.InUse", "InvalidParameterValue"), func(ctx context.Context) error {
			_, err := l.deleteInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
			return err
		})
	case sweep.Volume:
		return l.removeVolume(ctx, id)
	case sweep.Group:
		return l.patient(ctx, "delete security group", id, inUse("DependencyViolation", "InvalidGroup.InUse"), func(ctx context.Context) error {
			_, err := l.deleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
			return err
		})
	case sweep.KeyPair:
		// By its name, as builds do it: that is what policies are written for.
		return l.patient(ctx, "delete key pair", name, inUse(), func(ctx context.Context) error {
			_, err := l.deleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: &name})
			return err
		})
	case sweep.Profile:
		return l.steps(ctx, name, func(ctx context.Context) error {
			_, err := l.removeRoleFromProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &name, RoleName: &name})
			return err
		}, func(ctx context.Context) error {
			_, err := l.deleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &name})
			return err
		})
	case sweep.Role:
		return l.steps(ctx, name, func(ctx context.Context) error {
			_, err := l.deleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String(policyName)})
			return err
		}, func(ctx context.Context) error {
			_, err := l.deleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name})
			return err
		})
	case sweep.Export:
		return l.removeExport(ctx, t)
	case sweep.Image:
		return l.removeMarked(ctx, t)
	case sweep.Snapshot:
		return l.removeSnapshot(ctx, id)
	}
	return fmt.Errorf("AWS has no %s", t.Kind)
}

// removeMarked deregisters an image that still has the mark that was listed: its build
// may have finished it meanwhile. EC2 knows no condition, so it is looked at right
// before.
func (l *Leftovers) removeMarked(ctx context.Context, t sweep.Thing) error {
	img, err := l.image(ctx, t.ID)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if mark, is := ours(img.Tags); is != t.Ours || mark.String() != t.Mark.String() {
		return &sweep.Changed{Mark: mark, Ours: is}
	}
	return l.deregister(ctx, t.ID, time.Time{})
}

// steps makes calls of IAM one after the other; what one of them does not find is
// done already.
func (l *Leftovers) steps(ctx context.Context, name string, calls ...func(context.Context) error) error {
	for _, call := range calls {
		if err := l.patient(ctx, "remove", name, func(err error) bool { return code(err, "DeleteConflict") }, call); err != nil {
			return err
		}
	}
	return nil
}

// cancelSpot ends a request that has not ended with its machine.
func (l *Leftovers) cancelSpot(ctx context.Context, id string) error {
	over := errors.New("over")
	err := l.repeat(ctx, "describe spot request", id, func(ctx context.Context) error {
		r, err := l.describeSpotRequests(ctx, &ec2.DescribeSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{id}})
		if err != nil {
			return err
		}
		for _, s := range r.SpotInstanceRequests {
			if s.State == types.SpotInstanceStateOpen || s.State == types.SpotInstanceStateActive {
				return nil
			}
		}
		return over
	})
	if errors.Is(err, over) || missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.patient(ctx, "cancel spot request", id, func(error) bool { return false }, func(ctx context.Context) error {
		_, err := l.cancelSpotRequests(ctx, &ec2.CancelSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{id}})
		return err
	})
}

// Gone implements sweep.Cloud.
func (l *Leftovers) Gone(ctx context.Context, t sweep.Thing) error {
	if t.Kind == sweep.Instance {
		return l.terminated(ctx, t.ID)
	}
	return nil
}
