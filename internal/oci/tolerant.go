// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// tolerant survives replies whose header is malformed.
//
// Since July 2026 CreateImage is answered in some regions with a header line
// "application/json: application/json" (hashicorp/packer-plugin-oracle#154). A
// slash is not allowed in a header's name, so Go's HTTP client refuses the
// whole reply, after the request has taken effect. Such a request is sent once
// more, if that is safe: it only reads, or says what the end state is to be,
// or carries a retry token, by which the service recognises it. The second
// time its reply is read through a filter that drops the lines no HTTP client
// can read.
type tolerant struct {
	next  common.HTTPRequestDispatcher
	again lenient
}

// Do implements common.HTTPRequestDispatcher.
func (t tolerant) Do(req *http.Request) (*http.Response, error) {
	req = unshield(req)
	resp, err := t.next.Do(req)
	if err == nil || !malformed(err) || !repeatable(req) {
		return resp, err
	}
	second := req.Clone(req.Context())
	if req.Body != nil && req.Body != http.NoBody {
		switch {
		case req.GetBody != nil:
			body, berr := req.GetBody()
			if berr != nil {
				return resp, err
			}
			second.Body = body
		default:
			seeker, ok := req.Body.(io.Seeker)
			if !ok {
				return resp, err
			}
			if _, serr := seeker.Seek(0, io.SeekStart); serr != nil {
				return resp, err
			}
		}
	}
	log.Printf("[WARN] the reply to %s %s has a malformed header; asking again", req.Method, req.URL.Host)
	resp, again := t.again.Do(second)
	if again != nil {
		// Both count: the first request did reach the service.
		return nil, &url.Error{Op: req.Method, URL: req.URL.Redacted(), Err: fmt.Errorf("%w; asked again: %w", cause(err), cause(again))}
	}
	return resp, nil
}

// cause is what a *url.Error is about, without the URL.
func cause(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// malformed recognises net/http's refusal of a header.
func malformed(err error) bool {
	return err != nil && strings.Contains(err.Error(), "malformed MIME header")
}

// repeatable says that sending req again has no further effect.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	}
	return req.Header.Get("Opc-Retry-Token") != ""
}

// maxHeader bounds what is read of a header, as net/http does.
const maxHeader = 1 << 20

// cleanHeader reads one header block, a status line and what follows up to the
// empty line, and returns it without the fields that no HTTP client can read.
// A field includes the folded lines that continue it.
func cleanHeader(r *bufio.Reader) (*bytes.Reader, error) {
	var out bytes.Buffer
	var field string
	flush := func() {
		if readable(field) {
			out.WriteString(field)
		}
		field = ""
	}
	left := maxHeader
	for first := true; ; first = false {
		line, err := readLine(r, left)
		if err != nil {
			return nil, err
		}
		left -= len(line)
		text := strings.TrimRight(string(line), "\r\n")
		switch {
		case first:
			out.WriteString(text + "\r\n")
		case text == "":
			flush()
			out.WriteString("\r\n")
			return bytes.NewReader(out.Bytes()), nil
		case text[0] == ' ' || text[0] == '\t':
			field += text + "\r\n"
		default:
			flush()
			field = text + "\r\n"
		}
	}
}

// readLine reads a line of at most limit bytes, its end included.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if line = append(line, part...); len(line) > limit {
			return nil, errors.New("it is too long")
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// readable says whether net/http would read a field.
func readable(field string) bool {
	_, err := textproto.NewReader(bufio.NewReader(strings.NewReader(field + "\r\n"))).ReadMIMEHeader()
	return err == nil
}
