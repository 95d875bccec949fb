// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// maxBody bounds a request, far above anything a client sends.
const maxBody = 2 << 20

// api is one of the cloud's services.
type api struct {
	name   string // in credential scopes and host names
	prefix string // of its actions in policies
	global bool   // it has one endpoint, signed for us-east-1

	// identify finds the operation that a request names, and its parameters:
	// it sets q.op and what the operation reads.
	identify func(q *call) error
	// failure writes an error as clients of this service expect it.
	failure func(q *call, e *apiError) *reply
	// problems has the service's own words.
	problems func(p problem, args ...any) *apiError

	ops map[string]*operation
}

// operation is one thing that a service does.
type operation struct {
	name string
	run  func(q *call) (*reply, error)
	// enums and the like are checked by run.

	path     []string // of REST services
	unlocked bool     // runs without the cloud's lock
	free     bool     // needs no permission
	unsigned bool     // says itself who asks
}

// withoutLock marks an operation that locks by itself.
func (o *operation) withoutLock() *operation { o.unlocked = true; return o }

// needsNothing marks an operation that everybody may do.
func (o *operation) needsNothing() *operation { o.free = true; return o }

// withoutSignature marks an operation that is not signed: its parameters say who
// asks, and it must find out by itself whether that is true.
func (o *operation) withoutSignature() *operation { o.unsigned = true; return o }

// operations is a table of operations by name.
func operations(list ...*operation) map[string]*operation {
	byName := map[string]*operation{}
	for _, o := range list {
		byName[o.name] = o
	}
	return byName
}

// allAPIs gathers the services by signing name.
func (c *Cloud) allAPIs() map[string]*api {
	list := map[string]*api{}
	for _, a := range []*api{c.ec2(), c.identityAndAccess(), c.securityTokens(), c.parameterStore(), c.serviceQuotas(), c.freeTier(), c.priceList(), c.ebsDirect(), c.objectStore()} {
		list[a.name] = a
	}
	return list
}

// call is one request on its way through the cloud.
type call struct {
	*http.Request
	api    *api
	op     *operation
	region *region
	who    Principal
	body   []byte
	params params            // of services with forms
	vars   map[string]string // of REST services: what the path's {names} matched
	bucket string            // of S3: what the host's name says
	source netip.Addr        // where the client is
	secure bool

	dryRun    bool
	asked     bool // IAM has been asked
	asks      []Access
	made      bool   // it has made something
	hides     *Fault // what it makes is invisible for a while
	requestID string
}

// reply is an answer.
type reply struct {
	status      int // default 200
	header      http.Header
	contentType string
	body        []byte
	length      int64 // if not 0, of what a HEAD is about
	cut         int   // if not 0, the connection ends after so many bytes of the body
}

// ServeHTTP answers a request to any of the cloud's host names.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &call{Request: r, requestID: newUUID(), source: c.cfg.Caller, secure: true}
	if r.Host == checkIPHost {
		w.Header().Set("Content-Type", "text/plain;charset=UTF-8")
		_, _ = io.WriteString(w, c.cfg.Caller.String()+"\n") // a client that went away is its own affair
		return
	}
	entry := Request{Time: time.Now(), Host: r.Host, RequestID: q.requestID}
	out, err := c.answer(q, &entry)
	if err != nil {
		var failed *apiError
		if !errors.As(err, &failed) {
			failed = fail(http.StatusInternalServerError, "InternalError", "An internal error has occurred: %v", err)
		}
		out, entry.Code = q.failure(failed), failed.code
	}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	entry.Status = out.status
	c.mu.Lock()
	var hit *Fault
	if q.op != nil {
		hit = c.faults.afterEffect(q.requestTarget(c), err == nil)
	}
	if hit != nil {
		entry.Fault = string(hit.Kind)
		if hit.Kind == FaultStatusAfterEffect {
			entry.Status, entry.Code = hit.Status, hit.Code
		}
	}
	c.log = append(c.log, entry)
	c.mu.Unlock()
	_ = schedule.Pause(r.Context(), c.delays.Reply) // a client that went away is its own affair
	switch {
	case hit != nil && hit.Kind == FaultCutAfterEffect:
		// net/http's way to close a connection without an answer.
		panic(http.ErrAbortHandler)
	case hit != nil:
		out = q.failure(hit.error(q))
	}
	out.send(w, q)
}

// failure writes an error.
func (q *call) failure(e *apiError) *reply {
	if e.code == "" { // what a broken gateway sends
		return &reply{status: e.status, contentType: "text/html", body: []byte(e.message)}
	}
	write := ec2Failure
	if q.api != nil {
		write = q.api.failure
	}
	out := write(q, e)
	out.status = e.status
	return out
}

func (p *reply) send(w http.ResponseWriter, q *call) {
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("X-Amzn-Requestid", q.requestID)
	if p.contentType != "" {
		w.Header().Set("Content-Type", p.contentType)
	}
	w.Header().Set("Content-Length", strconv.FormatInt(max(p.length, int64(len(p.body))), 10))
	w.WriteHeader(p.status)
	if p.cut > 0 {
		_, _ = w.Write(p.body[:p.cut]) // it is cut anyway
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	_, _ = io.Copy(w, bytes.NewReader(p.body)) // a client that went away is its own affair
}

// answer runs a request up to its reply.
func (c *Cloud) answer(q *call, entry *Request) (*reply, error) {
	at, err := parseHost(q.Host)
	if err != nil {
		return nil, fail(http.StatusNotFound, "UnknownEndpoint", "%v", err)
	}
	if q.body, err = io.ReadAll(http.MaxBytesReader(nil, q.Body, maxBody)); err != nil {
		return nil, fail(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request is too large.")
	}
	sig, sigErr := parseSignature(q.Request)
	if at.plain {
		// A plain endpoint has no name; the signature says what it is for.
		at.service, at.region = sig.service, sig.region
		if sigErr != nil && sigErr.kind == unsigned {
			at.service, at.region = "sts", defaultRegion // the only one with operations that nobody signs
		}
	}
	if q.api = c.apis[at.service]; q.api == nil && at.plain {
		return nil, ec2Problems(unsigned)
	} else if q.api == nil {
		return nil, fail(http.StatusNotFound, "UnknownEndpoint", "The simulator does not have the service %q", at.service)
	}
	entry.Service = q.api.name
	if q.region, err = c.lookUpRegion(at.region); err != nil {
		return nil, fail(http.StatusNotFound, "UnknownEndpoint", "%v", err)
	}
	entry.Region = q.region.name
	q.bucket = at.bucket
	identified := q.api.identify(q)
	anonymous := q.op != nil && q.op.unsigned
	if sigErr != nil && (!anonymous || sigErr.kind != unsigned) {
		q.op = nil
		return nil, q.api.problem(sigErr.kind, sigErr.text)
	}
	if q.op != nil {
		entry.Op = q.op.name
		entry.ClientToken = q.params.first("ClientToken")
	}

	c.mu.Lock()
	unlock := true
	defer func() {
		if unlock {
			c.mu.Unlock()
		}
	}()
	if c.closed {
		return nil, q.api.problem(unavailable)
	}
	if anonymous {
		if hit := c.faults.hit(q.target(), FaultStatus); hit != nil {
			entry.Fault = string(hit.Kind)
			return nil, hit.error(q)
		}
		if identified != nil {
			return nil, identified
		}
		return q.op.run(q)
	}
	if err := c.authenticate(q, sig); err != nil {
		return nil, err
	}
	entry.Account = q.who.Account.Name
	if identified != nil {
		return nil, identified
	}
	if _, err := c.ensureNetwork(q.home()); err != nil {
		return nil, err
	}
	if hit := c.faults.beforeEffect(q, q.requestTarget(c)); hit != nil {
		entry.Fault = string(hit.Kind)
		return nil, hit.error(q)
	}
	if q.op.unlocked {
		unlock = false
		c.mu.Unlock()
	}
	result, err := q.op.run(q)
	if err == nil && !q.asked && !q.op.free {
		return nil, fmt.Errorf("the simulator forgot to ask IAM about %s", q.op.name)
	}
	return result, err
}

func newUUID() string {
	h := randomHex(16)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
