// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// tags are the two kinds of tags that most resources carry.
type tags struct {
	FreeformTags map[string]string         `json:"freeformTags"`
	DefinedTags  map[string]map[string]any `json:"definedTags"`
}

// normal replaces nil maps, since replies show empty objects.
func (t tags) normal() tags {
	if t.FreeformTags == nil {
		t.FreeformTags = map[string]string{}
	}
	if t.DefinedTags == nil {
		t.DefinedTags = map[string]map[string]any{}
	}
	return t
}

// The limits of OCI's tagging documentation.
const (
	maxFreeform, maxDefined = 10, 64
	maxTagKey, maxTagValue  = 100, 256
)

// check applies the limits of OCI's tagging documentation. Defined tags must
// have namespaces and keys that exist; their values are texts, or numbers and
// truth values, which count as texts.
func (t tags) check(owner *Tenancy) error {
	if len(t.FreeformTags) > maxFreeform {
		return errInvalid("A resource can have at most %d freeform tags", maxFreeform)
	}
	for key, value := range t.FreeformTags {
		if n := utf8.RuneCountInString(key); n < 1 || n > maxTagKey || utf8.RuneCountInString(value) > maxTagValue {
			return errInvalid("Freeform tag %q is too long", key)
		}
	}
	count := 0
	for namespace, values := range t.DefinedTags {
		keys, exists := owner.tagNamespace(namespace)
		if !exists {
			return errTag("TagNamespace %s does not exists.", namespace)
		}
		for key, value := range values {
			if !slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) }) {
				return errTag("TagDefinition %s.%s does not exists.", namespace, key)
			}
			switch v := value.(type) {
			case string:
				if utf8.RuneCountInString(v) > maxTagValue {
					return errInvalid("Defined tag %s.%s is too long", namespace, key)
				}
			case float64, bool, json.Number:
			default:
				return errInvalid("Defined tag %s.%s is not a string, an integer or a boolean", namespace, key)
			}
			count++
		}
	}
	if count > maxDefined {
		return errInvalid("A resource can have at most %d defined tags", maxDefined)
	}
	return nil
}

// tagNamespace finds a namespace; names of namespaces and keys are the same in
// any case of letters.
func (t *Tenancy) tagNamespace(name string) ([]string, bool) {
	for namespace, keys := range t.TagNamespaces {
		if strings.EqualFold(namespace, name) {
			return keys, true
		}
	}
	return nil, false
}

// errTag is worded as terraform issue 32357 and terraform-provider-oci issue
// 1969 quote it, the grammar included.
func errTag(format string, args ...any) *apiError {
	return fail(http.StatusBadRequest, "RelatedResourceNotAuthorizedOrNotFound",
		"The following tag namespaces / keys are not authorized or not found: "+format, args...)
}

// updated replaces each kind of tags that a change names, whole.
func (t tags) updated(change tags) tags {
	if change.FreeformTags != nil {
		t.FreeformTags = change.FreeformTags
	}
	if change.DefinedTags != nil {
		t.DefinedTags = change.DefinedTags
	}
	return t
}
