// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// wireVerdict is how one reply on the wire is to be understood.
type wireVerdict struct {
	name   string
	reply  http.HandlerFunc
	want   capacity.Outcome
	ambig  bool
	reason string
}

func says(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, code, message) }
}

func sends(bytes string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { raw(w, bytes) }
}

// launchReplies are the replies to a launch that were seen in public, with the
// texts that were reported.
func launchReplies() []wireVerdict {
	const (
		limits  = "The following service limits were exceeded: standard-a1-memory-count, standard-a1-memory-regional-count, standard-a1-core-count, standard-a1-core-regional-count. Request a service limit increase from the service limits page in the console. "
		console = "Out of capacity for shape VM.Standard.A1.Flex in availability domain AD-1. Create the instance in a different availability domain or try again later."
		skew    = "Date 'Fri, 17 Feb 2023 03:47:56 UTC' is not within allowed clock skew. Current 'Fri, 17 Feb 2023 03:53:53 UTC', valid datetime range: ['Fri, 17 Feb 2023 03:48:53 UTC', 'Fri, 17 Feb 2023 03:58:54 UTC']"
		token   = "The retry token you provided was used in an earlier request that resulted in a system update, but a subsequent operation has invalidated the token. Create a new retry token and try again."
		gateway = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 47\r\n\r\n<html><body>502 Bad Gateway: oops</body></html>"
	)
	const (
		none, limit, slow, absent, again, never, form = capacity.NoCapacity, capacity.LimitReached, capacity.Throttled, capacity.Unavailable, capacity.Transient, capacity.Rejected, capacity.RejectedForm
	)
	return []wireVerdict{
		{"out of host capacity", says(500, "InternalError", "Out of host capacity."), none, false, "Out of host capacity. (500 InternalError, request r-1)"},
		{"out of capacity, in the newer words", says(500, "InternalError", console), none, false, console + " (500 InternalError, request r-1)"},
		{"out of capacity, as another status", says(400, "LimitExceeded", console), none, false, console + " (400 LimitExceeded, request r-1)"},
		{"out of host capacity, shouted", says(503, "ServiceUnavailable", "OUT OF HOST CAPACITY"), none, false, "OUT OF HOST CAPACITY (503 ServiceUnavailable, request r-1)"},
		{"limits exceeded", says(400, "LimitExceeded", limits), limit, false, strings.TrimSpace(limits) + " (400 LimitExceeded, request r-1)"},
		{"limit in the old form", says(400, "LimitExceeded", "You have reached your service limit of 1 in this Availability Domain for VM.Standard2.1."), limit, false, "You have reached your service limit of 1 in this Availability Domain for VM.Standard2.1. (400 LimitExceeded, request r-1)"},
		{"quota", says(400, "QuotaExceeded", "The following compartment quotas were exceeded: x."), limit, false, "The following compartment quotas were exceeded: x. (400 QuotaExceeded, request r-1)"},
		{"quota of the boot volume", says(400, "QuotaExceeded", "Boot Volume Service limit reached"), limit, false, "Boot Volume Service limit reached (400 QuotaExceeded, request r-1)"},
		{"limit of the boot volume", says(400, "InvalidParameter", "Boot Volume Service limit reached"), limit, false, "Boot Volume Service limit reached (400 InvalidParameter, request r-1)"},
		{"too many requests for the user", says(429, "TooManyRequests", "Too many requests for the user"), slow, false, "Too many requests for the user (429 TooManyRequests, request r-1)"},
		{"too many requests for the tenant", says(429, "TooManyRequests", "Too many requests for the tenant"), slow, false, "Too many requests for the tenant (429 TooManyRequests, request r-1)"},
		{"rate limit exceeded", says(429, "TooManyRequests", "User-rate limit exceeded."), slow, false, "User-rate limit exceeded. (429 TooManyRequests, request r-1)"},
		{"throttled by something in between", sends("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nslow"), slow, false, "Too Many Requests (429)"},
		{"no such shape there", says(404, "NotAuthorizedOrNotFound", "shape VM.Standard.A1.Flex not found"), absent, false, "shape VM.Standard.A1.Flex not found (404 NotAuthorizedOrNotFound, request r-1)"},
		{"no such shape there, in other words", says(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found: shape VM.Standard.A1.Flex not found"), absent, false, "Authorization failed or requested resource not found: shape VM.Standard.A1.Flex not found (404 NotAuthorizedOrNotFound, request r-1)"},
		{"not found, says something in between", sends("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>"), never, false, "Not Found (404)"},
		{"not authorized or not found", says(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found."), never, false, "Authorization failed or requested resource not found. It may be about subnet_ocid or compartment_ocid, or this user lacks a permission. (404 NotAuthorizedOrNotFound, request r-1)"},
		{"shape not for this image", says(400, "InvalidParameter", "Shape VM.Standard.A1.Flex is not valid for image ocid1.image.oc1..base."), form, false, "Shape VM.Standard.A1.Flex is not valid for image ocid1.image.oc1..base. (400 InvalidParameter, request r-1)"},
		{"shape incompatible with this image", says(400, "InvalidParameter", "Shape VM.Standard.A1.Flex is incompatible with image ocid1.image.oc1..base"), form, false, "Shape VM.Standard.A1.Flex is incompatible with image ocid1.image.oc1..base (400 InvalidParameter, request r-1)"},
		{"cannot be parsed", says(400, "CannotParseRequest", "Incorrectly formatted request."), form, false, "Incorrectly formatted request. (400 CannotParseRequest, request r-1)"},
		{"not authenticated", says(401, "NotAuthenticated", "The required information to complete authentication was not provided or was incorrect."), never, false, "The required information to complete authentication was not provided or was incorrect. (401 NotAuthenticated, request r-1)"},
		{"the clock is wrong", says(401, "NotAuthenticated", skew), never, false, skew + " (401 NotAuthenticated, request r-1)"},
		{"a volume is attached", says(409, "IncorrectState", "Volume ocid1.bootvolume.oc1..v currently attached"), again, false, "Volume ocid1.bootvolume.oc1..v currently attached (409 IncorrectState, request r-1)"},
		{"an instance is being modified", says(409, "Conflict", "instance ocid1.instance.oc1..i is currently being modified, try again later"), again, false, "instance ocid1.instance.oc1..i is currently being modified, try again later (409 Conflict, request r-1)"},
		{"an image operation is in the way", says(409, "Conflict", "Conflict with another image operation, try again later"), again, false, "Conflict with another image operation, try again later (409 Conflict, request r-1)"},
		{"a conflict for good", says(409, "InvalidState", "no"), never, false, "no (409 InvalidState, request r-1)"},
		{"incorrect state", says(409, "IncorrectState", "The subnet is currently being modified, try again later"), again, false, "The subnet is currently being modified, try again later (409 IncorrectState, request r-1)"},
		{"conflict", says(409, "Conflict", "Conflict with another operation, try again later"), again, false, "Conflict with another operation, try again later (409 Conflict, request r-1)"},
		{"the token was used for something", says(409, "InvalidatedRetryToken", token), again, true, token + " (409 InvalidatedRetryToken, request r-1)"},
		{"no etag match", says(412, "NoEtagMatch", "The etag does not match"), never, false, "The etag does not match (412 NoEtagMatch, request r-1)"},
		// Only "out of capacity" says that nothing was made.
		{"failure of the service", says(500, "InternalError", "An internal error occurred."), again, true, "An internal error occurred. (500 InternalError, request r-1)"},
		{"not implemented", says(501, "MethodNotImplemented", "Method not implemented."), never, false, "Method not implemented. (501 MethodNotImplemented, request r-1)"},
		{"unavailable", says(503, "ServiceUnavailable", "Service unavailable."), again, true, "Service unavailable. (503 ServiceUnavailable, request r-1)"},
		{"gateway timeout", says(504, "GatewayTimeout", "Gateway timed out."), again, true, "Gateway timed out. (504 GatewayTimeout, request r-1)"},
		{"page of a gateway", sends(gateway), again, true, "Bad Gateway (502)"},
		{"page of a gateway, cut", sends(gateway[:90]), again, true, "Bad Gateway (502)"},
		{"capacity reply, cut", sends("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 90\r\n\r\n{\"code\":\"Inter"), again, true, "Internal Server Error (500)"},
		{"closed without a reply", sends(""), again, true, "no reply: EOF"},
		{"closed in the status line", sends("HTTP/1.1 20"), again, true, `no reply: net/http: HTTP/1.x transport connection broken: malformed HTTP status code "20"`},
		{"no HTTP", sends("SSH-2.0-OpenSSH_9.2\r\n\r\n"), again, true, `no reply: net/http: HTTP/1.x transport connection broken: malformed HTTP response "SSH-2.0-OpenSSH_9.2"`},
		{"accepted, then cut", sends("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{\"id\":"), again, true, "unexpected EOF"},
		{"accepted, with a page instead of an answer", sends("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>"), again, true, "the answer cannot be understood"},
		{"accepted, without an id", sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), again, true, "the answer cannot be understood"},
	}
}

func TestClassifyOnTheWire(t *testing.T) {
	for _, tt := range launchReplies() {
		t.Run(tt.name, func(t *testing.T) {
			var got seen
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				got.add(r)
				tt.reply(w, r)
			}), nil)
			id, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1, OCPUs: 2, MemoryGB: 12}, "token-1")
			if err == nil || id != "" {
				t.Fatalf("launched %q, %v", id, err)
			}
			checkVerdict(t, b, err, tt)
			if n := got.count("POST /20160918/instances"); n != 1 {
				t.Errorf("%d launches: %q", n, got.list)
			}
		})
	}
}

func checkVerdict(t *testing.T, b *Build, err error, want wireVerdict) {
	t.Helper()
	v := b.Classify(err)
	if v.Outcome != want.want || v.Ambiguous != want.ambig {
		t.Errorf("%s, ambiguous %t; want %s, %t: %v", v.Outcome, v.Ambiguous, want.want, want.ambig, err)
	}
	if v.ZoneOnly {
		t.Errorf("only of the zone, which nobody has looked at: %v", err)
	}
	if !strings.HasPrefix(v.Reason, want.reason) || strings.Contains(v.Reason, "\n") || len(v.Reason) > 400 {
		t.Errorf("reason %q, want %q", v.Reason, want.reason)
	}
	if want.ambig != b.Lost(err) {
		t.Errorf("Lost says %t", b.Lost(err))
	}
}

// People see which request it was; where it went is for the log.
func TestRequestID(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	for id, want := range map[string]string{"a1b2/C3/D4": "a1b2", "a1b2": "a1b2", "": ""} {
		if got := requestID("get image", "", id); got != want {
			t.Errorf("%q: %q", id, got)
		}
	}
	if got := logged.String(); strings.Count(got, "opc-request-id") != 1 || !strings.Contains(got, "get image failed: opc-request-id a1b2/C3/D4") {
		t.Errorf("the log has %q", got)
	}
}

// A launch that never reached the service leaves nothing to look up.
func TestClassifyNotSent(t *testing.T) {
	refusedDial := func(err error) *http.Client {
		return &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}}}
	}
	foreign, err := simnet.Start(http.NotFoundHandler(), simnet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	proxied := foreign.Client().Transport.(*http.Transport).Clone()
	proxied.TLSClientConfig.RootCAs = nil // nobody trusts this authority
	defer proxied.CloseIdleConnections()
	barred, err := simnet.Start(http.NotFoundHandler(), simnet.Options{Domains: []string{"example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer barred.Close()
	for _, tt := range []struct {
		http *http.Client
		wireVerdict
		passes bool
	}{
		{refusedDial(errors.New("connection refused")), wireVerdict{name: "nobody listens", want: capacity.Transient, reason: "no reply: dial tcp: connection refused"}, true},
		{refusedDial(&net.DNSError{Err: "server misbehaving", Name: "iaas", IsTemporary: true}), wireVerdict{name: "no name server", want: capacity.Transient, reason: "no reply: dial tcp: lookup iaas: server misbehaving"}, true},
		{refusedDial(&net.DNSError{Err: "no such host", Name: "iaas", IsNotFound: true}), wireVerdict{name: "no such host", want: capacity.Transient, reason: "no reply: dial tcp: lookup iaas: no such host"}, false},
		{&http.Client{Transport: proxied}, wireVerdict{name: "untrusted certificate", want: capacity.Rejected, reason: "no reply: tls: failed to verify certificate"}, false},
		{barred.Client(), wireVerdict{name: "barred by the proxy", want: capacity.Transient, ambig: true, reason: "no reply: "}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := buildOver(clientOver(t, tt.http), nil)
			_, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1")
			if err == nil {
				t.Fatal("launched")
			}
			checkVerdict(t, b, err, tt.wireVerdict)
			if passing(err) != tt.passes {
				t.Errorf("passing says %t for %v", passing(err), err)
			}
		})
	}
}

func TestClassifyTimeoutAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe := simnet.Pipe(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then is a hang-up noticed
			<-r.Context().Done()
		}))
		pipe.Timeout = time.Minute
		defer pipe.CloseIdleConnections()
		b := buildOver(clientOver(t, pipe), nil)
		o := capacity.Offer{Zone: "x:AD-1", Shape: a1}

		start := time.Now()
		_, err := b.Launch(t.Context(), o, "token-1")
		checkVerdict(t, b, err, wireVerdict{want: capacity.Transient, ambig: true, reason: "no reply: context deadline exceeded"})
		if d := time.Since(start); d != time.Minute {
			t.Errorf("given up after %s", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = b.Launch(ctx, o, "token-2")
		if v := b.Classify(err); !errors.Is(err, context.Canceled) || !v.Ambiguous || passing(err) {
			t.Errorf("cancelled: %+v, passing %t: %v", v, passing(err), err)
		}
		start = time.Now()
		_, err = b.Launch(ctx, o, "token-3")
		if v := b.Classify(err); !errors.Is(err, context.Canceled) || v.Ambiguous || time.Since(start) > 0 {
			t.Errorf("cancelled before: %+v after %s: %v", v, time.Since(start), err)
		}
	})
}

// What becomes of an accepted instance is classified by the same table.
func TestClassifyDeadInstance(t *testing.T) {
	for _, tt := range []struct {
		code, message string
		want          capacity.Outcome
	}{
		{"InternalError", "Out of host capacity.", capacity.NoCapacity},
		{"LimitExceeded", "The following service limits were exceeded: x", capacity.LimitReached},
		{"QuotaExceeded", "quota", capacity.LimitReached},
		{"InternalError", "Something else.", capacity.Transient},
		{"", "", capacity.Transient},
	} {
		t.Run(tt.code+tt.message, func(t *testing.T) {
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodPost:
					w.Header().Set("Opc-Work-Request-Id", "w-1")
					answer(w, 200, map[string]string{"id": "i-1", "lifecycleState": "PROVISIONING"})
				case strings.HasSuffix(r.URL.Path, "/workRequests/w-1/errors"):
					if tt.code == "" {
						answer(w, 200, []any{})
						return
					}
					answer(w, 200, []map[string]string{{"code": tt.code, "message": tt.message, "timestamp": "2026-01-01T00:00:00Z"}})
				default:
					answer(w, 200, core.Instance{LifecycleState: "TERMINATED"})
				}
			}), nil)
			id, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1")
			if err != nil {
				t.Fatal(err)
			}
			err = b.AwaitMachine(t.Context(), id)
			v := b.Classify(err)
			if v.Outcome != tt.want || v.Ambiguous || !strings.Contains(v.Reason, tt.message) {
				t.Errorf("%+v", v)
			}
			if tt.code == "" && !strings.Contains(v.Reason, "it was accepted and then became TERMINATED") {
				t.Errorf("reason %q", v.Reason)
			}
		})
	}
}

func TestErrorsNeverQuoteALink(t *testing.T) {
	const secret = "https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/SECRET/n/ns/b/b/o/o"
	want := map[string]string{"page": "the last answer was: create image: Bad Gateway (502)", "cut": "no reply: EOF"}
	for name, reply := range map[string]http.HandlerFunc{
		"page": sends("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 88\r\n\r\ncannot fetch " + secret),
		"cut":  sends(""),
	} {
		for _, with := range []*launchOptions{nil, ampereOptions()} {
			synctest.Test(t, func(t *testing.T) {
				c := wire(t, reply)
				_, _, err := c.createImage(t.Context(), patience{limit: repeatFor}, "t", core.CreateImageDetails{
					CompartmentId: new("c"), ImageSourceDetails: core.ImageSourceViaObjectStorageUriDetails{SourceUri: new(secret)},
				}, with)
				if err == nil || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), want[name]) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
}

func contextFor(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
