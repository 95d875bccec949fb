// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// Client is one principal's access to one region.
type Client struct {
	Region  string
	Tenancy string

	principal *Principal
	skew      *atomic.Int64 // see signed
	told      *atomic.Bool

	services
	plain *http.Client // signs nothing, and its requests may take as long as their contexts allow
}

// Options are what tests and user agents need.
type Options struct {
	// UserAgent is appended to the SDK's own, "packer-plugin-armfree/1.2.3".
	UserAgent string
	// HTTP replaces the SDK's HTTP client, for tests that have a network of
	// their own.
	HTTP *http.Client
	// Secret, if set, is told what must never be printed as soon as it exists:
	// tokens that were exchanged, keys that were made for them.
	Secret func(...string)
}

// FullRegion is a region's full name, of its key or in whatever letters: "fra" is
// "eu-frankfurt-1". A region that the SDK does not know stays as it is.
func FullRegion(name string) string { return string(common.StringToRegion(name)) }

// NewClient prepares the clients of all services for credentials that are
// complete without a request. It makes none.
func NewClient(c Credentials, o Options) (*Client, error) {
	p, err := newPrincipal(c, o)
	if err != nil {
		return nil, err
	}
	if c.remote() {
		return nil, fmt.Errorf("the tenancy of %s is not known before SignIn", p.who)
	}
	return p.Client(c.Region)
}

// newClient is a principal's access to one region.
func newClient(by *Principal, region string) (*Client, error) {
	cl := &Client{Region: region, Tenancy: by.Tenancy, principal: by, skew: new(atomic.Int64), told: new(atomic.Bool), plain: &http.Client{}}
	var err error
	if cl.services, err = newServices(unsigned{region}, cl.prepare); err != nil {
		return nil, err
	}
	return cl, nil
}

// prepare sets a client of the SDK up: what signs its requests, and that it makes each of
// them once. parts says that it is the one for the parts of an upload.
func (c *Client) prepare(b *common.BaseClient, parts bool) {
	none, o := common.NoRetryPolicy(), c.principal.options
	b.Configuration.RetryPolicy = &none
	b.Configuration.CircuitBreaker = nil
	if o.UserAgent != "" {
		b.UserAgent += " " + o.UserAgent
	}
	if o.HTTP != nil {
		b.HTTPClient = o.HTTP
	}
	var limit time.Duration
	if h, ok := b.HTTPClient.(*http.Client); ok {
		if parts {
			if o.HTTP == nil {
				h.Timeout = 0 // each part has its limit, partLimit
			}
			c.plain = h
		}
		limit = h.Timeout
	}
	b.HTTPClient = signed{by: c.principal, next: tolerant{next: b.HTTPClient, again: newLenient(o.HTTP, limit)}, skew: c.skew, told: c.told}
}

// now is the time by the service's clock; zero as long as no reply has told it.
func (c *Client) now() time.Time {
	if !c.told.Load() {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(c.skew.Load()))
}

// trueContext is the key under which a shielded context carries the real one.
type trueContext struct{}

// shield hides ctx's end from the SDK and hands it to our dispatcher instead.
// The SDK makes each call in a goroutine and, when its context ends, returns at
// once the result that the goroutine is still writing: a data race, and a
// response that may be torn. Cut off at the HTTP request, as the dispatcher
// does it, a call ends as quickly and by the ordinary way of an error.
func shield(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), trueContext{}, ctx)
}

// unshield gives an HTTP request the context that it was made with.
func unshield(req *http.Request) *http.Request {
	if ctx, ok := req.Context().Value(trueContext{}).(context.Context); ok {
		return req.WithContext(ctx)
	}
	return req
}

// once is the request metadata of every call: exactly one attempt, whatever
// the environment says.
func once() common.RequestMetadata {
	p := common.NoRetryPolicy()
	return common.RequestMetadata{RetryPolicy: &p}
}

// repeatFor limits how long a call is repeated that the service refuses for
// the moment.
const repeatFor = 3 * time.Minute

// repeat makes a call that may safely be made again: a read, a deletion, or a
// creation with a retry token. op and subject name it in errors: "get image",
// "ocid1.image...".
func repeat(ctx context.Context, op, subject string, call func(context.Context) error) error {
	return repeatIf(ctx, op, subject, passing, call)
}

// repeatIf is repeat with the caller's own idea of which errors will pass.
func repeatIf(ctx context.Context, op, subject string, passing func(error) bool, call func(context.Context) error) error {
	return patience{limit: repeatFor}.repeat(ctx, op, subject, passing, call)
}

// patience is how long a call is repeated, and the option that says so.
type patience struct {
	limit  time.Duration
	option string
	say    func(format string, args ...any) // says each minute that it is still being asked; may be nil
	// shorter are codes that are repeated for repeatFor at most, whatever the
	// limit: a state that never changes has the same code as one that passes.
	shorter []string
}

func (p patience) repeat(ctx context.Context, op, subject string, passing func(error) bool, call func(context.Context) error) error {
	start := time.Now()
	tolerate := func(err error) bool {
		return passing(err) && (time.Since(start) < repeatFor || !code(err, p.shorter...))
	}
	l := wait.Loop{What: fmt.Sprintf("an answer to %q", op), Timeout: p.limit, Option: p.option, Pace: wait.Backoff, Tolerate: tolerate}
	if p.say != nil {
		l.Progress = func(d time.Duration) {
			p.say("Still refused for the moment, and asked again: %s (%s)", strings.TrimSpace(op+" "+subject), d)
		}
	}
	return l.Until(ctx, func(ctx context.Context) (bool, error) {
		if err := call(ctx); err != nil {
			return false, wrap(op, subject, err)
		}
		return true, nil
	})
}

// repeatWithToken makes a call that creates something, in grace: a request that
// is under way is not cut short. After a refusal the next request has a new
// token: whether the service remembers a failed request by its token, and would
// only repeat the failure, is not documented. Once the outcome of a request is
// open its token stays, for it may have taken effect: a refusal that follows can
// be the consequence of that.
func repeatWithToken(ctx context.Context, p patience, op, subject, token string, call func(ctx context.Context, token string) error) error {
	refused, open := 0, false
	return p.repeat(ctx, op, subject, passing, func(ctx context.Context) error {
		g, cancel := wait.Grace(ctx, requestGrace)
		defer cancel()
		t := token
		if refused > 0 {
			t = fmt.Sprintf("%s-%d", token, refused)
		}
		err := call(g, t)
		switch {
		case err == nil:
		case lost(wrap(op, subject, err)):
			open = true
		case !open:
			refused++
		}
		return err
	})
}
