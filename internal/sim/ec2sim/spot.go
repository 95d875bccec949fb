// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// spotRequest is what stands behind a spot instance.
type spotRequest struct {
	resourceBase
	instance *instance
	state    string // active, closed, cancelled
}

// interruptLater takes a spot instance away, the fault's delay after it runs.
func (c *Cloud) interruptLater(i *instance, f Fault) {
	c.background(func(ctx context.Context) {
		for !i.isNow(c, running, shuttingDown, terminated) {
			if schedule.Pause(ctx, c.delays.Pending+time.Millisecond) != nil {
				return
			}
		}
		if pause(ctx, f.Delay) == nil {
			c.interrupt(ctx, i)
		}
	})
}

// interruptRunning applies a new fault to the spot instances that run already.
// The cloud's lock is held.
func (c *Cloud) interruptRunning(f Fault) {
	for _, i := range all[*instance](c) {
		if i.market == spot && i.is(pending, running) {
			t := i.target("")
			if t.op = f.Op; f.Op == "" {
				t.op = "RunInstances"
			}
			if c.faults.hit(t, FaultSpotInterrupt) != nil {
				c.interruptLater(i, f)
			}
		}
	}
}

// interrupt gives notice and then ends the instance.
func (c *Cloud) interrupt(ctx context.Context, i *instance) {
	c.mu.Lock()
	if !i.is(pending, running) {
		c.mu.Unlock()
		return
	}
	i.notice = time.Now().Add(c.delays.SpotNotice)
	c.mu.Unlock()
	if schedule.Pause(ctx, c.delays.SpotNotice) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if i.is(pending, running) {
		i.transition = "Server.SpotInstanceTermination"
		c.end(i, "TerminateInstances", "Server.SpotInstanceTermination", "Server.SpotInstanceTermination: Spot instance termination")
	}
}

// InterruptSpot takes a spot instance away now, as a test may want.
func (c *Cloud) InterruptSpot(id string) error {
	c.mu.Lock()
	i, is := c.resources.byID[id].(*instance)
	c.mu.Unlock()
	if !is || i.market != spot {
		return fmt.Errorf("there is no spot instance %s", id)
	}
	c.background(func(ctx context.Context) { c.interrupt(ctx, i) })
	return nil
}

type priceXML struct {
	AZ      string `xml:"availabilityZone"`
	AZID    string `xml:"availabilityZoneId"`
	Type    string `xml:"instanceType"`
	Product string `xml:"productDescription"`
	Price   string `xml:"spotPrice"`
	At      string `xml:"timestamp"`
}

func (c *Cloud) describeSpotPriceHistory(q *call, in *struct {
	AZ       string   `aws:"AvailabilityZone"`
	AZID     string   `aws:"AvailabilityZoneId"`
	Types    []string `aws:"InstanceType"`
	Products []string `aws:"ProductDescription"`
	Start    string   `aws:"StartTime"`
	End      string   `aws:"EndTime"`
	Filters  []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	const product = "Linux/UNIX"
	var list []priceXML
	for _, t := range c.types {
		for _, z := range q.region.zones {
			wanted := (in.AZ == "" || in.AZ == z.name) && (in.AZID == "" || in.AZID == z.id) && (len(in.Types) == 0 || slices.Contains(in.Types, t.name)) &&
				(len(in.Products) == 0 || slices.ContainsFunc(in.Products, func(p string) bool { return p == product || p == product+" (Amazon VPC)" }))
			if wanted && c.offeredIn(q.who.Account, t, q.region, z) {
				list = append(list, priceXML{z.name, z.id, t.name, product, fmt.Sprintf("%.6f", t.spotPrice(z)), stamp(time.Now().Add(-time.Hour))})
			}
		}
	}
	list, err := narrow(list, in.Filters, attributes[priceXML]{
		"availability-zone": func(p priceXML) []string { return one(p.AZ) }, "instance-type": func(p priceXML) []string { return one(p.Type) },
		"product-description": func(p priceXML) []string { return one(p.Product) }, "spot-price": func(p priceXML) []string { return one(p.Price) },
		"timestamp": func(p priceXML) []string { return one(p.At) },
	})
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 1)
	if err != nil {
		return nil, err
	}
	return struct {
		Prices set[priceXML] `xml:"spotPriceHistorySet"`
		Next   string        `xml:"nextToken"`
	}{setOf(cut), next}, nil
}

type spotRequestXML struct {
	ID     string `xml:"spotInstanceRequestId"`
	State  string `xml:"state"`
	Status struct {
		Code    string `xml:"code"`
		Message string `xml:"message"`
	} `xml:"status"`
	Type       string      `xml:"type"`
	InstanceID string      `xml:"instanceId,omitempty"`
	AZ         string      `xml:"launchedAvailabilityZone,omitempty"`
	Created    string      `xml:"createTime"`
	Tags       set[tagXML] `xml:"tagSet"`
}

func (c *Cloud) describeSpotInstanceRequests(q *call, in *struct {
	IDs     []string `aws:"SpotInstanceRequestId"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*spotRequest](c, q, "spot-instances-request", in.IDs)
	if err == nil {
		list, err = narrow(list, in.Filters, attributes[*spotRequest]{
			"spot-instance-request-id": func(s *spotRequest) []string { return one(s.id) }, "state": func(s *spotRequest) []string { return one(s.state) },
			"instance-id": func(s *spotRequest) []string { return one(s.instance.id) },
		})
	}
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []spotRequestXML{}
	for _, s := range cut {
		row := spotRequestXML{ID: s.id, State: s.state, Type: "one-time", InstanceID: s.instance.id, AZ: s.instance.az().name,
			Created: stamp(s.created), Tags: s.tags.xml()}
		row.Status.Code = "fulfilled"
		if s.state != "active" {
			row.Status.Code = "instance-terminated-by-user"
			if r := s.instance.reason; r != nil && r.Code == "Server.SpotInstanceTermination" {
				row.Status.Code = "instance-terminated-no-capacity"
			}
		}
		rows = append(rows, row)
	}
	return struct {
		Requests set[spotRequestXML] `xml:"spotInstanceRequestSet"`
		Next     string              `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

func (c *Cloud) cancelSpotInstanceRequests(q *call, in *struct {
	IDs []string `aws:"SpotInstanceRequestId"`
}) (any, error) {
	if len(in.IDs) == 0 {
		return nil, errMissing("SpotInstanceRequestId")
	}
	list, err := pick[*spotRequest](c, q, "spot-instances-request", in.IDs)
	if err != nil {
		return nil, err
	}
	type row struct {
		ID    string `xml:"spotInstanceRequestId"`
		State string `xml:"state"`
	}
	var asked []AccessResource
	for _, s := range list {
		asked = append(asked, existing(s))
	}
	if err := c.authorize(q, asked); err != nil {
		return nil, err
	}
	var rows []row
	for _, s := range list { // the instance goes on
		if s.state == "active" {
			s.state = "cancelled"
		}
		rows = append(rows, row{s.id, s.state})
	}
	return struct {
		Requests set[row] `xml:"spotInstanceRequestSet"`
	}{setOf(rows)}, nil
}
