// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
)

// maxJSON is how much of a body is looked at.
const maxJSON = 1 << 20

// Recorder is a handler that passes requests on to another one and writes
// down what goes by.
type Recorder struct {
	next http.Handler

	mu      sync.Mutex
	names   *names
	session []Exchange
	err     error
}

// NewRecorder records what next is asked and answers. known names the values
// that a replay will bring along, such as "compartment" for a compartment's
// OCID: by name, with values of at least six characters.
func NewRecorder(next http.Handler, known map[string]string) (*Recorder, error) {
	n, err := newNames(known)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &Recorder{next: next, names: n}, nil
}

// Session returns what was recorded so far. The error tells that something
// could not be recorded.
func (r *Recorder) Session() ([]Exchange, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Exchange{}, r.session...), r.err
}

// ServeHTTP implements [http.Handler].
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var body []byte
	sent := &countingBody{ReadCloser: req.Body}
	if isJSON(req.Header) {
		var err error
		if body, err = io.ReadAll(io.LimitReader(req.Body, maxJSON)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sent.ReadCloser = readCloser{io.MultiReader(bytes.NewReader(body), req.Body), req.Body}
	}
	req.Body = sent
	tap := &tap{ResponseWriter: w}
	r.next.ServeHTTP(tap, req)

	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := r.describe(req, body, sent.n, tap)
	if err != nil {
		if r.err == nil {
			r.err = fmt.Errorf("record %s %s: %w", req.Method, r.names.hide(req.URL.EscapedPath()), err)
		}
		return
	}
	r.add(e)
}

// add appends an exchange. Of a request that a client repeats until the answer
// is what it waits for, only the last is kept.
func (r *Recorder) add(e Exchange) {
	if n := len(r.session); n > 0 && e.Request.Method == http.MethodGet && r.session[n-1].Reply.Status == e.Reply.Status &&
		reflect.DeepEqual(r.session[n-1].Request, e.Request) {
		e.Times = max(r.session[n-1].Times, 1) + 1
		r.session[n-1] = e
		return
	}
	r.session = append(r.session, e)
}

// describe makes the line of one exchange. The lock is held.
func (r *Recorder) describe(req *http.Request, body []byte, length int64, tap *tap) (Exchange, error) {
	e := Exchange{Request: Request{
		Method: req.Method, Host: r.names.hide(req.Host),
		Path: r.names.hide(req.URL.EscapedPath()), Header: r.requestHeaders(req.Header),
	}}
	for _, values := range req.URL.Query() { // learn what is escaped in the raw query
		for _, value := range values {
			r.names.recognise(value)
		}
	}
	e.Request.Query = r.names.hide(req.URL.RawQuery)
	e.Request.As, e.Request.Signed = r.signer(req.Header.Get("Authorization"))
	if strings.Contains(string(body), "${") {
		return e, fmt.Errorf("the body holds what looks like a placeholder")
	}
	switch {
	case len(body) > 0:
		var value any
		if err := decode(body, &value); err != nil {
			return e, err
		}
		e.Request.JSON = mapStrings(value, "", r.names.hideInBody)
	default:
		e.Request.Bytes = length
	}
	return e, r.describeReply(&e.Reply, tap)
}

func (r *Recorder) describeReply(reply *Reply, tap *tap) error {
	if tap.hijacked {
		return nil
	}
	reply.Status = tap.code()
	header := tap.Header()
	r.names.learn("etag", header.Get("Etag"))
	r.names.learn("page", header.Get("Opc-Next-Page"))
	reply.Header = map[string]string{}
	for _, name := range []string{"Content-Type", "Etag", "Opc-Work-Request-Id", "Opc-Next-Page", "Opc-Request-Id", "Retry-After"} {
		switch value := header.Get(name); {
		case value == "":
		case name == "Content-Type":
			reply.Header[name] = value
		case name == "Opc-Request-Id" || name == "Retry-After":
			reply.Header[name] = "" // it must be there, that is all
		default:
			reply.Header[name] = r.names.hide(value)
		}
	}
	if !isJSON(header) || tap.body.Len() == 0 {
		reply.Bytes = tap.written > 0
		return nil
	}
	if tap.written > maxJSON {
		return fmt.Errorf("a reply of %d bytes is too large to be described", tap.written)
	}
	var value any
	if err := decode(tap.body.Bytes(), &value); err != nil {
		return fmt.Errorf("the reply: %w", err)
	}
	r.names.learnReply(value)
	reply.Shape = shapeOf(r.names, value, reply.Status >= 400)
	return nil
}

// requestHeaders picks the headers that change what a request means.
func (r *Recorder) requestHeaders(h http.Header) map[string]string {
	kept := map[string]string{}
	for name := range maps.Keys(h) {
		value := h.Get(name)
		switch {
		case value == "":
		case name == "Opc-Retry-Token":
			r.names.learn("retry-token", value)
			kept[name] = r.names.hide(value)
		case name == "Content-Md5":
			kept[name] = "" // computed anew, since a replay sends other bytes
		case name == "Content-Type", name == "Accept", name == "If-Match", name == "If-None-Match", name == "Range",
			name == "Expect", name == "Storage-Tier", name == "Opc-Checksum-Algorithm", strings.HasPrefix(name, "Opc-Meta-"):
			kept[name] = r.names.hide(value)
		}
	}
	return kept
}

var (
	keyIDPattern  = regexp.MustCompile(`keyId="([^"/]+)/`)
	signedPattern = regexp.MustCompile(`headers="([^"]*)"`)
)

// signer tells which tenancy signed, and what.
func (r *Recorder) signer(authorization string) (as string, signed []string) {
	if m := keyIDPattern.FindStringSubmatch(authorization); m != nil && !strings.HasPrefix(m[1], "ST$") {
		as = r.names.hide(m[1])
	}
	if m := signedPattern.FindStringSubmatch(authorization); m != nil {
		signed = strings.Fields(m[1])
	}
	return as, signed
}

func isJSON(h http.Header) bool {
	return strings.HasPrefix(h.Get("Content-Type"), "application/json")
}

type readCloser struct {
	io.Reader
	io.Closer
}

type countingBody struct {
	io.ReadCloser
	n int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

// tap lets a reply pass and keeps what is needed to describe it.
type tap struct {
	http.ResponseWriter
	status   int
	body     bytes.Buffer
	written  int64
	hijacked bool
}

func (t *tap) code() int {
	if t.status == 0 {
		return http.StatusOK
	}
	return t.status
}

func (t *tap) WriteHeader(status int) {
	if t.status == 0 && status >= 200 {
		t.status = status
	}
	t.ResponseWriter.WriteHeader(status)
}

func (t *tap) Write(p []byte) (int, error) {
	if room := maxJSON - t.body.Len(); room > 0 && isJSON(t.Header()) {
		t.body.Write(p[:min(len(p), room)])
	}
	n, err := t.ResponseWriter.Write(p)
	t.written += int64(n)
	return n, err
}

// Hijack lets a handler answer something that is not HTTP; that is recorded as
// status 0.
func (t *tap) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	t.hijacked = true
	return http.NewResponseController(t.ResponseWriter).Hijack()
}

// Unwrap is for [http.ResponseController].
func (t *tap) Unwrap() http.ResponseWriter { return t.ResponseWriter }
