// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/armfree/packer-plugin-armfree/internal/sweep"
)

// fuzzed is a transport that gives one and the same reply.
type fuzzed struct {
	status int
	header http.Header
	body   string
}

func (s fuzzed) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
	return &http.Response{
		StatusCode: s.status, Status: http.StatusText(s.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: s.header, Body: io.NopCloser(strings.NewReader(s.body)), ContentLength: int64(len(s.body)), Request: r,
	}, nil
}

// anyStatus makes a number one that a reply may have.
func anyStatus(n int) int { return 200 + (n%400+400)%400 }

// clientOf is a client that gets one and the same reply.
func clientOf(t *testing.T, s fuzzed) *Client {
	t.Helper()
	c, err := NewClient(t.Context(), Credentials{Region: simRegion, AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "secret", NoIMDS: true}, Options{HTTP: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// understood checks what an error is made of.
func understood(t *testing.T, c *Client, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Error() == "" || len(e.Error()) > 1<<20 {
		t.Fatalf("%v", err)
	}
	v := c.Classify(err)
	if v.Reason == "" || v.Ambiguous && !lost(err) || full(e.Code) && lost(err) || lost(err) && throttled(err) || passing(err) && missing(err) && e.Status < 500 {
		t.Errorf("%v: %+v", err, v)
	}
}

// FuzzReply reads what EC2 may answer to a request that makes something.
func FuzzReply(f *testing.F) {
	f.Add(500, `<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code><Message>You can currently get t4g.micro capacity by not specifying an Availability Zone in your request or choosing eu-central-1a.</Message></Error></Errors><RequestID>r</RequestID></Response>`)
	f.Add(503, `<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>`)
	f.Add(400, `<Response><Errors><Error><Code>Server.InternalError</Code><Message>Encoded authorization failure message: abc</Message></Error>`)
	f.Add(200, `<CreateSnapshotResponse><snapshotId>snap-1</snapshotId><startTime>x</startTime></CreateSnapshotResponse>`)
	f.Add(200, `<CreateSnapshotResponse/>`)
	f.Add(200, `<a><b></a>`)
	f.Add(502, `<html>`)
	f.Add(200, ``)
	f.Fuzz(func(t *testing.T, status int, body string) {
		c := clientOf(t, fuzzed{anyStatus(status), http.Header{"Content-Type": {"text/xml"}}, body})
		r, err := c.createSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String("vol-1")})
		if err == nil && r.SnapshotId == nil {
			err = errNoAnswer
		}
		if err != nil {
			understood(t, c, wrap(opRun, "x", err))
		}
	})
}

// FuzzJSONReply reads what the services that speak JSON may answer.
func FuzzJSONReply(f *testing.F) {
	f.Add(200, `{"Parameter":{"Value":"ami-1"}}`)
	f.Add(200, `{"Parameter":[]}`)
	f.Add(400, `{"__type":"a#ParameterNotFound","message":"x"}`)
	f.Add(400, `{"__type":"#","Message":7}`)
	f.Add(500, `<html>`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		c := clientOf(t, fuzzed{anyStatus(status), http.Header{}, body})
		if _, err := c.parameterIn(t.Context(), "/x"); err != nil {
			understood(t, c, wrap("get parameter", "/x", err))
		}
	})
}

// FuzzS3Reply reads what S3 may answer: where a bucket is, or how long an object is, or an
// error that is understood.
func FuzzS3Reply(f *testing.F) {
	f.Add(200, `"e"`, `<LocationConstraint>EU</LocationConstraint>`)
	f.Add(200, "", `<LocationConstraint xmlns="x"/>`)
	f.Add(200, `"e"`, `<a><b></a>`)
	f.Add(403, "", `<Error><Code>AccessDenied</Code></Error>`)
	f.Add(404, "", ``)
	f.Add(301, "", `<Error><Code>PermanentRedirect</Code><Message>x</Message></Error>`)
	f.Add(503, "", `<Error><Code>SlowDown</Code></Error>`)
	f.Add(412, "", `<html>`)
	f.Fuzz(func(t *testing.T, status int, etag, body string) {
		synctest.Test(t, func(t *testing.T) { // answers that are none are asked for again
			c := clientOf(t, fuzzed{anyStatus(status), http.Header{"Etag": {etag}}, body})
			b := bucket{Client: c, name: "exports"}
			if where, err := b.region(t.Context()); err != nil {
				understood(t, c, err)
			} else if where == "" {
				t.Error("the bucket is nowhere")
			}
			if o, err := b.open(t.Context(), "a/b.vmdk"); err != nil {
				understood(t, c, err)
			} else if o.size < 0 || o.etag == "" {
				t.Errorf("%d bytes, %q", o.size, o.etag)
			}
		})
	})
}

// FuzzIdentityReply reads what GitHub's token service may answer: a token, or an error
// that has nothing of the answer in it.
func FuzzIdentityReply(f *testing.F) {
	f.Add(200, `{"value":"abc"}`)
	f.Add(200, `{"value":7}`)
	f.Add(200, `null`)
	f.Add(403, `{"message":"VERYSECRET"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		x := &exchange{w: WebIdentity{RequestURL: "https://token.actions.example/x?a=b", RequestToken: "VERYSECRET"}, http: &http.Client{Transport: fuzzed{anyStatus(status), http.Header{}, body}}}
		token, err := x.github(t.Context())
		if err == nil && token == "" || err != nil && (token != "" || strings.Contains(err.Error(), "VERYSECRET")) {
			t.Errorf("%q %v", token, err)
		}
	})
}

// FuzzTags reads the tags of what is listed: what is not marked as this plugin marks
// things never goes.
func FuzzTags(f *testing.F) {
	f.Add("armfree", "build=b role=image expires=2020-01-01T00:00:00Z state=unfinished")
	f.Add("armfree", "build=b role=image")
	f.Add("Armfree", "build=b role=image expires=2020-01-01T00:00:00Z state=unfinished")
	f.Add("armfree", "role=image expires=2020-01-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, key, value string) {
		x := thing(sweep.Image, aws.String("ami-1"), nil, tagList(map[string]string{key: value}), nil).Thing
		now := x.Mark.Expires.AddDate(100, 0, 0)
		c := sweep.Select(sweep.Listing{Things: []sweep.Thing{x}, Now: now}, sweep.Rules{})
		if len(c.Remove) > 0 && (key != "armfree" || !strings.Contains(value, "state=unfinished") || !strings.Contains(value, "build=") || !strings.Contains(value, "expires=")) {
			t.Errorf("%q = %q goes", key, value)
		}
	})
}
