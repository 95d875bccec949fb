// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// preparation is one call of Prepare.
type preparation struct {
	a        *Access
	block    string
	prefixes []string
	template *source
	envs     []*source
	profile  []*source // the profile, and what it inherits from, once they are read
}

// Prepare fills in what the template leaves out and returns the credentials with
// every problem they have. block is put before the names of options in messages
// ("source."), each of prefixes before the name of a variable ("BUILD_" for
// BUILD_OCI_REGION); the first that is set counts. It makes no request.
func (a *Access) Prepare(block string, prefixes ...string) (oci.Credentials, []error) {
	p := &preparation{a: a, block: block, prefixes: prefixes, template: a.template(block), envs: environments(prefixes)}
	kind, errs := p.asked()
	switch {
	case len(errs) > 0:
		return oci.Credentials{Kind: kind, KeyPEM: a.Key, Passphrase: a.PassPhrase}, errs // secrets all the same
	case kind != oci.APIKey:
		return p.principal(kind)
	case a.unknown():
		return p.fill(choose(false, append([]*source{p.template}, p.envs...)...)), nil // a build will tell
	}
	c, kind, err := p.pick()
	switch {
	case err != nil:
		return p.fill(c), append([]error{err}, p.regionMissing(c)...)
	case kind != oci.APIKey:
		return p.principal(kind)
	}
	return p.finish(c)
}

// unknown says that Packer does not know all values yet.
func (a *Access) unknown() bool {
	for _, v := range []string{
		a.TenancyOCID, a.UserOCID, a.Fingerprint, a.Key, a.KeyFile, a.PassPhrase, a.Region,
		a.AccessCfgFile, a.AccessCfgFileAccount, a.SecurityTokenFile,
	} {
		if tmpl.Unknown(v) {
			return true
		}
	}
	return slices.ContainsFunc(a.OIDC, func(o OIDC) bool {
		return tmpl.Unknown(o.DomainURL + o.ClientID + o.ClientSecret + o.Audience + o.TokenFile + o.Token)
	})
}

// Named says whether the template or a variable that Prepare reads says who signs in. A
// region or a passphrase alone is not that, nor is a file at its usual place.
func (a *Access) Named(prefixes ...string) bool {
	if a.UseInstancePrincipals || a.UseResourcePrincipal || a.UseOKEWorkloadIdentity || len(a.OIDC) > 0 {
		return true
	}
	if where, _ := a.locate("", prefixes); where.fileOption != "" || where.profileFrom != "" {
		return true
	}
	if slices.Contains(prefixes, "") && os.Getenv("OCI_CLI_AUTH") != "" {
		return true
	}
	return slices.ContainsFunc(append(environments(prefixes), a.template("")), func(s *source) bool {
		return s.has(tenancyOCID, userOCID, fingerprint, keyText, keyPath, tokenPath, "oidc.domain_url")
	})
}

// asked is the kind that the template asks for by an option of its own. The
// options that it excludes are those that oracle-oci excludes; only the template
// can contradict itself, never the environment.
func (p *preparation) asked() (oci.Kind, []error) {
	a := p.a
	var names []string
	var kind oci.Kind
	for _, k := range []struct {
		set  bool
		name string
		kind oci.Kind
	}{
		{a.UseInstancePrincipals, "use_instance_principals", oci.InstancePrincipal},
		{a.UseResourcePrincipal, "use_resource_principal", oci.ResourcePrincipal},
		{a.UseOKEWorkloadIdentity, "use_oke_workload_identity", oci.WorkloadIdentity},
		{len(a.OIDC) > 0, "oidc", oci.TokenExchange},
	} {
		if k.set {
			names = append(names, p.block+k.name)
			kind = k.kind
		}
	}
	switch {
	case len(names) > 1:
		return kind, []error{fmt.Errorf("%s exclude each other", strings.Join(names, " and "))}
	case len(a.OIDC) > 1:
		return kind, []error{fmt.Errorf("%soidc is there twice", p.block)}
	case kind == oci.APIKey:
		if p.template.has(tokenPath) && p.template.has(userOCID) {
			return kind, []error{fmt.Errorf("%ssecurity_token_file and %suser_ocid exclude each other: the token says who the user is", p.block, p.block)}
		}
		return kind, nil
	}
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"access_cfg_file", a.AccessCfgFile}, {"access_cfg_file_account", a.AccessCfgFileAccount}, {userOCID, a.UserOCID},
		{tenancyOCID, a.TenancyOCID}, {region, a.Region}, {fingerprint, a.Fingerprint}, {keyText, a.Key}, {keyPath, a.KeyFile},
		{passPhrase, a.PassPhrase}, {tokenPath, a.SecurityTokenFile},
	} {
		// oracle-oci wants neither beside an instance principal. A copy must be
		// able to say where to, and the new kinds have no such rule.
		free := f.name == region && (p.block != "" || kind != oci.InstancePrincipal) || f.name == tenancyOCID && kind != oci.InstancePrincipal
		if f.value != "" && !free {
			what := names[0] + " is set to true"
			if kind == oci.TokenExchange {
				what = names[0] + " is"
			}
			errs = append(errs, fmt.Errorf("%s%s cannot be present when %s", p.block, f.name, what))
		}
	}
	return kind, errs
}

// pick finds out who signs in where the template asks for no kind. The profile
// that the template names counts before the environment. Any other is left alone
// if there is enough without it: it then belongs to somebody's daily work.
func (p *preparation) pick() (*choice, oci.Kind, error) {
	auth := ""
	if slices.Contains(p.prefixes, "") {
		auth = os.Getenv("OCI_CLI_AUTH")
	}
	sessions := auth == "security_token"
	plain := choose(sessions, append([]*source{p.template}, p.envs...)...)
	where, known := p.a.locate(p.block, p.prefixes)
	explicit := p.template.has(userOCID, fingerprint, keyText, keyPath, tokenPath)
	if !where.asked {
		for _, env := range p.envs {
			if c := choose(sessions, p.template, env); c.complete() {
				c.sources, c.from[region] = plain.sources, plain.from[region]
				return c, oci.APIKey, nil
			}
		}
		if plain.complete() {
			return plain, oci.APIKey, nil
		}
		if v, _ := first(p.envs, "oidc.domain_url"); v != "" && !explicit {
			return plain, oci.TokenExchange, nil
		}
		if kind, err := commandLine(auth); !explicit && (kind != oci.APIKey || err != nil) {
			return plain, kind, err
		}
	}
	if !known {
		return plain, oci.APIKey, nil
	}
	profile, err := where.read()
	switch {
	case errors.Is(err, errNoFile), err != nil && plain.complete():
		return plain, oci.APIKey, nil
	case err != nil:
		return plain, oci.APIKey, err
	}
	p.profile = profile
	c := choose(sessions, slices.Concat([]*source{p.template}, profile, p.envs)...)
	if v, s := first(profile, "authentication_type"); v != "" && !explicit {
		if d, _ := first(profile, "delegation_token_file"); d != "" {
			return c, oci.APIKey, fmt.Errorf("%s: delegation tokens are not supported", s.label("delegation_token_file"))
		}
		if !strings.EqualFold(v, "instance_principal") {
			return c, oci.APIKey, fmt.Errorf("%s is %q, only instance_principal is known", s.label("authentication_type"), v)
		}
		return c, oci.InstancePrincipal, nil
	}
	return c, oci.APIKey, nil
}

// commandLine is the kind that OCI_CLI_AUTH stands for.
func commandLine(auth string) (oci.Kind, error) {
	switch auth {
	case "", "api_key", "security_token":
		return oci.APIKey, nil
	case "instance_principal":
		return oci.InstancePrincipal, nil
	case "resource_principal":
		return oci.ResourcePrincipal, nil
	case "oke_workload_identity":
		return oci.WorkloadIdentity, nil
	}
	return oci.APIKey, fmt.Errorf("the environment variable OCI_CLI_AUTH is %q; only api_key, security_token, instance_principal, resource_principal and oke_workload_identity are supported", auth)
}

// fill writes what was chosen into the options and returns the credentials.
func (p *preparation) fill(c *choice) oci.Credentials {
	creds := c.credentials()
	p.a.TenancyOCID, p.a.UserOCID, p.a.Fingerprint, p.a.Region = creds.Tenancy, creds.User, creds.Fingerprint, creds.Region
	return creds
}

// finish reads the key and checks what was chosen.
func (p *preparation) finish(c *choice) (oci.Credentials, []error) {
	c.readKey()
	if c.unread == nil {
		if err := c.torn(); err != nil {
			return p.fill(c), append([]error{err}, p.regionMissing(c)...)
		}
	}
	creds := p.fill(c)
	var errs []error
	if c.session {
		path, err := c.from[tokenPath].path(tokenPath)
		if err != nil {
			return creds, []error{fmt.Errorf("%s: %w", c.label(tokenPath), err)}
		}
		creds.TokenFile = path
	}
	errs = append(errs, creds.FieldProblems(c.label, p.otherwise)...)
	if c.unread != nil {
		return creds, append(errs, c.unread)
	}
	return creds, append(errs, creds.KeyProblems(c.label, p.otherwise)...)
}

// otherwise says where else a field that is lacking can come from.
func (p *preparation) otherwise(field string) string {
	text := "the environment variable " + ownNames(p.prefixes[0])[field]
	if len(p.profile) > 0 {
		text += ", or " + p.profile[0].label(field)
	}
	return text
}

// regionMissing is that problem alone, where another hides the rest.
func (p *preparation) regionMissing(c *choice) []error {
	if c.value(region) != "" {
		return nil
	}
	return []error{fmt.Errorf("%sregion must be set (or %s)", p.block, p.otherwise(region))}
}

// principal are credentials whose user and key come from somewhere else.
func (p *preparation) principal(kind oci.Kind) (oci.Credentials, []error) {
	sources := slices.Concat([]*source{p.template}, p.profile, p.envs)
	where, _ := first(sources, region)
	creds := oci.Credentials{Kind: kind, Tenancy: p.a.TenancyOCID, Region: where}
	p.a.Region = where
	own := p.template.label
	if kind == oci.TokenExchange {
		creds.Exchange = p.exchange()
		if path := creds.Exchange.TokenFile; path != "" && !p.a.unknown() && !exists(path) {
			return creds, []error{fmt.Errorf("%s cannot be read: there is no file %s", own("oidc.token_file"), path)}
		}
	}
	if p.a.unknown() {
		return creds, nil
	}
	return creds, creds.FieldProblems(own, p.otherwise)
}

// exchange is the block, completed from the environment.
func (p *preparation) exchange() oci.Exchange {
	var o OIDC
	if len(p.a.OIDC) > 0 {
		o = p.a.OIDC[0]
	}
	from := func(v, field string) string {
		if v == "" {
			v, _ = first(p.envs, "oidc."+field)
		}
		return v
	}
	x := oci.Exchange{
		DomainURL: from(o.DomainURL, "domain_url"), ClientID: from(o.ClientID, "client_id"),
		ClientSecret: from(o.ClientSecret, "client_secret"), Audience: from(o.Audience, "audience"),
		Token: o.Token, TokenFile: o.TokenFile,
	}
	if x.Token == "" && x.TokenFile == "" {
		x.Token = from("", "token")
	}
	if x.Token == "" {
		x.TokenFile = from(x.TokenFile, "token_file")
	}
	if x.TokenFile != "" && !tmpl.Unknown(x.TokenFile) {
		s := source{values: map[string]string{keyPath: x.TokenFile}}
		if path, err := s.path(keyPath); err == nil {
			x.TokenFile = path
		}
	}
	if x.Token == "" && x.TokenFile == "" {
		x.RequestURL, x.RequestToken = os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	}
	return x
}
