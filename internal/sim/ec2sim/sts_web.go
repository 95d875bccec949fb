// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"net/http"

	"github.com/armfree/packer-plugin-armfree/internal/sim/oidc"
)

// AddIssuer makes the keys of an issuer of identity tokens known, as its web
// site would. An account lets its tokens in once it has a provider for its URL
// and a role that trusts it.
func (c *Cloud) AddIssuer(i *oidc.Issuer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issuers = append(c.issuers, i)
}

// assumeRoleWithWebIdentity is not signed: the token says who asks.
func (c *Cloud) assumeRoleWithWebIdentity(q *call, in *struct {
	sessionParams
	Token      string `aws:"WebIdentityToken,required"`
	ProviderID string `aws:"ProviderId"`
}) (any, error) {
	q.asked = true
	if in.ProviderID != "" {
		return nil, refuse("ValidationError", "ProviderId is for OAuth 2.0 access tokens")
	}
	token, err := oidc.Parse(in.Token)
	if err != nil {
		return nil, refuse("InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	of, r := c.roleByARN(in.RoleARN)
	denied := fail(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	if r == nil {
		return nil, denied
	}
	url := hostOf(token.Issuer)
	arn := of.providerARN(url)
	provider := of.providers[arn]
	if provider == nil {
		return nil, refuse("InvalidIdentityToken", "No OpenIDConnect provider found in your account for %s", token.Issuer)
	}
	known, signed := false, false
	for _, i := range c.issuers {
		if i.URL == token.Issuer {
			known, signed = true, signed || i.Signed(token)
		}
	}
	switch {
	case !known:
		return nil, refuse("InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	case !signed:
		return nil, refuse("InvalidIdentityToken", "Token signature is invalid.")
	case token.Expired():
		return nil, refuse("ExpiredTokenException", "Token expired: current date/time must be before the expiration date/time")
	case !provider.admits(token.Audience):
		return nil, refuse("InvalidIdentityToken", "Incorrect token audience")
	}
	keys := keysOf(map[string][]string{
		url + ":aud": {token.Audience}, url + ":sub": {token.Subject}, "sts:RoleSessionName": {in.RoleSessionName},
		"aws:FederatedProvider": {arn},
	})
	if allowed, _ := r.trust.trusts("sts:AssumeRoleWithWebIdentity", policyPrincipal{"Federated", arn}, of.account.ID, keys); !allowed {
		return nil, denied
	}
	life, err := in.check(r, false)
	if err != nil {
		return nil, err
	}
	narrowed, err := in.narrowed(of)
	if err != nil {
		return nil, err
	}
	made, as := c.roleSession(of, r, in.RoleSessionName, life, nil, narrowed)
	return struct {
		Subject         string `xml:"SubjectFromWebIdentityToken"`
		Audience        string
		AssumedRoleUser assumedXML
		Credentials     credentialsXML
		Provider        string
	}{token.Subject, token.Audience, as, made.xml(), arn}, nil
}
