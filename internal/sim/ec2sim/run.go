// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"strconv"
)

func (c *Cloud) runInstances(q *call, in *runParams) (any, error) {
	return c.withToken(q, in.ClientToken, func() (func() (any, error), error) {
		if in.MinCount < 1 || in.MaxCount < in.MinCount || in.MaxCount > 100 {
			return nil, errValue("Invalid value for MinCount and MaxCount: %d, %d", in.MinCount, in.MaxCount)
		}
		if in.Template != nil {
			if err := c.applyTemplate(q, &in.launchParams, in.Template); err != nil {
				return nil, err
			}
		}
		if in.SubnetID != "" && len(in.Interfaces) > 0 {
			return nil, errCombination("Network interfaces and an instance-level subnet ID may not be specified on the same request")
		}
		l, err := c.plan(q, &in.launchParams)
		if err != nil {
			return nil, err
		}
		l.token = in.ClientToken
		if in.PrivateIP != "" {
			l.wantedIP = in.PrivateIP
		}
		if in.SubnetID != "" {
			if l.subnet, err = find[*subnet](c, q, "subnet", in.SubnetID); err != nil {
				return nil, err
			}
		}
		if err := c.settleNetwork(q, l); err != nil {
			return nil, err
		}
		if err := c.mayLaunch(q, l); err != nil {
			return nil, err
		}
		made, err := c.launch(q, l, in.MaxCount)
		if err != nil {
			return nil, err
		}
		return func() (any, error) { return reservationOf(made), nil }, nil
	})
}

// mayLaunch asks IAM about everything that a launch touches.
func (c *Cloud) mayLaunch(q *call, l *launchPlan) error {
	asked, tagged, err := c.launchResources(q, l)
	if err != nil {
		return err
	}
	return c.authorize(q, asked, tagged...)
}

// launchResources are those of a launch, and those that are made with tags.
func (c *Cloud) launchResources(q *call, l *launchPlan) (asked, tagged []AccessResource, err error) {
	asked = []AccessResource{l.describe(q.planned("instance", l.tags["instance"])), l.image.asResource(q)}
	if l.az != "" {
		asked[0].with("ec2:AvailabilityZone", l.az)
	}
	eni := q.planned("network-interface", l.tags["network-interface"])
	if l.public != nil {
		eni.with("ec2:AssociatePublicIpAddress", strconv.FormatBool(*l.public))
	}
	asked = append(asked, eni)
	if l.subnet != nil {
		asked = append(asked, existing(l.subnet).with("ec2:Vpc", existing(l.subnet.vpc).ARN))
	} else if n := c.networks[q.home()]; n != nil && len(n.subnets) > 0 {
		asked = append(asked, q.planned("subnet", nil))
	}
	for _, g := range l.groups {
		asked = append(asked, existing(g).with("ec2:Vpc", existing(g.vpc).ARN))
	}
	for _, d := range l.devices {
		v := q.planned("volume", l.tags["volume"]).with("ec2:Encrypted", strconv.FormatBool(d.encrypted)).
			with("ec2:VolumeType", d.kind).with("ec2:VolumeSize", strconv.Itoa(d.sizeGiB))
		asked = append(asked, v)
		if d.source != nil && !d.inherited(l.image) {
			asked = append(asked, existing(d.source))
		}
	}
	if l.keyName != "" {
		k, err := c.findKeyPair(q, l.keyName)
		if err != nil {
			return nil, nil, err
		}
		x := existing(k)
		x.ARN = ec2ARN(q.region.name, q.who.Account.ID, "key-pair", k.name)
		asked = append(asked, x)
	}
	kinds := []string{"instance", "volume", "network-interface"}
	if l.market == spot {
		if err := c.needRole(q, "spot.amazonaws.com"); err != nil {
			return nil, nil, err
		}
		asked = append(asked, q.planned("spot-instances-request", l.tags["spot-instances-request"]))
		kinds = append(kinds, "spot-instances-request")
	}
	if l.profile != "" {
		pass := Access{q.who, "iam:PassRole", []AccessResource{{ARN: c.iamOf(q).roleARN(l.role)}}, q.accessContext()}
		pass.Context["iam:PassedToService"] = []string{"ec2.amazonaws.com"}
		if err := c.allows(q, pass); err != nil {
			return nil, nil, err
		}
	}
	return asked, plannedWithTags(q, l.tags, kinds...), nil
}

// inherited tells whether a disk is as the image has it.
func (d disk) inherited(img *image) bool {
	for _, own := range img.devices {
		if own.source == d.source {
			return true
		}
	}
	return false
}

// describe adds the condition keys of instances.
func (l *launchPlan) describe(x AccessResource) AccessResource {
	x.with("ec2:InstanceType", l.spec.name).with("ec2:MetadataHttpTokens", l.metadata.tokens).
		with("ec2:MetadataHttpEndpoint", l.metadata.endpoint).with("ec2:MetadataHttpPutResponseHopLimit", strconv.Itoa(l.metadata.hops)).
		with("ec2:InstanceMarketType", l.market).with("ec2:RootDeviceType", "ebs").with("ec2:Tenancy", "default").
		with("ec2:EbsOptimized", strconv.FormatBool(l.optimized))
	if l.profileARN != "" {
		x.with("ec2:InstanceProfile", l.profileARN)
	}
	return x
}
