// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// iamState is what IAM knows of all accounts. The cloud's lock guards it.
type iamState struct {
	accounts map[string]*iamAccount // by id
	uses     []IAMUse
}

// iamAccount is what IAM knows of an account.
type iamAccount struct {
	account   *Account
	users     map[string]*iamUser
	roles     map[string]*iamRole
	profiles  map[string]*instanceProfile
	policies  map[string]*managedPolicy // by ARN
	providers map[string]*oidcProvider  // by ARN
}

// iamIdentity is what users and roles have in common.
type iamIdentity struct {
	name, path, id string
	created        time.Time
	given          bool // by the test, not by a client
	tags           tagMap
	inline         map[string]*inlinePolicy
	attached       []*managedPolicy
}

type inlinePolicy struct {
	text string
	*policy
}

// managedPolicy is a policy that several may have.
type managedPolicy struct {
	arn, id, path, description string
	created                    time.Time
	tags                       tagMap
	versions                   []policyVersion // none of those that AWS manages
	made                       int             // versions after the first
	inlinePolicy
}

type iamUser struct {
	iamIdentity
	keys []*accessKey
}

type accessKey struct {
	id      string
	created time.Time
}

type iamRole struct {
	iamIdentity
	description string
	trust       inlinePolicy
	maxSession  time.Duration
	service     string // of a service-linked role
}

type instanceProfile struct {
	name, path, id string
	created        time.Time
	visible        time.Time // from when on EC2 knows it
	given          bool      // by the test, not by a client
	tags           tagMap
	role           *iamRole
}

// of is what IAM knows of an account: from the start, its user with all
// permissions, and its instance profiles with roles that have none.
func (s *iamState) of(a *Account) *iamAccount {
	if known := s.accounts[a.ID]; known != nil {
		return known
	}
	in := &iamAccount{account: a, users: map[string]*iamUser{}, roles: map[string]*iamRole{}, profiles: map[string]*instanceProfile{},
		policies: awsPolicies(), providers: map[string]*oidcProvider{}}
	if s.accounts == nil {
		s.accounts = map[string]*iamAccount{}
	}
	s.accounts[a.ID] = in
	first := in.newUser(a.UserName, "/", a.userID)
	first.given = true
	first.keys = []*accessKey{{a.AccessKeyID, first.created}}
	first.attached = []*managedPolicy{in.policies[administratorAccess]}
	for _, name := range a.InstanceProfiles {
		p := &instanceProfile{name: name, path: "/", id: "AIPA" + randomUpper(17), created: time.Now(), given: true, tags: tagMap{}}
		p.role = in.newRole(name, "/")
		p.role.given = true
		text := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`
		p.role.trust = inlinePolicy{text, mustPolicy(name, text, trustPolicy)}
		in.profiles[name] = p
	}
	return in
}

func mustPolicy(name, text string, kind policyKind) *policy {
	p, err := parsePolicy(name, text, kind)
	if err != nil {
		panic("a policy of the simulator's own: " + err.Error())
	}
	return p
}

func newIdentity(name, path, id string) iamIdentity {
	return iamIdentity{name: name, path: path, id: id, created: time.Now(), tags: tagMap{}, inline: map[string]*inlinePolicy{}}
}

func (in *iamAccount) newUser(name, path, id string) *iamUser {
	u := &iamUser{iamIdentity: newIdentity(name, path, id)}
	in.users[name] = u
	return u
}

func (in *iamAccount) newRole(name, path string) *iamRole {
	r := &iamRole{iamIdentity: newIdentity(name, path, "AROA"+randomUpper(17)), maxSession: time.Hour}
	in.roles[name] = r
	return r
}

func (in *iamAccount) arn(kind, path, name string) string {
	return "arn:aws:iam::" + in.account.ID + ":" + kind + path + name
}

func (in *iamAccount) userARN(u *iamUser) string { return in.arn("user", u.path, u.name) }
func (in *iamAccount) roleARN(r *iamRole) string { return in.arn("role", r.path, r.name) }
func (in *iamAccount) profileARN(p *instanceProfile) string {
	return in.arn("instance-profile", p.path, p.name)
}

// principal is a user as the one who signs.
func (in *iamAccount) principal(u *iamUser) Principal {
	who := Principal{Account: in.account, ARN: in.userARN(u), ID: u.id, Name: u.name, Extra: map[string][]string{}}
	for k, v := range u.tags {
		who.Extra["aws:PrincipalTag/"+k] = []string{v}
	}
	return who
}

// identity is the user or role behind a principal.
func (in *iamAccount) identity(userOrRole string) *iamIdentity {
	if u := in.users[userOrRole]; u != nil {
		return &u.iamIdentity
	}
	if r := in.roles[strings.TrimPrefix(userOrRole, "role/")]; r != nil {
		return &r.iamIdentity
	}
	return nil
}

// documents are the policies of a user or role.
func (in *iamAccount) documents(userOrRole string) []*policy {
	who := in.identity(userOrRole)
	if who == nil {
		return nil
	}
	var list []*policy
	for _, name := range slices.Sorted(maps.Keys(who.inline)) {
		list = append(list, who.inline[name].policy)
	}
	for _, m := range who.attached {
		list = append(list, m.policy)
	}
	return list
}

// identityName is under which name an identity is recorded: its account and
// the name of the user or role.
func identityName(who Principal) string {
	name := who.Name
	if role, is := roleOfSession(who.ARN); is {
		name = role
	}
	return who.Account.ID + "/" + name
}

// roleOfSession is the name of the role in the ARN of a session.
func roleOfSession(arn string) (string, bool) {
	_, rest, is := strings.Cut(arn, ":assumed-role/")
	name, _, _ := strings.Cut(rest, "/")
	return name, is
}

// policiesOf are the policies of a principal, and those of its session.
func (c *Cloud) policiesOf(who Principal) (own, session []*policy) {
	in := c.iam.of(who.Account)
	if role, is := roleOfSession(who.ARN); is {
		return in.documents("role/" + role), who.session
	}
	return in.documents(who.Name), who.session
}

// instanceProfile finds an instance profile by name or ARN, for a launch.
func (c *Cloud) instanceProfile(a *Account, name, arn string) (found *instanceProfile, foundARN string) {
	in := c.iam.of(a)
	for _, p := range in.profiles {
		if own := in.profileARN(p); (p.name == name || own == arn) && !time.Now().Before(p.visible) {
			return p, own
		}
	}
	return nil, ""
}

const administratorAccess = "arn:aws:iam::aws:policy/AdministratorAccess"

// awsPolicies are some of those that AWS manages.
func awsPolicies() map[string]*managedPolicy {
	list := map[string]*managedPolicy{}
	for name, text := range map[string]string{
		"AdministratorAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		"AmazonEC2FullAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:*","Resource":"*"},` +
			`{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*","Condition":{"StringEquals":{"iam:AWSServiceName":["spot.amazonaws.com","ec2scheduled.amazonaws.com"]}}}]}`,
		"AmazonEC2ReadOnlyAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*","ec2:GetSecurityGroupsForVpc"],"Resource":"*"}]}`,
		"AmazonSSMManagedInstanceCore": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:DescribeAssociation","ssm:GetParameter","ssm:GetParameters","ssm:UpdateInstanceInformation"],"Resource":"*"},` +
			`{"Effect":"Allow","Action":["ssmmessages:CreateControlChannel","ssmmessages:CreateDataChannel","ssmmessages:OpenControlChannel","ssmmessages:OpenDataChannel"],"Resource":"*"}]}`,
	} {
		arn := "arn:aws:iam::aws:policy/" + name
		list[arn] = &managedPolicy{arn: arn, id: "ANPA" + randomUpper(17), path: "/", created: time.Date(2015, 2, 6, 18, 39, 46, 0, time.UTC),
			inlinePolicy: inlinePolicy{text, mustPolicy(name, text, identityPolicy)}}
	}
	return list
}

// AddUserWithPolicy makes a user of an account that may do what a policy
// says, and no more, with an access key.
func (c *Cloud) AddUserWithPolicy(a *Account, name, document string) (Principal, Credentials, error) {
	p, err := parsePolicy(name, document, identityPolicy)
	if err != nil {
		return Principal{}, Credentials{}, fmt.Errorf("the policy of %s: %w", name, err)
	}
	who, made := c.AddUser(a, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.iam.of(a).users[name]
	u.attached, u.inline[name] = nil, &inlinePolicy{document, p}
	return who, made, nil
}
