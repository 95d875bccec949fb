// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/armfree/packer-plugin-armfree/internal/sim/control"
)

// Control is the cloud's own interface, which no client of OCI sees:
//
//	GET  /             the inventory
//	GET  /requests     the log of requests
//	GET  /changes      the log of what became of instances and images
//	GET  /faults       the faults that are set, and how often each has matched
//	POST /faults       adds faults: a JSON object, or an array of them; see [Fault]
//	POST /reset-faults removes all faults
//
// Serve it on loopback only: it asks nobody who they are.
func (c *Cloud) Control() http.Handler {
	return control.Handler(control.Cloud{
		Views: map[string]func() any{
			"/{$}": func() any { return c.Inventory() }, "/requests": func() any { return c.Requests() },
			"/changes": func() any { return c.Changes() },
		},
		Faults: func() any { return c.Faults() }, Add: c.AddFaultsJSON, Reset: c.ResetFaults, MaxBody: maxBody,
	})
}

// AddFaultsJSON adds a fault, or an array of faults, written in JSON. It is as
// strict as the rest of the cloud: a selector with a spelling mistake would
// otherwise match everything.
func (c *Cloud) AddFaultsJSON(body []byte) error {
	var list struct {
		Faults []Fault `json:"faults" oci:"required"`
	}
	wrapped := body
	var one map[string]json.RawMessage
	if json.Unmarshal(body, &one) == nil {
		wrapped = fmt.Appendf(nil, "[%s]", body)
	}
	if err := decode(fmt.Appendf(nil, `{"faults":%s}`, wrapped), &list); err != nil {
		return errors.New("not a fault, and not an array of faults")
	}
	return c.AddFaults(list.Faults...)
}
