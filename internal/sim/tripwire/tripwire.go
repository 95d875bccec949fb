// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package tripwire interrupts a client at a chosen moment: right after the
// simulated cloud has done a certain thing and before the client knows it.
package tripwire

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Cloud is a simulated cloud, Oracle's or Amazon's.
type Cloud interface {
	// CountRequests tells how often an operation was called, with any result.
	CountRequests(op string) int
}

// Wire calls Pull as soon as the cloud has answered the operation Op for the
// Nth time, before the client has read the answer. Put Wrap around the cloud
// and hand the cloud to Watch.
type Wire struct {
	Op   string
	Nth  int
	Pull func()

	cloud  atomic.Pointer[Cloud]
	once   sync.Once
	pulled atomic.Pointer[time.Time]
}

// Watch sets the cloud whose operations count.
func (w *Wire) Watch(c Cloud) { w.cloud.Store(&c) }

// Wrap returns next with the wire behind it.
func (w *Wire) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(rw, r)
		if c := w.cloud.Load(); c != nil && (*c).CountRequests(w.Op) >= w.Nth {
			w.once.Do(func() {
				now := time.Now()
				w.pulled.Store(&now)
				w.Pull()
			})
		}
	})
}

// Pulled is when the wire was pulled; ok is false if it was not.
func (w *Wire) Pulled() (at time.Time, ok bool) {
	if t := w.pulled.Load(); t != nil {
		return *t, true
	}
	return time.Time{}, false
}

// Moments lists the moments of a run that went well at which another one can
// be interrupted: the first and second answer of every operation. log is the
// cloud's, and op names the operation of a line of it.
func Moments[Request any](log []Request, op func(Request) string) []Moment {
	var all []Moment
	seen := map[string]int{}
	for _, r := range log {
		name := op(r)
		if seen[name]++; seen[name] <= 2 {
			all = append(all, Moment{Op: name, Nth: seen[name]})
		}
	}
	return all
}

// Moment is a point in a run: the Nth answer of the operation Op.
type Moment struct {
	Op  string
	Nth int
}
