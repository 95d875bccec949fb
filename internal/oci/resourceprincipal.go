// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"cmp"
	"context"
	"crypto/rsa"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/common/auth"
)

// federated is a provider of Oracle's SDK that gets its token from somewhere.
type federated interface {
	common.KeyProvider
	Region() (string, error)
	TenancyOCID() (string, error)
}

// resource signs in as the resource that this runs in: a function, a job. The
// platform puts a token or the way to one into the environment, in several
// versions that the SDK knows.
func resource(ctx context.Context) (*pass, error) {
	return provided(ctx, "resource principal", func() (federated, error) {
		return auth.ResourcePrincipalConfigurationProvider()
	})
}

// workload signs in as the pod of OKE that this runs in. tokenFile has the token
// of its service account; it is where Kubernetes puts it if empty.
func workload(tokenFile string) func(context.Context) (*pass, error) {
	return func(ctx context.Context) (*pass, error) {
		return provided(ctx, "OKE workload identity", func() (federated, error) {
			account := auth.NewDefaultServiceAccountTokenProvider()
			if tokenFile != "" {
				account = account.WithSaTokenPath(tokenFile)
			}
			return auth.OkeWorkloadIdentityConfigurationProviderWithServiceAccountTokenProvider(account)
		})
	}
}

// provided takes one pass from a new provider. The SDK's providers obey no
// context and keep what they have until five minutes before its end, so each is
// used once, and abandoned where it takes too long.
func provided(ctx context.Context, what string, open func() (federated, error)) (*pass, error) {
	type result struct {
		p   *pass
		err error
	}
	limited, cancel := context.WithTimeout(ctx, authLimit)
	defer cancel()
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			// The SDK trusts what it reads.
			if recover() != nil {
				r.err = fmt.Errorf("what there is makes no sense")
			}
			done <- r
		}()
		r.p, r.err = take(open)
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, &signInError{text: fmt.Sprintf("there is no %s here: %s", what, oneLine(r.err)), passing: temporary(r.err)}
		}
		if e := r.p.expires; !e.IsZero() && !time.Now().Before(e) {
			return nil, &signInError{text: fmt.Sprintf("the token of the %s expired at %s", what, e.UTC().Format(time.RFC3339))}
		}
		return r.p, nil
	case <-limited.Done():
		if ctx.Err() != nil {
			return nil, interrupted(ctx)
		}
		return nil, &signInError{text: fmt.Sprintf("the %s got no answer within %s", what, authLimit), passing: true}
	}
}

// take is a provider's token with the key that belongs to it.
func take(open func() (federated, error)) (*pass, error) {
	provider, err := open()
	if err != nil {
		return nil, err
	}
	for range 3 { // it may replace both between two calls
		var before, key *rsa.PrivateKey
		if before, err = provider.PrivateRSAKey(); err != nil {
			return nil, err
		}
		id, err := provider.KeyID()
		if err != nil {
			return nil, err
		}
		if key, err = provider.PrivateRSAKey(); err != nil {
			return nil, err
		}
		if !before.Equal(key) {
			continue
		}
		t, err := parseToken(strings.TrimPrefix(id, "ST$"))
		if err != nil {
			return nil, err
		}
		if own, err := provider.TenancyOCID(); err == nil {
			t.tenancy = cmp.Or(own, t.tenancy)
		}
		p := newPass(t, key)
		if region, err := provider.Region(); err == nil {
			p.region = cmp.Or(region, os.Getenv("OCI_RESOURCE_PRINCIPAL_REGION"))
		}
		return p, nil
	}
	return nil, fmt.Errorf("token and key change all the time")
}

// temporary says whether another attempt may help: whatever is not missing.
func temporary(err error) bool {
	text := err.Error()
	for _, s := range []string{"not present", "must be valid", "no such file", "makes no sense", "no token", "due to", "cert"} {
		if strings.Contains(text, s) {
			return false
		}
	}
	return true
}

// oneLine is an error of the SDK's providers without its advice and without the
// token that it may quote.
func oneLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	if before, _, quotes := strings.Cut(text, "the token string \""); quotes {
		text = before + "the token"
	}
	return jwtText.ReplaceAllString(strings.TrimSpace(text), "<token>")
}
