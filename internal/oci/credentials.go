// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package oci is the adapter to Oracle Cloud Infrastructure.
//
// It signs in, talks to the services through Oracle's SDK, understands their
// errors in one table, and waits for their states. Three rules hold for every
// call. The SDK never retries behind our back: its retry policy is pinned to
// none, and the circuit breakers are off. Calls that may safely be repeated
// (reads, and creations that carry a retry token) are repeated here, with a
// context. And an error is one line that says which operation failed where,
// why, and under which request id.
package oci

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
)

// Kind is a way to sign in.
type Kind string

// The kinds. The zero value of Credentials is an API key, of which everything
// is missing.
const (
	APIKey            Kind = ""
	SessionToken      Kind = "session token"
	InstancePrincipal Kind = "instance principal"
	ResourcePrincipal Kind = "resource principal"
	WorkloadIdentity  Kind = "OKE workload identity"
	TokenExchange     Kind = "token exchange"
)

// Credentials say who signs in, how, and where. What a kind does not need stays
// empty: an API key has Tenancy, User, Fingerprint and KeyPEM, a session token
// has TokenFile and KeyPEM, and where the kind has its tenancy from its token, a
// Tenancy that is set is one to be checked.
type Credentials struct {
	Kind        Kind
	Tenancy     string // OCID
	User        string // OCID
	Fingerprint string // of the key, "aa:bb:..."
	KeyPEM      string // the private key's PEM text
	Passphrase  string // of the key, if it has one
	Region      string // "eu-frankfurt-1"

	TokenFile string   // of a session token
	KeyFile   string   // the file of a session's key, if it is in one, to be read again with the token
	Exchange  Exchange // of a token exchange
}

// Exchange is how a token of somebody else's, such as a job of GitHub Actions
// has it, becomes one of OCI's.
type Exchange struct {
	DomainURL    string // of the identity domain
	ClientID     string // of the confidential application there
	ClientSecret string
	Audience     string // that GitHub puts into its token
	// Where the token to be exchanged comes from: a text, a file that is read
	// each time, or GitHub's own service.
	Token        string
	TokenFile    string
	RequestURL   string
	RequestToken string
}

// Secrets lists what must never be printed. What comes into being later is
// given to Options.Secret.
func (c Credentials) Secrets() []string {
	return []string{c.KeyPEM, c.pem(), c.Passphrase, c.Exchange.ClientSecret, c.Exchange.Token, c.Exchange.RequestToken}
}

// pem is the key as PEM. CI systems like to hand a multi-line secret over with
// its line ends written as \n, or with Windows line ends.
func (c Credentials) pem() string { return cleanPEM(c.KeyPEM) }

// remote says that signing in needs requests.
func (c Credentials) remote() bool { return c.Kind != APIKey && c.Kind != SessionToken }

// Problems lists everything that is wrong with c, each as one sentence that
// calls a setting by the name that name gives it ("source.user_ocid"), and where
// it is not set says by env how else it can be. It makes no request.
func (c Credentials) Problems(name, env func(field string) string) []error {
	return append(c.FieldProblems(name, env), c.KeyProblems(name, env)...)
}

// FieldProblems is Problems without the key.
func (c Credentials) FieldProblems(name, env func(field string) string) (errs []error) {
	check := func(value, field, kind string, required bool) {
		switch {
		case value == "" && required:
			errs = append(errs, fmt.Errorf("%s must be set (or %s)", name(field), env(field)))
		case value != "" && kind != "" && !strings.HasPrefix(value, "ocid1."+kind+"."):
			errs = append(errs, fmt.Errorf("%s must be an OCID that begins with ocid1.%s, it is %q", name(field), kind, value))
		}
	}
	key := c.Kind == APIKey
	check(c.Tenancy, "tenancy_ocid", "tenancy", key)
	if key {
		check(c.User, "user_ocid", "user", true)
		check(c.Fingerprint, "fingerprint", "", true)
	}
	// A machine and a resource of OCI's know where they are.
	check(c.Region, "region", "", key || c.Kind == SessionToken || c.Kind == TokenExchange)
	if c.Region != "" && strings.ContainsAny(c.Region, " \t\r\n/:") {
		errs = append(errs, fmt.Errorf("%s must be a region such as eu-frankfurt-1, it is %q", name("region"), c.Region))
	}
	switch c.Kind {
	case SessionToken:
		if _, err := readToken(c.TokenFile); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name("security_token_file"), err))
		}
	case TokenExchange:
		errs = append(errs, c.Exchange.problems(name, env)...)
	}
	return errs
}

// problems lists what is wrong with an exchange.
func (x Exchange) problems(name, env func(field string) string) (errs []error) {
	for _, f := range []struct{ field, value string }{
		{"oidc.domain_url", x.DomainURL}, {"oidc.client_id", x.ClientID}, {"oidc.client_secret", x.ClientSecret},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s must be set (or %s)", name(f.field), env(f.field)))
		}
	}
	if u, err := url.Parse(x.DomainURL); x.DomainURL != "" &&
		(err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil) {
		errs = append(errs, fmt.Errorf("%s must be the URL of an identity domain without a path, such as https://idcs-0123.identity.oraclecloud.com:443", name("oidc.domain_url")))
	}
	if x.Token == "" && x.TokenFile == "" && (x.RequestURL == "" || x.RequestToken == "") {
		errs = append(errs, fmt.Errorf("there is no token to exchange: a job of GitHub Actions needs `permissions: id-token: write`; elsewhere set %s or %s", name("oidc.token_file"), name("oidc.token")))
	}
	return errs
}

// KeyProblems is what is wrong with the key, and whether its fingerprint is the
// one that is given.
func (c Credentials) KeyProblems(name, env func(field string) string) []error {
	if c.remote() {
		return nil
	}
	if strings.TrimSpace(c.KeyPEM) == "" {
		return []error{fmt.Errorf("%s must be set (or %s, or %s)", name("key"), name("key_file"), env("key"))}
	}
	key, err := parseKey(c.pem(), c.Passphrase, name("pass_phrase"))
	if err != nil {
		return []error{fmt.Errorf("%s cannot be read: %w", name("key"), err)}
	}
	if got, err := fingerprint(key); err == nil && c.Kind == APIKey && c.Fingerprint != "" && !strings.EqualFold(got, c.Fingerprint) {
		return []error{fmt.Errorf("%s is %s, but the key given by %s has the fingerprint %s", name("fingerprint"), c.Fingerprint, name("key"), got)}
	}
	return nil
}

// who names whoever signs in, for messages.
func (c Credentials) who() string {
	switch c.Kind {
	case APIKey:
		return fmt.Sprintf("user %s with the key %s", c.User, c.Fingerprint)
	case SessionToken:
		return "the session token in " + c.TokenFile
	case InstancePrincipal:
		return "the instance principal of this machine"
	case ResourcePrincipal:
		return "the resource principal"
	case WorkloadIdentity:
		return "the workload identity of this pod"
	}
	return "the user whose token was exchanged at " + cmp.Or(c.Exchange.DomainURL, "the identity domain")
}
