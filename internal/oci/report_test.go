// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const bare = "BM.Standard.A1.160"

// question asks about a flexible and a fixed shape, with and without a fault
// domain.
func question() capacity.Ask {
	at := func(fd, shape string, ocpus, memoryGB float32) capacity.Offer {
		return capacity.Offer{Cloud: "oci", Region: simRegion, Zone: "x:AD-1", FaultDomain: fd, Shape: shape, OCPUs: ocpus, MemoryGB: memoryGB}
	}
	return capacity.Ask{Cloud: "oci", Region: simRegion, Zone: "x:AD-1", Offers: []capacity.Offer{
		at("", a1, 2, 12), at("FAULT-DOMAIN-1", a1, 2, 12), at("", a1, 1, 6), at("FAULT-DOMAIN-1", a1, 1, 6), at("", bare, 0, 0),
	}}
}

func TestReportRequest(t *testing.T) {
	t.Setenv("OCI_SDK_DEFAULT_RETRY_ENABLED", "true")
	const want = `{"compartmentId": "ocid1.tenancy.oc1..t", "availabilityDomain": "x:AD-1", "shapeAvailabilities": [
		{"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": {"ocpus": 2, "memoryInGBs": 12}},
		{"instanceShape": "VM.Standard.A1.Flex", "faultDomain": "FAULT-DOMAIN-1", "instanceShapeConfig": {"ocpus": 2, "memoryInGBs": 12}},
		{"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": {"ocpus": 1, "memoryInGBs": 6}},
		{"instanceShape": "VM.Standard.A1.Flex", "faultDomain": "FAULT-DOMAIN-1", "instanceShapeConfig": {"ocpus": 1, "memoryInGBs": 6}},
		{"instanceShape": "BM.Standard.A1.160"}]}`
	var got seen
	var body []byte
	b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
		got.add(r)
		body, _ = io.ReadAll(r.Body)
		answer(w, 200, map[string]any{"shapeAvailabilities": []any{}})
	}), nil)
	r := b.Report(t.Context(), question())
	if !slices.Equal(r.Hints, make([]capacity.Hint, 5)) {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(got.list, []string{"POST /20160918/computeCapacityReports"}) {
		t.Errorf("requests %q", got.list)
	}
	var is, should any
	if err := errors.Join(json.Unmarshal(body, &is), json.Unmarshal([]byte(want), &should)); err != nil || !reflect.DeepEqual(is, should) {
		t.Errorf("%v\ngot  %s\nwant %s", err, body, want)
	}
}

func TestReportHints(t *testing.T) {
	const (
		unknown, free, full, gone = capacity.Unknown, capacity.Free, capacity.Full, capacity.Missing

		big, small = `"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": {"ocpus": 2.0, "memoryInGBs": 12.0}`, `"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": {"ocpus": 1.0, "memoryInGBs": 6.0}`
		shapeOnly  = `"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": null`
		metal      = `"instanceShape": "BM.Standard.A1.160", "instanceShapeConfig": {"ocpus": 160.0, "memoryInGBs": 1024.0}`
		anyFD, fd1 = `"faultDomain": null, "availableCount": null`, `"faultDomain": "FAULT-DOMAIN-1"`
		yes, no    = `"availabilityStatus": "AVAILABLE"`, `"availabilityStatus": "OUT_OF_HOST_CAPACITY"`
		none       = `"availabilityStatus": "HARDWARE_NOT_SUPPORTED"`
	)
	row := func(parts ...string) string { return "{" + strings.Join(parts, ", ") + "}" }
	for _, tt := range []struct {
		name string
		rows []string
		want []capacity.Hint
	}{
		{"in order", []string{row(big, anyFD, yes), row(big, fd1, no), row(small, anyFD, none), row(small, fd1, yes), row(metal, anyFD, no)}, []capacity.Hint{free, full, gone, free, full}},
		{"in another order", []string{row(metal, anyFD, none), row(small, fd1, yes), row(big, fd1, no), row(small, anyFD, yes), row(big, anyFD, no)}, []capacity.Hint{full, full, free, free, gone}},
		{"without shape configurations", []string{row(shapeOnly, anyFD, yes), row(shapeOnly, fd1, no), row(shapeOnly, anyFD, no), row(shapeOnly, fd1, yes), row(`"instanceShape": "BM.Standard.A1.160"`, no)}, []capacity.Hint{free, full, full, free, full}},
		{"without shape configurations, in another order", []string{row(shapeOnly, fd1, yes), row(shapeOnly, anyFD, no), row(shapeOnly, fd1, yes), row(shapeOnly, anyFD, no), row(`"instanceShape": "BM.Standard.A1.160"`, no)}, []capacity.Hint{unknown, unknown, unknown, unknown, full}},
		{"fewer rows", []string{row(small, fd1, yes), row(big, anyFD, no)}, []capacity.Hint{full, unknown, unknown, free, unknown}},
		{"fewer rows that do not say what they are about", []string{row(shapeOnly, fd1, yes), row(shapeOnly, anyFD, no)}, make([]capacity.Hint, 5)},
		{"more rows", []string{row(big, anyFD, yes), row(big, `"faultDomain": "FAULT-DOMAIN-9"`, no), row(big, fd1, yes), row(small, anyFD, yes), row(small, fd1, yes), row(metal, yes), row(metal, fd1, no)}, []capacity.Hint{free, free, free, free, free}},
		{"words that the SDK does not know", []string{row(big, anyFD, `"availabilityStatus": "CONSTRAINT_ERROR"`), row(big, fd1, `"availabilityStatus": null`), row(small, anyFD), row(small, fd1, yes, `"availableCount": 0`), row(metal, anyFD, `"availabilityStatus": "available"`)}, []capacity.Hint{unknown, unknown, unknown, free, unknown}},
		{"a number of machines", []string{row(big, anyFD, yes, `"availableCount": 7`)}, []capacity.Hint{free, unknown, unknown, unknown, unknown}},
		{"empty rows", []string{"{}", "{}", "null", "{}", "{}"}, make([]capacity.Hint, 5)},
		{"half a configuration", []string{row(`"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": {"ocpus": 2}`, yes), row(`"instanceShape": "VM.Standard.A1.Flex", "instanceShapeConfig": {}`, yes)}, make([]capacity.Hint, 5)},
		{"no rows", nil, make([]capacity.Hint, 5)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := buildOver(wire(t, func(w http.ResponseWriter, _ *http.Request) {
				answer(w, 200, json.RawMessage(`{"compartmentId": "t", "availabilityDomain": "x:AD-1", "timeCreated": "2026-01-01T00:00:00.000Z", "shapeAvailabilities": [`+strings.Join(tt.rows, ",")+"]}"))
			}), nil)
			if r := b.Report(t.Context(), question()); !slices.Equal(r.Hints, tt.want) {
				t.Errorf("got %+v, want %v", r, tt.want)
			}
		})
	}
}

// No report is no reason to stop: what is wrong decides whether it is asked
// again. Whatever the environment says, one call is one request.
func TestNoReport(t *testing.T) {
	t.Setenv("OCI_SDK_DEFAULT_RETRY_ENABLED", "true")
	const never, slow, again = capacity.Rejected, capacity.Throttled, capacity.Transient
	for _, tt := range []struct {
		name   string
		reply  http.HandlerFunc
		want   capacity.Outcome
		reason string
	}{
		{"may not ask", says(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found."), never, "this user may not ask for capacity reports, so machines are asked for without knowing (allow it to manage compute-capacity-reports in the tenancy): Authorization failed or requested resource not found. (404 NotAuthorizedOrNotFound, request r-1)"},
		{"not signed in", says(401, "NotAuthenticated", "The required information to complete authentication was not provided or was incorrect."), never, "The required information to complete authentication was not provided or was incorrect. (401 NotAuthenticated, request r-1)"},
		{"a shape that reports do not know", says(400, "InvalidParameter", "Unknown shape"), never, "Unknown shape (400 InvalidParameter, request r-1)"},
		{"not implemented", says(501, "MethodNotImplemented", "no"), never, "no (501 MethodNotImplemented, request r-1)"},
		{"throttled", says(429, "TooManyRequests", "Too many requests for the user"), slow, "Too many requests for the user (429 TooManyRequests, request r-1)"},
		{"throttled by something in between", sends("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow"), slow, "Too Many Requests (429)"},
		{"failure of the service", says(500, "InternalError", "An internal error occurred."), again, "An internal error occurred. (500 InternalError, request r-1)"},
		{"a full cloud, said by an error", says(500, "InternalError", "Out of host capacity."), again, "Out of host capacity. (500 InternalError, request r-1)"},
		{"page of a gateway", sends("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"), again, "Bad Gateway (502)"},
		{"unavailable", says(503, "ServiceUnavailable", "down"), again, "down (503 ServiceUnavailable, request r-1)"},
		{"conflict", says(409, "IncorrectState", "try again later"), again, "try again later (409 IncorrectState, request r-1)"},
		{"closed without a reply", sends(""), again, "no reply: EOF"},
		{"closed in the body", sends("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{\"shape"), again, "unexpected EOF"},
		{"a page instead of an answer", sends("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"), again, "the answer cannot be understood"},
		{"an answer of another kind", sends("HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n{\"shapeAvailabilities\": \"none\"}"), again, "the answer cannot be understood"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got seen
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				got.add(r)
				tt.reply(w, r)
			}), nil)
			r := b.Report(t.Context(), question())
			if r.Hints != nil || r.Outcome != tt.want || r.Reason != tt.reason {
				t.Errorf("hints %v, %s: %q; want %s: %q", r.Hints, r.Outcome, r.Reason, tt.want, tt.reason)
			}
			if len(got.list) != 1 {
				t.Errorf("requests %q", got.list)
			}
		})
	}
}

// A computer that is off the network for a moment goes on to ask afterwards.
func TestReportNotSent(t *testing.T) {
	for name, err := range map[string]error{
		"nobody listens": errors.New("connection refused"),
		"no such host":   &net.DNSError{Err: "no such host", Name: "iaas", IsNotFound: true},
	} {
		b := buildOver(clientOver(t, &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}}}), nil)
		if r := b.Report(t.Context(), question()); r.Outcome != capacity.Transient {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// The header that Go does not read is met as everywhere: the SDK gives each
// report a retry token, and so the request is sent a second time.
func TestReportWithAMalformedHeader(t *testing.T) {
	s := newSim(t, simOptions{faults: []ocisim.Fault{{Kind: ocisim.FaultMalformedHeader, Op: "CreateComputeCapacityReport"}}})
	b := s.newBuild(t, nil)
	q := question()
	for i := range q.Offers {
		q.Zone, q.Offers[i].Zone = s.ad("AD-1"), s.ad("AD-1")
	}
	if r := b.Report(t.Context(), q); !slices.Equal(r.Hints, []capacity.Hint{1, 1, 1, 1, 1}) || s.CountRequests("CreateComputeCapacityReport") != 2 {
		t.Errorf("%+v after %d requests", r, s.CountRequests("CreateComputeCapacityReport"))
	}
	// If it is cut then, the next question may be answered.
	n := 0
	b = buildOver(wire(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		raw(w, map[bool]string{true: malformedReply("{}"), false: ""}[n == 1])
	}), nil)
	if r := b.Report(t.Context(), q); r.Hints != nil || r.Outcome != capacity.Transient || n != 2 {
		t.Errorf("%+v after %d requests", r, n)
	}
}

func TestReportCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got seen
		pipe := simnet.Pipe(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got.add(r)
			_, _ = io.Copy(io.Discard, r.Body) // only then is a hang-up noticed
			<-r.Context().Done()
		}))
		pipe.Timeout = time.Minute
		defer pipe.CloseIdleConnections()
		b := buildOver(clientOver(t, pipe), nil)
		start := time.Now()
		if r := b.Report(t.Context(), question()); r.Hints != nil || r.Outcome != capacity.Transient || time.Since(start) != time.Minute {
			t.Errorf("without an answer: %+v after %s", r, time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		start = time.Now()
		if r := b.Report(ctx, question()); r.Hints != nil || time.Since(start) != time.Second {
			t.Errorf("cancelled: %+v after %s", r, time.Since(start))
		}
		if r := b.Report(ctx, question()); r.Hints != nil || time.Since(start) != time.Second {
			t.Errorf("cancelled before: %+v", r)
		}
		if n := got.count("POST"); n != 2 {
			t.Errorf("%d requests", n)
		}
	})
}

// What the simulated cloud reports is what a launch would meet.
func TestReportIsTrue(t *testing.T) {
	const free, full, gone = capacity.Free, capacity.Full, capacity.Missing
	for _, tt := range []struct {
		name  string
		build func(*ocisim.Tenancy)
		count bool
		fault ocisim.Fault
		want  []capacity.Hint
		says  string
	}{
		{name: "there is room", want: []capacity.Hint{free, free, free, free, free}},
		{name: "and how much is said", count: true, want: []capacity.Hint{free, free, free, free, free}},
		{name: "none in one fault domain", fault: ocisim.Fault{Kind: ocisim.FaultCapacity, FaultDomain: "FAULT-DOMAIN-1"}, want: []capacity.Hint{free, full, free, full, free}},
		{name: "none for the larger size", fault: ocisim.Fault{Kind: ocisim.FaultCapacity, MinOCPUs: 2}, want: []capacity.Hint{full, full, free, free, full}},
		{name: "none elsewhere", fault: ocisim.Fault{Kind: ocisim.FaultCapacity, AD: "AD-2"}, want: []capacity.Hint{free, free, free, free, free}},
		{name: "no such hardware", fault: ocisim.Fault{Kind: ocisim.FaultShapeAbsent, Shape: a1}, want: []capacity.Hint{gone, gone, gone, gone, free}},
		{name: "an odd word", fault: ocisim.Fault{Kind: ocisim.FaultCapacityReport, Availability: "CONSTRAINT_ERROR", MaxOCPUs: 1}, want: []capacity.Hint{free, free, capacity.Unknown, capacity.Unknown, free}},
		{name: "a user who may not ask", build: func(b *ocisim.Tenancy) { b.NoCapacityReports = true }, says: "allow it to manage compute-capacity-reports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := simOptions{build: tt.build, config: func(c *ocisim.Config) { c.Switches.CountAvailable = tt.count }}
			if tt.fault.Kind != "" {
				o.faults = []ocisim.Fault{tt.fault}
			}
			s := newSim(t, o)
			q := question()
			q.Zone = s.ad("AD-1")
			for i := range q.Offers {
				q.Offers[i].Zone = q.Zone
			}
			r := s.newBuild(t, nil).Report(t.Context(), q)
			if !slices.Equal(r.Hints, tt.want) || !strings.Contains(r.Reason, tt.says) {
				t.Errorf("got %+v, want %v", r, tt.want)
			}
			if n := s.CountRequests("CreateComputeCapacityReport"); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}
