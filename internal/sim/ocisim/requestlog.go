// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "time"

// Request is one line of the log of what clients did. It holds no secrets: no
// headers, no query and no body.
type Request struct {
	Time      time.Time `json:"time"`     // of its arrival
	Answered  time.Time `json:"answered"` // when the answer was made: what it shows, it shows as of then
	Op        string    `json:"op"`       // Oracle's name of the operation, such as LaunchInstance
	Method    string    `json:"method"`
	Host      string    `json:"host"`
	Path      string    `json:"path"`
	Tenancy   string    `json:"tenancy"` // name of the tenancy that signed; "" if none did
	Status    int       `json:"status"`
	Fault     string    `json:"fault,omitempty"` // the scripted fault that decided the answer
	RequestID string    `json:"requestId"`
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
