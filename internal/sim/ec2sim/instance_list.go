// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/base64"
	"slices"
	"strconv"
	"time"
)

func instanceFilters() attributes[*instance] {
	groups := func(i *instance, of func(*securityGroup) string) (names []string) {
		for _, g := range i.eni.groups {
			names = append(names, of(g))
		}
		return names
	}
	public := func(i *instance) []string {
		if !i.eni.public.IsValid() {
			return nil
		}
		return one(i.eni.public.String())
	}
	return attributes[*instance]{
		"instance-id": func(i *instance) []string { return one(i.id) }, "client-token": func(i *instance) []string { return one(i.token) },
		"instance-state-name": func(i *instance) []string { return one(i.state) },
		"instance-state-code": func(i *instance) []string { return one(strconv.Itoa(stateCode(i.state))) },
		"instance-type":       func(i *instance) []string { return one(i.spec.name) }, "image-id": func(i *instance) []string { return one(i.image.id) },
		"availability-zone": func(i *instance) []string { return one(i.az().name) }, "availability-zone-id": func(i *instance) []string { return one(i.az().id) },
		"subnet-id": func(i *instance) []string { return one(i.eni.subnet.id) }, "vpc-id": func(i *instance) []string { return one(i.eni.subnet.vpc.id) },
		"key-name": func(i *instance) []string { return one(i.launch.keyName) }, "architecture": func(i *instance) []string { return one(i.image.arch) },
		"instance-lifecycle": func(i *instance) []string {
			if i.market == spot {
				return one(spot)
			}
			return nil
		},
		"spot-instance-request-id": func(i *instance) []string {
			if i.spotRequest == nil {
				return nil
			}
			return one(i.spotRequest.id)
		},
		"private-ip-address": func(i *instance) []string { return one(i.eni.private.String()) }, "ip-address": public,
		"private-dns-name": func(i *instance) []string { return one(i.privateName()) }, "dns-name": func(i *instance) []string { return one(i.publicName()) },
		"reservation-id": func(i *instance) []string { return one(i.reservation) }, "owner-id": func(i *instance) []string { return one(i.account.ID) },
		"state-reason-code": func(i *instance) []string {
			if i.reason == nil {
				return nil
			}
			return one(i.reason.Code)
		},
		"instance.group-id":   func(i *instance) []string { return groups(i, func(g *securityGroup) string { return g.id }) },
		"instance.group-name": func(i *instance) []string { return groups(i, func(g *securityGroup) string { return g.name }) },
		"block-device-mapping.volume-id": func(i *instance) (ids []string) {
			for _, a := range i.volumes {
				ids = append(ids, a.volume.id)
			}
			return ids
		},
		"launch-time":                  func(i *instance) []string { return one(stamp(i.launched)) },
		"root-device-type":             func(*instance) []string { return one("ebs") },
		"hypervisor":                   func(*instance) []string { return one("xen") },
		"tenancy":                      func(*instance) []string { return one("default") },
		"metadata-options.http-tokens": func(i *instance) []string { return one(i.metadata.tokens) },
	}
}

func (c *Cloud) describeInstances(q *call, in *struct {
	idsIn
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	if len(in.IDs) > 0 && in.MaxResults != nil {
		return nil, errCombination("The parameter instancesSet cannot be used with the parameter maxResults")
	}
	list, err := pick[*instance](c, q, "instance", in.IDs)
	if err == nil {
		list, err = narrow(list, in.Filters, instanceFilters())
	}
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []reservationXML{}
	for len(cut) > 0 {
		together := cut[:1]
		for len(together) < len(cut) && cut[len(together)].reservation == cut[0].reservation {
			together = cut[:len(together)+1]
		}
		rows = append(rows, reservationOf(together))
		cut = cut[len(together):]
	}
	return struct {
		Reservations set[reservationXML] `xml:"reservationSet"`
		Next         string              `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

type statusXML struct {
	ID       string      `xml:"instanceId"`
	AZ       string      `xml:"availabilityZone"`
	State    stateXML    `xml:"instanceState"`
	System   checkXML    `xml:"systemStatus"`
	Instance checkXML    `xml:"instanceStatus"`
	Events   set[string] `xml:"eventsSet"`
}

type checkXML struct {
	Status  string        `xml:"status"`
	Details set[checkRow] `xml:"details"`
}

type checkRow struct {
	Name   string `xml:"name"`
	Status string `xml:"status"`
}

// checks takes a while after an instance came up.
const checksTake = 2 * time.Second

func (i *instance) check() checkXML {
	switch {
	case !i.is(running):
		return checkXML{Status: "not-applicable"}
	case time.Since(i.launched) < checksTake:
		return checkXML{"initializing", setOf([]checkRow{{"reachability", "initializing"}})}
	}
	return checkXML{"ok", setOf([]checkRow{{"reachability", "passed"}})}
}

func (c *Cloud) describeInstanceStatus(q *call, in *struct {
	idsIn
	IncludeAll bool     `aws:"IncludeAllInstances"`
	Filters    []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*instance](c, q, "instance", in.IDs)
	if err == nil {
		by := attributes[*instance]{"instance-status.status": func(i *instance) []string { return one(i.check().Status) },
			"system-status.status": func(i *instance) []string { return one(i.check().Status) }}
		for _, name := range []string{"availability-zone", "instance-state-name", "instance-state-code"} {
			by[name] = instanceFilters()[name]
		}
		list, err = narrow(list, in.Filters, by)
	}
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(i *instance) bool { return !in.IncludeAll && !i.is(running) })
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []statusXML{}
	for _, i := range cut {
		rows = append(rows, statusXML{ID: i.id, AZ: i.az().name, State: state(i.state), System: i.check(), Instance: i.check()})
	}
	return struct {
		Statuses set[statusXML] `xml:"instanceStatusSet"`
		Next     string         `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

func (c *Cloud) getConsoleOutput(q *call, in *struct {
	ID     string `aws:"InstanceId,required"`
	Latest bool
}) (any, error) {
	i, err := find[*instance](c, q, "instance", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{i.asResource()}); err != nil {
		return nil, err
	}
	text := i.console
	if i.machine != nil {
		text = slices.Concat(i.console, i.machine.Console())
	}
	text = text[max(0, len(text)-64<<10):]
	return struct {
		ID     string `xml:"instanceId"`
		At     string `xml:"timestamp"`
		Output string `xml:"output"`
	}{i.id, stamp(time.Now()), base64.StdEncoding.EncodeToString(text)}, nil
}
