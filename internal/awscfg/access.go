// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Access,AssumeRole,WebIdentity,Polling,VaultEngine

// Package awscfg is the part of a template that says who signs in to AWS and where,
// under the names that the amazon-ebs builder uses.
//
// There are four places that may say it, in this order: keys in the template, a
// profile that the template names, keys or a web identity in the environment, and
// whatever AWS's SDK finds then (the profile in AWS_PROFILE or "default", the
// container, the machine). What goes together is taken from one place: a secret
// never signs for another place's key. An environment is never in the way of a
// template.
package awscfg

import "reflect"

// Access says who signs in, and to which region.
type Access struct {
	// The id of an access key. Defaults to the environment variable
	// `AWS_ACCESS_KEY_ID`, unless `profile` or `assume_role_with_web_identity` is
	// set. See [Credentials](../credentials.md#aws).
	AccessKey string `mapstructure:"access_key" required:"false"`
	// The secret of the access key. Goes with `access_key`; with the variable it is
	// that of `AWS_SECRET_ACCESS_KEY`.
	SecretKey string `mapstructure:"secret_key" required:"false"`
	// The session token of a temporary access key, whose id begins with `ASIA`.
	// Goes with `access_key`; with the variable it is that of `AWS_SESSION_TOKEN`.
	Token string `mapstructure:"token" required:"false"`
	// The profile of AWS's shared configuration files that signs in. Counts before
	// keys in the environment. Defaults to the environment variable `AWS_PROFILE`,
	// else to `default`, both of which count after them.
	Profile string `mapstructure:"profile" required:"false"`
	// The region to build in, such as `eu-central-1`. Defaults to the environment
	// variable `AWS_REGION`, else `AWS_DEFAULT_REGION`, else to that of the
	// profile. There is no other default.
	Region string `mapstructure:"region" required:"false"`
	// A file with profiles, in place of `~/.aws/credentials`. A leading `~` is the
	// home directory.
	SharedCredentialsFile string `mapstructure:"shared_credentials_file" required:"false"`
	// A role to assume after signing in. Several blocks are assumed one after the
	// other. See [`assume_role`](#assume_role).
	AssumeRole []AssumeRole `mapstructure:"assume_role" required:"false"`
	// Sign in by a token of another issuer, such as GitHub Actions, so that no
	// user's key is needed. Defaults to the environment variables
	// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`. See
	// [`assume_role_with_web_identity`](#assume_role_with_web_identity).
	WebIdentity []WebIdentity `mapstructure:"assume_role_with_web_identity" required:"false"`
	// An address that replaces EC2's in `region`, such as that of a VPC endpoint.
	// It is used for every request there. Other services and regions have
	// `AWS_ENDPOINT_URL` and its kin.
	CustomEndpointEC2 string `mapstructure:"custom_endpoint_ec2" required:"false"`
	// Take any certificate, whoever it is from. Defaults to `false`.
	InsecureSkipTLSVerify bool `mapstructure:"insecure_skip_tls_verify" required:"false"`
	// How often a request that may be repeated is sent at most when AWS throttles
	// or fails. A launch is sent once for each attempt of the search, whatever
	// this says. Defaults to `10`.
	MaxRetries int `mapstructure:"max_retries" required:"false"`
	// Do not ask STS whose credentials these are before the build. Defaults to
	// `false`.
	SkipCredentialValidation bool `mapstructure:"skip_credential_validation" required:"false"`
	// Never ask the metadata service of the machine that Packer runs on for
	// credentials. Defaults to `false`, or to what the environment variable
	// `AWS_EC2_METADATA_DISABLED` says.
	SkipMetadataAPICheck bool `mapstructure:"skip_metadata_api_check" required:"false"`
	// Ask STS what is in an encoded authorization message when a request is
	// refused. Needs the permission `sts:DecodeAuthorizationMessage`. Defaults to
	// `false`.
	DecodeAuthorizationMessages bool `mapstructure:"decode_authorization_messages" required:"false"`
	// Accepted for templates of amazon-ebs and without effect: this builder waits
	// by itself. `instance_timeout` and `image_timeout` limit the waits.
	Polling *Polling `mapstructure:"aws_polling" required:"false"`

	MFACode     string       `mapstructure:"mfa_code" undocumented:"true"`
	VaultEngine *VaultEngine `mapstructure:"vault_aws_engine" undocumented:"true"`
}

// Given says whether a template says anything of this but the region.
func (a *Access) Given() bool { return !reflect.DeepEqual(*a, Access{Region: a.Region}) }

// AssumeRole is a role that is assumed.
type AssumeRole struct {
	// The ARN of the role.
	RoleARN string `mapstructure:"role_arn" required:"true"`
	// The name of the session, as CloudTrail shows it. Defaults to
	// `packer-plugin-armfree`.
	SessionName string `mapstructure:"session_name" required:"false"`
	// What the role's trust policy asks for as `sts:ExternalId`.
	ExternalID string `mapstructure:"external_id" required:"false"`
	// How long a session lasts, from 900 to 43200 seconds. It is renewed. Defaults
	// to `3600`.
	DurationSeconds int64 `mapstructure:"duration_seconds" required:"false"`
	// A policy document in JSON that restricts the session further.
	Policy string `mapstructure:"policy" required:"false"`
	// ARNs of policies that restrict the session further.
	PolicyARNs []string `mapstructure:"policy_arns" required:"false"`
	// Tags of the session.
	Tags map[string]string `mapstructure:"tags" required:"false"`
	// The keys of those tags that the next role in the chain inherits.
	TransitiveTagKeys []string `mapstructure:"transitive_tag_keys" required:"false"`
}

// WebIdentity is the exchange of a token for a session of a role.
type WebIdentity struct {
	// The ARN of the role, whose trust policy names the issuer. Defaults to the
	// environment variable `AWS_ROLE_ARN`.
	RoleARN string `mapstructure:"role_arn" required:"false"`
	// The name of the session. Defaults to the environment variable
	// `AWS_ROLE_SESSION_NAME`, else to `packer-plugin-armfree`.
	SessionName string `mapstructure:"session_name" required:"false"`
	// A file that has the token; it is read for every exchange. Defaults to the
	// environment variable `AWS_WEB_IDENTITY_TOKEN_FILE`, else GitHub is asked,
	// which needs `permissions: id-token: write` in the workflow.
	TokenFile string `mapstructure:"web_identity_token_file" required:"false"`
	// The token itself. It cannot be renewed.
	Token string `mapstructure:"web_identity_token" required:"false"`
	// The audience of GitHub's token. Defaults to `sts.amazonaws.com`.
	Audience string `mapstructure:"audience" required:"false"`
	// How long a session lasts, from 900 to 43200 seconds. It is renewed. Defaults
	// to `3600`.
	DurationSeconds int64 `mapstructure:"duration_seconds" required:"false"`
	// A policy document in JSON that restricts the session further.
	Policy string `mapstructure:"policy" required:"false"`
	// ARNs of policies that restrict the session further.
	PolicyARNs []string `mapstructure:"policy_arns" required:"false"`
}

// Polling is how amazon-ebs waits.
type Polling struct {
	// Has no effect.
	DelaySeconds int `mapstructure:"delay_seconds" required:"false"`
	// Has no effect.
	MaxAttempts int `mapstructure:"max_attempts" required:"false"`
}

// VaultEngine is how amazon-ebs gets keys from HashiCorp's Vault.
type VaultEngine struct {
	Name       string `mapstructure:"name" undocumented:"true"`
	RoleARN    string `mapstructure:"role_arn" undocumented:"true"`
	EngineName string `mapstructure:"engine_name" undocumented:"true"`
	TTL        string `mapstructure:"ttl" undocumented:"true"`
}
