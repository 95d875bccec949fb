// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
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

// FuzzParseToken reads what an identity domain or a file gives as a token: nothing of
// it may be in an error, and what is accepted has three parts.
func FuzzParseToken(f *testing.F) {
	enc := base64.RawURLEncoding.EncodeToString
	for _, claims := range []string{
		`{"exp":1.9e9,"tenant":"ocid1.tenancy.oc1..t","jwk":"{\"n\":\"AQAB\",\"e\":\"AQAB\"}"}`, `{"exp":1e300,"res_tenant":"x","jwk":{"n":1}}`,
		`{"exp":-1e300,"opc-tenant":"ocid1.tenancy."}`, `{"jwk":[[]]}`, `{"exp":"x"}`, `[]`, `null`, `{"jwk":{"n":"!","e":"="}}`,
	} {
		f.Add("e30." + enc([]byte(claims)) + ".secretsecret")
	}
	f.Add("a.b")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseToken(text)
		if err != nil {
			if err.Error() != "this is no token" {
				t.Errorf("%v", err)
			}
			return
		}
		if strings.Count(got.text, ".") != 2 || got.tenancy != "" && !strings.HasPrefix(got.tenancy, "ocid1.tenancy.") {
			t.Errorf("%+v", got)
		}
		got.fits(testKey())
	})
}

// FuzzReply reads what Compute may answer: whatever it is, there is an image with an id
// or an error in one line, and the error is understood in one way.
func FuzzReply(f *testing.F) {
	f.Add(500, "application/json", `{"code":"InternalError","message":"Out of host capacity."}`)
	f.Add(429, "application/json", `{"code":"TooManyRequests","message":"x"}`)
	f.Add(409, "application/json", `{"code":{},"message":[]}`)
	f.Add(404, "text/html", "<html>nginx</html>")
	f.Add(200, "application/json", `{"id":"i","timeCreated":"yesterday"}`)
	f.Add(200, "application/json", `{"id":null,"freeformTags":{"armfree":"build=x"},"sizeInMBs":1e99}`)
	f.Add(502, "", "")
	f.Fuzz(func(t *testing.T, status int, kind, body string) {
		h := http.Header{"Content-Type": {kind}, "Opc-Request-Id": {"r"}}
		c := clientOver(t, &http.Client{Transport: fuzzed{anyStatus(status), h, body}})
		r, err := c.compute.CreateImage(shield(t.Context()), core.CreateImageRequest{RequestMetadata: once()})
		if err == nil && r.Id == nil {
			err = errNoAnswer
		}
		if err == nil {
			return
		}
		err = wrap("create image", "x", err)
		var e *Error
		if !errors.As(err, &e) || e.Error() == "" {
			t.Fatalf("%v", err)
		}
		v := c.Classify(err)
		if v.Reason == "" || passing(err) && missing(err) || v.Ambiguous && !lost(err) {
			t.Errorf("%v: %+v", err, v)
		}
		if full(e.Message) && lost(err) {
			t.Errorf("%v: it knows that it made nothing", err)
		}
	})
}

// FuzzComplaint reads the refusal of somebody who gives tokens: it is one short line,
// without a token in it.
func FuzzComplaint(f *testing.F) {
	token := "abcdefghijkl.abcdefghijkl.abcdefghijkl"
	f.Add(400, "", `{"error":"invalid_client","error_description":"no `+token+`"}`)
	f.Add(401, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), `{"code":"NotAuthenticated","message":"a\nb"}`)
	f.Add(500, "x", "<html>")
	f.Add(403, "", `{"message":"`+strings.Repeat("x ", 900)+`"}`)
	f.Fuzz(func(t *testing.T, status int, date, body string) {
		resp := &http.Response{StatusCode: anyStatus(status), Status: "400 Bad Request", Header: http.Header{"Date": {date}}}
		said := complaint(resp, []byte(body))
		if strings.ContainsAny(said, "\n\r") || len(said) > 600 || jwtText.MatchString(said) {
			t.Errorf("%q", said)
		}
	})
}

// FuzzRange reads the headers with which an object is given through its link.
func FuzzRange(f *testing.F) {
	f.Add("bytes 0-0/4096", `"e"`, "Thu, 26 Nov 2026 12:00:00 GMT")
	f.Add("bytes 0-0/*", "", "")
	f.Add("bytes 0-0/-1", "", "x")
	f.Add("bytes 0-0/9223372036854775807", "", "")
	f.Add("/", "", "")
	f.Fuzz(func(t *testing.T, rng, etag, modified string) {
		h := http.Header{"Content-Range": {rng}, "Etag": {etag}, "Last-Modified": {modified}}
		r := &relay{plain: &http.Client{Transport: fuzzed{http.StatusPartialContent, h, "x"}}, from: cloud.Link{URL: "https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/secret/o"}}
		i, err := r.probe(t.Context())
		if err != nil {
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the link is in %v", err)
			}
			return
		}
		if i.size <= 0 || i.size > maxObject {
			t.Errorf("%d bytes", i.size)
		}
	})
}

// FuzzUploadByLink reads what Object Storage may answer to an upload that is begun by a
// link: an upload, or an error in which neither of the links is.
func FuzzUploadByLink(f *testing.F) {
	f.Add(200, `{"uploadId":"u","accessUri":"/p/secret2/n/n/b/b/u/o/id/u/"}`)
	f.Add(200, `{"uploadId":"u","accessUri":"https://elsewhere/p/secret2"}`)
	f.Add(200, `{"uploadId":7}`)
	f.Add(200, ``)
	f.Add(404, `{"code":"BucketNotFound","message":"x"}`)
	f.Add(503, `<html>`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		synctest.Test(t, func(t *testing.T) { // answers that are none are asked for again
			c := clientOver(t, &http.Client{Transport: fuzzed{status: anyStatus(status), body: body}})
			b := &Bucket{Client: c, Namespace: "n", Bucket: "b"}
			id, uri, err := b.beginByLink(t.Context(), cloud.Link{URL: "https://objectstorage.eu-frankfurt-1.oraclecloud.com/p/VERYSECRET/n/n/b/b/o/o"})
			if err != nil && strings.Contains(err.Error(), "VERYSECRET") || err == nil && (id == "" || !strings.HasPrefix(uri, "/p/")) {
				t.Errorf("%q %q %v", id, uri, err)
			}
		})
	})
}

// FuzzSubject reads what GitHub's token service may answer: a token to exchange, or an
// error without anything of the request in it.
func FuzzSubject(f *testing.F) {
	f.Add(200, `{"value":"abc"}`)
	f.Add(200, `{"value":7}`)
	f.Add(200, `null`)
	f.Add(403, `{"message":"no"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		e := &exchanger{x: Exchange{RequestURL: "https://token.actions.example/x?a=b", RequestToken: "VERYSECRET"}, o: Options{HTTP: &http.Client{Transport: fuzzed{status: anyStatus(status), body: body}}}}
		token, err := e.subject(t.Context())
		if err == nil && token == "" || err != nil && (token != "" || strings.Contains(err.Error(), "VERYSECRET")) {
			t.Errorf("%q %v", token, err)
		}
	})
}

// FuzzJumpHost reads how a bastion says that one connects.
func FuzzJumpHost(f *testing.F) {
	f.Add("ssh -i <privateKey> -N -L <localPort>:10.0.0.2:22 -p 22 ocid1.bastionsession.oc1..s@host.bastion.eu-frankfurt-1.oci.oraclecloud.com")
	f.Add("ssh x@y")
	f.Add("-p 99999999999999999999 x@..")
	f.Add("")
	f.Fuzz(func(t *testing.T, command string) {
		b := buildOver(clientOver(t, &http.Client{Transport: fuzzed{status: 500}}), nil)
		host, port, err := net.SplitHostPort(b.jumpHost(command))
		if err != nil || host == "" || port == "" || strings.ContainsAny(host, " @/;$`\n") {
			t.Errorf("%q: %q %q %v", command, host, port, err)
		}
	})
}

// FuzzObjectMark reads the names of what is in a bucket: only what is named as this
// plugin names it is its own, and what is decided on has a role and a build.
func FuzzObjectMark(f *testing.F) {
	f.Add("armfree-b1-image-2000000000.oci")
	f.Add("armfree-copy-abc-b2.oci")
	f.Add("armfree-copy-abc-b2.vmdk.1")
	f.Add("armfree-capture-abc-b2.oci")
	f.Add("armfree--image-1.oci")
	f.Add("armfree-b1-image--1.oci")
	f.Add("debian.oci")
	f.Fuzz(func(t *testing.T, name string) {
		var n needs
		n.note(owner.Tag{Build: "b2", Expires: time.Unix(1, 0)})
		m, is := objectMark(sweep.Object, name, n)
		if is && (!strings.HasPrefix(name, "armfree-") || m.Build == "" || m.Role == "") {
			t.Errorf("%q: %+v", name, m)
		}
		x := sweep.Thing{Kind: sweep.Object, ID: "id", Name: name, Ours: is, Mark: m}
		c := sweep.Select(sweep.Listing{Things: []sweep.Thing{x}, Now: time.Unix(2e9, 0)}, sweep.Rules{})
		if len(c.Remove) > 0 && !is {
			t.Errorf("%q goes, which is not ours", name)
		}
	})
}
