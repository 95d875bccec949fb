// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Access,OIDC

// Package ocicfg is the part of a template that says who signs in to OCI and
// where. The builder has it at its top level, under the names that the
// oracle-oci builder uses; the post-processor has it in its source and
// destination blocks.
//
// There are three sources: the template, a profile of an OCI configuration
// file, and the environment, in this order, field by field. What goes together
// is taken together: a key never signs for a user, or under a fingerprint, that
// another source gives it while it has its own (choice.go).
package ocicfg

// Access says who signs in, and to which region.
type Access struct {
	// The OCID of the tenancy that the user belongs to. Defaults to the
	// environment variable `OCI_TENANCY_OCID`.
	TenancyOCID string `mapstructure:"tenancy_ocid" required:"false"`
	// The OCID of the user who signs in. Defaults to the environment variable
	// `OCI_USER_OCID`.
	UserOCID string `mapstructure:"user_ocid" required:"false"`
	// The fingerprint of the user's API key, as the OCI console shows it
	// (`aa:bb:...`). It is checked against the key. Defaults to the environment
	// variable `OCI_FINGERPRINT`.
	Fingerprint string `mapstructure:"fingerprint" required:"false"`
	// The user's private API key: the contents of its PEM file, not a path.
	// Line ends written as `\n` are understood. Defaults to the environment
	// variable `OCI_API_PRIVATE_KEY`. Takes precedence over `key_file`.
	Key string `mapstructure:"key" required:"false"`
	// The path of the user's private API key, a PEM file. A leading `~` is the
	// home directory.
	KeyFile string `mapstructure:"key_file" required:"false"`
	// The passphrase of the private key, if it has one. Defaults to the
	// environment variable `OCI_API_PRIVATE_KEY_PASSPHRASE`.
	PassPhrase string `mapstructure:"pass_phrase" required:"false"`
	// The region to work in, such as `eu-frankfurt-1`. Defaults to the
	// environment variable `OCI_REGION`. There is no other default.
	Region string `mapstructure:"region" required:"false"`
	// The configuration file of OCI's SDKs and CLI that gives what the template
	// leaves out. Defaults to the environment variable `OCI_CONFIG_FILE`, else
	// to `~/.oci/config`, which is read only if the template and the environment
	// do not say who signs in. See [Credentials](../credentials.md).
	AccessCfgFile string `mapstructure:"access_cfg_file" required:"false"`
	// The profile in that file. Defaults to the environment variable
	// `OCI_CONFIG_PROFILE`, else to `DEFAULT`.
	AccessCfgFileAccount string `mapstructure:"access_cfg_file_account" required:"false"`
	// The path of a session token, as `oci session authenticate` makes one. It
	// goes with the key of that session (`key_file`), and is read again when it
	// has been renewed.
	SecurityTokenFile string `mapstructure:"security_token_file" required:"false"`
	// Sign in as the OCI machine that Packer runs on. Excludes the options above;
	// variables of the environment that name a user are ignored. Defaults to
	// `false`.
	UseInstancePrincipals bool `mapstructure:"use_instance_principals" required:"false"`
	// Sign in as the OCI resource that Packer runs in, such as a function, which
	// the variables `OCI_RESOURCE_PRINCIPAL_...` describe. Defaults to `false`.
	UseResourcePrincipal bool `mapstructure:"use_resource_principal" required:"false"`
	// Sign in as the pod of Oracle's Kubernetes Engine that Packer runs in.
	// Defaults to `false`.
	UseOKEWorkloadIdentity bool `mapstructure:"use_oke_workload_identity" required:"false"`
	// Exchange a token of GitHub Actions, or of another issuer, for one of OCI's,
	// so that no user's key is needed. See
	// [GitHub Actions](../credentials.md#github-actions).
	OIDC []OIDC `mapstructure:"oidc" required:"false"`
}

// OIDC describes the exchange of a token by an identity domain that trusts its
// issuer.
type OIDC struct {
	// The URL of the identity domain, `https://idcs-....identity.oraclecloud.com:443`.
	// Defaults to the environment variable `OCI_OIDC_DOMAIN_URL`.
	DomainURL string `mapstructure:"domain_url" required:"false"`
	// The id of the confidential application in that domain. Defaults to the
	// environment variable `OCI_OIDC_CLIENT_ID`.
	ClientID string `mapstructure:"client_id" required:"false"`
	// Its secret. Defaults to the environment variable `OCI_OIDC_CLIENT_SECRET`.
	// It lets nobody in without a token.
	ClientSecret string `mapstructure:"client_secret" required:"false"`
	// The audience of GitHub's token, as the domain's trust wants it. Defaults to
	// the environment variable `OCI_OIDC_AUDIENCE`, else to GitHub's own choice.
	Audience string `mapstructure:"audience" required:"false"`
	// A file that has the token to be exchanged; it is read for every exchange.
	// Defaults to the environment variable `OCI_OIDC_TOKEN_FILE`, else GitHub is
	// asked, which needs `permissions: id-token: write` in the workflow.
	TokenFile string `mapstructure:"token_file" required:"false"`
	// The token itself. It cannot be renewed. Defaults to the environment
	// variable `OCI_OIDC_TOKEN`.
	Token string `mapstructure:"token" required:"false"`
}
