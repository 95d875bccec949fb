// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package simnet

import (
	"bytes"
	"io"
	"net/http"
)

// Whole is a client that hands each request to net/http in one piece. It is
// for the AWS SDK for Go (smithy-go up to 1.28.8 at least): that one closes a
// request's body when the reply arrives, net/http may at that moment still ask
// it whether more is to come, and gets an error instead of "no more", for
// which it closes the connection in the middle of the reply. Only a server as
// near as a simulator replies so early.
type Whole struct{ Client *http.Client }

// Do sends a request.
func (w Whole) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body)) // of a kind that net/http knows
	}
	return w.Client.Do(r)
}
