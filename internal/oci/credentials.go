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
	"crypto/md5" //nolint:gosec // the fingerprint of an API key is an MD5 by definition
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// Credentials are an API key of a user.
type Credentials struct {
	Tenancy     string // OCID
	User        string // OCID
	Fingerprint string // of the key, "aa:bb:..."
	KeyPEM      string // the private key's PEM text
	Passphrase  string // of the key, if it has one
	Region      string // "eu-frankfurt-1"
}

// Secrets lists what must never be printed.
func (c Credentials) Secrets() []string {
	return []string{c.KeyPEM, c.pem(), c.Passphrase}
}

// pem is the key as PEM. CI systems like to hand a multi-line secret over with
// its line ends written as \n, or with Windows line ends.
func (c Credentials) pem() string {
	p := strings.TrimSpace(c.KeyPEM)
	if !strings.Contains(p, "\n") {
		p = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n").Replace(p)
	}
	return strings.ReplaceAll(p, "\r\n", "\n") + "\n"
}

// Problems lists everything that is wrong with c, each as one sentence that
// calls a setting by the name that name gives it ("source.user_ocid"), and where
// it is not set says by env how else it can be. It makes no request.
func (c Credentials) Problems(name, env func(field string) string) []error {
	var errs []error
	need := func(value, field, kind string) {
		switch {
		case value == "":
			errs = append(errs, fmt.Errorf("%s must be set (or %s)", name(field), env(field)))
		case kind != "" && !strings.HasPrefix(value, "ocid1."+kind+"."):
			errs = append(errs, fmt.Errorf("%s must be an OCID that begins with ocid1.%s, it is %q", name(field), kind, value))
		}
	}
	need(c.Tenancy, "tenancy_ocid", "tenancy")
	need(c.User, "user_ocid", "user")
	need(c.Fingerprint, "fingerprint", "")
	need(c.Region, "region", "")
	if strings.TrimSpace(c.KeyPEM) == "" {
		return append(errs, fmt.Errorf("%s must be set (or %s, or %s)", name("key"), name("key_file"), env("key")))
	}
	key, err := common.PrivateKeyFromBytesWithPassword([]byte(c.pem()), []byte(c.Passphrase))
	if err != nil {
		// The error of the parser may quote the key: it is not passed on.
		hint := "it must be the PEM text of an RSA private key"
		if strings.Contains(c.KeyPEM, "ENCRYPTED") {
			hint = "it is encrypted: check " + name("pass_phrase")
		}
		return append(errs, fmt.Errorf("%s cannot be read: %s", name("key"), hint))
	}
	if got, err := fingerprint(key); err == nil && c.Fingerprint != "" && !strings.EqualFold(got, c.Fingerprint) {
		errs = append(errs, fmt.Errorf("%s is %s, but the key given by %s has the fingerprint %s", name("fingerprint"), c.Fingerprint, name("key"), got))
	}
	return errs
}

// fingerprint is how OCI names a key: the MD5 of its public half, as hex pairs.
func fingerprint(key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	sum := md5.Sum(der) //nolint:gosec // see the import
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(pairs, ":"), nil
}

// provider is c in the form that the SDK's clients take.
func (c Credentials) provider() (common.ConfigurationProvider, error) {
	same := func(field string) string { return field }
	if errs := c.Problems(same, same); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	var pass *string
	if c.Passphrase != "" {
		pass = &c.Passphrase
	}
	return common.NewRawConfigurationProvider(c.Tenancy, c.User, c.Region, c.Fingerprint, c.pem(), pass), nil
}
