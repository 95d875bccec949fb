// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// items is how a decoded message writes a list.
type items[T any] struct {
	Items []T `json:"items"`
}

// encodeMessage is an opaque text about a refusal, of a principal, an action
// and an error. [DecodeMessage] reads it.
func encodeMessage(args ...any) string {
	type keyValue struct {
		Key    string            `json:"key"`
		Values items[textOfItem] `json:"values"`
	}
	who, _ := args[0].(Principal)
	err, _ := args[2].(error)
	message := map[string]any{"allowed": false, "explicitDeny": false, "matchedStatements": items[string]{[]string{}}, "failures": items[string]{[]string{}}}
	context := map[string]any{"principal": map[string]string{"id": who.ID, "arn": who.ARN}, "action": fmt.Sprint(args[1]), "reason": fmt.Sprint(args[2])}
	var no *denial
	if errors.As(err, &no) {
		message["explicitDeny"] = no.explicit
		keys := maps.Clone(no.access.Context)
		maps.Copy(keys, no.resource.Context)
		var list []keyValue
		for _, name := range slices.Sorted(maps.Keys(keys)) {
			row := keyValue{Key: name}
			for _, v := range keys[name] {
				row.Values.Items = append(row.Values.Items, textOfItem{v})
			}
			list = append(list, row)
		}
		context["resource"], context["conditions"] = no.resource.ARN, items[keyValue]{list}
	}
	message["context"] = context
	raw, _ := json.Marshal(message) // texts and lists of texts always marshal
	slices.Reverse(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

type textOfItem struct {
	Value string `json:"value"`
}

// DecodeMessage reads what the encoded authorization failure message says, as
// sts:DecodeAuthorizationMessage does.
func DecodeMessage(message string) (string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(message)
	if err != nil {
		return "", fmt.Errorf("decode the message: %w", err)
	}
	slices.Reverse(raw)
	if !json.Valid(raw) {
		return "", errors.New("decode the message: it is none")
	}
	return string(raw), nil
}

// notAllowedText says who may not do what, and why.
func notAllowedText(args ...any) string {
	who, _ := args[0].(Principal)
	text := fmt.Sprintf("User: %s is not authorized to perform: %s", who.ARN, args[1])
	err, _ := args[2].(error)
	var no *denial
	if !errors.As(err, &no) {
		return fmt.Sprintf("%s because %v", text, args[2])
	}
	if no.explicit {
		return text + " on resource: " + no.resource.ARN + " " + no.Error()
	}
	return text + " on resource: " + no.resource.ARN + " because " + no.Error()
}
