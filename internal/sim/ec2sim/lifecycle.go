// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// start brings an instance up for the first time: disks, machine, network. One
// that a fault has doomed goes from pending to terminated.
func (c *Cloud) start(i *instance, op string, broken *Fault) {
	c.operate(i, false, func(ctx context.Context) {
		err := c.spend(ctx, i, op, pending, c.delays.Pending)
		if err != nil {
			return // terminated on its way up
		}
		if broken != nil {
			code := orText(broken.Code, "Server.InsufficientInstanceCapacity")
			text := orText(broken.Message, code+": Insufficient capacity to satisfy instance request")
			c.mu.Lock()
			i.transition = "Server.InternalError"
			c.mu.Unlock()
			c.dismantle(i, &reasonXML{code, text})
			return
		}
		for _, a := range i.volumes {
			if err := c.makeVolume(ctx, a.volume); err != nil {
				c.dismantle(i, &reasonXML{"Client.InternalError", "Client.InternalError: " + err.Error()})
				return
			}
		}
		if err := c.powerOn(ctx, i); err != nil && ctx.Err() == nil {
			c.dismantle(i, &reasonXML{"Server.InternalError", "Server.InternalError: " + err.Error()})
		}
	})
}

// makeVolume gives a volume its bytes: those of its snapshot, if it has one.
func (c *Cloud) makeVolume(ctx context.Context, v *volume) error {
	c.mu.Lock()
	path, source := c.volumePath(v), ""
	if s, is := c.resources.byID[v.snapshotID].(*snapshot); is {
		source = s.path
	}
	c.mu.Unlock()
	if source == "" && v.snapshotID != "" {
		return fail(400, "InvalidSnapshot.NotFound", "the snapshot %s does not exist", v.snapshotID)
	}
	bytes := func() error { return machine.BlankDisk(path, int64(v.sizeGiB)<<30) }
	if source != "" {
		bytes = func() error { return c.cfg.Disks.BootVolume(ctx, source, path, int64(v.sizeGiB)) }
	}
	if err := bytes(); err != nil {
		c.cfg.Disks.Remove(path) // whatever there is of it
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	v.path = path
	if v.state == "creating" {
		v.state = "in-use"
	}
	return nil
}

// end terminates an instance in whatever state it is. The cloud's lock is held.
func (c *Cloud) end(i *instance, op, code, text string) {
	i.state, i.reason = shuttingDown, &reasonXML{code, text}
	if i.current != nil && !i.current.finishes {
		i.current.cancel()
	} else if m := i.machine; m != nil {
		// The snapshot that is being made must not wait for a guest that takes
		// its time to shut down.
		c.background(func(context.Context) { _ = m.Kill() })
	}
	c.moveGates()
	c.operate(i, false, func(ctx context.Context) {
		c.powerOff(ctx, i, false)
		_ = c.spend(ctx, i, op, shuttingDown, c.delays.Terminate) // it ends either way
		c.dismantle(i, i.reason)
	})
}

// dismantle takes an instance apart. It stays visible as terminated for a
// while.
func (c *Cloud) dismantle(i *instance, reason *reasonXML) {
	c.powerOff(c.base, i, false)
	c.mu.Lock()
	defer c.mu.Unlock()
	if i.is(terminated) {
		return
	}
	i.state, i.reason, i.ended = terminated, reason, time.Now()
	for _, a := range i.volumes {
		if a.deletes {
			c.dropVolume(a.volume)
		} else {
			a.volume.state, a.volume.attached = "available", nil
		}
	}
	i.volumes = nil
	delete(i.eni.subnet.used, i.eni.private)
	if i.eni.deletes {
		c.resources.remove(i.eni.id)
	} else {
		i.eni.state, i.eni.instance = "available", nil
	}
	if i.spotRequest != nil {
		i.spotRequest.state = "closed"
	}
	c.moveGates()
	c.background(func(ctx context.Context) {
		if schedule.Pause(ctx, c.delays.Visible) == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.resources.remove(i.id)
			if i.spotRequest != nil {
				c.resources.remove(i.spotRequest.id)
			}
		}
	})
}

// userInitiated is the reason of what a client asked for.
func userInitiated() string {
	return "User initiated (" + time.Now().UTC().Format("2006-01-02 15:04:05") + " GMT)"
}

type idsIn struct {
	IDs []string `aws:"InstanceId"`
}

// instances finds those of a request and asks IAM about them.
func (c *Cloud) instances(q *call, ids []string) ([]*instance, error) {
	if len(ids) == 0 {
		return nil, errMissing("InstanceId")
	}
	list, err := pick[*instance](c, q, "instance", ids)
	if err != nil {
		return nil, err
	}
	var asked []AccessResource
	for _, i := range list {
		asked = append(asked, i.asResource())
	}
	return list, c.authorize(q, asked)
}

type changeXML struct {
	ID       string   `xml:"instanceId"`
	Current  stateXML `xml:"currentState"`
	Previous stateXML `xml:"previousState"`
}

type stateXML struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func state(name string) stateXML { return stateXML{stateCode(name), name} }

type changes struct {
	Instances set[changeXML] `xml:"instancesSet"`
}

// each changes the state of instances and tells what it was before.
func each(list []*instance, change func(i *instance)) changes {
	rows := []changeXML{}
	for _, i := range list {
		before := i.state
		change(i)
		rows = append(rows, changeXML{i.id, state(i.state), state(before)})
	}
	return changes{setOf(rows)}
}

func (c *Cloud) terminateInstances(q *call, in *struct {
	idsIn
	SkipOsShutdown bool
	Force          bool
}) (any, error) {
	list, err := c.instances(q, in.IDs)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if i.protected {
			return nil, refuse("OperationNotPermitted", "The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", i.id)
		}
	}
	return each(list, func(i *instance) {
		if i.is(shuttingDown, terminated) {
			return
		}
		i.transition = userInitiated()
		c.end(i, "TerminateInstances", "Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
	}), nil
}

func (c *Cloud) stopInstances(q *call, in *struct {
	idsIn
	Force          bool
	Hibernate      bool
	SkipOsShutdown bool
}) (any, error) {
	list, err := c.instances(q, in.IDs)
	if err != nil {
		return nil, err
	}
	if in.Hibernate {
		return nil, errNotSimulated("hibernation")
	}
	for _, i := range list {
		switch {
		case i.market == spot:
			return nil, refuse("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot "+
				"Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests.", i.id)
		case !i.is(running, stopping, stopped):
			return nil, refuse("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be stopped.", i.id)
		}
	}
	return each(list, func(i *instance) {
		if !i.is(running) {
			return
		}
		i.state, i.transition = stopping, userInitiated()
		i.reason = &reasonXML{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
		c.operate(i, false, func(ctx context.Context) {
			c.powerOff(ctx, i, !in.Force)
			if c.spend(ctx, i, "StopInstances", stopping, c.delays.Stop) == nil && c.setState(i, stopping, stopped) {
				c.releasePublic(i)
			}
		})
	}), nil
}

// releasePublic takes the public address away from an instance that stopped.
func (c *Cloud) releasePublic(i *instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i.eni.public.IsValid() {
		i.eni.public = netip.Addr{}
		i.publicAgain = true
	}
}

func (c *Cloud) startInstances(q *call, in *idsIn) (any, error) {
	list, err := c.instances(q, in.IDs)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if !i.is(stopped, pending, running) {
			return nil, refuse("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be started.", i.id)
		}
		if i.is(stopped) {
			if err := c.checkQuota(i.home, i.market, i.spec.vcpus); err != nil {
				return nil, err
			}
			if c.faults.hit(i.target("RunInstances"), FaultCapacity) != nil {
				return nil, fail(http.StatusInternalServerError, "InsufficientInstanceCapacity", "Insufficient capacity.")
			}
		}
	}
	return each(list, func(i *instance) {
		if !i.is(stopped) {
			return
		}
		i.state, i.reason, i.transition, i.launched = pending, nil, "", time.Now()
		if i.publicAgain {
			i.eni.public, i.publicAgain = c.nextPublic(), false
		}
		c.operate(i, false, func(ctx context.Context) {
			if c.spend(ctx, i, "StartInstances", pending, c.delays.Pending) != nil {
				return
			}
			if c.powerOn(ctx, i) != nil {
				c.setState(i, pending, stopped)
			}
		})
	}), nil
}

// rebootInstances asks the guests to reboot; their state stays running.
func (c *Cloud) rebootInstances(q *call, in *idsIn) (any, error) {
	list, err := c.instances(q, in.IDs)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if !i.is(running) {
			return nil, refuse("IncorrectState", "The instance '%s' is not in a state from which it can be rebooted.", i.id)
		}
	}
	for _, i := range list {
		c.operate(i, false, func(ctx context.Context) {
			c.powerOff(ctx, i, true)
			if i.isNow(c, running) {
				_ = c.powerOn(ctx, i)
			}
		})
	}
	return done(), nil
}
