// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"time"
)

// wireTime is a time as OCI writes it: RFC 3339 in UTC with milliseconds.
type wireTime struct{ time.Time }

func (t wireTime) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// wireNow is the present as a wireTime.
func wireNow() wireTime { return wireTime{time.Now()} }

// decode reads a request body into a pointer to a struct, more strictly than
// encoding/json does: names must match exactly and be defined, nothing may
// follow the object, and fields tagged `oci:"required"` must be present and
// not null. A null anywhere else counts as absent.
func decode(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return errUnparsable()
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errUnparsable()
	}
	return checkNames(body, reflect.TypeOf(into).Elem(), "")
}

// checkNames walks a JSON value beside the type it was decoded into. It
// catches what DisallowUnknownFields lets pass: names in the wrong case and
// names given twice. It also finds required fields that are absent.
func checkNames(raw json.RawMessage, typ reflect.Type, path string) error {
	raw = bytes.TrimSpace(raw)
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if bytes.Equal(raw, []byte("null")) || typ == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	switch typ.Kind() {
	case reflect.Struct:
		if typ == reflect.TypeFor[time.Time]() || typ == reflect.TypeFor[wireTime]() {
			return nil
		}
		members, err := uniqueMembers(raw)
		if err != nil {
			return err
		}
		for _, field := range reflect.VisibleFields(typ) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Anonymous || name == "" || name == "-" {
				continue
			}
			value, present := members[name]
			if present && !bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
				if err := checkNames(value, field.Type, path+name+"."); err != nil {
					return err
				}
			} else if field.Tag.Get("oci") == "required" {
				return errMissing(path + name)
			}
			delete(members, name)
		}
		if len(members) > 0 {
			return errUnparsable()
		}
	case reflect.Slice:
		var items []json.RawMessage
		if json.Unmarshal(raw, &items) != nil {
			return errUnparsable()
		}
		for _, item := range items {
			if err := checkNames(item, typ.Elem(), path); err != nil {
				return err
			}
		}
	case reflect.Map:
		members, err := uniqueMembers(raw)
		if err != nil {
			return err
		}
		for name, value := range members {
			if err := checkNames(value, typ.Elem(), path+name+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

// uniqueMembers splits a JSON object; a name that occurs twice is an error.
func uniqueMembers(raw json.RawMessage) (map[string]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errUnparsable()
	}
	members := map[string]json.RawMessage{}
	for decoder.More() {
		token, err := decoder.Token()
		name, isString := token.(string)
		if err != nil || !isString {
			return nil, errUnparsable()
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errUnparsable()
		}
		if _, twice := members[name]; twice {
			return nil, errUnparsable()
		}
		members[name] = value
	}
	return members, nil
}

// decodeUnion decodes an object whose kind is named by one of its own fields
// (the discriminator). into maps each kind to a pointer to decode into; it
// returns the kind that was found.
func decodeUnion(raw json.RawMessage, discriminator string, into map[string]any) (string, error) {
	members, err := uniqueMembers(raw)
	if err != nil {
		return "", err
	}
	var kind string
	if json.Unmarshal(members[discriminator], &kind) != nil || kind == "" {
		return "", errMissing(discriminator)
	}
	target, known := into[kind]
	if !known {
		return "", errInvalid("Unknown %s %q", discriminator, kind)
	}
	return kind, decode(raw, target)
}

// absent tells whether a raw JSON member was left out or null.
func absent(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// nullable turns "" into a JSON null.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
