// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// powerOn starts the machine and makes the instance RUNNING.
func (c *Cloud) powerOn(ctx context.Context, i *instance) error {
	c.mu.Lock()
	spec := machine.Spec{
		ID: i.body.ID, Disk: i.volume.path, Cloud: machine.OCI,
		Firmware: machine.Firmware(i.body.LaunchOptions.Firmware),
		CPUs:     max(1, int(i.size.ocpus)), MemoryMB: int(i.size.memory * 1024),
		Metadata: c.metadataService(i), SSH: net.JoinHostPort(i.vnic.body.PrivateIP, strconv.Itoa(c.sshPort)),
	}
	c.mu.Unlock()
	m, err := c.cfg.Driver.Start(c.base, spec)
	if err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	c.mu.Lock()
	ended := c.closed || ctx.Err() != nil || !i.is("PROVISIONING", "STARTING")
	if !ended {
		i.machine = m
		c.instanceBecomes(i, "RUNNING")
	}
	c.mu.Unlock()
	if ended { // the cloud or the instance, while the machine started
		_ = m.Kill()
		return context.Canceled
	}
	c.background(func(ctx context.Context) { c.watchPower(ctx, i, m) })
	return nil
}

// watchPower notices when a guest powers itself off: the instance is STOPPED
// then, as if the user had stopped it.
func (c *Cloud) watchPower(ctx context.Context, i *instance, m machine.Machine) {
	select {
	case <-m.Done():
	case <-ctx.Done():
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i.machine == m && i.is("RUNNING") {
		i.machine = nil
		c.instanceBecomes(i, "STOPPED")
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
	i.machine = nil
	c.mu.Unlock()
}

// instanceAction changes the power state.
func (c *Cloud) instanceAction(q *call) (*reply, error) {
	if len(q.body) > 0 {
		var none struct{}
		if err := q.decode(&none); err != nil {
			return nil, err
		}
	}
	i, err := c.findInstance(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	if err := i.ifMatch(q); err != nil {
		return nil, err
	}
	action := q.param("action")
	var from, during string
	gently := action == "SOFTSTOP" || action == "SOFTRESET"
	switch action {
	case "STOP", "SOFTSTOP", "RESET", "SOFTRESET":
		from, during = "RUNNING", "STOPPING"
	case "START":
		from, during = "STOPPED", "STARTING"
	case "SENDDIAGNOSTICINTERRUPT", "DIAGNOSTICREBOOT", "REBOOTMIGRATE":
		return nil, errNotSimulated(action)
	default:
		return nil, errInvalid("Unknown action %s", action)
	}
	if i.body.Preemptible != nil {
		return nil, errState("A preemptible instance cannot be stopped, started or rebooted")
	}
	if !i.is(from) {
		return nil, errState("Instance %s is %s", i.body.ID, i.body.LifecycleState)
	}
	c.instanceBecomes(i, during)
	i.touch()
	c.operate(i, false, func(ctx context.Context) {
		if during == "STOPPING" {
			c.powerOff(ctx, i, gently)
			if c.spend(ctx, i.place, "InstanceAction", "STOPPING", c.delays.Stop) != nil {
				return
			}
			c.setState(i, "STOPPING", "STOPPED")
		}
		switch action {
		case "START":
			c.comeUp(ctx, i)
		case "RESET", "SOFTRESET":
			c.restart(ctx, i)
		}
	})
	return withEtag(i.body, i.revision), nil
}

// setState moves an instance on unless something else has happened to it, and
// tells whether it did.
func (c *Cloud) setState(i *instance, from, to string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !i.is(from) {
		return false
	}
	c.instanceBecomes(i, to)
	return true
}

// restart takes a stopped instance through STARTING to RUNNING.
func (c *Cloud) restart(ctx context.Context, i *instance) {
	if c.setState(i, "STOPPED", "STARTING") {
		c.comeUp(ctx, i)
	}
}

// comeUp takes an instance from STARTING to RUNNING.
func (c *Cloud) comeUp(ctx context.Context, i *instance) {
	if c.spend(ctx, i.place, "InstanceAction", "STARTING", c.delays.Start) != nil {
		return
	}
	if c.powerOn(ctx, i) != nil {
		c.setState(i, "STARTING", "STOPPED")
	}
}
