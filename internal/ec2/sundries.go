// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// sundries are what is made beside a machine, when the first one is asked for. What
// may be there is noted before it is asked for.
type sundries struct {
	mu      sync.Mutex
	groups  map[string]string // security groups: VPC to id, which is empty until it is known
	ready   map[string]bool   // groups by VPC that have their rules
	key     string            // name of the key pair
	keyMade bool
	role    string // name of the role, and of the instance profile
	made    profileParts
}

func newSundries() sundries { return sundries{groups: map[string]string{}, ready: map[string]bool{}} }

// goneFor is how long something may take to be let go by what used it.
const goneFor = 5 * time.Minute

// temporaryGroup is the security group for machines in a VPC.
func (b *Build) temporaryGroup(ctx context.Context, vpc string) (string, error) {
	s := &b.sundries
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.groups[vpc]
	if s.ready[vpc] {
		return id, nil
	}
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	if id == "" {
		s.groups[vpc] = ""
		var err error
		if id, err = b.makeGroup(g, vpc); err != nil {
			return "", err
		}
		s.groups[vpc] = id
		b.say("Made the temporary security group %s", id)
	}
	if err := b.openGroup(g, id); err != nil {
		return "", err
	}
	s.ready[vpc] = true
	return id, ctx.Err()
}

// makeGroup makes a group, or finds it if it was made by a request whose reply was
// lost.
func (b *Build) makeGroup(ctx context.Context, vpc string) (id string, err error) {
	name := b.owner.Name(owner.RoleGroup)
	err = b.repeat(ctx, "create security group", name, func(ctx context.Context) error {
		r, err := b.createSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: &name, Description: aws.String("Lets Packer reach the machine of a build; temporary"), VpcId: &vpc,
			TagSpecifications: []types.TagSpecification{spec(types.ResourceTypeSecurityGroup, b.tagged(owner.RoleGroup, "", false, b.found.words.RunTags))},
		})
		if err == nil && r.GroupId == nil {
			err = errNoAnswer
		}
		if err == nil {
			id = *r.GroupId
		}
		return err
	})
	if code(err, "InvalidGroup.Duplicate") {
		found, ferr := b.findGroup(ctx, vpc)
		if ferr == nil && found != "" {
			return found, nil
		}
	}
	return id, b.details(ctx, err)
}

// findGroup is the group of this build in a VPC, if there is one.
func (b *Build) findGroup(ctx context.Context, vpc string) (id string, err error) {
	err = b.repeat(ctx, "describe security groups", "", func(ctx context.Context) error {
		r, err := b.describeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{
			filter("group-name", b.owner.Name(owner.RoleGroup)), filter("vpc-id", vpc),
		}})
		if err == nil && len(r.SecurityGroups) > 0 {
			id = aws.ToString(r.SecurityGroups[0].GroupId)
		}
		return err
	})
	return id, err
}

// openGroup lets in whom the build wants to let in.
func (b *Build) openGroup(ctx context.Context, id string) error {
	port := int32(b.cfg.Network.Temporary.Port) //nolint:gosec // a port
	if port == 0 || len(b.found.sources) == 0 {
		return nil
	}
	rule := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port}
	for _, block := range b.found.sources {
		if p, err := netip.ParsePrefix(block); err == nil && p.Addr().Is6() {
			rule.Ipv6Ranges = append(rule.Ipv6Ranges, types.Ipv6Range{CidrIpv6: aws.String(block), Description: aws.String("Packer")})
			continue
		}
		rule.IpRanges = append(rule.IpRanges, types.IpRange{CidrIp: aws.String(block), Description: aws.String("Packer")})
	}
	err := b.repeatIf(ctx, repeatFor, "authorize security group ingress", id, lags(time.Now()), func(ctx context.Context) error {
		_, err := b.authorizeIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []types.IpPermission{rule}})
		return err
	})
	if code(err, "InvalidPermission.Duplicate") { // by a request whose reply was lost
		return nil
	}
	return b.details(ctx, err)
}

// keyName is the key pair for the machine; one that has to be made is made now.
func (b *Build) keyName(ctx context.Context) (string, error) {
	if b.cfg.KeyName != "" || b.cfg.ImportKey == "" {
		return b.cfg.KeyName, nil
	}
	s := &b.sundries
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keyMade {
		return s.key, nil
	}
	s.key = b.owner.Name(owner.RoleKeyPair)
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	err := b.repeat(g, "import key pair", s.key, func(ctx context.Context) error {
		_, err := b.importKeyPair(ctx, &ec2.ImportKeyPairInput{
			KeyName: &s.key, PublicKeyMaterial: []byte(b.cfg.ImportKey),
			TagSpecifications: []types.TagSpecification{spec(types.ResourceTypeKeyPair, b.tagged(owner.RoleKeyPair, "", false, b.found.words.RunTags))},
		})
		return err
	})
	if err != nil && !code(err, "InvalidKeyPair.Duplicate") {
		return "", b.details(ctx, err)
	}
	s.keyMade = true
	return s.key, ctx.Err()
}

// RemoveSundries implements cloud.Sundries.
func (b *Build) RemoveSundries(ctx context.Context) error {
	s := &b.sundries
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, vpc := range slices.Sorted(maps.Keys(s.groups)) {
		if err := b.removeGroup(ctx, vpc, s.groups[vpc]); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(s.groups, vpc)
		delete(s.ready, vpc)
	}
	if s.key != "" {
		err := b.repeat(ctx, "delete key pair", s.key, func(ctx context.Context) error {
			_, err := b.deleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: &s.key})
			return err
		})
		switch {
		case err != nil && !missing(err):
			errs = append(errs, fmt.Errorf("key pair %s could not be deleted, please do so by hand: %w", s.key, err))
		default:
			s.key, s.keyMade = "", false
		}
	}
	return errors.Join(append(errs, b.removeProfile(ctx))...)
}

func (b *Build) removeGroup(ctx context.Context, vpc, id string) error {
	if id == "" { // it is not clear what came of the request
		var err error
		if id, err = b.findGroup(ctx, vpc); err != nil {
			return fmt.Errorf("the temporary security group %s in %s cannot be looked up: %w", b.owner.Name(owner.RoleGroup), vpc, err)
		}
		if id == "" {
			return nil
		}
	}
	used := func(err error) bool { return passing(err) || code(err, "DependencyViolation", "InvalidGroup.InUse") }
	err := b.repeatIf(ctx, goneFor, "delete security group", id, used, func(ctx context.Context) error {
		_, err := b.deleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		return err
	})
	if err != nil && !missing(err) {
		return fmt.Errorf("security group %s could not be deleted, please do so by hand: %w", id, err)
	}
	return nil
}
