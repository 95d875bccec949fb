// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// launch makes instances of a plan, or says why not: what cannot work fails
// before limits, limits fail before capacity.
func (c *Cloud) launch(q *call, l *launchPlan, count int) ([]*instance, error) {
	t := q.target()
	t.instanceType, t.market = l.spec.name, l.market
	if l.az != "" {
		t.az, _ = q.region.zone(l.az)
	}
	if c.faults.hit(t, FaultFreePlan) != nil || q.who.Account.FreePlan && (!l.spec.freeTier || !l.image.freeTier) {
		what := "instance type"
		if l.spec.freeTier && !l.image.freeTier {
			what = "image"
		}
		return nil, errCombination("The specified %s is not eligible for Free Tier. For a list of Free Tier instance types, run "+
			"'describe-instance-types' with the filter 'free-tier-eligible=true'.", what)
	}
	if l.az != "" && !c.offered(q, l, t.az) {
		return nil, c.errUnsupported(q, l)
	}
	if err := c.checkQuota(q.home(), l.market, l.spec.vcpus*count); err != nil {
		return nil, err
	}
	s, err := c.choose(q, l, t, count)
	if err != nil {
		return nil, err
	}
	t.az = s.az
	if l.maxPrice > 0 && l.maxPrice < l.spec.spotPrice(s.az) {
		return nil, refuse("SpotMaxPriceTooLow", "Your Spot request price of %g is lower than the minimum required Spot request fulfillment price of %.4f.",
			l.maxPrice, l.spec.spotPrice(s.az))
	}
	if c.faults.hit(t, FaultVolumeCapacity) != nil {
		return nil, fail(http.StatusInternalServerError, "InsufficientVolumeCapacity",
			"There is not enough capacity to fulfill your EBS volume provision request.")
	}
	var made []*instance
	reservation := newID("r")
	for n := range count {
		i, err := c.place(q, l, s, reservation, n)
		if err != nil {
			return nil, err
		}
		made = append(made, i)
	}
	return made, nil
}

func (c *Cloud) offered(q *call, l *launchPlan, z zone) bool {
	return c.offeredIn(q.who.Account, l.spec, q.region, z)
}

// choose finds the subnet that an instance comes into: the one it names, or
// one of the default VPC whose zone has room.
func (c *Cloud) choose(q *call, l *launchPlan, t target, count int) (*subnet, error) {
	candidates := []*subnet{l.subnet}
	if l.subnet == nil {
		candidates = nil
		for _, s := range c.networks[q.home()].subnets {
			if l.az == "" || l.az == s.az.name {
				candidates = append(candidates, s)
			}
		}
	}
	var full *subnet
	var offered, free []*subnet
	for _, s := range candidates {
		switch {
		case !c.offered(q, l, s.az):
		case s.free() < count:
			full = s
		default:
			offered = append(offered, s)
			t.az = s.az
			if c.faults.peek(t, FaultCapacity) == nil {
				free = append(free, s)
			}
		}
	}
	// It is one attempt, which counts for each fault that concerns it.
	for _, f := range c.faults {
		for _, s := range offered {
			if t.az = s.az; f.Kind == FaultCapacity && f.matches(t) && f.inTime() {
				f.matched++
				break
			}
		}
	}
	switch {
	case len(free) > 0:
		return free[0], nil
	case len(offered) > 0:
		return nil, c.errCapacity(q, l, t, offered)
	case full != nil:
		return nil, full.errFull()
	}
	return nil, c.errUnsupported(q, l)
}

// errCapacity is the answer that this product exists for. It says where there
// is capacity.
func (c *Cloud) errCapacity(q *call, l *launchPlan, t target, tried []*subnet) *apiError {
	if l.market == spot {
		return fail(http.StatusInternalServerError, "InsufficientInstanceCapacity", "There is no Spot capacity available that matches your request.")
	}
	where := "in zones with support for '" + l.devices[0].kind + "' volumes"
	if l.az != "" {
		where = "in the Availability Zone you requested (" + l.az + ")"
	}
	text := fmt.Sprintf("We currently do not have sufficient %s capacity %s. Our system will be working on provisioning additional capacity.",
		l.spec.name, where)
	t.az = tried[0].az
	hint := true
	for _, f := range c.faults {
		if f.Kind == FaultCapacity && f.matches(t) && f.inTime() {
			hint = hint && !f.NoHint
		}
	}
	var others []string
	for _, z := range q.region.zones {
		t.az = z
		if z.name != l.az && c.offered(q, l, z) && c.faults.peek(t, FaultCapacity) == nil {
			others = append(others, z.name)
		}
	}
	if hint && l.az != "" && len(others) > 0 {
		text += fmt.Sprintf(" You can currently get %s capacity by not specifying an Availability Zone in your request or choosing %s.",
			l.spec.name, strings.Join(others, ", "))
	}
	return fail(http.StatusInternalServerError, "InsufficientInstanceCapacity", "%s", text)
}

func (c *Cloud) errUnsupported(q *call, l *launchPlan) *apiError {
	var others []string
	for _, z := range q.region.zones {
		if c.offered(q, l, z) {
			others = append(others, z.name)
		}
	}
	if l.az == "" || len(others) == 0 {
		return refuse("Unsupported", "The requested configuration is currently not supported. Please check the documentation for supported configurations.")
	}
	return refuse("Unsupported", "Your requested instance type (%s) is not supported in your requested Availability Zone (%s). "+
		"Please retry your request by not specifying an Availability Zone or choosing %s.", l.spec.name, l.az, strings.Join(others, ", "))
}

// place makes one instance and lets it come up in the background.
func (c *Cloud) place(q *call, l *launchPlan, s *subnet, reservation string, index int) (*instance, error) {
	address, err := s.lease(l.wantedIP)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	i := &instance{resourceBase: c.newBase(q, "instance", l.tags["instance"]), launch: l, reservation: reservation, token: l.token, index: index,
		spec: l.spec, image: l.image, market: l.market, metadata: l.metadata, credits: l.credits, userData: l.userData,
		onShutdown: l.onShutdown, protected: l.protected, state: pending, launched: now}
	e := &networkInterface{resourceBase: c.newBase(q, "network-interface", l.tags["network-interface"]), subnet: s, private: address,
		mac: newMAC(), groups: l.groups, instance: i, deletes: !l.keepsENI, state: "in-use", at: now}
	i.eni = e
	public := s.public
	if l.public != nil {
		public = *l.public
	}
	if public {
		e.public = c.nextPublic()
	}
	c.resources.put(e)
	for _, d := range l.devices {
		v := c.newVolume(q, d, s.az, l.tags["volume"])
		v.attached = &attachment{v, i, d.device, d.deletes, now}
		i.volumes = append(i.volumes, v.attached)
	}
	c.resources.put(i)
	if l.market == spot {
		i.spotRequest = &spotRequest{resourceBase: c.newBase(q, "spot-instances-request", l.tags["spot-instances-request"]), instance: i, state: "active"}
		i.spotRequest.id = "sir-" + randomHex(4)
		c.resources.put(i.spotRequest)
	}
	op := q.op.name
	c.start(i, op, c.faults.hit(i.target(op), FaultLaunchFails))
	if l.market == spot {
		if f := c.faults.hit(i.target(op), FaultSpotInterrupt); f != nil {
			c.interruptLater(i, *f)
		}
	}
	return i, nil
}

// newMAC makes an address as Amazon's network cards have.
func newMAC() string {
	b := make([]byte, 5)
	if _, err := rand.Read(b); err != nil {
		panic("no randomness: " + err.Error())
	}
	return fmt.Sprintf("0e:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4])
}
