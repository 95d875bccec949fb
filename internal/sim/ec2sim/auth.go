// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	dateFormat = "20060102T150405Z"
	// maxSkew is how far a request's date may be off.
	maxSkew = 5 * time.Minute
)

// signature is what the Authorization header of SigV4 says.
type signature struct {
	keyID, date, region, service string
	headers                      []string
	value                        string
}

// signatureProblem is why a request is not signed.
type signatureProblem struct {
	kind problem
	text string
}

// parseSignature reads the header
//
//	AWS4-HMAC-SHA256 Credential=KEY/20260102/us-east-1/ec2/aws4_request, SignedHeaders=host;…, Signature=…
func parseSignature(r *http.Request) (signature, *signatureProblem) {
	header := r.Header.Get("Authorization")
	if header == "" {
		return signature{}, &signatureProblem{unsigned, ""}
	}
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return signature{}, &signatureProblem{malformed, "Unsupported AWS 'algorithm': '" + strings.SplitN(header, " ", 2)[0] + "'"}
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; twice {
			return signature{}, &signatureProblem{malformed, "Duplicate " + name}
		}
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return signature{}, &signatureProblem{malformed, "Authorization header requires '" + name + "' parameter."}
		}
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || scope[4] != "aws4_request" {
		return signature{}, &signatureProblem{malformed, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"}
	}
	return signature{scope[0], scope[1], scope[2], scope[3], strings.Split(fields["SignedHeaders"], ";"), fields["Signature"]}, nil
}

// authenticate verifies a request's signature and sets who made it. The
// cloud's lock is held.
func (c *Cloud) authenticate(q *call, sig signature) error {
	key := c.keys[sig.keyID]
	if key == nil || time.Now().Before(key.visible) {
		return q.api.problem(unknownKey)
	}
	if sig.service != q.api.name || sig.region != q.region.name {
		return q.api.problem(wrongScope)
	}
	at, err := time.Parse(dateFormat, q.Header.Get("X-Amz-Date"))
	if err != nil {
		return q.api.problem(malformed, "Date must be in ISO-8601 'basic format'")
	}
	if age := c.now().Sub(at); age > maxSkew || age < -maxSkew {
		return q.api.problem(outdated)
	}
	if !q.signs(sig) || at.Format("20060102") != sig.date {
		return q.api.problem(malformed, "The signed headers are not complete")
	}
	sum := sha256.Sum256(q.body)
	payload := hex.EncodeToString(sum[:])
	said := q.Header.Get("X-Amz-Content-Sha256")
	switch {
	case sig.service == "s3" && said == "":
		return refuse("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
	case sig.service == "s3" && said == "UNSIGNED-PAYLOAD":
		payload = said
	case said != "" && said != payload:
		return q.api.problem(wrongSecret)
	}
	want := sign(key.secret, sig, at, canonicalRequest(q.Request, sig.service, sig.headers, payload))
	if !hmac.Equal([]byte(want), []byte(sig.value)) {
		return q.api.problem(wrongSecret)
	}
	if key.token != q.Header.Get("X-Amz-Security-Token") {
		return q.api.problem(unknownKey)
	}
	if !key.expires.IsZero() && time.Now().After(key.expires) {
		return q.api.problem(expired)
	}
	q.who = key.who
	if !q.who.Account.enabled(q.region) {
		if c.cfg.Switches.OptInRequired {
			return fail(http.StatusForbidden, "OptInRequired",
				"You are not subscribed to this service. Please go to http://aws.amazon.com to subscribe.")
		}
		return q.api.problem(unknownKey)
	}
	return nil
}

// signs tells whether a signature covers what it must: a header that a request
// carries unsigned could be changed on its way.
func (q *call) signs(sig signature) bool {
	for name := range q.Header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(sig.headers, name) {
			return false
		}
	}
	return slices.Contains(sig.headers, "host") && slices.IsSorted(sig.headers)
}

// canonicalRequest is what was signed.
func canonicalRequest(r *http.Request, service string, headers []string, payload string) string {
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	// Services other than S3 sign the path as it would look escaped once more.
	if service == "s3" {
		path = r.URL.Path
	}
	path = strings.ReplaceAll(uriEncode(path), "%2F", "/")
	var query []string
	for name, values := range r.URL.Query() {
		for _, v := range values {
			query = append(query, uriEncode(name)+"="+uriEncode(v))
		}
	}
	slices.Sort(query)
	var b strings.Builder
	b.WriteString(r.Method + "\n" + path + "\n" + strings.Join(query, "&") + "\n")
	for _, name := range headers {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		b.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	b.WriteString("\n" + strings.Join(headers, ";") + "\n" + payload)
	return b.String()
}

// uriEncode escapes everything that RFC 3986 does not leave alone.
func uriEncode(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// sign computes a signature.
func sign(secret string, sig signature, at time.Time, canonical string) string {
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	key := []byte("AWS4" + secret)
	for _, part := range []string{sig.date, sig.region, sig.service, "aws4_request"} {
		key = mac(key, part)
	}
	sum := sha256.Sum256([]byte(canonical))
	text := strings.Join([]string{algorithm, at.Format(dateFormat),
		sig.date + "/" + sig.region + "/" + sig.service + "/aws4_request", hex.EncodeToString(sum[:])}, "\n")
	return hex.EncodeToString(mac(key, text))
}
