// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// spoil sends what is left of a reply after the fault.
func (f *Fault) spoil(w http.ResponseWriter, out *rendered) {
	switch f.Kind {
	case FaultStatusAfterEffect:
		render(nil, f.error(), "").send(w)
	case FaultMalformedHeader:
		out.sendMalformed(w)
	default:
		// net/http's way to close a connection without an answer.
		panic(http.ErrAbortHandler)
	}
}

// errLate says that a request gets no answer, and has its effect later.
var errLate = errors.New("it is done later")

// later does what a request asks for, whose body is read first, some time after its
// connection was closed.
func (c *Cloud) later(q *call, handle func(*call) (*reply, error), delay time.Duration) error {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return fail(http.StatusBadRequest, "RequestBodyIncomplete", "The request body ended early.")
	}
	c.background(func(ctx context.Context) {
		if schedule.Pause(ctx, delay) != nil {
			return
		}
		late := *q
		late.Request = q.Request.Clone(ctx)
		late.Body = io.NopCloser(bytes.NewReader(body))
		_, _ = handle(&late) // nobody waits for the answer
	})
	return errLate
}

// sendMalformed writes a reply by hand, because net/http refuses to write a
// header whose name holds a slash. The line is the one that Oracle's service
// was seen to send (packer-plugin-oracle issue 154). The connection is closed
// after it.
func (o *rendered) sendMalformed(w http.ResponseWriter) {
	hijacker, can := w.(http.Hijacker)
	if !can {
		panic(http.ErrAbortHandler)
	}
	requestID := w.Header().Get("Opc-Request-Id")
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = conn.Close() }()
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "HTTP/1.1 %d %s\r\n", o.status, http.StatusText(o.status))
	o.header.Del("Content-Length")
	_ = o.header.Write(&raw) // a bytes.Buffer takes everything
	raw.WriteString("application/json: application/json\r\n")
	raw.WriteString("Opc-Request-Id: " + requestID + "\r\n")
	raw.WriteString("Content-Length: " + strconv.Itoa(len(o.body)) + "\r\nConnection: close\r\n\r\n")
	raw.Write(o.body)
	_, _ = conn.Write(raw.Bytes()) // a client that went away is its own affair
}

// AddFaults makes things go wrong from now on. It refuses a fault that could
// never have an effect; then none is added.
func (c *Cloud) AddFaults(faults ...Fault) error {
	for _, f := range faults {
		if err := c.checkFault(f); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := wireNow()
	for _, f := range faults {
		c.faults = append(c.faults, &activeFault{Fault: f, added: now.Time, buckets: schedule.Buckets{}})
	}
	return nil
}

// ResetFaults removes all faults. Resources that a fault has broken stay so.
func (c *Cloud) ResetFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// FaultReport is a fault and how often it has matched since it was added,
// passes of Skip and after Times included.
type FaultReport struct {
	Fault
	Matched int `json:"matched"`
}

// Faults lists the faults that were added and not reset.
func (c *Cloud) Faults() []FaultReport {
	c.mu.Lock()
	defer c.mu.Unlock()
	reports := []FaultReport{}
	for _, f := range c.faults {
		reports = append(reports, FaultReport{f.Fault, f.matched})
	}
	return reports
}
