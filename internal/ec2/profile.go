// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// profileParts are what has been asked for of a temporary instance profile.
type profileParts struct{ role, policy, profile, attached, whole bool }

// trust lets machines assume a role.
const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// roleLife is how much longer a temporary role is no leftover than its build seemed to
// take: its name says until when, and a name cannot be renewed.
const roleLife = 7 * 24 * time.Hour

// policyName is that of the policy in a temporary role.
const policyName = "armfree"

// profile is the instance profile of the machine; one that has to be made is made
// now.
func (b *Build) profile(ctx context.Context) (*types.IamInstanceProfileSpecification, error) {
	switch {
	case strings.HasPrefix(b.cfg.Profile, "arn:"):
		return &types.IamInstanceProfileSpecification{Arn: &b.cfg.Profile}, nil
	case b.cfg.Profile != "":
		return &types.IamInstanceProfileSpecification{Name: &b.cfg.Profile}, nil
	case b.cfg.Policy == "":
		return nil, nil
	}
	s := &b.sundries
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role = b.owner.Lasting(roleLife).Name("profile")
	if !s.made.whole {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		if err := b.makeProfile(g); err != nil {
			return nil, err
		}
	}
	return &types.IamInstanceProfileSpecification{Name: &s.role}, ctx.Err()
}

// makeProfile makes role, policy and profile. Each is noted before it is asked
// for, and what a request made whose reply was lost counts as made.
func (b *Build) makeProfile(ctx context.Context) error {
	s := &b.sundries
	name, m := &s.role, &s.made
	var tags []iamtypes.Tag
	for _, t := range tagList(b.tagged(owner.RoleProfile, "", false, b.found.words.RunTags)) {
		tags = append(tags, iamtypes.Tag{Key: t.Key, Value: t.Value})
	}
	for _, step := range []struct {
		op   string
		note *bool
		do   func(context.Context) error
	}{
		{"create role", &m.role, func(ctx context.Context) error {
			_, err := b.createRole(ctx, &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(trust), Tags: tags})
			return err
		}},
		{"put role policy", &m.policy, func(ctx context.Context) error {
			_, err := b.putRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String(policyName), PolicyDocument: &b.cfg.Policy})
			return err
		}},
		{"create instance profile", &m.profile, func(ctx context.Context) error {
			_, err := b.createInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: name, Tags: tags})
			return err
		}},
		{"add role to instance profile", &m.attached, func(ctx context.Context) error {
			_, err := b.addRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: name, RoleName: name})
			return err
		}},
	} {
		again := *step.note
		*step.note = true
		tries := 0
		// IAM's answers lag behind, too: a role that was just made may not be
		// found yet.
		err := b.repeatIf(ctx, repeatFor, step.op, *name, func(err error) bool { return passing(err) || code(err, "NoSuchEntity") }, func(ctx context.Context) error {
			tries++
			return step.do(ctx)
		})
		if (again || tries > 1) && code(err, "EntityAlreadyExists", "LimitExceeded") {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	m.whole = true
	return nil
}

// removeProfile removes what makeProfile made.
func (b *Build) removeProfile(ctx context.Context) error {
	s := &b.sundries
	name, m := &s.role, &s.made
	var errs []error
	for _, step := range []struct {
		op   string
		note *bool
		do   func(context.Context) error
	}{
		{"remove role from instance profile", &m.attached, func(ctx context.Context) error {
			_, err := b.removeRoleFromProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: name, RoleName: name})
			return err
		}},
		{"delete instance profile", &m.profile, func(ctx context.Context) error {
			_, err := b.deleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: name})
			return err
		}},
		{"delete role policy", &m.policy, func(ctx context.Context) error {
			_, err := b.deleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String(policyName)})
			return err
		}},
		{"delete role", &m.role, func(ctx context.Context) error {
			_, err := b.deleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
			return err
		}},
	} {
		if !*step.note {
			continue
		}
		err := b.repeatIf(ctx, repeatFor, step.op, *name, func(err error) bool { return passing(err) || code(err, "DeleteConflict") }, step.do)
		if err != nil && !missing(err) {
			errs = append(errs, fmt.Errorf("the temporary role or instance profile %s could not be deleted, please do so by hand: %w", *name, err))
			continue
		}
		*step.note = false
	}
	m.whole = false
	return errors.Join(errs...)
}
