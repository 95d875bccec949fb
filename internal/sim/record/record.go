// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package record writes down what an OCI client says and replays it later.
//
// The simulators are only as good as the clients that they were tried with,
// and these clients are not here when our tests run. So a session of such a
// client is recorded once and committed as test data: a line of JSON per
// request, with what the client sent and what kind of answer it got. A replay
// sends the same requests again, signed anew with a test tenancy's key, and
// fails where the simulator now answers otherwise.
//
// # Placeholders
//
// No two sessions have the same identifiers. In a recording they are replaced
// by placeholders such as ${instance.1} that say what they are and which one.
// A placeholder that stands in a reply is learned there on replay and used in
// the requests that follow. Values that the test itself brings along, such as
// the compartment, have names without a number. Times in requests become
// distances from now.
//
// # Shapes
//
// A reply is kept as its shape: the names of its fields and the type of each,
// with only identifiers, settled lifecycle states and error texts as values.
//
// # Secrets
//
// Signatures, keys and the tokens of pre-authenticated requests do not get
// into a recording. Of the headers only those are kept that change what a
// request means.
package record

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Exchange is one request and its reply.
type Exchange struct {
	Request Request `json:"request"`
	Reply   Reply   `json:"reply"`
	// Times is how often the client sent the request in a row, waiting for
	// this reply. 0 stands for once.
	Times int `json:"times,omitempty"`
}

// Request is what the client sent, with placeholders.
type Request struct {
	Method string `json:"method"`
	Host   string `json:"host"`
	Path   string `json:"path"`            // escaped as it was on the wire
	Query  string `json:"query,omitempty"` // raw as it was on the wire
	// As is the placeholder of the tenancy that signed; "" if nobody did.
	As string `json:"as,omitempty"`
	// Signed are the names of the signed headers in their order.
	Signed []string          `json:"signed,omitempty"`
	Header map[string]string `json:"header,omitempty"`
	JSON   any               `json:"json,omitempty"`
	// Bytes is the length of a body that is not JSON. Its contents are not
	// kept; a replay sends as many others.
	Bytes int64 `json:"bytes,omitempty"`
}

// Reply is what came back.
type Reply struct {
	// Status is 0 if the server cut the connection or sent something that is
	// no HTTP reply.
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"`
	// Shape describes a JSON body; see the package's documentation.
	Shape any `json:"shape,omitempty"`
	// Bytes tells that there was a body and that it was not JSON.
	Bytes bool `json:"bytes,omitempty"`
}

func (r Request) String() string {
	s := r.Method + " " + r.Host + r.Path
	if r.Query != "" {
		s += "?" + r.Query
	}
	return s
}

// Write writes a session, one exchange a line.
func Write(w io.Writer, session []Exchange) error {
	for i, e := range session {
		line, err := encode(e)
		if err != nil {
			return fmt.Errorf("exchange %d: %w", i+1, err)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write the recording: %w", err)
		}
	}
	return nil
}

// maxLine bounds a line of a recording, far above any that a session makes.
const maxLine = 4 << 20

// Read reads what Write has written. Blank lines and lines that begin with #
// are skipped, so that a recording can say where it comes from.
func Read(r io.Reader) ([]Exchange, error) {
	var session []Exchange
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		line := lines.Bytes()
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		var e Exchange
		if err := decode(line, &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if e.Request.Method == "" || e.Request.Host == "" || e.Request.Path == "" {
			return nil, fmt.Errorf("line %d: the request lacks method, host or path", number)
		}
		session = append(session, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the recording: %w", err)
	}
	if len(session) == 0 {
		return nil, errors.New("the recording is empty")
	}
	return session, nil
}
