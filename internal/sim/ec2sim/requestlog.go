// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "time"

// Request is one line of the log of what clients did. It holds no secrets: no
// headers and no parameters.
type Request struct {
	Time      time.Time `json:"time"`
	Service   string    `json:"service"`
	Op        string    `json:"op"`
	Host      string    `json:"host"`
	Region    string    `json:"region"`
	Account   string    `json:"account"` // name of the account that signed; "" if none did
	Status    int       `json:"status"`
	Code      string    `json:"code,omitempty"`  // of an error
	Fault     string    `json:"fault,omitempty"` // the scripted fault that decided the answer
	RequestID string    `json:"requestId"`
	// ClientToken tells repetitions of a launch from new ones.
	ClientToken string `json:"clientToken,omitempty"`
}

// Requests returns the log, oldest first.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Request{}, c.log...)
}

// CountRequests tells how often an operation was called, with any result.
func (c *Cloud) CountRequests(op string) int {
	n := 0
	for _, r := range c.Requests() {
		if r.Op == op {
			n++
		}
	}
	return n
}
