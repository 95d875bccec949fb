// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path"
	"slices"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// The system limits one environment variable to 128 KiB; inline variables
// travel as one.
const maxInline = 100 << 10

// inline are the variables that the template has itself.
func (c *Config) inline() (map[string]any, error) {
	all := map[string]any{}
	if c.Vars != "" && !tmpl.Unknown(c.Vars) {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(c.Vars), &object); err != nil || object == nil {
			return nil, errors.New("vars must be a JSON object, as jsonencode({...}) makes it")
		}
		var err error
		if all, err = goss.MergeVars(goss.VarsDoc{Origin: "vars", Data: []byte(c.Vars)}); err != nil {
			return nil, err
		}
	}
	for name, value := range c.VarsInline {
		all[name] = value
	}
	return all, nil
}

// inlineText returns them as goss takes them; empty if there are none.
func (c *Config) inlineText() (string, error) {
	all, err := c.inline()
	if err != nil || len(all) == 0 {
		return "", err
	}
	if c.Vars != "" {
		b, err := goss.VarsFile(all) // it keeps whole numbers whole
		return string(b), err
	}
	b, err := json.Marshal(all)
	return string(b), err
}

// variables are those of a run.
type variables struct {
	merged map[string]any // for those who look
	file   *cargo         // for goss's --vars, or nil
	inline string         // for goss's --vars-inline, or ""
}

// variables reads the files of variables. One alone goes to the machine as it
// is; several are merged here, because goss takes one.
func (c *Config) variables(in *inputs) (variables, error) {
	var v variables
	var docs []goss.VarsDoc
	for _, name := range in.varsFiles {
		data, err := os.ReadFile(name) // #nosec G304 -- the template names it
		if err != nil {
			return v, err
		}
		docs = append(docs, goss.VarsDoc{Origin: name, Data: data})
	}
	var err error
	if v.merged, err = goss.MergeVars(docs...); err != nil {
		return v, err
	}
	switch len(docs) {
	case 0:
	case 1:
		v.file = &cargo{name: "vars/vars" + path.Ext(docs[0].Origin), mode: "0600", data: docs[0].Data}
	default:
		data, err := goss.VarsFile(v.merged)
		if err != nil {
			return v, err
		}
		v.file = &cargo{name: "vars/vars.yaml", mode: "0600", data: data}
	}
	own, err := c.inline()
	if err != nil {
		return v, err
	}
	if v.inline, err = c.inlineText(); err != nil {
		return v, err
	}
	if v.merged == nil {
		v.merged = map[string]any{}
	}
	maps.Copy(v.merged, own)
	return v, nil
}

// sources are the files that goss reads, for those who look at them here. What
// cannot be a gossfile is left out.
func (in *inputs) sources() ([]goss.Source, error) {
	var all []goss.Source
	for _, f := range in.files {
		if readable(f.remote) != nil {
			continue
		}
		data, err := os.ReadFile(f.local) // #nosec G304 -- the template names it
		if err != nil {
			return nil, err
		}
		all = append(all, goss.Source{Name: f.remote, Origin: f.local, Data: data})
	}
	return all, nil
}

// linted looks at every gossfile of a template.
func (c *Config) linted(in *inputs) (map[string]goss.Linted, error) {
	sources, err := in.sources()
	if err != nil {
		return nil, err
	}
	vars, err := c.variables(in)
	if err != nil {
		return nil, err
	}
	all := map[string]goss.Linted{}
	for _, name := range in.runs() {
		all[name] = goss.Lint{Sources: sources, Gossfile: name, Vars: vars.merged, VarsUnknown: c.varsUnknown()}.Check()
	}
	return all, nil
}

// runs are all gossfiles that are run, the one that is waited for included.
func (in *inputs) runs() []string {
	if in.wait == "" || slices.Contains(in.gossfiles, in.wait) {
		return in.gossfiles
	}
	return append([]string{in.wait}, in.gossfiles...)
}

// lint says what is wrong with the gossfiles.
func (c *Config) lint(in *inputs) []error {
	all, err := c.linted(in)
	if err != nil {
		return []error{err}
	}
	var errs []error
	said := map[string]bool{}
	for _, name := range in.runs() {
		for _, err := range all[name].Errors(c.Strict) {
			if !said[err.Error()] {
				said[err.Error()] = true
				errs = append(errs, err)
			}
		}
	}
	return errs
}
