// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxTags is how many tags a resource may have.
const maxTags = 50

type tagXML struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

func (t tagMap) xml() set[tagXML] {
	var list []tagXML
	for _, k := range slices.Sorted(maps.Keys(t)) {
		list = append(list, tagXML{k, t[k]})
	}
	return setOf(list)
}

// tagParam is a tag in a request.
type tagParam struct {
	Key   string
	Value *string
}

// tagSpecification is tags for resources that a request makes.
type tagSpecification struct {
	ResourceType string     `aws:",required"`
	Tags         []tagParam `aws:"Tag"`
}

// specified are the tags for each kind of resource. Only the given kinds can
// be tagged.
func specified(specs []tagSpecification, kinds ...string) (map[string]tagMap, error) {
	tags := map[string]tagMap{}
	for _, s := range specs {
		if !slices.Contains(kinds, s.ResourceType) {
			return nil, errValue("'%s' is not a valid taggable resource type for this operation.", s.ResourceType)
		}
		if _, twice := tags[s.ResourceType]; twice {
			return nil, refuse("InvalidParameter", "The same resource type may not be specified more than once in tag specifications")
		}
		if len(s.Tags) == 0 {
			return nil, errValue("Tag specification must have at least one tag")
		}
		made, err := readTags(s.Tags)
		if err != nil {
			return nil, err
		}
		tags[s.ResourceType] = made
	}
	return tags, nil
}

// readTags checks tags against EC2's rules.
func readTags(list []tagParam) (tagMap, error) {
	tags := tagMap{}
	for _, t := range list {
		value := ""
		if t.Value != nil {
			value = *t.Value
		}
		_, twice := tags[t.Key]
		switch {
		case t.Key == "":
			return nil, errValue("Tag key cannot be empty")
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return nil, errValue("Tag keys starting with 'aws:' are reserved for internal use")
		case utf8.RuneCountInString(t.Key) > 128:
			return nil, errValue("Tag key exceeds the maximum length of 128 characters")
		case utf8.RuneCountInString(value) > 256:
			return nil, errValue("Tag value exceeds the maximum length of 256 characters")
		case twice:
			return nil, errValue("Duplicate tag key '%s' specified.", t.Key)
		}
		tags[t.Key] = value
	}
	if len(tags) > maxTags {
		return nil, refuse("TagLimitExceeded", "The maximum number of tags for a resource is %d", maxTags)
	}
	return tags, nil
}

type tagsIn struct {
	Resources []string   `aws:"ResourceId"`
	Tags      []tagParam `aws:"Tag"`
}

// targets are the resources of a request about tags.
func (c *Cloud) targets(q *call, in *tagsIn) ([]resource, error) {
	if len(in.Resources) == 0 {
		return nil, errMissing("resourceIdSet")
	}
	var found []resource
	for _, id := range in.Resources {
		if !idForm.MatchString(id) {
			return nil, refuse("InvalidID", "The ID '%s' is not valid", id)
		}
		r := c.resources.byID[id]
		if r != nil && r.base().seenBy(q) {
			found = append(found, r)
			continue
		}
		prefix, _, _ := strings.Cut(id, "-")
		for kind, k := range kinds() {
			if k.prefix == prefix && k.notFound != "" {
				return nil, errUnknownID(kind, id)
			}
		}
		return nil, refuse("InvalidID", "The ID '%s' is not valid", id)
	}
	return found, nil
}

func (c *Cloud) createTags(q *call, in *tagsIn) (any, error) {
	tags, err := readTags(in.Tags)
	if err != nil {
		return nil, err
	}
	if len(tags) == 0 {
		return nil, errMissing("tagSet")
	}
	found, err := c.targets(q, in)
	if err != nil {
		return nil, err
	}
	var asked []AccessResource
	for _, r := range found {
		x := existing(r)
		maps.Copy(x.Context, q.planned(r.base().kind, tags).Context)
		asked = append(asked, x)
	}
	if err := c.authorize(q, asked); err != nil {
		return nil, err
	}
	for _, r := range found {
		merged := maps.Clone(r.base().tags)
		maps.Copy(merged, tags)
		if len(merged) > maxTags {
			return nil, refuse("TagLimitExceeded", "The maximum number of tags for a resource is %d", maxTags)
		}
	}
	for _, r := range found {
		maps.Copy(r.base().tags, tags)
	}
	return done(), nil
}

// deleteTags removes tags by key, or by key and value; all of them if none is
// given.
func (c *Cloud) deleteTags(q *call, in *tagsIn) (any, error) {
	found, err := c.targets(q, in)
	if err != nil {
		return nil, err
	}
	var asked []AccessResource
	for _, r := range found {
		x := existing(r)
		for _, t := range in.Tags {
			x.Context["aws:TagKeys"] = append(x.Context["aws:TagKeys"], t.Key)
		}
		asked = append(asked, x)
	}
	if err := c.authorize(q, asked); err != nil {
		return nil, err
	}
	for _, r := range found {
		tags := r.base().tags
		for _, t := range in.Tags {
			if have, has := tags[t.Key]; has && (t.Value == nil || *t.Value == have) {
				delete(tags, t.Key)
			}
		}
		if len(in.Tags) == 0 {
			clear(tags)
		}
	}
	return done(), nil
}

type describedTag struct {
	ResourceID   string `xml:"resourceId"`
	ResourceType string `xml:"resourceType"`
	Key          string `xml:"key"`
	Value        string `xml:"value"`
}

func (c *Cloud) describeTags(q *call, in *struct {
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	var list []describedTag
	for _, r := range own[resource](c, q) {
		b := r.base()
		for _, k := range slices.Sorted(maps.Keys(b.tags)) {
			list = append(list, describedTag{b.id, b.kind, k, b.tags[k]})
		}
	}
	list, err := narrow(list, in.Filters, attributes[describedTag]{
		"key": func(t describedTag) []string { return []string{t.Key} }, "value": func(t describedTag) []string { return []string{t.Value} },
		"resource-id": func(t describedTag) []string { return one(t.ResourceID) }, "resource-type": func(t describedTag) []string { return one(t.ResourceType) },
	})
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	return struct {
		Tags set[describedTag] `xml:"tagSet"`
		Next string            `xml:"nextToken,omitempty"`
	}{setOf(cut), next}, nil
}
