// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

func pause(ctx context.Context, d schedule.Duration) error {
	return schedule.Pause(ctx, time.Duration(d))
}

// orText is a text or, if it is empty, another.
func orText(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}

// spend lets a state last, longer if a fault makes it slow.
func (c *Cloud) spend(ctx context.Context, i *instance, op, state string, d time.Duration) error {
	c.mu.Lock()
	t := i.target(op)
	t.state = state
	if slow := c.faults.hit(t, FaultSlow); slow != nil {
		d += time.Duration(slow.Delay)
	}
	c.mu.Unlock()
	return schedule.Pause(ctx, d)
}

// powerOn starts the machine and makes the instance running.
func (c *Cloud) powerOn(ctx context.Context, i *instance) error {
	c.mu.Lock()
	spec := machine.Spec{
		ID: i.id, Disk: i.attachment(i.image.root).volume.path, Cloud: machine.EC2, Firmware: machine.UEFI64,
		CPUs: i.spec.vcpus, MemoryMB: i.spec.memoryMiB, Metadata: c.metadataService(i),
		SSH: net.JoinHostPort(i.eni.private.String(), strconv.Itoa(c.ports.inside)),
	}
	if i.image.arch == x86 {
		spec.Firmware = machine.UEFI64 // the drivers know nothing else
	}
	c.mu.Unlock()
	m, err := c.cfg.Driver.Start(c.base, spec)
	if err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	c.mu.Lock()
	ended := c.closed || ctx.Err() != nil || !i.is(pending, running)
	if !ended {
		i.machine = m
		i.state = running
		c.moveGates()
	}
	c.mu.Unlock()
	if ended { // the cloud or the instance, while the machine started
		_ = m.Kill()
		return context.Canceled
	}
	c.background(func(ctx context.Context) { c.watchPower(ctx, i, m) })
	return nil
}

// watchPower notices when a guest powers itself off.
func (c *Cloud) watchPower(ctx context.Context, i *instance, m machine.Machine) {
	select {
	case <-m.Done():
	case <-ctx.Done():
		return
	}
	for {
		c.mu.Lock()
		during := i.current
		if i.machine != m || during == nil || during.ended() {
			break
		}
		c.mu.Unlock() // what is being done to the instance may be the reason
		select {
		case <-during.done:
		case <-ctx.Done():
			return
		}
	}
	defer c.mu.Unlock()
	if i.machine != m || !i.is(running) {
		return
	}
	i.console, i.machine = m.Console(), nil
	const code, text = "Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
	if i.onShutdown == "terminate" {
		c.end(i, "TerminateInstances", code, text)
		return
	}
	i.state, i.reason = stopping, &reasonXML{code, text}
	c.moveGates()
	c.operate(i, false, func(ctx context.Context) {
		if c.spend(ctx, i, "StopInstances", stopping, c.delays.Stop) == nil {
			c.setState(i, stopping, stopped)
		}
	})
}

// ended tells whether a task is over.
func (o *task) ended() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// powerOff switches the machine off, gently at first if asked to.
func (c *Cloud) powerOff(ctx context.Context, i *instance, gently bool) {
	c.mu.Lock()
	m := i.machine
	c.mu.Unlock()
	if m == nil {
		return
	}
	if gently {
		limited, cancel := context.WithTimeout(ctx, c.delays.ShutdownLimit)
		_ = m.Shutdown(limited) // if the guest does not obey, its power is cut
		cancel()
	}
	_ = m.Kill() // after this it is off; a driver has no more to say
	c.mu.Lock()
	i.console, i.machine = m.Console(), nil
	c.moveGates()
	c.mu.Unlock()
}

// setState moves an instance on unless something else has happened to it.
func (c *Cloud) setState(i *instance, from, to string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !i.is(from) {
		return false
	}
	i.state = to
	return true
}

// metadataService is what answers 169.254.169.254 inside an instance. The
// cloud's lock is held.
func (c *Cloud) metadataService(i *instance) http.Handler {
	e := i.eni
	info := machine.EC2Info{
		InstanceID: i.id, ImageID: i.image.id, InstanceType: i.spec.name, Architecture: i.image.arch, AccountID: i.account.ID,
		ReservationID: i.reservation, Region: i.region.name, AvailabilityZone: i.az().name, ZoneID: i.az().id,
		LocalHostname: i.privateName(), PublicHostname: i.publicName(), PrivateIP: e.private.String(), MAC: e.mac,
		SubnetID: e.subnet.id, VpcID: e.subnet.vpc.id, SubnetCIDR: e.subnet.cidr.String(), KeyName: i.launch.keyName,
		PublicKey: i.launch.publicKey, UserData: i.userData, Lifecycle: i.market, PendingTime: i.launched,
		InstanceProfile: i.launch.profileARN, Tags: map[string]string{},
		Disabled: i.metadata.endpoint == "disabled", TokenRequired: i.metadata.tokens == "required", HopLimit: i.metadata.hops,
		ShowTags: i.metadata.tags == "enabled",
		Interruption: func() time.Time {
			c.mu.Lock()
			defer c.mu.Unlock()
			return i.notice
		},
	}
	for k, v := range i.tags {
		info.Tags[k] = v
	}
	for _, g := range e.groups {
		info.SecurityGroups = append(info.SecurityGroups, g.name)
	}
	if e.public.IsValid() {
		info.PublicIP = e.public.String()
	}
	if r := i.launch.role; r != nil {
		info.Role, info.Credentials = r.name, c.machineCredentials(i, r)
	}
	return machine.EC2Metadata(info)
}
