// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"fmt"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

const (
	// callLimit is how long one request may take.
	callLimit = time.Minute
	// repeatFor limits how long a call is repeated that the service refuses for
	// the moment.
	repeatFor = 3 * time.Minute
	// requestGrace is how long a request that creates something may go on after a
	// cancel: cut short, it would leave open whether there is something to remove.
	requestGrace = 20 * time.Second
	// unseen is how long something that was just made may not be found: EC2's
	// answers lag behind.
	unseen = wait.Unseen
)

// once makes one attempt, limited in time. op and subject name it in errors:
// "describe image", "ami-...".
func once(ctx context.Context, op, subject string, call func(context.Context) error) error {
	c, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return wrap(op, subject, call(c))
}

// repeat makes a call that may safely be made again: a read, a deletion, or a
// creation that EC2 knows again by a token.
func (c *Client) repeat(ctx context.Context, op, subject string, call func(context.Context) error) error {
	return c.repeatIf(ctx, repeatFor, op, subject, passing, call)
}

// repeatIf is repeat with the caller's own patience, and idea of which errors will
// pass.
func (c *Client) repeatIf(ctx context.Context, limit time.Duration, op, subject string, passing func(error) bool, call func(context.Context) error) error {
	tries, corrected, renewed := 0, false, false
	tolerate := func(err error) bool {
		switch {
		// The SDK has learned from the refusal what time it is, and signs the
		// next request with that.
		case !corrected && clockRefused(err) && c.by.clockOff() != "":
			corrected = true
			return true
		case !renewed && sessionOver(err) && c.by.keys.renew():
			renewed = true
			return true
		}
		return passing(err) && (c.by.creds.MaxRetries <= 0 || tries < c.by.creds.MaxRetries)
	}
	l := wait.Loop{What: fmt.Sprintf("an answer to %q", op), Timeout: limit, Pace: wait.Backoff, Tolerate: tolerate}
	return l.Until(ctx, func(ctx context.Context) (bool, error) {
		tries++
		err := once(ctx, op, subject, call)
		return err == nil, err
	})
}
