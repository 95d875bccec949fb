// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/armfree/packer-plugin-armfree/internal/sim/control"
)

// Control is the cloud's own interface, which no client of Amazon sees:
//
//	GET  /             the inventory
//	GET  /requests     the log of requests
//	GET  /faults       the faults that are set, and how often each has matched
//	POST /faults       adds faults: a JSON object, or an array of them; see [Fault]
//	POST /reset-faults removes all faults
//
// Serve it on loopback only: it asks nobody who they are.
func (c *Cloud) Control() http.Handler {
	return control.Handler(control.Cloud{
		Views: map[string]func() any{
			"/{$}": func() any { return c.Inventory() }, "/requests": func() any { return c.Requests() },
		},
		Faults: func() any { return c.Faults() }, Add: c.AddFaultsJSON, Reset: c.ResetFaults, MaxBody: maxBody,
	})
}

// AddFaultsJSON adds a fault, or an array of faults, written in JSON. A
// selector with a spelling mistake, which would otherwise match everything, is
// an error.
func (c *Cloud) AddFaultsJSON(body []byte) error {
	var faults []Fault
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		body = fmt.Appendf(nil, "[%s]", body)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&faults); err != nil {
		return fmt.Errorf("not a fault, and not an array of faults: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || len(faults) == 0 {
		return errors.New("not a fault, and not an array of faults")
	}
	return c.AddFaults(faults...)
}
