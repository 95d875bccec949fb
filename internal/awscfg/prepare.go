// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awscfg

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/pathing"

	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// preparation is one call of Prepare.
type preparation struct {
	a        *Access
	block    string
	creds    ec2.Credentials
	profiles *profiles
	warnings []string
	errs     []error
}

func (p *preparation) bad(format string, args ...any) {
	p.errs = append(p.errs, fmt.Errorf(p.block+format, args...))
}

// Prepare fills in what the template leaves out and returns the credentials, with
// a line for each option that has no effect, and every problem there is. block is
// put before the names of options in messages ("aws: "). It makes no request.
func (a *Access) Prepare(block string) (ec2.Credentials, []string, []error) {
	p := &preparation{a: a, block: block}
	p.creds = ec2.Credentials{
		Endpoint: a.CustomEndpointEC2, SkipTLS: a.InsecureSkipTLSVerify, MaxRetries: cmp.Or(a.MaxRetries, 10),
		SkipCheck: a.SkipCredentialValidation, DecodeMessages: a.DecodeAuthorizationMessages,
		NoIMDS: a.SkipMetadataAPICheck || strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true"),
	}
	p.refuse()
	p.readProfiles()
	p.signIn()
	p.roles()
	p.settleRegion()
	if a.MaxRetries < 0 {
		p.bad("max_retries must not be negative")
	}
	if u, err := url.Parse(a.CustomEndpointEC2); a.CustomEndpointEC2 != "" && !tmpl.Unknown(a.CustomEndpointEC2) && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		p.bad("custom_endpoint_ec2 must be a URL such as https://vpce-0123.ec2.eu-central-1.vpce.amazonaws.com, it is %q", a.CustomEndpointEC2)
	}
	if a.Polling != nil {
		p.warnings = append(p.warnings, block+"aws_polling has no effect: this builder waits by itself, and instance_timeout and image_timeout limit that")
	}
	a.Region = p.creds.Region
	return p.creds, p.warnings, p.errs
}

// refuse says what to use in place of options that cannot be honoured.
func (p *preparation) refuse() {
	if p.a.MFACode != "" {
		p.bad("mfa_code is not supported: sign in beforehand with `aws sts get-session-token`, and give the keys and the token that it prints")
	}
	if p.a.VaultEngine != nil {
		p.bad("vault_aws_engine is not supported: read the keys from Vault before the build, and give them by access_key, secret_key and token or by the environment")
	}
}

// readProfiles reads the shared files, as far as the template or the environment
// may mean them.
func (p *preparation) readProfiles() {
	a := p.a
	file := a.SharedCredentialsFile
	if file != "" && !tmpl.Unknown(file) {
		path, err := pathing.ExpandUser(file)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			p.bad("shared_credentials_file cannot be read: %w", err)
		}
		p.creds.SharedFile, file = path, path
	}
	p.profiles = readProfiles(file)
}

// keysInEnvironment are those that the SDK reads.
func keysInEnvironment() (id, secret, token string) {
	return cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_ACCESS_KEY")),
		cmp.Or(os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SECRET_KEY")), os.Getenv("AWS_SESSION_TOKEN")
}

// signIn finds out who signs in. The template's own ways exclude each other, except
// that keys beside a profile count before it, as they do for amazon-ebs.
func (p *preparation) signIn() {
	a, c := p.a, &p.creds
	id, secret, token := keysInEnvironment()
	switch {
	case len(a.WebIdentity) > 1:
		p.bad("assume_role_with_web_identity is there twice")
	case len(a.WebIdentity) == 1 && (a.AccessKey != "" || a.SecretKey != "" || a.Profile != ""):
		p.bad("assume_role_with_web_identity excludes access_key, secret_key and profile: the token says who signs in")
	case len(a.WebIdentity) == 1:
		c.From = "assume_role_with_web_identity"
		p.webIdentity(a.WebIdentity[0])
	case a.AccessKey != "" || a.SecretKey != "":
		c.AccessKey, c.SecretKey, c.Token, c.From = a.AccessKey, a.SecretKey, a.Token, "access_key"
		p.checkKeys(p.block+"access_key", p.block+"secret_key", p.block+"token")
	case a.Token != "":
		p.bad("token needs access_key and secret_key beside it")
	case a.Profile != "":
		c.Profile, c.From = a.Profile, "profile"
		if !tmpl.Unknown(a.Profile+a.SharedCredentialsFile) && !p.profiles.has(a.Profile) {
			p.bad("profile: %s", p.profiles.missing(a.Profile))
		}
	case id != "" && secret != "":
		c.AccessKey, c.SecretKey, c.Token, c.From = id, secret, token, "the environment variable AWS_ACCESS_KEY_ID"
		p.checkKeys(c.From, "the environment variable AWS_SECRET_ACCESS_KEY", "the environment variable AWS_SESSION_TOKEN")
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		c.From = "the environment variable AWS_WEB_IDENTITY_TOKEN_FILE"
		p.webIdentity(WebIdentity{})
	default:
		p.nobody(id, secret)
	}
}

// checkKeys checks keys, whatever their names are.
func (p *preparation) checkKeys(id, secret, token string) {
	c := p.creds
	if tmpl.Unknown(c.AccessKey + c.SecretKey + c.Token) {
		return
	}
	switch {
	case c.SecretKey == "":
		p.errs = append(p.errs, fmt.Errorf("%s must be set beside %s", secret, id))
	case c.AccessKey == "":
		p.errs = append(p.errs, fmt.Errorf("%s must be set beside %s", id, secret))
	case strings.HasPrefix(c.AccessKey, "ASIA") && c.Token == "":
		p.errs = append(p.errs, fmt.Errorf("%s begins with ASIA, so it is temporary, and %s must be set as well", id, token))
	case strings.ContainsAny(c.AccessKey+c.SecretKey+c.Token, " \t\r\n"):
		p.errs = append(p.errs, fmt.Errorf("%s or %s has blanks or line ends in it, which no key of AWS has", id, secret))
	}
}

// nobody leaves it to the SDK, unless it is plain that it will find nobody.
func (p *preparation) nobody(id, secret string) {
	name := os.Getenv("AWS_PROFILE")
	switch {
	case name != "" && !p.profiles.has(name):
		p.errs = append(p.errs, fmt.Errorf("the environment variable AWS_PROFILE: %s", p.profiles.missing(name)))
	case name != "":
		p.creds.From = "the environment variable AWS_PROFILE"
	case p.profiles.has("default"):
		p.creds.From = "the profile \"default\""
	case id != "" || secret != "":
		p.errs = append(p.errs, errors.New("of the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set"))
	case p.creds.NoIMDS && os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") == "" && os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") == "":
		p.bad("nobody can sign in: set access_key and secret_key (or the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), profile, or assume_role_with_web_identity")
	}
}

// webIdentity completes an exchange from the environment.
func (p *preparation) webIdentity(w WebIdentity) {
	x := &ec2.WebIdentity{
		RoleARN: cmp.Or(w.RoleARN, os.Getenv("AWS_ROLE_ARN")), SessionName: cmp.Or(w.SessionName, os.Getenv("AWS_ROLE_SESSION_NAME")),
		DurationSeconds: w.DurationSeconds, Policy: w.Policy, PolicyARNs: w.PolicyARNs,
		Token: w.Token, TokenFile: w.TokenFile, Audience: cmp.Or(w.Audience, "sts.amazonaws.com"),
	}
	p.creds.WebIdentity = x
	const name = "assume_role_with_web_identity: "
	if x.Token != "" && x.TokenFile != "" {
		p.bad(name + "web_identity_token and web_identity_token_file exclude each other")
	}
	if x.Token == "" && x.TokenFile == "" {
		x.TokenFile = os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE")
	}
	if x.RoleARN == "" {
		p.bad(name + "role_arn must be set (or the environment variable AWS_ROLE_ARN)")
	}
	p.checkSession(name, x.RoleARN, x.DurationSeconds, x.Policy, x.PolicyARNs)
	switch {
	case x.Token != "" || tmpl.Unknown(x.TokenFile):
	case x.TokenFile != "":
		path, err := pathing.ExpandUser(x.TokenFile)
		if err == nil {
			_, err = os.Stat(path) //nolint:gosec // whoever sets the variable runs the build
		}
		if err != nil {
			p.bad(name+"web_identity_token_file (or the environment variable AWS_WEB_IDENTITY_TOKEN_FILE) cannot be read: %w", err)
		}
		x.TokenFile = path
	default:
		x.RequestURL, x.RequestToken = os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
		if x.RequestURL == "" || x.RequestToken == "" {
			p.bad(name + "there is no token: set web_identity_token_file (or the environment variable AWS_WEB_IDENTITY_TOKEN_FILE), or give the workflow on GitHub the permission id-token: write")
		}
	}
}

// roles takes over the roles that are assumed.
func (p *preparation) roles() {
	for _, r := range p.a.AssumeRole {
		if r.RoleARN == "" && len(p.a.AssumeRole) == 1 && r.empty() {
			continue // variables that are not set
		}
		if r.RoleARN == "" {
			p.bad("assume_role: role_arn must be set")
		}
		p.checkSession("assume_role: ", r.RoleARN, r.DurationSeconds, r.Policy, r.PolicyARNs)
		p.creds.Roles = append(p.creds.Roles, ec2.Role{
			ARN: r.RoleARN, SessionName: r.SessionName, ExternalID: r.ExternalID, DurationSeconds: r.DurationSeconds,
			Policy: r.Policy, PolicyARNs: r.PolicyARNs, Tags: r.Tags, TransitiveTags: r.TransitiveTagKeys,
		})
	}
}

func (r AssumeRole) empty() bool {
	return r.RoleARN+r.SessionName+r.ExternalID+r.Policy == "" && r.DurationSeconds == 0 && len(r.PolicyARNs)+len(r.Tags)+len(r.TransitiveTagKeys) == 0
}

// roleARN is what the ARN of a role looks like.
var roleARN = regexp.MustCompile(`^arn:[a-z-]+:iam::[0-9]{12}:role/.+$`)

// checkSession checks what every session of a role has.
func (p *preparation) checkSession(name, arn string, seconds int64, policy string, policies []string) {
	if arn != "" && !tmpl.Unknown(arn) && !roleARN.MatchString(arn) {
		p.bad("%srole_arn must be the ARN of a role, such as arn:aws:iam::123456789012:role/packer, it is %q", name, arn)
	}
	if seconds != 0 && (seconds < 900 || seconds > 43200) {
		p.bad("%sduration_seconds must be from 900 to 43200, it is %d", name, seconds)
	}
	if policy != "" && !tmpl.Unknown(policy) && !json.Valid([]byte(policy)) {
		p.bad("%spolicy must be a policy document in JSON", name)
	}
	for _, arn := range policies {
		if !strings.HasPrefix(arn, "arn:") && !tmpl.Unknown(arn) {
			p.bad("%spolicy_arns must be ARNs, one is %q", name, arn)
		}
	}
}

// What regions and zones are called.
var (
	regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+$`)
	zoneName   = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]+[a-z]$`)
)

// CheckRegion checks the name of a region, if it is set and known. option is what
// the template calls it.
func CheckRegion(option, region string) error {
	switch {
	case region == "" || tmpl.Unknown(region) || regionName.MatchString(region):
		return nil
	case zoneName.MatchString(region):
		return fmt.Errorf("%s is %q, which is an availability zone: the region is %s", option, region, region[:len(region)-1])
	}
	return fmt.Errorf("%s must be the name of a region such as eu-central-1, it is %q", option, region)
}

// settleRegion finds the region.
func (p *preparation) settleRegion() {
	profile := cmp.Or(p.a.Profile, os.Getenv("AWS_PROFILE"), "default")
	for _, r := range []struct{ from, region string }{
		{p.block + "region", p.a.Region}, {"the environment variable AWS_REGION", os.Getenv("AWS_REGION")},
		{"the environment variable AWS_DEFAULT_REGION", os.Getenv("AWS_DEFAULT_REGION")},
		{fmt.Sprintf("the region of the profile %q", profile), p.profiles.value(profile, "region")},
	} {
		if r.region != "" {
			p.creds.Region = r.region
			if err := CheckRegion(r.from, r.region); err != nil {
				p.errs = append(p.errs, err)
			}
			return
		}
	}
	if tmpl.Unknown(p.a.Profile + p.a.SharedCredentialsFile) {
		return
	}
	p.bad("region must be set (or the environment variable AWS_REGION, or the region of a profile)")
}

// Secrets are what the template and the environment have of them, whether they are
// used or not.
func (a *Access) Secrets() []string {
	_, secret, token := keysInEnvironment()
	all := []string{a.SecretKey, a.Token, a.MFACode, secret, token}
	for _, w := range a.WebIdentity {
		all = append(all, w.Token)
	}
	return all
}
