// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// tripwire calls pull as soon as the cloud has answered an operation for the
// nth time, before the client has read the answer.
type tripwire struct {
	op    string
	nth   int
	pull  func()
	cloud atomic.Pointer[ocisim.Cloud]

	once   sync.Once
	pulled time.Time
}

func (w *tripwire) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(rw, r)
		if c := w.cloud.Load(); c != nil && c.CountRequests(w.op) >= w.nth {
			w.once.Do(func() {
				w.pulled = time.Now()
				w.pull()
			})
		}
	})
}
