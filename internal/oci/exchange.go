// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// exchanger gives a token of somebody whom an identity domain trusts, such as
// GitHub, for one of OCI's. Each exchange begins with a new token.
//
// Oracle's SDK can exchange tokens, too. It keeps to itself why an exchange was
// refused, reads its token while it is replaced, and does not try again after the
// service refused it.
type exchanger struct {
	x Exchange
	o Options
}

func (e *exchanger) issue(ctx context.Context) (*pass, error) {
	subject, err := e.subject(ctx)
	if err != nil {
		return nil, err
	}
	if e.o.Secret != nil {
		e.o.Secret(subject)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	form := url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"requested_token_type": {"urn:oci:token-type:oci-upst"},
		"subject_token_type":   {"jwt"},
		"subject_token":        {subject},
		"public_key":           {base64.StdEncoding.EncodeToString(public)},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(e.x.DomainURL, "/")+"/oauth2/v1/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &signInError{text: "the URL of the identity domain cannot be used"}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(e.x.ClientID, e.x.ClientSecret)
	answer, err := ask(e.o, req, "the identity domain "+host(e.x.DomainURL))
	if err != nil {
		return nil, e.hint(err)
	}
	var reply struct{ Token string }
	if json.Unmarshal(answer, &reply) != nil {
		return nil, &signInError{text: "the identity domain " + host(e.x.DomainURL) + " answers without a token", passing: true}
	}
	t, err := parseToken(reply.Token)
	if err != nil {
		return nil, &signInError{text: "the identity domain " + host(e.x.DomainURL) + " answers without a token", passing: true}
	}
	return newPass(t, key), nil
}

// hint says what to look at after a refusal.
func (e *exchanger) hint(err error) error {
	var refused *signInError
	if !errors.As(err, &refused) || refused.passing {
		return err
	}
	switch {
	case strings.Contains(refused.text, "invalid_client"):
		refused.text += "; check client_id and client_secret, and that the application is active"
	case strings.Contains(refused.text, "refuses:"):
		refused.text += "; check the domain's identity propagation trust: its issuer, audience and the subject it lets in, and that the application is one of its OAuth clients"
	}
	return refused
}

// subject is a token to exchange.
func (e *exchanger) subject(ctx context.Context) (string, error) {
	switch {
	case e.x.Token != "":
		return strings.TrimSpace(e.x.Token), nil
	case e.x.TokenFile != "":
		b, err := os.ReadFile(e.x.TokenFile)
		if err != nil {
			return "", &signInError{text: fmt.Sprintf("the token to exchange cannot be read: %v", err)}
		}
		return strings.TrimSpace(string(b)), nil
	}
	u, err := url.Parse(e.x.RequestURL)
	if err != nil {
		return "", &signInError{text: "ACTIONS_ID_TOKEN_REQUEST_URL is not a URL"}
	}
	if e.x.Audience != "" {
		q := u.Query()
		q.Set("audience", e.x.Audience)
		u.RawQuery = q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return "", &signInError{text: "ACTIONS_ID_TOKEN_REQUEST_URL is not a URL"}
	}
	req.Header.Set("Authorization", "Bearer "+e.x.RequestToken)
	req.Header.Set("Accept", "application/json")
	o := e.o
	if o.HTTP == nil {
		// Not with the authorities that the SDK may have been told to trust for OCI.
		o.HTTP = &http.Client{Timeout: time.Minute}
	}
	answer, err := ask(o, req, "GitHub's token service")
	if err != nil {
		return "", err
	}
	var reply struct{ Value string }
	if json.Unmarshal(answer, &reply) != nil || reply.Value == "" {
		return "", &signInError{text: "GitHub's token service answers without a token", passing: true}
	}
	return reply.Value, nil
}
