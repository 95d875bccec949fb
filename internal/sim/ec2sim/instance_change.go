// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/base64"
)

type flagValue struct{ Value *bool }

// modifyInstanceAttribute changes one attribute of an instance. The network
// options of older types mean nothing here, but are accepted.
func (c *Cloud) modifyInstanceAttribute(q *call, in *struct {
	ID        string `aws:"InstanceId,required"`
	Attribute string `aws:"Attribute,enum=instanceType|kernel|ramdisk|userData|disableApiTermination|instanceInitiatedShutdownBehavior|rootDeviceName|blockDeviceMapping|productCodes|sourceDestCheck|groupSet|ebsOptimized|sriovNetSupport|enaSupport|enclaveOptions|disableApiStop"`
	Value     string
	ENA       *flagValue `aws:"EnaSupport"`
	Sriov     *textValue `aws:"SriovNetSupport"`
	Protected *flagValue `aws:"DisableApiTermination"`
	Shutdown  *textValue `aws:"InstanceInitiatedShutdownBehavior"`
	UserData  *textValue
	Type      *textValue `aws:"InstanceType"`
	Groups    []string   `aws:"GroupId"`
	SourceDst *flagValue `aws:"SourceDestCheck"`
	Optimized *flagValue `aws:"EbsOptimized"`
}) (any, error) {
	list, err := c.instances(q, []string{in.ID})
	if err != nil {
		return nil, err
	}
	i := list[0]
	switch in.Attribute {
	case "":
	case "instanceInitiatedShutdownBehavior":
		in.Shutdown = &textValue{in.Value}
	case "instanceType":
		in.Type = &textValue{in.Value}
	default:
		return nil, errNotSimulated("Attribute " + in.Attribute)
	}
	halted := func() error {
		if !i.is(stopped) {
			return refuse("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", i.id)
		}
		return nil
	}
	switch {
	case in.ENA != nil, in.Sriov != nil, in.Optimized != nil:
		return done(), halted()
	case in.SourceDst != nil:
	case in.Protected != nil && in.Protected.Value != nil:
		if i.market == spot {
			return nil, refuse("UnsupportedOperation", "Modifying 'disableApiTermination' on Spot Instances is not supported.")
		}
		i.protected = *in.Protected.Value
	case in.Shutdown != nil:
		if in.Shutdown.Value != "stop" && in.Shutdown.Value != "terminate" {
			return nil, errValue("Invalid value '%s' for InstanceInitiatedShutdownBehavior.", in.Shutdown.Value)
		}
		i.onShutdown = in.Shutdown.Value
	case in.UserData != nil:
		if err := halted(); err != nil {
			return nil, err
		}
		raw, err := base64.StdEncoding.DecodeString(in.UserData.Value)
		if err != nil || len(raw) > maxUserData {
			return nil, refuse("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
		}
		i.userData = raw
	case in.Type != nil:
		if err := halted(); err != nil {
			return nil, err
		}
		t, known := c.lookUpType(in.Type.Value)
		if !known || t.arch != i.image.arch || !c.offeredIn(i.account, t, i.region, i.az()) {
			return nil, errValue("Invalid value '%s' for InstanceType.", in.Type.Value)
		}
		i.spec = t
	case len(in.Groups) > 0:
		var groups []*securityGroup
		for _, id := range in.Groups {
			g, err := find[*securityGroup](c, q, "security-group", id)
			if err != nil {
				return nil, err
			}
			groups = append(groups, g)
		}
		i.eni.groups = groups
		c.moveGates()
	default:
		return nil, errCombination("No attributes specified.")
	}
	return done(), nil
}

func (c *Cloud) describeInstanceAttribute(q *call, in *struct {
	ID        string `aws:"InstanceId,required"`
	Attribute string `aws:"Attribute,required,enum=instanceType|kernel|ramdisk|userData|disableApiTermination|instanceInitiatedShutdownBehavior|rootDeviceName|blockDeviceMapping|productCodes|sourceDestCheck|groupSet|ebsOptimized|sriovNetSupport|enaSupport|enclaveOptions|disableApiStop"`
}) (any, error) {
	i, err := find[*instance](c, q, "instance", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{i.asResource()}); err != nil {
		return nil, err
	}
	type flagXML struct {
		Value bool `xml:"value"`
	}
	out := struct {
		ID        string    `xml:"instanceId"`
		Shutdown  *valueXML `xml:"instanceInitiatedShutdownBehavior"`
		UserData  *valueXML `xml:"userData"`
		Type      *valueXML `xml:"instanceType"`
		Root      *valueXML `xml:"rootDeviceName"`
		Protected *flagXML  `xml:"disableApiTermination"`
	}{ID: i.id}
	switch in.Attribute {
	case "instanceInitiatedShutdownBehavior":
		out.Shutdown = &valueXML{i.onShutdown}
	case "userData":
		out.UserData = &valueXML{base64.StdEncoding.EncodeToString(i.userData)}
	case "instanceType":
		out.Type = &valueXML{i.spec.name}
	case "rootDeviceName":
		out.Root = &valueXML{i.image.root}
	case "disableApiTermination":
		out.Protected = &flagXML{i.protected}
	default:
		return nil, errNotSimulated("the attribute " + in.Attribute)
	}
	return out, nil
}

func (c *Cloud) describeInstanceCreditSpecifications(q *call, in *struct {
	idsIn
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*instance](c, q, "instance", in.IDs)
	if err == nil {
		list, err = narrow(list, in.Filters, attributes[*instance]{"instance-id": func(i *instance) []string { return one(i.id) }})
	}
	if err != nil {
		return nil, err
	}
	type creditXML struct {
		ID      string `xml:"instanceId"`
		Credits string `xml:"cpuCredits"`
	}
	rows := []creditXML{}
	for _, i := range list {
		if i.credits != "" && !i.is(terminated) {
			rows = append(rows, creditXML{i.id, i.credits})
		}
	}
	cut, next, err := page(rows, in.paging, 5)
	if err != nil {
		return nil, err
	}
	return struct {
		Credits set[creditXML] `xml:"instanceCreditSpecificationSet"`
		Next    string         `xml:"nextToken,omitempty"`
	}{setOf(cut), next}, nil
}

// modifyInstanceMetadataOptions changes what the metadata service of an
// instance does, from the next start of its machine on.
func (c *Cloud) modifyInstanceMetadataOptions(q *call, in *struct {
	ID       string `aws:"InstanceId,required"`
	Endpoint string `aws:"HttpEndpoint,enum=enabled|disabled"`
	Tokens   string `aws:"HttpTokens,enum=optional|required"`
	Hops     *int   `aws:"HttpPutResponseHopLimit"`
	Tags     string `aws:"InstanceMetadataTags,enum=enabled|disabled"`
	IPv6     string `aws:"HttpProtocolIpv6,enum=enabled|disabled"`
}) (any, error) {
	list, err := c.instances(q, []string{in.ID})
	if err != nil {
		return nil, err
	}
	i := list[0]
	if in.Hops != nil && (*in.Hops < 1 || *in.Hops > 64) {
		return nil, errValue("The HttpPutResponseHopLimit must be between 1 and 64")
	}
	m := &i.metadata
	m.endpoint, m.tokens, m.tags = orText(in.Endpoint, m.endpoint), orText(in.Tokens, m.tokens), orText(in.Tags, m.tags)
	m.ipv6 = orText(in.IPv6, m.ipv6)
	if in.Hops != nil {
		m.hops = *in.Hops
	}
	return struct {
		ID      string      `xml:"instanceId"`
		Options metadataXML `xml:"instanceMetadataOptions"`
	}{i.id, metadataXML{pending, m.tokens, m.hops, m.endpoint, m.ipv6, m.tags}}, nil
}
