// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/core"
)

// rawRequest is a signed request that a test bends before or after it signs.
type rawRequest struct {
	method, url, body string
	keyID             string
	key               *rsa.PrivateKey
	names             []string // what is signed, in this order
	date              time.Time
	xdate             bool
	algorithm         string
	afterSigning      func(*http.Request)
}

func keyOf(t *testing.T, ten *tenancy) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(ten.PrivateKeyPEM()))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// rawFor is a request as the SDK would sign it.
func (k *kit) rawFor(ten *tenancy, method, url, body string) *rawRequest {
	names := []string{"date", "(request-target)", "host"}
	if method == http.MethodPost || method == http.MethodPut {
		names = append(names, "content-length", "content-type", "x-content-sha256")
	}
	return &rawRequest{method: method, url: url, body: body, key: keyOf(k.t, ten), names: names, date: time.Now(),
		keyID: ten.ID + "/" + ten.UserID + "/" + ten.Fingerprint(), algorithm: "rsa-sha256"}
}

func (r *rawRequest) send(k *kit) (int, string, http.Header) {
	k.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		k.t.Fatal(err)
	}
	dateName := "Date"
	if r.xdate {
		dateName = "X-Date"
	}
	req.Header.Set(dateName, r.date.UTC().Format(http.TimeFormat))
	if r.method == http.MethodPost || r.method == http.MethodPut {
		sum := sha256.Sum256([]byte(r.body))
		req.Header.Set("X-Content-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
		req.Header.Set("Content-Type", "application/json")
	}
	var lines []string
	for _, name := range r.names {
		value := req.Header.Get(name)
		switch name {
		case "(request-target)":
			value = strings.ToLower(r.method) + " " + req.URL.RequestURI()
		case "host":
			value = req.URL.Host
		case "content-length":
			value = fmt.Sprint(len(r.body))
		}
		lines = append(lines, name+": "+value)
	}
	digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	sig, err := rsa.SignPKCS1v15(rand.Reader, r.key, crypto.SHA256, digest[:])
	if err != nil {
		k.t.Fatal(err)
	}
	req.Header.Set("Authorization", fmt.Sprintf(`Signature version="1",headers="%s",keyId="%s",algorithm="%s",signature="%s"`,
		strings.Join(r.names, " "), r.keyID, r.algorithm, base64.StdEncoding.EncodeToString(sig)))
	if r.afterSigning != nil {
		r.afterSigning(req)
	}
	resp, err := k.http.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

const iaas = "https://iaas." + homeRegion + ".oraclecloud.com/20160918"

// TestSignatures refuses every client that signs wrongly and accepts the ones
// that sign in another way than Oracle's Go SDK.
func TestSignatures(t *testing.T) {
	k := newKit(t, nil)
	list := iaas + "/instances?compartmentId=" + k.build.CompartmentID
	drop := func(r *rawRequest, name string) {
		var kept []string
		for _, n := range r.names {
			if n != name {
				kept = append(kept, n)
			}
		}
		r.names = kept
	}
	report := fmt.Sprintf(`{"compartmentId":%q,"availabilityDomain":%q,"shapeAvailabilities":[{"instanceShape":%q}]}`,
		k.build.ID, k.build.AvailabilityDomains(homeRegion)[0], a1)
	tests := []struct {
		name   string
		post   bool
		bend   func(*rawRequest)
		status int
		part   string
	}{
		{"as the SDK", false, func(*rawRequest) {}, 200, ""},
		{"as the SDK, with a body", true, func(*rawRequest) {}, 200, ""},
		{"another order and x-date", false, func(r *rawRequest) {
			r.xdate, r.names = true, []string{"host", "x-date", "(request-target)"}
		}, 200, ""},
		{"no signature", false, func(r *rawRequest) {
			r.afterSigning = func(req *http.Request) { req.Header.Del("Authorization") }
		}, 401, ""},
		{"another scheme", false, func(r *rawRequest) {
			r.afterSigning = func(req *http.Request) { req.Header.Set("Authorization", "Bearer token") }
		}, 401, ""},
		{"another algorithm", false, func(r *rawRequest) { r.algorithm = "hmac-sha256" }, 401, ""},
		{"the key of another tenancy", false, func(r *rawRequest) { r.key = keyOf(t, k.production) }, 401, ""},
		{"the fingerprint of another key", false, func(r *rawRequest) {
			r.keyID = k.build.ID + "/" + k.build.UserID + "/" + k.production.Fingerprint()
		}, 401, ""},
		{"the user of another tenancy", false, func(r *rawRequest) {
			r.keyID = k.build.ID + "/" + k.production.UserID + "/" + k.build.Fingerprint()
		}, 401, ""},
		{"a keyId without parts", false, func(r *rawRequest) { r.keyID = "me" }, 401, ""},
		{"an unknown session token", false, func(r *rawRequest) { r.keyID = "ST$a.b.c" }, 401, ""},
		{"path changed on the way", false, func(r *rawRequest) {
			r.afterSigning = func(req *http.Request) { req.URL.RawQuery += "&limit=1" }
		}, 401, ""},
		{"host not signed", false, func(r *rawRequest) { drop(r, "host") }, 401, ""},
		{"date not signed", false, func(r *rawRequest) { drop(r, "date") }, 401, ""},
		{"request target not signed", false, func(r *rawRequest) { drop(r, "(request-target)") }, 401, ""},
		{"body hash not signed", true, func(r *rawRequest) { drop(r, "x-content-sha256") }, 401, ""},
		{"content type not signed", true, func(r *rawRequest) { drop(r, "content-type") }, 401, ""},
		{"length not signed", true, func(r *rawRequest) { drop(r, "content-length") }, 401, ""},
		{"body changed on the way", true, func(r *rawRequest) {
			r.afterSigning = func(req *http.Request) {
				changed := strings.Replace(report, "instanceShape", "instanceShapE", 1)
				req.Body = io.NopCloser(strings.NewReader(changed))
			}
		}, 401, ""},
		{"a clock 6 minutes slow", false, func(r *rawRequest) { r.date = r.date.Add(-6 * time.Minute) }, 401, "is not within allowed clock skew"},
		{"a clock 6 minutes fast", false, func(r *rawRequest) { r.date = r.date.Add(6 * time.Minute) }, 401, "is not within allowed clock skew"},
		{"a clock 4 minutes slow", false, func(r *rawRequest) { r.date = r.date.Add(-4 * time.Minute) }, 200, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			r := k.rawFor(k.build, http.MethodGet, list, "")
			if tc.post {
				r = k.rawFor(k.build, http.MethodPost, iaas+"/computeCapacityReports", report)
			}
			tc.bend(r)
			status, body, header := r.send(k)
			if status != tc.status || !strings.Contains(body, tc.part) {
				t.Errorf("got %d %s, want %d %s", status, body, tc.status, tc.part)
			}
			if status == 401 && !strings.Contains(body, `"code":"NotAuthenticated"`) {
				t.Errorf("got %s", body)
			}
			if header.Get("Opc-Request-Id") == "" || header.Get("Content-Type") != "application/json" {
				t.Errorf("got headers %v", header)
			}
		})
	}
}

// TestSessionToken lets the holder of a token in until it expires, and keeps
// Object Storage tuples from it.
func TestSessionToken(t *testing.T) {
	k := newKit(t, nil)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	token := k.cloud.IssueToken(k.build, &key.PublicKey, time.Hour)
	expired := k.cloud.IssueToken(k.build, &key.PublicKey, -time.Second)
	url := iaas + "/images/" + k.base + "/actions/export"
	body := fmt.Sprintf(`{"destinationType":"objectStorageTuple","bucketName":"b","namespaceName":%q,"objectName":"o"}`, k.build.Namespace)

	r := k.rawFor(k.build, http.MethodGet, iaas+"/images/"+k.base, "")
	r.keyID, r.key = "ST$"+token, key
	if status, body, _ := r.send(k); status != 200 {
		t.Errorf("a valid token: %d %s", status, body)
	}
	r.keyID = "ST$" + expired
	if status, _, _ := r.send(k); status != 401 {
		t.Errorf("an expired token: %d", status)
	}
	r = k.rawFor(k.build, http.MethodPost, url, body)
	r.keyID, r.key = "ST$"+token, key
	k.bucket(k.storage(k.build, homeRegion), k.build, "b")
	if status, body, _ := r.send(k); status != 400 || !strings.Contains(body, "Invalid bucketName") {
		t.Errorf("export by tuple with a token: %d %s", status, body)
	}
	// The same with the API key is accepted.
	r = k.rawFor(k.build, http.MethodPost, url, body)
	if status, body, _ := r.send(k); status != 200 {
		t.Errorf("export by tuple with the API key: %d %s", status, body)
	}
	c := k.compute(k.build, homeRegion)
	k.imageReaches(c, k.base, core.ImageLifecycleStateAvailable)
}
