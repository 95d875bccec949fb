// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"time"
)

// federation is what the services know that give tokens to whoever has no key of
// a user: machines, workloads, and those whom an identity domain trusts. The
// cloud's lock guards it.
type federation struct {
	ca       *authority
	machines map[string]*Machine // by the fingerprint of their certificate
	domains  map[string]Domain   // by host
	issued   int
}

// issue makes a token for a key. Its text is a JWT that nobody but this cloud can
// judge, as with Oracle's: clients look into it, and the cloud remembers it. The
// cloud's lock is held.
func (c *Cloud) issue(t *Tenancy, key *rsa.PublicKey, life time.Duration, claims map[string]any) string {
	now := time.Now()
	expires := now.Add(life)
	all := map[string]any{
		"iss": "authService.oracle.com", "iat": now.Unix(), "exp": expires.Unix(), "jti": randomHex(8),
		"jwk": fmt.Sprintf(`{"kty":"RSA","alg":"RS256","n":%q,"e":%q}`,
			base64.RawURLEncoding.EncodeToString(key.N.Bytes()), base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())),
	}
	maps.Copy(all, claims)
	body, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("the claims of a token do not marshal: %v", err))
	}
	encode := base64.RawURLEncoding.EncodeToString
	token := encode([]byte(`{"alg":"RS256","typ":"JWT","kid":"asw"}`)) + "." + encode(body) + "." + encode([]byte(randomHex(32)))
	c.sessions[token] = session{tenancy: t, key: key, expires: expires}
	c.federation.issued++
	return token
}

// IssueToken makes a session token as `oci session authenticate` would: the
// holder signs with the private half of key until the token expires. The keyId
// is "ST$" and the token.
func (c *Cloud) IssueToken(t *Tenancy, key *rsa.PublicKey, validFor time.Duration) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issue(t, key, validFor, map[string]any{"sub": t.UserID, "tenant": t.ID, "ptype": "user"})
}

// IssueResourceToken makes the token of a resource, such as a function, as the
// platform puts it into the resource's environment.
func (c *Cloud) IssueResourceToken(t *Tenancy, key *rsa.PublicKey, validFor time.Duration) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resourceToken(t, key, validFor, "fnfunc")
}

// resourceToken is IssueResourceToken with the lock held.
func (c *Cloud) resourceToken(t *Tenancy, key *rsa.PublicKey, life time.Duration, kind string) string {
	id := newOCID(kind, "")
	return c.issue(t, key, life, map[string]any{
		"sub": id, "ptype": "resource", "res_id": id, "res_type": kind, "res_tenant": t.ID, "res_compartment": t.CompartmentID,
	})
}

// RevokeTokens ends all tokens before their time.
func (c *Cloud) RevokeTokens() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.sessions)
}

// TokensIssued is how many tokens were given out so far.
func (c *Cloud) TokensIssued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.federation.issued
}

func (c *Cloud) lookUpSession(token string) (caller, *rsa.PublicKey, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.sessions[token]
	if !ok || time.Now().After(s.expires) {
		return caller{}, nil, errUnauthenticated()
	}
	return caller{tenancy: s.tenancy, session: true}, s.key, nil
}
