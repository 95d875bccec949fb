// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

// Credentials say who signs in, and how. Without keys, a profile or a web identity
// it is whoever AWS's SDK finds: by the environment, the profile in AWS_PROFILE or
// "default", the container, or the machine that Packer runs on.
type Credentials struct {
	// Region is that of the template, of the environment or of the profile, in
	// this order.
	Region string

	// Keys of a user, of the template or of the environment, which count before
	// everything else.
	AccessKey, SecretKey, Token string
	// From is where keys, profile or web identity come from, for messages:
	// "access_key", "the environment variable AWS_PROFILE". Empty if nothing says
	// so, and it is up to the SDK.
	From string
	// Profile is the one that the template names, which counts before the
	// environment. Empty leaves it to AWS_PROFILE.
	Profile string
	// SharedFile is a file with profiles that is read in place of
	// ~/.aws/credentials; it may have the form of ~/.aws/config as well. Empty
	// leaves the files to the environment.
	SharedFile string
	// WebIdentity exchanges a token of another issuer; nil if there is none.
	WebIdentity *WebIdentity
	// Roles are assumed one after the other, by whoever signs in as above.
	Roles []Role

	// Endpoint replaces EC2's address in Region, for every request; elsewhere,
	// and for other services, AWS_ENDPOINT_URL and the profile say.
	Endpoint   string
	SkipTLS    bool // take any certificate
	NoIMDS     bool // never ask the machine that Packer runs on
	SkipCheck  bool // do not ask STS who it is (GetCallerIdentity)
	MaxRetries int  // of a request that may be repeated; 0 is the adapter's own choice
	// DecodeMessages: ask STS what an encoded authorization message says.
	DecodeMessages bool
}

// Role is a role of IAM that is assumed.
type Role struct {
	ARN             string
	SessionName     string // empty is the adapter's choice
	ExternalID      string
	DurationSeconds int64 // 0 is an hour
	Policy          string
	PolicyARNs      []string
	Tags            map[string]string
	TransitiveTags  []string
}

// WebIdentity is an exchange of a token for a session of a role, as GitHub Actions,
// GitLab and EKS do it. The token is in TokenFile, which is read for every
// exchange; or it is Token; or GitHub is asked for one by RequestURL.
type WebIdentity struct {
	RoleARN                  string
	SessionName              string // empty is the adapter's choice
	DurationSeconds          int64  // 0 is an hour
	Policy                   string
	PolicyARNs               []string
	TokenFile                string
	Token                    string
	RequestURL, RequestToken string // GitHub's
	Audience                 string // of GitHub's token
}

// Secrets are what must not be printed.
func (c Credentials) Secrets() []string {
	all := []string{c.SecretKey, c.Token}
	if w := c.WebIdentity; w != nil {
		all = append(all, w.Token, w.RequestToken)
	}
	return all
}
