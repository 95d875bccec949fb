// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package oidc has issuers of identity tokens as GitHub is one, whose jobs the
// simulated clouds let in without any stored secret.
package oidc

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Issuer stands for GitHub's service that gives tokens to the jobs of workflows.
// Serve it, and the URL that it gets is ACTIONS_ID_TOKEN_REQUEST_URL.
type Issuer struct {
	URL     string // what its tokens have as iss
	Subject string // and as sub: "repo:octo/images:ref:refs/heads/main"
	// RequestToken entitles a job to ask.
	RequestToken string
	// Life is how long a token lives; five minutes if zero.
	Life time.Duration

	key *rsa.PrivateKey
}

// NewIssuer makes one with a key of its own.
func NewIssuer(subject string) (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return &Issuer{URL: "https://token.actions.githubusercontent.com", Subject: subject, RequestToken: "job-" + randomHex(16), key: key}, nil
}

// Token is a token for an audience.
func (i *Issuer) Token(audience string) string {
	life := i.Life
	if life == 0 {
		life = 5 * time.Minute
	}
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": i.URL, "sub": i.Subject, "aud": audience, "jti": randomHex(8), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(),
	})
	if err != nil {
		panic(fmt.Sprintf("the claims of a token do not marshal: %v", err))
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"JWT","alg":"RS256","kid":"1"}`)) + "." + encode(claims)
	digest := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(fmt.Sprintf("a token cannot be signed: %v", err))
	}
	return text + "." + encode(sig)
}

// ServeHTTP answers a job that asks for a token, at any path.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+i.RequestToken:
		http.Error(w, `{"message":"Unauthorized"}`, http.StatusUnauthorized)
	case r.Method != http.MethodGet || q.Get("api-version") != "2.0":
		http.Error(w, `{"message":"No API version"}`, http.StatusBadRequest)
	default:
		audience := q.Get("audience")
		if audience == "" {
			audience = "https://github.com/octo"
		}
		token := i.Token(audience)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		fmt.Fprintf(w, `{"count":%d,"value":%q}`, len(token), token)
	}
}

// Token is what a token says. Nobody has checked that it is true.
type Token struct {
	Issuer, Subject, Audience string
	Expires                   time.Time

	signed    string
	signature []byte
}

// Parse reads a token.
func Parse(token string) (Token, error) {
	no := errors.New("it is no JWT")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Token{}, no
	}
	var raw [3][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return Token{}, no
		}
	}
	var head struct{ Alg, Kid, Typ string }
	var claims struct {
		Iss, Sub, Aud      string
		Exp, Nbf, Iat, Jti any
	}
	if json.Unmarshal(raw[0], &head) != nil || json.Unmarshal(raw[1], &claims) != nil || head.Alg != "RS256" {
		return Token{}, no
	}
	exp, _ := claims.Exp.(float64)
	return Token{claims.Iss, claims.Sub, claims.Aud, time.Unix(int64(exp), 0), parts[0] + "." + parts[1], raw[2]}, nil
}

// Signed tells whether a token is one that this issuer made.
func (i *Issuer) Signed(t Token) bool {
	digest := sha256.Sum256([]byte(t.signed))
	return rsa.VerifyPKCS1v15(&i.key.PublicKey, crypto.SHA256, digest[:], t.signature) == nil
}

// Expired tells whether a token's time is over.
func (t Token) Expired() bool { return !time.Now().Before(t.Expires) }

func randomHex(n int) string {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic("no randomness: " + err.Error())
	}
	return hex.EncodeToString(b)
}
