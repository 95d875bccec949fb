// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
)

type fleetOverride struct {
	Type     string `aws:"InstanceType"`
	SubnetID string `aws:"SubnetId"`
	AZ       string `aws:"AvailabilityZone"`
	MaxPrice string
	Priority string
	Weighted string `aws:"WeightedCapacity"`
	ImageID  string `aws:"ImageId"`
}

type fleetParams struct {
	Type        string `aws:"Type,enum=request|maintain|instant"`
	ClientToken string
	Target      struct {
		Total    int    `aws:"TotalTargetCapacity,required"`
		OnDemand *int   `aws:"OnDemandTargetCapacity"`
		Spot     *int   `aws:"SpotTargetCapacity"`
		Default  string `aws:"DefaultTargetCapacityType,enum=spot|on-demand|capacity-block"`
		Unit     string `aws:"TargetCapacityUnitType,enum=units"`
	} `aws:"TargetCapacitySpecification,required"`
	Configs []struct {
		Spec      templateParam   `aws:"LaunchTemplateSpecification,required"`
		Overrides []fleetOverride `aws:"Overrides"`
	} `aws:"LaunchTemplateConfigs"`
	SpotOptions *struct {
		Strategy     string `aws:"AllocationStrategy,enum=lowest-price|diversified|capacity-optimized|capacity-optimized-prioritized|price-capacity-optimized"`
		Interruption string `aws:"InstanceInterruptionBehavior,enum=hibernate|stop|terminate"`
		SingleType   *bool  `aws:"SingleInstanceType"`
		SingleAZ     *bool  `aws:"SingleAvailabilityZone"`
		Min          *int   `aws:"MinTargetCapacity"`
		MaxTotal     string `aws:"MaxTotalPrice"`
		Pools        *int   `aws:"InstancePoolsToUseCount"`
	}
	OnDemandOptions *struct {
		Strategy   string `aws:"AllocationStrategy,enum=lowest-price|prioritized"`
		SingleType *bool  `aws:"SingleInstanceType"`
		SingleAZ   *bool  `aws:"SingleAvailabilityZone"`
		Min        *int   `aws:"MinTargetCapacity"`
		MaxTotal   string `aws:"MaxTotalPrice"`
	}
	ReplaceUnhealthy *bool              `aws:"ReplaceUnhealthyInstances"`
	Excess           string             `aws:"ExcessCapacityTerminationPolicy,enum=no-termination|termination"`
	Terminate        *bool              `aws:"TerminateInstancesWithExpiration"`
	Specs            []tagSpecification `aws:"TagSpecification"`
}

// fleetPool is one way in which a fleet may launch.
type fleetPool struct {
	named    templateParam
	template *launchTemplate
	over     fleetOverride
	plan     *launchPlan
	price    float64
}

type fleetInstances struct {
	Template  fleetTemplateXML `xml:"launchTemplateAndOverrides"`
	Lifecycle string           `xml:"lifecycle"`
	Type      string           `xml:"instanceType"`
	IDs       set[string]      `xml:"instanceIds"`
}

// createFleet makes one attempt at each pool, in the order of the strategy,
// and answers 200 whatever comes of it.
func (c *Cloud) createFleet(q *call, in *fleetParams) (any, error) {
	return c.withToken(q, in.ClientToken, func() (func() (any, error), error) {
		if in.Type != "instant" {
			return nil, errNotSimulated("fleets of another type than instant")
		}
		if in.Target.Total < 1 || len(in.Configs) == 0 {
			return nil, errCombination("A fleet needs a target capacity and a launch template")
		}
		if in.ReplaceUnhealthy != nil && *in.ReplaceUnhealthy {
			return nil, errCombination("ReplaceUnhealthyInstances is not supported for fleets of type instant")
		}
		market := orText(in.Target.Default, onDemand)
		tags, err := specified(in.Specs, "fleet", "instance", "volume", "network-interface", "spot-instances-request")
		if err != nil {
			return nil, err
		}
		pools, failed, err := c.fleetPools(q, in, market, tags)
		if err != nil {
			return nil, err
		}
		asked := []AccessResource{q.planned("fleet", tags["fleet"])}
		for _, p := range pools {
			asked = append(asked, existing(p.template))
		}
		if err := c.authorize(q, asked, plannedWithTags(q, tags, "fleet", "instance")...); err != nil {
			return nil, err
		}
		// A fleet launches with the caller's own permission to do so.
		for _, p := range pools {
			resources, _, err := c.launchResources(q, p.plan)
			if err != nil {
				return nil, err
			}
			if err := c.allows(q, Access{q.who, "ec2:RunInstances", resources, q.accessContext()}); err != nil {
				return nil, err
			}
		}
		fleet := "fleet-" + newUUID()
		var rows []fleetInstances
		left := in.Target.Total
		for _, p := range pools {
			if left == 0 {
				break
			}
			made, err := c.launch(q, p.plan, left)
			var refused *apiError
			switch {
			case errors.As(err, &refused):
				failed = append(failed, fleetError{p.xml(), market, refused.code, refused.message})
				continue
			case err != nil:
				return nil, err
			}
			left = 0
			row := fleetInstances{Template: p.xml(), Lifecycle: market, Type: p.plan.spec.name}
			for _, i := range made {
				i.tags["aws:ec2:fleet-id"], i.tags["aws:ec2launchtemplate:id"] = fleet, p.template.id
				i.tags["aws:ec2launchtemplate:version"] = strconv.Itoa(p.template.latest)
				row.IDs.Items = append(row.IDs.Items, i.id)
			}
			rows = append(rows, row)
		}
		answer := struct {
			ID        string              `xml:"fleetId"`
			Errors    set[fleetError]     `xml:"errorSet"`
			Instances set[fleetInstances] `xml:"fleetInstanceSet"`
		}{fleet, setOf(failed), setOf(rows)}
		return func() (any, error) { return answer, nil }, nil
	})
}

// fleetPools are the pools that make sense, the preferred first, and what is
// wrong with the others.
func (c *Cloud) fleetPools(q *call, in *fleetParams, market string, tags map[string]tagMap) ([]fleetPool, []fleetError, error) {
	var pools []fleetPool
	var failed []fleetError
	for _, config := range in.Configs {
		t, err := c.findTemplate(q, config.Spec.ID, config.Spec.Name)
		if err != nil {
			return nil, nil, err
		}
		overrides := config.Overrides
		if len(overrides) == 0 {
			overrides = []fleetOverride{{}}
		}
		for _, over := range overrides {
			if over.Weighted != "" {
				return nil, nil, errNotSimulated("weighted capacity")
			}
			p := fleetPool{named: config.Spec, template: t, over: over}
			err := c.planPool(q, &p, in, market, tags)
			var refused *apiError
			switch {
			case errors.As(err, &refused):
				failed = append(failed, fleetError{p.xml(), market, refused.code, refused.message})
			case err != nil:
				return nil, nil, err
			default:
				pools = append(pools, p)
			}
		}
	}
	byPriority := in.OnDemandOptions != nil && in.OnDemandOptions.Strategy == "prioritized" && market == onDemand ||
		in.SpotOptions != nil && in.SpotOptions.Strategy == "capacity-optimized-prioritized" && market == spot
	slices.SortStableFunc(pools, func(a, b fleetPool) int {
		if byPriority {
			x, _ := strconv.ParseFloat(a.over.Priority, 64)
			y, _ := strconv.ParseFloat(b.over.Priority, 64)
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a.price, b.price)
	})
	return pools, failed, nil
}

// planPool makes a launch of a pool.
func (c *Cloud) planPool(q *call, p *fleetPool, in *fleetParams, market string, tags map[string]tagMap) error {
	base, err := p.template.version(p.named.Version)
	if err != nil {
		return err
	}
	launch := *base
	text := func(to *string, from string) { *to = orText(from, *to) }
	text(&launch.InstanceType, p.over.Type)
	text(&launch.ImageID, p.over.ImageID)
	if launch.Market != nil && orText(launch.Market.Type, onDemand) != market { // as Packer's plugin for Amazon has it, it fits
		return errCombination("Incompatible launch template: the launch template's purchase option is not that of the fleet.")
	}
	if p.over.SubnetID != "" && len(launch.Interfaces) == 1 {
		launch.Interfaces = slices.Clone(launch.Interfaces)
		launch.Interfaces[0].SubnetID = p.over.SubnetID
	}
	plan, err := c.plan(q, &launch)
	if err != nil {
		return err
	}
	p.plan = plan
	plan.market, plan.az, plan.token = market, orText(p.over.AZ, plan.az), in.ClientToken
	if p.over.SubnetID != "" {
		if plan.subnet, err = find[*subnet](c, q, "subnet", p.over.SubnetID); err != nil {
			return err
		}
	}
	if p.over.MaxPrice != "" && market == spot {
		if plan.maxPrice, err = strconv.ParseFloat(p.over.MaxPrice, 64); err != nil {
			return errValue("Value (%s) for parameter MaxPrice is invalid", p.over.MaxPrice)
		}
	}
	if len(tags["instance"]) > 0 {
		plan.tags["instance"] = tags["instance"]
	}
	p.price = plan.spec.price
	return c.settleNetwork(q, plan)
}

func (p fleetPool) xml() fleetTemplateXML {
	row := fleetTemplateXML{}
	row.Spec.ID, row.Spec.Version = p.template.id, orText(p.named.Version, "1")
	row.Overrides.Type, row.Overrides.SubnetID = p.over.Type, p.over.SubnetID
	row.Overrides.AZ, row.Overrides.Priority = p.over.AZ, p.over.Priority
	return row
}
