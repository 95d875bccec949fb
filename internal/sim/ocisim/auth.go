// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxSkew is how far a request's date may be off.
const maxSkew = 5 * time.Minute

// caller is who signed a request.
type caller struct {
	tenancy *Tenancy
	// session is true for a session token (keyId "ST$…"), as federated users
	// and GitHub's OIDC exchange have; false for an API key.
	session bool
}

// signature is a parsed Authorization header of scheme Signature.
type signature struct {
	headers []string
	keyID   string
	value   []byte
}

// authParam is one name="value" of the Authorization header.
var authParam = regexp.MustCompile(`^\s*([A-Za-z]+)="([^"]*)"\s*$`)

func parseSignature(header string) (signature, error) {
	rest, ok := strings.CutPrefix(header, "Signature ")
	if !ok {
		return signature{}, errUnauthenticated()
	}
	params := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		match := authParam.FindStringSubmatch(part)
		if match == nil {
			return signature{}, errUnauthenticated()
		}
		if _, twice := params[match[1]]; twice {
			return signature{}, errUnauthenticated()
		}
		params[match[1]] = match[2]
	}
	value, err := base64.StdEncoding.DecodeString(params["signature"])
	if err != nil || len(value) == 0 || params["version"] != "1" || params["algorithm"] != "rsa-sha256" ||
		params["keyId"] == "" || params["headers"] == "" {
		return signature{}, errUnauthenticated()
	}
	return signature{headers: strings.Fields(params["headers"]), keyID: params["keyId"], value: value}, nil
}

// authenticate verifies a request's OCI signature and tells who made it. body
// is nil for the two operations whose body is not signed (PutObject and
// UploadPart).
func (c *Cloud) authenticate(r *http.Request, body []byte, bodySigned bool) (caller, error) {
	sig, err := parseSignature(r.Header.Get("Authorization"))
	if err != nil {
		return caller{}, err
	}
	if err := requireSigned(r, sig.headers, bodySigned); err != nil {
		return caller{}, err
	}
	if err := checkDate(r, sig.headers); err != nil {
		return caller{}, err
	}
	if bodySigned && hasBody(r.Method) {
		sum := sha256.Sum256(body)
		if r.Header.Get("X-Content-Sha256") != base64.StdEncoding.EncodeToString(sum[:]) {
			return caller{}, errUnauthenticated()
		}
	}
	who, key, err := c.lookUpKey(sig.keyID)
	if err != nil {
		return caller{}, err
	}
	text, err := signingString(r, sig.headers)
	if err != nil {
		return caller{}, err
	}
	digest := sha256.Sum256([]byte(text))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig.value) != nil {
		return caller{}, errUnauthenticated()
	}
	return who, nil
}

func hasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// requireSigned refuses a signature that leaves out what it must cover. A
// header that a request carries unsigned could be changed on its way.
func requireSigned(r *http.Request, names []string, bodySigned bool) error {
	required := []string{"(request-target)", "host"}
	if bodySigned && hasBody(r.Method) {
		required = append(required, "content-length", "content-type", "x-content-sha256")
	}
	for _, name := range required {
		if !slices.Contains(names, name) {
			return errUnauthenticated()
		}
	}
	if !slices.Contains(names, "date") && !slices.Contains(names, "x-date") {
		return errUnauthenticated()
	}
	return nil
}

func checkDate(r *http.Request, names []string) error {
	header := "Date"
	if slices.Contains(names, "x-date") {
		header = "X-Date"
	}
	sent, err := http.ParseTime(r.Header.Get(header))
	if err != nil {
		return errUnauthenticated()
	}
	now := time.Now()
	if sent.Before(now.Add(-maxSkew)) || sent.After(now.Add(maxSkew)) {
		show := func(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 MST") }
		return fail(http.StatusUnauthorized, "NotAuthenticated",
			"Date '%s' is not within allowed clock skew. Current '%s', valid datetime range: ['%s', '%s']",
			show(sent), show(now), show(now.Add(-maxSkew)), show(now.Add(maxSkew)))
	}
	return nil
}

// signingString rebuilds what the client signed, in the client's own order.
func signingString(r *http.Request, names []string) (string, error) {
	lines := make([]string, 0, len(names))
	for _, name := range names {
		if name != strings.ToLower(name) {
			return "", errUnauthenticated()
		}
		var value string
		switch name {
		case "(request-target)":
			// RequestURI is the path and query exactly as they came.
			value = strings.ToLower(r.Method) + " " + r.RequestURI
		case "host":
			value = r.Host
		case "content-length":
			if r.ContentLength < 0 {
				return "", errUnauthenticated()
			}
			value = strconv.FormatInt(r.ContentLength, 10)
		default:
			values := r.Header.Values(name)
			if len(values) == 0 {
				return "", errUnauthenticated()
			}
			value = strings.Join(values, ", ")
		}
		lines = append(lines, name+": "+value)
	}
	return strings.Join(lines, "\n"), nil
}

// lookUpKey finds the public key that a keyId names.
func (c *Cloud) lookUpKey(keyID string) (caller, *rsa.PublicKey, error) {
	if token, ok := strings.CutPrefix(keyID, "ST$"); ok {
		return c.lookUpSession(token)
	}
	parts := strings.Split(keyID, "/")
	if len(parts) != 3 {
		return caller{}, nil, errUnauthenticated()
	}
	for _, t := range c.cfg.Tenancies {
		if t.ID == parts[0] && t.UserID == parts[1] && t.Fingerprint() == parts[2] {
			return caller{tenancy: t}, &t.key.PublicKey, nil
		}
	}
	return caller{}, nil, errUnauthenticated()
}

// session is a token that stands for a user for a while, with a key of its own.
type session struct {
	tenancy *Tenancy
	key     *rsa.PublicKey
	expires time.Time
}
