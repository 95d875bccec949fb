// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxBody bounds a control-plane request, far above anything a client sends.
const maxBody = 1 << 20

// call is one request on its way through the cloud.
type call struct {
	*http.Request
	service   service
	ctxRegion region
	who       caller
	op        string
	vars      map[string]string // what the route's {names} matched, unescaped
	body      []byte            // nil where the route streams its body
	// namespace is set when the host name names one (realm-specific hosts).
	namespace string
}

// tenancy is whose request it is; nil on routes that need no signature.
func (q *call) tenancy() *Tenancy { return q.who.tenancy }

// region is the region whose endpoint was called.
func (q *call) region() region { return q.ctxRegion }

// param is a query parameter, "" when absent.
func (q *call) param(name string) string { return q.URL.Query().Get(name) }

// decode reads the JSON body strictly; see [decode].
func (q *call) decode(into any) error { return decode(q.body, into) }

// reply is a successful answer.
type reply struct {
	status int         // default 200
	header http.Header // beyond what every reply carries
	body   any         // marshalled to JSON; nil for none

	// stream is sent instead of body, length bytes of contentType.
	stream      io.ReadCloser
	length      int64
	contentType string

	// again makes the answer to a repetition with the same retry token, in
	// the light of what has happened since. The first answer is repeated when
	// it is nil.
	again func() (*reply, error)
}

func ok(body any) *reply { return &reply{body: body} }

func noContent() *reply { return &reply{status: http.StatusNoContent} }

// with adds a header to a reply.
func (p *reply) with(name, value string) *reply {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

// ServeHTTP answers a request to any of the cloud's host names.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	requestID := randomHex(16)
	if own := r.Header.Get("Opc-Request-Id"); own != "" {
		requestID = own + "/" + randomHex(16) + "/" + randomHex(16)
	}
	w.Header().Set("Opc-Request-Id", requestID)

	entry := Request{Time: time.Now(), Method: r.Method, Host: r.Host, Path: withoutPARToken(r.URL.EscapedPath()), RequestID: requestID}
	q := &call{Request: r}
	result, err := c.answer(q, &entry)
	if entry.Answered.IsZero() {
		entry.Answered = time.Now()
	}
	out := render(result, err, r.Method)
	entry.Status = out.status
	c.mu.Lock()
	hit := c.faults.afterEffect(q, err == nil)
	if hit != nil {
		entry.Fault = string(hit.Kind)
		if hit.Kind == FaultStatusAfterEffect {
			entry.Status = hit.Status
		}
	}
	c.log = append(c.log, entry)
	c.mu.Unlock()
	if errors.Is(err, errLate) {
		panic(http.ErrAbortHandler)
	}
	if hit != nil {
		out.close()
		hit.spoil(w, out)
		return
	}
	out.send(w)
}

// answer runs a request up to its reply: host, route, signature, parameters,
// scripted failure, retry token, and at last the operation itself.
func (c *Cloud) answer(q *call, entry *Request) (*reply, error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, errClosed()
	}
	svc, region, namespace, err := parseHost(q.Host)
	if err != nil {
		entry.Op = "UnknownHost"
		return nil, fail(http.StatusNotFound, "UnknownHost", "%v", err)
	}
	q.service, q.ctxRegion, q.namespace = svc, region, namespace
	route, vars, err := match(c.routes[svc], q.Request)
	if err != nil {
		entry.Op = "UnknownRoute"
		return nil, err
	}
	q.op, q.vars, entry.Op = route.op, vars, route.op

	if !route.streamed {
		body, err := io.ReadAll(http.MaxBytesReader(nil, q.Body, maxBody))
		if err != nil {
			return nil, fail(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Request entity too large.")
		}
		q.body = body
	}
	if !route.open {
		if q.who, err = c.authenticate(q.Request, q.body, !route.streamed); err != nil {
			return nil, err
		}
		entry.Tenancy = q.tenancy().Name
		// A user exists only in the regions that the tenancy subscribes to.
		if !q.tenancy().subscribed(region.name) {
			return nil, errUnauthenticated()
		}
	}
	if err := route.check(q.Request); err != nil {
		return nil, err
	}

	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed()
	}
	if hit := c.faults.beforeEffect(q); hit != nil {
		c.mu.Unlock()
		entry.Fault = string(hit.Kind)
		return nil, hit.error()
	}
	if late := c.faults.hit(q.target(), FaultLate); late != nil {
		c.mu.Unlock()
		entry.Fault = string(late.Kind)
		return nil, c.later(q, route.handle, time.Duration(late.Delay))
	}
	if route.unlocked {
		c.mu.Unlock()
		return route.handle(q)
	}
	defer c.mu.Unlock()
	result, err := c.withRetryToken(q, route.handle)
	entry.Answered = time.Now() // with the lock held, so that it is before whatever changes next
	if err == nil {
		result.freeze()
	}
	return result, err
}

func errClosed() *apiError {
	return fail(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is currently unavailable.")
}

// freeze marshals the body while the lock is still held, because it may share
// maps with a resource that changes later. Handlers that run without the lock
// must not share anything.
func (p *reply) freeze() {
	if p.body == nil {
		return
	}
	raw, err := marshal(p.body)
	if err != nil {
		panic("a reply does not marshal: " + err.Error())
	}
	p.body = raw
}

// marshal writes JSON without the escapes that only HTML needs.
func marshal(body any) (json.RawMessage, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(body)
	return bytes.TrimRight(buffer.Bytes(), "\n"), err
}

// rendered is a reply in its final form, so that a fault can still replace it.
type rendered struct {
	status int
	header http.Header
	body   []byte
	stream io.ReadCloser
	length int64
}

func render(p *reply, err error, method string) *rendered {
	out := &rendered{status: http.StatusOK, header: http.Header{}}
	if err != nil {
		var api *apiError
		if !errors.As(err, &api) {
			api = fail(http.StatusInternalServerError, "InternalError", "An internal error occurred: %v", err)
		}
		out.status = api.status
		if api.code == "" {
			// What a broken gateway sends has no JSON in it.
			out.header.Set("Content-Type", "text/html")
			out.body = []byte(api.message)
			return out
		}
		if method == http.MethodHead {
			return out
		}
		out.setJSON(map[string]string{"code": api.code, "message": api.message})
		return out
	}
	if p.status != 0 {
		out.status = p.status
	}
	for name, values := range p.header {
		out.header[name] = values
	}
	switch {
	case p.stream != nil:
		out.stream, out.length = p.stream, p.length
		out.header.Set("Content-Type", p.contentType)
		out.header.Set("Content-Length", strconv.FormatInt(p.length, 10))
	case p.body != nil:
		out.setJSON(p.body)
	}
	return out
}

func (o *rendered) setJSON(body any) {
	raw, err := marshal(body)
	if err != nil {
		panic("a reply does not marshal: " + err.Error())
	}
	o.header.Set("Content-Type", "application/json")
	o.body = raw
}

func (o *rendered) send(w http.ResponseWriter) {
	for name, values := range o.header {
		w.Header()[name] = values
	}
	if o.stream == nil {
		if o.status != http.StatusNoContent {
			if o.header.Get("Content-Length") == "" {
				w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
			}
		}
		w.WriteHeader(o.status)
		_, _ = w.Write(o.body) // a client that went away is its own affair
		return
	}
	w.WriteHeader(o.status)
	_, _ = io.CopyN(w, o.stream, o.length)
	o.close()
}

func (o *rendered) close() {
	if o.stream != nil {
		_ = o.stream.Close() // only ever opened for reading
	}
}
