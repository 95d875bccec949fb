// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"log"
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
	groups  map[string]string    // security groups: VPC to id, which is empty until it is known
	ready   map[string]bool      // groups by VPC that have their rules
	since   map[string]time.Time // when groups by VPC were asked for
	open    wait.Open            // VPCs in which a request for the group was not confirmed
	key     string               // name of the key pair
	keyMade bool
	role    string // name of the role, and of the instance profile
	made    profileParts
}

func newSundries() sundries {
	return sundries{groups: map[string]string{}, ready: map[string]bool{}, since: map[string]time.Time{}}
}

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
		s.groups[vpc], s.since[vpc] = "", time.Now()
		var err error
		if id, err = b.makeGroup(ctx, g, vpc); err != nil {
			if !slices.Contains(s.open.Keys(), vpc) {
				delete(s.groups, vpc) // there is none
			}
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
// lost. Requests get grace; who looks for a group obeys ctx, since removeGroup looks
// on.
func (b *Build) makeGroup(ctx, grace context.Context, vpc string) (id string, err error) {
	name, unclear := b.owner.Name(owner.RoleGroup), false
	err = b.repeat(grace, "create security group", name, func(ctx context.Context) error {
		r, err := b.createSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
			GroupName: &name, Description: aws.String("Lets Packer reach the machine of a build; temporary"), VpcId: &vpc,
			TagSpecifications: []types.TagSpecification{spec(types.ResourceTypeSecurityGroup, b.tagged(owner.RoleGroup, "", false, b.found.words.RunTags))},
		})
		if err == nil && r.GroupId == nil {
			err = errNoAnswer
		}
		unclear = unclear || lost(wrap("create security group", name, err))
		if err == nil {
			id = *r.GroupId
		}
		return err
	})
	// The name is the build's own, so nobody else has it.
	if err != nil && (unclear || code(err, "InvalidGroup.Duplicate")) {
		b.sundries.open.Add(vpc)
		if id, err = b.awaitGroup(ctx, vpc, err); ctx.Err() != nil {
			return id, ctx.Err()
		}
	}
	return id, b.details(ctx, err)
}

// awaitGroup looks for a group for as long as it may not be seen.
func (b *Build) awaitGroup(ctx context.Context, vpc string, cause error) (id string, err error) {
	_, err = b.sundries.open.Settle(ctx, func(ctx context.Context, key string) (bool, error) {
		found, err := b.findGroup(ctx, key)
		if key == vpc {
			id = found
		} else if found != "" {
			b.sundries.groups[key] = found
		}
		return found != "", err
	})
	if id != "" {
		return id, nil
	}
	return "", errors.Join(cause, err)
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
	b.renewCaller(ctx)
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

// callerAge is for how long this computer's address is taken for what it was when the
// build began. A cloud may be asked for a machine only after hours.
const callerAge = 5 * time.Minute

// renewCaller asks again from where this computer's requests come, if that was long
// ago. Without an answer it counts what was known.
func (b *Build) renewCaller(ctx context.Context) {
	old := b.found.caller
	if old == "" || time.Since(b.found.at) < callerAge {
		return
	}
	now, err := b.caller(ctx)
	if err != nil {
		log.Printf("[WARN] whether this computer is still %s is not known: %v", old, err)
		return
	}
	if now == old {
		return
	}
	b.say("This computer's address was %s when the build began, and is %s now", old, now)
	for n, s := range b.found.sources {
		if s == old {
			b.found.sources[n] = now
		}
	}
	b.found.caller = now
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
		if id, err = b.awaitGroup(ctx, vpc, nil); err != nil {
			return fmt.Errorf("the temporary security group %s in %s cannot be looked up: %w", b.owner.Name(owner.RoleGroup), vpc, err)
		}
		if id == "" {
			b.say("The request for the temporary security group %s in %s was not confirmed, and it has not shown up", b.owner.Name(owner.RoleGroup), vpc)
			return nil
		}
	}
	gone := notYet(b.sundries.since[vpc])
	used := func(err error) bool { return gone(err) || code(err, "DependencyViolation", "InvalidGroup.InUse") }
	said := map[string]bool{}
	err := b.repeatIf(ctx, goneFor, "delete security group", id, used, func(ctx context.Context) error {
		_, err := b.deleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		if err = wrap("delete security group", id, err); code(err, "DependencyViolation", "InvalidGroup.InUse") {
			b.endStrays(ctx, said)
		}
		return err
	})
	if err != nil && !missing(err) {
		return fmt.Errorf("security group %s could not be deleted, please do so by hand: %w", id, err)
	}
	return nil
}

// endStrays asks for the end of machines of this build. By the time its security
// group goes there is none that is known; a group that is in use is a proof that one
// has come up of which nobody has seen anything yet.
func (b *Build) endStrays(ctx context.Context, said map[string]bool) {
	all, err := b.instances(ctx, b.ofBuild()...)
	if err != nil {
		log.Printf("[WARN] what uses the security group is not known: %v", err)
		return
	}
	for _, i := range all {
		id := aws.ToString(i.InstanceId)
		if ended(state(i)) {
			continue
		}
		if !said[id] {
			said[id] = true
			b.say("Terminating machine %s, which a launch made that was not confirmed", id)
		}
		if err := b.AskTermination(ctx, id); err != nil {
			log.Printf("[WARN] machine %s cannot be terminated yet: %v", id, err)
		}
	}
}
