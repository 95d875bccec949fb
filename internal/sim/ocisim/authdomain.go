// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/oidc"
)

// Domain is an identity domain of a tenancy that exchanges tokens: it has one
// confidential application, and identity propagation trusts.
type Domain struct {
	Tenancy      *Tenancy
	ClientID     string
	ClientSecret string
	Trusts       []Trust
	// Life is how long its tokens live; an hour if zero.
	Life time.Duration
}

// Trust lets the tokens of an issuer in that are for an audience and about a
// subject.
type Trust struct {
	Issuer   *Issuer
	Audience string
	Subject  string
}

// AddDomain opens an identity domain and returns its URL.
func (c *Cloud) AddDomain(d Domain) string {
	if d.Life == 0 {
		d.Life = time.Hour
	}
	host := "idcs-" + strings.ToLower(randomHex(16)) + ".identity.oraclecloud.com"
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.federation.domains == nil {
		c.federation.domains = map[string]Domain{}
	}
	c.federation.domains[host] = d
	return "https://" + host
}

// domainRoutes are an identity domain's.
func (c *Cloud) domainRoutes() []route {
	return []route{op("TokenExchange", "POST /oauth2/v1/token", c.exchangeToken).unsigned().withoutLock()}
}

// isDomain says whether a host name is of the form that identity domains have.
func isDomain(name string) bool {
	stem, ok := strings.CutSuffix(name, ".identity.oraclecloud.com")
	return ok && strings.HasPrefix(stem, "idcs-") && !strings.Contains(stem, ".")
}

// oauth is a refusal in the form of RFC 6749. Oracle documents that form, and not
// which refusal comes when.
func oauth(status int, code, format string, args ...any) (*reply, error) {
	return &reply{status: status, body: map[string]string{"error": code, "error_description": fmt.Sprintf(format, args...)}}, nil
}

// exchangeToken gives a user's token for one of an issuer that is trusted.
func (c *Cloud) exchangeToken(q *call) (*reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	host, _, _ := strings.Cut(strings.ToLower(q.Host), ":")
	d, ok := c.federation.domains[host]
	if !ok {
		return nil, fail(http.StatusNotFound, "NotFound", "There is no identity domain at %s.", host)
	}
	id, secret, basic := q.BasicAuth()
	if !basic || id != d.ClientID || secret != d.ClientSecret {
		return oauth(http.StatusUnauthorized, "invalid_client", "Client authentication failed.")
	}
	form, err := url.ParseQuery(string(q.body))
	if err != nil || q.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return oauth(http.StatusBadRequest, "invalid_request", "The request is not a form.")
	}
	allowed := []string{"grant_type", "requested_token_type", "subject_token_type", "subject_token", "public_key"}
	for name, values := range form {
		if !slices.Contains(allowed, name) || len(values) != 1 {
			return oauth(http.StatusBadRequest, "invalid_request", "The parameter %s is not known or there twice.", name)
		}
	}
	switch {
	case form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange":
		return oauth(http.StatusBadRequest, "unsupported_grant_type", "The grant type is not supported.")
	case form.Get("requested_token_type") != "urn:oci:token-type:oci-upst":
		return oauth(http.StatusBadRequest, "invalid_request", "The requested token type is not supported.")
	case form.Get("subject_token_type") != "jwt":
		return oauth(http.StatusBadRequest, "invalid_request", "The subject token type is not supported.")
	}
	key, err := sessionKey(form.Get("public_key"))
	if err != nil {
		return oauth(http.StatusBadRequest, "invalid_request", "The public key cannot be used: %v.", err)
	}
	why := "no trust has its issuer"
	for _, t := range d.Trusts {
		if why = t.check(form.Get("subject_token")); why == "" {
			break
		}
	}
	if why != "" {
		return oauth(http.StatusBadRequest, "invalid_grant", "The subject token is refused: %s.", why)
	}
	t := d.Tenancy
	return &reply{body: map[string]string{
		"token": c.issue(t, key, d.Life, map[string]any{"sub": t.UserID, "tenant": t.ID, "ptype": "user", "user_ocid": t.UserID}),
	}}, nil
}

// check says why a token is not what the trust lets in.
func (t Trust) check(text string) string {
	token, err := oidc.Parse(text)
	switch {
	case err != nil:
		return err.Error()
	case token.Issuer != t.Issuer.URL:
		return "no trust has its issuer"
	case !t.Issuer.Signed(token):
		return "its signature is wrong"
	case token.Expired():
		return "it has expired"
	case token.Audience != t.Audience:
		return "its audience is not the trust's"
	case token.Subject != t.Subject:
		return "its subject is not the trust's"
	}
	return ""
}

// Issuer stands for GitHub's service that gives tokens to the jobs of workflows.
type Issuer = oidc.Issuer

// NewIssuer makes one with a key of its own.
func NewIssuer(subject string) (*Issuer, error) { return oidc.NewIssuer(subject) }
