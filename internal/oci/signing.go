// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"io"
	"log"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"

	"github.com/armfree/packer-plugin-armfree/internal/trace"
)

// unsigned is the configuration that the SDK's clients are made with. They sign
// before their request has the context it is made with, and ask for the key and
// for its name one after the other; so what they sign with is nothing, and
// signed puts the true signature over it.
type unsigned struct{ region string }

func (u unsigned) Region() (string, error)                { return u.region, nil }
func (unsigned) TenancyOCID() (string, error)             { return "none", nil }
func (unsigned) UserOCID() (string, error)                { return "none", nil }
func (unsigned) KeyFingerprint() (string, error)          { return "none", nil }
func (unsigned) KeyID() (string, error)                   { return "none", nil }
func (unsigned) PrivateKeySigner() (crypto.Signer, error) { return noSigner{}, nil }
func (unsigned) PrivateRSAKey() (*rsa.PrivateKey, error)  { return nil, errors.New("no key") }
func (unsigned) AuthType() (common.AuthConfig, error) {
	return common.AuthConfig{AuthType: common.UnknownAuthenticationType}, errors.New("none")
}

type noSigner struct{}

func (noSigner) Public() crypto.PublicKey                                  { return nil }
func (noSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return []byte{0}, nil }

// signed signs requests on their way out. One that the service does not let in
// is signed and sent once more if there is something new to sign with: such a
// request had no effect.
type signed struct {
	by   *Principal
	next common.HTTPRequestDispatcher
	skew *atomic.Int64 // how far the service's clock is ahead of ours, from its last reply
	told *atomic.Bool  // it has said so
}

// signedNames finds what a signature covers.
var signedNames = regexp.MustCompile(`headers="([^"]*)"`)

// Do implements common.HTTPRequestDispatcher.
func (s signed) Do(req *http.Request) (*http.Response, error) {
	req = unshield(req)
	names := signedNames.FindStringSubmatch(req.Header.Get("Authorization"))
	if names == nil {
		return nil, errors.New("the SDK made a request that is not to be signed")
	}
	hashed := strings.Contains(names[1], "x-content-sha256")
	if err := rewindable(req, hashed); err != nil {
		return nil, err
	}
	by, err := s.by.pass(req.Context())
	if err != nil {
		return nil, err
	}
	if err := sign(req, by, hashed); err != nil {
		return nil, err
	}
	end := trace.Begin(req.Context(), trace.Request, req.Method+" "+req.URL.Path)
	resp, err := s.next.Do(req)
	end(trace.Outcome(resp, err))
	if err != nil {
		return resp, err
	}
	if theirs, derr := http.ParseTime(resp.Header.Get("Date")); derr == nil {
		s.skew.Store(int64(time.Until(theirs)))
		s.told.Store(true)
	}
	if resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return resp, nil // its bytes are gone
	}
	fresh := s.by.after(req.Context(), by)
	if fresh == nil {
		return resp, nil
	}
	second := req.Clone(req.Context())
	if req.GetBody != nil {
		if second.Body, err = req.GetBody(); err != nil {
			return resp, nil //nolint:nilerr // the refusal is the better answer
		}
	}
	second.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if err := sign(second, fresh, hashed); err != nil {
		return resp, nil //nolint:nilerr // as above
	}
	log.Printf("[WARN] OCI did not take the token of %s for %s %s; asking again with a new one", s.by.who, req.Method, req.URL.Host)
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxHeader))
	_ = resp.Body.Close()
	return s.next.Do(second)
}

// rewindable keeps the body of a request that may be sent twice. Bodies whose
// hash is signed are small; the others are streams of bytes.
func rewindable(req *http.Request, hashed bool) error {
	if !hashed || req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	req.Body, err = req.GetBody()
	req.ContentLength = int64(len(b))
	return err
}

// sign signs a request as the SDK would.
func sign(req *http.Request, by *pass, hashed bool) error {
	s := common.RequestSignerWithBodyHashingPredicate(by, common.DefaultGenericHeaders(), common.DefaultBodyHeaders(),
		func(*http.Request) bool { return hashed })
	return s.Sign(req)
}
