// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/textproto"
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
	return t.again.Do(second)
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

// maxHeader bounds what is kept of a header, as net/http does.
const maxHeader = 1 << 20

// cleanHeader reads one header block, a status line and what follows up to the
// empty line, and returns it without the lines that no HTTP client can read.
func cleanHeader(r *bufio.Reader) (*bytes.Reader, error) {
	var out bytes.Buffer
	for first := true; out.Len() < maxHeader; first = false {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		text := strings.TrimRight(string(line), "\r\n")
		if first || text == "" || validLine(text) {
			out.Write(line)
		}
		if text == "" && !first {
			return bytes.NewReader(out.Bytes()), nil
		}
	}
	return nil, errors.New("the header is too long")
}

// validLine says whether net/http would read a header line. A continuation
// line belongs to the one before it and is left alone.
func validLine(line string) bool {
	if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
		return true
	}
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(line + "\r\n\r\n")))
	_, err := r.ReadMIMEHeader()
	return err == nil
}
