// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// securityTokens is the service STS.
func (c *Cloud) securityTokens() *api {
	return &api{
		name: "sts", prefix: "sts", identify: queryAction("2011-06-15"), failure: queryFailure, problems: queryProblems,
		ops: operations(
			stsOp("GetCallerIdentity", c.getCallerIdentity).needsNothing(),
			stsOp("GetSessionToken", c.getSessionToken).needsNothing(),
			stsOp("DecodeAuthorizationMessage", c.decodeAuthorizationMessage),
			stsOp("AssumeRole", c.assumeRole),
			stsOp("AssumeRoleWithWebIdentity", c.assumeRoleWithWebIdentity).withoutSignature(),
		),
	}
}

func stsOp[T any](name string, run func(q *call, in *T) (any, error)) *operation {
	return resultOp(name, stsNamespace, run)
}

func (c *Cloud) getCallerIdentity(q *call, _ *struct{}) (any, error) {
	return struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string
	}{q.who.ARN, q.who.ID, q.who.Account.ID}, nil
}

type credentialsXML struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

func (made Credentials) xml() credentialsXML {
	return credentialsXML{made.AccessKeyID, made.SecretAccessKey, made.SessionToken, iamTime(made.Expires)}
}

// lifetime reads for how long credentials are wanted.
func lifetime(seconds *int, standard, most time.Duration) (time.Duration, error) {
	if seconds == nil {
		return standard, nil
	}
	if *seconds < 900 || *seconds > int(most.Seconds()) {
		return 0, refuse("ValidationError", "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: "+
			"Member must have value between 900 and %d", *seconds, int(most.Seconds()))
	}
	return time.Duration(*seconds) * time.Second, nil
}

func (c *Cloud) getSessionToken(q *call, in *struct {
	DurationSeconds *int
	SerialNumber    string
	TokenCode       string
}) (any, error) {
	life, err := lifetime(in.DurationSeconds, 12*time.Hour, 36*time.Hour)
	switch {
	case err != nil:
		return nil, err
	case in.SerialNumber != "" || in.TokenCode != "":
		return nil, errNotSimulated("MFA devices")
	case q.who.Session:
		return nil, fail(http.StatusForbidden, "AccessDenied", "Cannot call GetSessionToken with session credentials")
	}
	who := q.who
	who.Extra = maps.Clone(who.Extra)
	if who.Extra == nil {
		who.Extra = map[string][]string{}
	}
	who.Extra["aws:PrincipalType"] = []string{"User"}
	who.Extra["aws:TokenIssueTime"] = []string{time.Now().UTC().Format(time.RFC3339)}
	return struct{ Credentials credentialsXML }{c.issue(who, life).xml()}, nil
}

func (c *Cloud) decodeAuthorizationMessage(q *call, in *struct {
	Message string `aws:"EncodedMessage,required"`
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	text, err := DecodeMessage(in.Message)
	if err != nil {
		return nil, refuse("InvalidAuthorizationMessageException", "Invalid authorization message")
	}
	return struct {
		Message string `xml:"DecodedMessage"`
	}{text}, nil
}

// sessionParams are what both ways to assume a role have.
type sessionParams struct {
	RoleARN         string `aws:"RoleArn,required"`
	RoleSessionName string `aws:",required"`
	DurationSeconds *int
	Policy          string
	PolicyARNs      struct {
		Items []struct {
			ARN string `aws:"arn,required"`
		} `aws:"member"`
	} `aws:"PolicyArns"`
}

// roleByARN finds a role in whatever account.
func (c *Cloud) roleByARN(arn string) (*iamAccount, *iamRole) {
	for _, a := range c.cfg.Accounts {
		in := c.iam.of(a)
		for _, r := range in.roles {
			if in.roleARN(r) == arn {
				return in, r
			}
		}
	}
	return nil, nil
}

// narrowed reads the policies of a session.
func (p sessionParams) narrowed(in *iamAccount) ([]*policy, error) {
	var list []*policy
	if p.Policy != "" {
		if policySize(p.Policy) > 2048 {
			return nil, refuse("ValidationError", "1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048")
		}
		made, err := parsePolicy("session", p.Policy, identityPolicy)
		if err != nil {
			return nil, err
		}
		list = append(list, made)
	}
	for _, x := range p.PolicyARNs.Items {
		m := in.policies[x.ARN]
		if m == nil {
			return nil, refuse("ValidationError", "The policy %s does not exist", x.ARN)
		}
		list = append(list, m.policy)
	}
	return list, nil
}

// check looks at what does not depend on the caller.
func (p sessionParams) check(r *iamRole, chained bool) (time.Duration, error) {
	if err := checkName("roleSessionName", p.RoleSessionName, 64); err != nil {
		return 0, err
	}
	if len(p.RoleSessionName) < 2 {
		return 0, refuse("ValidationError", "1 validation error detected: Value '%s' at 'roleSessionName' failed to satisfy constraint: "+
			"Member must have length greater than or equal to 2", p.RoleSessionName)
	}
	life, err := lifetime(p.DurationSeconds, time.Hour, 12*time.Hour)
	switch {
	case err != nil:
		return 0, err
	case chained && life > time.Hour:
		return 0, refuse("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	case life > r.maxSession:
		return 0, refuse("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	return life, nil
}

type assumedXML struct {
	ID  string `xml:"AssumedRoleId"`
	ARN string `xml:"Arn"`
}

// roleSession makes credentials of a role.
func (c *Cloud) roleSession(in *iamAccount, r *iamRole, name string, life time.Duration, tags tagMap, narrowed []*policy) (Credentials, assumedXML) {
	as := assumedXML{r.id + ":" + name, "arn:aws:sts::" + in.account.ID + ":assumed-role/" + r.name + "/" + name}
	who := Principal{Account: in.account, ARN: as.ARN, ID: as.ID, session: narrowed, Extra: map[string][]string{
		"aws:PrincipalArn": {in.roleARN(r)}, "aws:PrincipalType": {"AssumedRole"}, "aws:TokenIssueTime": {time.Now().UTC().Format(time.RFC3339)},
	}}
	for _, set := range []tagMap{r.tags, tags} {
		for k, v := range set {
			who.Extra["aws:PrincipalTag/"+k] = []string{v}
		}
	}
	return c.issue(who, life), as
}

func errNotAssumable(q *call, arn string) error {
	return fail(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s", q.who.ARN, "sts:"+q.op.name, arn)
}

func (c *Cloud) assumeRole(q *call, in *struct {
	sessionParams
	ExternalID        string `aws:"ExternalId"`
	Tags              memberTags
	TransitiveTagKeys memberTexts
	SerialNumber      string
	TokenCode         string
	SourceIdentity    string
}) (any, error) {
	q.asked = true
	of, r := c.roleByARN(in.RoleARN)
	tags, err := in.Tags.read()
	switch {
	case err != nil:
		return nil, err
	case in.SerialNumber != "" || in.TokenCode != "":
		return nil, errNotSimulated("MFA devices")
	case in.SourceIdentity != "":
		return nil, errNotSimulated("source identities")
	case r == nil:
		return nil, errNotAssumable(q, in.RoleARN)
	}
	actions := []string{"sts:AssumeRole"}
	if len(tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	x := iamResource(in.RoleARN, r.tags, tags).with("sts:RoleSessionName", in.RoleSessionName)
	if in.ExternalID != "" {
		x.with("sts:ExternalId", in.ExternalID)
	}
	for _, action := range actions {
		if err := c.mayAssume(q, action, of, r, x); err != nil {
			return nil, err
		}
	}
	_, chained := roleOfSession(q.who.ARN)
	life, err := in.check(r, chained)
	if err != nil {
		return nil, err
	}
	narrowed, err := in.narrowed(of)
	if err != nil {
		return nil, err
	}
	made, as := c.roleSession(of, r, in.RoleSessionName, life, tags, narrowed)
	return struct {
		Credentials      credentialsXML
		AssumedRoleUser  assumedXML
		PackedPolicySize int `xml:",omitempty"`
	}{made.xml(), as, policySize(in.Policy) * 100 / 2048}, nil
}

// mayAssume asks both sides: the role's trust policy, and the policies of the
// caller unless the role, in the caller's account, trusts the caller by name.
func (c *Cloud) mayAssume(q *call, action string, of *iamAccount, r *iamRole, x AccessResource) error {
	keys := keysOf(q.accessContext(), x.Context)
	ids := []string{q.who.ARN}
	if role, is := roleOfSession(q.who.ARN); is {
		if own := c.iamOf(q).roles[role]; own != nil {
			ids = append(ids, c.iamOf(q).roleARN(own))
		}
	}
	trusted, byName := false, false
	for _, id := range ids {
		allowed, explicit := r.trust.trusts(action, policyPrincipal{"AWS", id}, q.who.Account.ID, keys)
		trusted, byName = trusted || allowed, byName || explicit
	}
	if !trusted {
		return errNotAssumable(q, x.ARN)
	}
	access := Access{q.who, action, []AccessResource{x}, q.accessContext()}
	if byName && of.account == q.who.Account {
		own, _ := c.policiesOf(q.who)
		if grants, deny := judge(own, action, x.ARN, keys); !deny {
			c.iam.record(access, x, grants, nil)
			return nil
		}
	}
	return c.allows(q, access)
}

// trusts asks a role's trust policy about somebody.
func (p inlinePolicy) trusts(action string, who policyPrincipal, accountID string, keys conditionKeys) (allowed, explicit bool) {
	if p.policy == nil {
		return false, false
	}
	return p.policy.trusts(action, who, accountID, keys)
}

// hostOf is an issuer's URL as condition keys and ARNs have it.
func hostOf(url string) string {
	return strings.TrimSuffix(strings.TrimPrefix(url, "https://"), "/")
}

// has tells whether the provider's tokens may be for an audience.
func (p *oidcProvider) admits(audience string) bool { return slices.Contains(p.clients, audience) }
