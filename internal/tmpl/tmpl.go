// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package tmpl knows what values of a template look like to a plugin. Some are
// not known yet when a template is validated, and what is not known cannot be
// wrong.
package tmpl

import (
	"reflect"
	"strings"
	"time"
)

// unknownValue is how Packer's SDK writes a value that is not known yet
// (hcl2shim.UnknownVariableValue).
const unknownValue = "74D93920-ED26-11E3-AC10-0800200C9A66"

// Unknown says whether s is a value that Packer does not know yet: `packer
// validate` does not run data sources, and hands their results over in one of
// two placeholder forms. Such a value cannot be checked.
func Unknown(s string) bool {
	return strings.Contains(s, "<unknown>") || strings.Contains(s, unknownValue)
}

// UnknownAsUnset takes a value that is not known yet for one that is left to its
// default, where the option is no text: it would not be a number, a duration or a
// truth value otherwise. It is a decode hook.
func UnknownAsUnset(from, to reflect.Type, data interface{}) (interface{}, error) {
	if from.Kind() != reflect.String || !Unknown(reflect.ValueOf(data).String()) {
		return data, nil
	}
	switch to.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return reflect.Zero(to).Interface(), nil
	}
	return data, nil
}

// EmptyAsUnset takes an empty duration for one that is left to its default, as
// a variable of a JSON template is that nobody set. Packer's SDK does so for other
// kinds of values only. It is a decode hook.
func EmptyAsUnset(from, to reflect.Type, data interface{}) (interface{}, error) {
	if from.Kind() == reflect.String && to == reflect.TypeFor[time.Duration]() && reflect.ValueOf(data).String() == "" {
		return time.Duration(0), nil
	}
	return data, nil
}
