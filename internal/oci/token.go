// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"regexp"
	"strings"
	"time"
)

// jwt is what of a token's claims matters here. It is OCI's own and is not
// verified: whoever takes it does that.
type jwt struct {
	text    string
	expires time.Time // zero if it does not say
	tenancy string
	jwk     string // the public half of the key that goes with it
}

// parseToken reads a JWT. Its errors quote nothing of the text.
func parseToken(text string) (jwt, error) {
	text = strings.TrimSpace(text)
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return jwt{}, errors.New("this is no token")
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return jwt{}, errors.New("this is no token")
	}
	var claims struct {
		Expires     float64 `json:"exp"`
		Tenant      string  `json:"tenant"`     // of users
		OPCTenant   string  `json:"opc-tenant"` // of instances
		ResTenant   string  `json:"res_tenant"` // of resources
		JWK         any     `json:"jwk"`        // a text or an object
		OCITenantID string  `json:"tenantId"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return jwt{}, errors.New("this is no token")
	}
	t := jwt{text: text}
	if claims.Expires > 0 {
		t.expires = time.Unix(int64(claims.Expires), 0)
	}
	for _, id := range []string{claims.ResTenant, claims.OPCTenant, claims.Tenant, claims.OCITenantID} {
		if t.tenancy == "" && strings.HasPrefix(id, "ocid1.tenancy.") {
			t.tenancy = id
		}
	}
	switch k := claims.JWK.(type) {
	case string:
		t.jwk = k
	case map[string]any:
		if b, err := json.Marshal(k); err == nil {
			t.jwk = string(b)
		}
	}
	return t, nil
}

// fits says whether a key is the one that a token was made for, as far as the
// token tells.
func (t jwt) fits(key *rsa.PrivateKey) bool {
	var jwk struct{ N, E string }
	if t.jwk == "" || json.Unmarshal([]byte(t.jwk), &jwk) != nil || jwk.N == "" {
		return true
	}
	n, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(jwk.N, "="))
	return err != nil || new(big.Int).SetBytes(n).Cmp(key.N) == 0
}

// jwtText finds tokens in what others say, to leave them out.
var jwtText = regexp.MustCompile(`[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`)

// readToken reads the file of a session token.
func readToken(path string) (jwt, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return jwt{}, fmt.Errorf("the session token cannot be read: %w", err)
	}
	t, err := parseToken(string(b))
	if err != nil {
		return jwt{}, fmt.Errorf("%s has no session token; `oci session authenticate` makes one", path)
	}
	return t, nil
}

// session is the session that `oci session authenticate` left in files, as they
// are now: `oci session refresh` writes them anew.
func (c Credentials) session(context.Context) (*pass, error) {
	t, err := readToken(c.TokenFile)
	if err != nil {
		return nil, &signInError{text: err.Error()}
	}
	text := c.KeyPEM
	if c.KeyFile != "" {
		b, err := os.ReadFile(c.KeyFile)
		if err != nil {
			return nil, &signInError{text: fmt.Sprintf("the key of the session cannot be read: %v", err)}
		}
		text = string(b)
	}
	key, err := parseKey(cleanPEM(text), c.Passphrase, "pass_phrase")
	if err != nil {
		return nil, &signInError{text: fmt.Sprintf("the key of the session token in %s cannot be read: %v", c.TokenFile, err)}
	}
	switch {
	case !t.fits(key):
		return nil, &signInError{text: fmt.Sprintf("the session token in %s was made for another key than the one that is given; take both from the same session", c.TokenFile)}
	case !t.expires.IsZero() && !time.Now().Before(t.expires):
		return nil, &signInError{text: fmt.Sprintf("the session token in %s expired at %s; `oci session refresh` renews one in time, `oci session authenticate` makes a new one", c.TokenFile, t.expires.UTC().Format(time.RFC3339))}
	}
	return newPass(t, key), nil
}
