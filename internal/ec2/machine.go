// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// The operations of errors of a launch.
const (
	opRun   = "run instances"
	opStart = "start instance" // says why an accepted instance never ran
)

// slowCode is the code of such an error when the instance is still pending.
const slowCode = "StillPending"

// MakeSundries implements cloud.Sundries.
func (b *Build) MakeSundries(ctx context.Context, o capacity.Offer, token string) error {
	_, err := b.request(ctx, o, token)
	return err
}

// Launch implements cloud.Launcher with exactly one request. It is repeated only
// after refusals of the signature, which have no effect.
func (b *Build) Launch(ctx context.Context, o capacity.Offer, token string) (string, error) {
	in, err := b.request(ctx, o, token)
	if err != nil {
		return "", err
	}
	g, cancel := wait.Grace(ctx, requestGrace)
	defer cancel()
	var id string
	var over error
	err = b.repeatIf(g, repeatFor, opRun, "", func(error) bool { return false }, func(g context.Context) error {
		if over = ctx.Err(); over != nil {
			return over
		}
		r, err := b.runInstances(g, in)
		if err == nil && (len(r.Instances) == 0 || r.Instances[0].InstanceId == nil) {
			err = errNoAnswer
		}
		if err == nil {
			id = *r.Instances[0].InstanceId
		}
		return err
	})
	if over != nil {
		return "", over // nothing was sent, or it was refused
	}
	full := code(err, "InsufficientFreeAddressesInSubnet")
	err = b.details(g, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if full {
		b.crowded[aws.ToString(subnetOf(in))] = true
	}
	if err != nil {
		return "", err
	}
	b.born[id], b.markets[id] = time.Now(), marketOf(o)
	return id, nil
}

func subnetOf(in *ec2.RunInstancesInput) *string {
	if len(in.NetworkInterfaces) > 0 {
		return in.NetworkInterfaces[0].SubnetId
	}
	return in.SubnetId
}

// Find implements cloud.Launcher.
func (b *Build) Find(ctx context.Context, token string) (ids []string, err error) {
	all, err := b.instances(ctx, filter("client-token", token))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, i := range all {
		id := aws.ToString(i.InstanceId)
		if ended(state(i)) {
			continue
		}
		ids = append(ids, id)
		if _, known := b.born[id]; !known {
			b.born[id], b.markets[id] = time.Now(), OnDemand
			if i.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
				b.markets[id] = Spot
			}
		}
	}
	return ids, err
}

// since is when a machine was made, as far as this process knows.
func (b *Build) since(id string) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.born[id]
}

// AwaitMachine implements cloud.Launcher.
func (b *Build) AwaitMachine(ctx context.Context, id string) error {
	err := wait.Loop{
		What: "instance " + id + " to run", Timeout: b.cfg.InstanceTimeout, Option: "instance_timeout",
		Pace: wait.Quick, Tolerate: lags(b.since(id)),
		Progress: func(d time.Duration) { b.say("Still waiting for machine %s to run (%s)", id, d) },
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := b.look(ctx, id)
		if err != nil {
			return false, err
		}
		switch state(i) {
		case types.InstanceStateNameRunning:
			return true, nil
		case types.InstanceStateNamePending, "":
			return false, nil
		}
		return false, whyDead(i)
	})
	var late *wait.TimeoutError
	if errors.As(err, &late) {
		return &Error{Op: opStart, Subject: id, Code: slowCode, Message: late.Error(), Cause: late}
	}
	return err
}

// whyDead is the reason why an accepted instance does not run, or not any more.
func whyDead(i types.Instance) error {
	e := &Error{Op: opStart, Subject: aws.ToString(i.InstanceId), Message: fmt.Sprintf("it was accepted and is %s now", state(i))}
	if r := i.StateReason; r != nil {
		e.Code, e.Message = aws.ToString(r.Code), fmt.Sprintf("it is %s: %s", state(i), aws.ToString(r.Message))
	}
	return e
}

// Address implements cloud.Cloud.
func (b *Build) Address(ctx context.Context, id string) (string, error) {
	var addr string
	err := wait.Loop{
		What: "a network address of " + id, Timeout: b.cfg.InstanceTimeout, Option: "instance_timeout", Pace: wait.Quick, Tolerate: lags(b.since(id)),
	}.Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := b.look(ctx, id)
		switch {
		case err != nil:
			return false, err
		case ended(state(i)):
			return false, whyDead(i)
		}
		addr = b.addressOf(i)
		return addr != "", nil
	})
	return addr, err
}

// addressOf is the address by which a machine is reached, or empty as long as it
// has none.
func (b *Build) addressOf(i types.Instance) string {
	public, private := aws.ToString(i.PublicIpAddress), aws.ToString(i.PrivateIpAddress)
	switch b.cfg.Interface {
	case "public_ip":
		return public
	case "private_ip":
		return private
	case "public_dns":
		return aws.ToString(i.PublicDnsName)
	case "private_dns":
		return aws.ToString(i.PrivateDnsName)
	case "ipv6":
		for _, n := range i.NetworkInterfaces {
			for _, a := range n.Ipv6Addresses {
				return aws.ToString(a.Ipv6Address)
			}
		}
		return aws.ToString(i.Ipv6Address)
	}
	will := func(s types.Subnet) bool {
		return aws.ToString(s.SubnetId) == aws.ToString(i.SubnetId) && b.expectsPublic(s)
	}
	if public != "" || slices.ContainsFunc(b.found.subnets, will) {
		return public // it was asked for and will come
	}
	return private
}

// expectsPublic says whether machines in a subnet get a public address.
func (b *Build) expectsPublic(s types.Subnet) bool {
	if b.cfg.Network.PublicIP != nil {
		return *b.cfg.Network.PublicIP
	}
	return aws.ToBool(s.MapPublicIpOnLaunch)
}

// AskTermination implements cloud.Launcher.
func (b *Build) AskTermination(ctx context.Context, id string) error {
	b.noteOrphans(ctx, id)
	return once(ctx, "terminate instance", id, func(ctx context.Context) error {
		_, err := b.terminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
		return err
	})
}

// Terminate implements cloud.Launcher: the instance and its volumes are gone when
// it returns, except for those that the user wants to keep.
func (b *Build) Terminate(ctx context.Context, id string) error {
	// What was just made may not be found yet, and is all the same.
	err := b.repeatIf(ctx, repeatFor, "terminate instance", id, lags(b.since(id)), func(ctx context.Context) error {
		b.noteOrphans(ctx, id)
		_, err := b.terminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
		return err
	})
	if err != nil && !missing(err) {
		return b.details(ctx, err)
	}
	if err == nil {
		err = b.terminated(ctx, id)
	} else {
		err = nil
	}
	b.mu.Lock()
	left := b.orphans[id]
	delete(b.orphans, id)
	b.mu.Unlock()
	errs := []error{err}
	for _, v := range left {
		errs = append(errs, b.removeVolume(ctx, v))
	}
	return errors.Join(errs...)
}

// terminated waits until an instance is.
func (c *Client) terminated(ctx context.Context, id string) error {
	return wait.Loop{What: "instance " + id + " to terminate", Pace: wait.Quick, Tolerate: passing}.Until(ctx, func(ctx context.Context) (bool, error) {
		i, err := c.look(ctx, id)
		if missing(err) {
			return true, nil
		}
		return err == nil && state(i) == types.InstanceStateNameTerminated, err
	})
}

// noteOrphans remembers the volumes that would outlive an instance against the
// user's will, as long as the instance has them.
func (b *Build) noteOrphans(ctx context.Context, id string) {
	i, err := b.look(ctx, id)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range i.BlockDeviceMappings {
		keep := slices.ContainsFunc(b.cfg.Volumes, func(v BlockDevice) bool { return v.Device == aws.ToString(d.DeviceName) && v.KeepVolume })
		if d.Ebs == nil || d.Ebs.VolumeId == nil || aws.ToBool(d.Ebs.DeleteOnTermination) || keep {
			continue
		}
		if v := *d.Ebs.VolumeId; !slices.Contains(b.orphans[id], v) {
			b.orphans[id] = append(b.orphans[id], v)
		}
	}
}

// removeVolume removes a volume once it is let go.
func (c *Client) removeVolume(ctx context.Context, id string) error {
	free := func(err error) bool { return passing(err) || code(err, "VolumeInUse", "IncorrectState") }
	err := c.repeatIf(ctx, repeatFor, "delete volume", id, free, func(ctx context.Context) error {
		_, err := c.deleteVolume(ctx, &ec2.DeleteVolumeInput{VolumeId: &id})
		return err
	})
	if missing(err) {
		return nil
	}
	return err
}
