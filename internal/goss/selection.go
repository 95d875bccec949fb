// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Selector describes resources of a gossfile. Everything that is set must fit.
// In Name, Title and the values of Meta, * stands for any text and ? for any
// sign.
type Selector struct {
	Type  string            `json:"type,omitempty"` // a section, such as "file"
	Name  string            `json:"name,omitempty"`
	Title string            `json:"title,omitempty"`
	Meta  map[string]string `json:"meta,omitempty"`
}

// Check says what is wrong with a selector.
func (s Selector) Check() error {
	if s.Type == "" && s.Name == "" && s.Title == "" && len(s.Meta) == 0 {
		return errors.New("it says nothing: type, name, title or meta must be set")
	}
	if _, known := sectionOf(s.Type); s.Type != "" && (!known || s.Type == "gossfile") {
		all := slices.DeleteFunc(sections(), func(name string) bool { return name == "gossfile" })
		return fmt.Errorf("%q is no type of resource; there are %s", s.Type, strings.Join(all, ", "))
	}
	return nil
}

// Selection is which resources of gossfiles are checked: those that one of
// Select fits, or all where there is none, without those that one of Deselect
// fits.
type Selection struct {
	Select   []Selector `json:"select,omitempty"`
	Deselect []Selector `json:"deselect,omitempty"`
}

// Empty says whether everything is checked.
func (s Selection) Empty() bool { return len(s.Select)+len(s.Deselect) == 0 }

// Resource is one of a gossfile, by the words that results have for it.
type Resource struct{ Type, ID string }

// Chosen is what a selection leaves of a gossfile.
type Chosen struct {
	// Gossfile is what goss is given in place of the whole one.
	Gossfile []byte
	Kept     int
	Out      []Resource
}

// Apply takes from a gossfile what is not selected. The gossfile must be one
// that goss itself has rendered: without templates, its includes merged in. Its
// name says whether it is JSON.
func (s Selection) Apply(name string, rendered []byte) (Chosen, error) {
	var c Chosen
	var err error
	if path.Ext(name) == ".json" {
		err = c.json(s, rendered)
	} else {
		err = c.yaml(s, rendered)
	}
	// goss fills in templates before it reads anything, and this is none.
	c.Gossfile = bytes.ReplaceAll(c.Gossfile, []byte("{{"), []byte(`{{ "{{" }}`))
	return c, err
}

// words are those parts of a resource that a selector looks at.
type words struct {
	Title string         `json:"title" yaml:"title"`
	Meta  map[string]any `json:"meta" yaml:"meta"`
}

// keep says whether a resource is selected, and counts it.
func (c *Chosen) keep(s Selection, section, id string, w words) bool {
	fits := func(x Selector) bool { return x.fits(section, id, w) }
	if (len(s.Select) == 0 || slices.ContainsFunc(s.Select, fits)) && !slices.ContainsFunc(s.Deselect, fits) {
		c.Kept++
		return true
	}
	known, _ := sectionOf(section)
	c.Out = append(c.Out, Resource{known.typ, id})
	return false
}

func (c *Chosen) json(s Selection, rendered []byte) error {
	var sections map[string]map[string]json.RawMessage
	if err := json.Unmarshal(rendered, &sections); err != nil {
		return fmt.Errorf("what goss rendered is not a gossfile: %w", err)
	}
	for section, resources := range sections {
		for id, resource := range resources {
			var w words
			if err := json.Unmarshal(resource, &w); err != nil {
				return fmt.Errorf("what goss rendered of %s %s is no resource: %w", section, shown(id), err)
			}
			if !c.keep(s, section, id, w) {
				delete(resources, id)
			}
		}
	}
	var err error
	c.Gossfile, err = json.Marshal(sections)
	return err
}

func (c *Chosen) yaml(s Selection, rendered []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(rendered, &doc); err != nil {
		return fmt.Errorf("what goss rendered is not a gossfile: %w", err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return errors.New("what goss rendered is not a map of sections")
	}
	top := doc.Content[0]
	for i := 0; i+1 < len(top.Content); i += 2 {
		section, resources := top.Content[i].Value, top.Content[i+1]
		if resources.Kind != yaml.MappingNode {
			continue
		}
		var kept []*yaml.Node
		for j := 0; j+1 < len(resources.Content); j += 2 {
			id, resource := resources.Content[j], resources.Content[j+1]
			var w words
			if err := resource.Decode(&w); err != nil {
				return fmt.Errorf("what goss rendered of %s %s is no resource: %w", section, shown(id.Value), err)
			}
			if c.keep(s, section, id.Value, w) {
				kept = append(kept, id, resource)
			}
		}
		resources.Content = kept
	}
	var err error
	c.Gossfile, err = yaml.Marshal(&doc)
	return err
}

func (s Selector) fits(section, id string, w words) bool {
	if s.Type != "" && s.Type != section || s.Name != "" && !wild(s.Name, id) || s.Title != "" && !wild(s.Title, w.Title) {
		return false
	}
	for key, pattern := range s.Meta {
		value, there := w.Meta[key]
		if !there || !metaFits(pattern, value) {
			return false
		}
	}
	return true
}

// metaFits compares a value of meta; of a list, one entry is enough.
func metaFits(pattern string, value any) bool {
	if list, ok := value.([]any); ok {
		return slices.ContainsFunc(list, func(v any) bool { return metaFits(pattern, v) })
	}
	return wild(pattern, fmt.Sprint(value))
}

// wild compares text with a pattern.
func wild(pattern, text string) bool {
	expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
	ok, err := regexp.MatchString(`(?s)^(?:`+expression+`)$`, text)
	return err == nil && ok
}
