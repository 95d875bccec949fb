// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"cmp"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// params are the parameters of a request as a tree: "Filter.1.Name" is the
// member Name of the member 1 of the member Filter.
type params struct {
	value   *string
	members map[string]*params
	path    string
}

// parseParams builds the tree.
func parseParams(form url.Values) (params, error) {
	root := params{}
	for name, values := range form {
		if len(values) > 1 {
			return root, refuse("MalformedQueryString", "The parameter %s is given more than once", name)
		}
		at := &root
		for part := range strings.SplitSeq(name, ".") {
			if at.members == nil {
				at.members = map[string]*params{}
			}
			next := at.members[part]
			if next == nil {
				next = &params{path: strings.TrimPrefix(at.path+"."+part, ".")}
				at.members[part] = next
			}
			at = next
		}
		at.value = &values[0]
	}
	return root, nil
}

// first is a parameter without parts, "" when absent.
func (p *params) first(name string) string {
	if m := p.members[name]; m != nil && m.value != nil {
		return *m.value
	}
	return ""
}

// take removes a parameter and returns its value.
func (p *params) take(name string) string {
	value := p.first(name)
	delete(p.members, name)
	return value
}

// decode reads the tree into a pointer to a struct. A field is called as in
// the request, or as its tag says: `aws:"ImageId,required"`, with
// ",enum=a|b" for the values that it may have. Lists are numbered from 1. A
// parameter without a field is refused.
func (p *params) decode(into any) error {
	return p.decodeStruct(reflect.ValueOf(into).Elem())
}

func (p *params) decodeStruct(v reflect.Value) error {
	known := map[string]bool{}
	if err := p.decodeFields(v, known); err != nil {
		return err
	}
	for name, m := range p.members {
		if !known[name] {
			return refuse("UnknownParameter", "The parameter %s is not recognized", m.deepest())
		}
	}
	if p.value != nil {
		return refuse("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It must have members", *p.value, p.path)
	}
	return nil
}

func (p *params) decodeFields(v reflect.Value, known map[string]bool) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Anonymous {
			if err := p.decodeFields(v.Field(i), known); err != nil {
				return err
			}
			continue
		}
		name, options, _ := strings.Cut(field.Tag.Get("aws"), ",")
		name = cmp.Or(name, field.Name)
		known[name] = true
		m := p.members[name]
		if m == nil {
			if isRequired(options) {
				return errMissing(strings.TrimPrefix(p.path+"."+name, "."))
			}
			continue
		}
		if err := m.decodeValue(v.Field(i), options); err != nil {
			return err
		}
	}
	return nil
}

// isRequired reads the options of a field. An enumeration, which comes last,
// may have that word as well.
func isRequired(options string) bool {
	before, _, _ := strings.Cut(options, "enum=")
	return strings.Contains(before, "required")
}

func (p *params) decodeValue(v reflect.Value, options string) error {
	switch v.Kind() {
	case reflect.Pointer:
		made := reflect.New(v.Type().Elem())
		if err := p.decodeValue(made.Elem(), options); err != nil {
			return err
		}
		v.Set(made)
		return nil
	case reflect.Slice:
		return p.decodeList(v, options)
	case reflect.Struct:
		return p.decodeStruct(v)
	}
	if p.value == nil || len(p.members) > 0 {
		return refuse("UnknownParameter", "The parameter %s is not recognized", p.deepest())
	}
	value := *p.value
	switch v.Kind() {
	case reflect.String:
		if isRequired(options) && value == "" {
			return errMissing(p.path)
		}
		if _, enum, isEnum := strings.Cut(options, "enum="); isEnum && value != "" && !slices.Contains(strings.Split(enum, "|"), value) {
			return errValue("Value (%s) for parameter %s is invalid. Valid values are: %s", value, p.path, strings.ReplaceAll(enum, "|", ", "))
		}
		v.SetString(value)
	case reflect.Bool:
		switch strings.ToLower(value) {
		case "true":
			v.SetBool(true)
		case "false":
		default:
			return errValue("Value (%s) for parameter %s is invalid. Expected a boolean", value, p.path)
		}
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return errValue("Value (%s) for parameter %s is invalid. Expected an integer", value, p.path)
		}
		v.SetInt(n)
	default:
		panic("no parameter has the type " + v.Type().String())
	}
	return nil
}

func (p *params) decodeList(v reflect.Value, options string) error {
	if p.value != nil {
		return refuse("UnknownParameter", "The parameter %s is not recognized", p.path)
	}
	var numbers []int
	for name, m := range p.members {
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || strconv.Itoa(n) != name {
			return refuse("UnknownParameter", "The parameter %s is not recognized", m.deepest())
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		item := reflect.New(v.Type().Elem()).Elem()
		if err := p.members[strconv.Itoa(n)].decodeValue(item, options); err != nil {
			return err
		}
		v.Set(reflect.Append(v, item))
	}
	return nil
}

// deepest is the whole name of one of the parameters in a tree.
func (p *params) deepest() string {
	for _, m := range p.members {
		return m.deepest()
	}
	return p.path
}
