// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "strconv"

// launchTemplate is a launch that can be named.
type launchTemplate struct {
	resourceBase
	name     string
	versions []*launchParams
	latest   int
	standard int // default version
}

func (c *Cloud) createLaunchTemplate(q *call, in *struct {
	Name        string       `aws:"LaunchTemplateName,required"`
	Description string       `aws:"VersionDescription"`
	Data        launchParams `aws:"LaunchTemplateData"`
	ClientToken string
	Specs       []tagSpecification `aws:"TagSpecification"`
}) (any, error) {
	return c.withToken(q, in.ClientToken, func() (func() (any, error), error) {
		tags, err := specified(in.Specs, "launch-template")
		if err != nil {
			return nil, err
		}
		if len(in.Name) < 3 || len(in.Name) > 128 {
			return nil, refuse("InvalidLaunchTemplateName.MalformedException", "A launch template name must be between 3 and 128 characters")
		}
		if _, err := specified(in.Data.Specs, "instance", "volume", "network-interface", "spot-instances-request"); err != nil {
			return nil, err
		}
		planned := q.planned("launch-template", tags["launch-template"])
		if err := c.authorize(q, []AccessResource{planned}, plannedWithTags(q, tags, "launch-template")...); err != nil {
			return nil, err
		}
		for _, t := range taken[*launchTemplate](c, q) {
			if t.name == in.Name {
				return nil, refuse("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
			}
		}
		t := &launchTemplate{resourceBase: c.newBase(q, "launch-template", tags["launch-template"]), name: in.Name,
			versions: []*launchParams{&in.Data}, latest: 1, standard: 1}
		c.resources.put(t)
		return func() (any, error) {
			return struct {
				Template templateXML `xml:"launchTemplate"`
			}{t.xml(q)}, nil
		}, nil
	})
}

type templateXML struct {
	ID       string      `xml:"launchTemplateId"`
	Name     string      `xml:"launchTemplateName"`
	Created  string      `xml:"createTime"`
	By       string      `xml:"createdBy"`
	Standard int         `xml:"defaultVersionNumber"`
	Latest   int         `xml:"latestVersionNumber"`
	Tags     set[tagXML] `xml:"tagSet"`
}

func (t *launchTemplate) xml(q *call) templateXML {
	return templateXML{t.id, t.name, stamp(t.created), q.who.ARN, t.standard, t.latest, t.tags.xml()}
}

// findTemplate looks a template up by id or name.
func (c *Cloud) findTemplate(q *call, id, name string) (*launchTemplate, error) {
	if (id == "") == (name == "") {
		return nil, refuse("InvalidParameterCombination", "Exactly one of LaunchTemplateId and LaunchTemplateName is needed")
	}
	if id != "" {
		return find[*launchTemplate](c, q, "launch-template", id)
	}
	for _, t := range own[*launchTemplate](c, q) {
		if t.name == name {
			return t, nil
		}
	}
	return nil, refuse("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", name)
}

// version is what a version of a template says.
func (t *launchTemplate) version(text string) (*launchParams, error) {
	var n int
	switch text {
	case "", "$Default":
		n = t.standard
	case "$Latest":
		n = t.latest
	default:
		n, _ = strconv.Atoi(text)
	}
	if n < 1 || n > len(t.versions) {
		return nil, refuse("InvalidLaunchTemplateId.VersionNotFound", "Could not find the specified version %s for the launch template with ID %s.", text, t.id)
	}
	return t.versions[n-1], nil
}

// applyTemplate fills in what a launch leaves to its template.
func (c *Cloud) applyTemplate(q *call, p *launchParams, named *templateParam) error {
	t, err := c.findTemplate(q, named.ID, named.Name)
	if err != nil {
		return err
	}
	base, err := t.version(named.Version)
	if err != nil {
		return err
	}
	merged := *base
	merged.overlay(p)
	*p = merged
	return nil
}

// overlay lays what a request says over a template.
func (p *launchParams) overlay(over *launchParams) {
	text := func(to *string, from string) {
		if from != "" {
			*to = from
		}
	}
	text(&p.ImageID, over.ImageID)
	text(&p.InstanceType, over.InstanceType)
	text(&p.KeyName, over.KeyName)
	text(&p.UserData, over.UserData)
	text(&p.OnShutdown, over.OnShutdown)
	list(&p.Groups, over.Groups)
	list(&p.GroupNames, over.GroupNames)
	list(&p.Interfaces, over.Interfaces)
	list(&p.Devices, over.Devices)
	list(&p.Specs, over.Specs)
	value(&p.Profile, over.Profile)
	value(&p.Placement, over.Placement)
	value(&p.EbsOptimized, over.EbsOptimized)
	value(&p.Enclave, over.Enclave)
	value(&p.Credits, over.Credits)
	value(&p.Metadata, over.Metadata)
	value(&p.Monitoring, over.Monitoring)
	value(&p.Protected, over.Protected)
	value(&p.Reservation, over.Reservation)
	value(&p.Market, over.Market)
}

func list[T any](to *[]T, from []T) {
	if len(from) > 0 {
		*to = from
	}
}

func value[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

func (c *Cloud) deleteLaunchTemplate(q *call, in *struct {
	ID   string `aws:"LaunchTemplateId"`
	Name string `aws:"LaunchTemplateName"`
}) (any, error) {
	t, err := c.findTemplate(q, in.ID, in.Name)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(t)}); err != nil {
		return nil, err
	}
	c.resources.remove(t.id)
	return struct {
		Template templateXML `xml:"launchTemplate"`
	}{t.xml(q)}, nil
}

func (c *Cloud) describeLaunchTemplates(q *call, in *struct {
	IDs     []string `aws:"LaunchTemplateId"`
	Names   []string `aws:"LaunchTemplateName"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	found, err := pick[*launchTemplate](c, q, "launch-template", in.IDs)
	if err != nil {
		return nil, err
	}
	if len(in.Names) > 0 {
		found = nil
		for _, name := range in.Names {
			t, err := c.findTemplate(q, "", name)
			if err != nil {
				return nil, err
			}
			found = append(found, t)
		}
	}
	found, err = narrow(found, in.Filters, attributes[*launchTemplate]{
		"launch-template-name": func(t *launchTemplate) []string { return one(t.name) },
		"create-time":          func(t *launchTemplate) []string { return one(stamp(t.created)) },
	})
	if err != nil {
		return nil, err
	}
	cut, next, err := page(found, in.paging, 1)
	if err != nil {
		return nil, err
	}
	rows := []templateXML{}
	for _, t := range cut {
		rows = append(rows, t.xml(q))
	}
	return struct {
		Templates set[templateXML] `xml:"launchTemplates"`
		Next      string           `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

// fleetError is why a fleet's pool launched nothing.
type fleetError struct {
	Template  fleetTemplateXML `xml:"launchTemplateAndOverrides"`
	Lifecycle string           `xml:"lifecycle"`
	Code      string           `xml:"errorCode"`
	Message   string           `xml:"errorMessage"`
}

type fleetTemplateXML struct {
	Spec struct {
		ID      string `xml:"launchTemplateId"`
		Version string `xml:"version"`
	} `xml:"launchTemplateSpecification"`
	Overrides struct {
		Type     string `xml:"instanceType,omitempty"`
		SubnetID string `xml:"subnetId,omitempty"`
		AZ       string `xml:"availabilityZone,omitempty"`
		Priority string `xml:"priority,omitempty"`
	} `xml:"overrides"`
}
