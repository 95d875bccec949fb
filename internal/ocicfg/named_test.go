// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import "testing"

// Whoever signs in is named by the block or by a variable that Prepare reads; a region,
// a passphrase and what lies about in the home directory name nobody.
func TestNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		access   Access
		env      map[string]string
		prefixes []string // default: "BUILD_", ""
		want     bool
	}{
		"nobody":                 {},
		"a region":               {access: Access{Region: "eu-frankfurt-1"}, env: map[string]string{"OCI_REGION": "r", "BUILD_OCI_REGION": "r", "OCI_CLI_REGION": "r"}},
		"a passphrase":           {env: map[string]string{"OCI_CLI_PASSPHRASE": "p"}},
		"a user":                 {access: Access{UserOCID: "u"}, want: true},
		"instance principals":    {access: Access{UseInstancePrincipals: true}, want: true},
		"resource principal":     {access: Access{UseResourcePrincipal: true}, want: true},
		"workload identity":      {access: Access{UseOKEWorkloadIdentity: true}, want: true},
		"an exchange":            {access: Access{OIDC: []OIDC{{DomainURL: "d"}}}, want: true},
		"a profile":              {access: Access{AccessCfgFileAccount: "P"}, want: true},
		"a file":                 {access: Access{AccessCfgFile: "f"}, want: true},
		"a token":                {access: Access{SecurityTokenFile: "f"}, want: true},
		"a key by a variable":    {env: map[string]string{"OCI_API_PRIVATE_KEY": "k"}, want: true},
		"a tenancy":              {env: map[string]string{"BUILD_OCI_TENANCY_OCID": "t"}, want: true},
		"a profile by variable":  {env: map[string]string{"BUILD_OCI_CONFIG_PROFILE": "P"}, want: true},
		"a file by a variable":   {env: map[string]string{"OCI_CONFIG_FILE": "f"}, want: true},
		"the build's file":       {env: map[string]string{"BUILD_OCI_CONFIG_FILE": "f"}, want: true},
		"an exchange by them":    {env: map[string]string{"BUILD_OCI_OIDC_DOMAIN_URL": "d"}, want: true},
		"the builder's exchange": {env: map[string]string{"OCI_OIDC_DOMAIN_URL": "d"}, want: true},
		"the CLI's user":         {env: map[string]string{"OCI_CLI_USER": "u"}, want: true},
		"the CLI's key file":     {env: map[string]string{"OCI_CLI_KEY_FILE": "f"}, want: true},
		"the CLI's profile":      {env: map[string]string{"OCI_CLI_PROFILE": "P"}, want: true},
		"the CLI's token":        {env: map[string]string{"OCI_CLI_SECURITY_TOKEN_FILE": "f"}, want: true},
		"the CLI's kind":         {env: map[string]string{"OCI_CLI_AUTH": "instance_principal"}, want: true},
		"the CLI's wrong kind":   {env: map[string]string{"OCI_CLI_AUTH": "magic"}, want: true}, // which Prepare refuses
		"another prefix":         {env: map[string]string{"OCI_CLI_AUTH": "instance_principal", "OCI_USER_OCID": "u", "BUILD_OCI_USER_OCID": "u"}, prefixes: []string{"PROD_"}},
	} {
		t.Run(name, func(t *testing.T) {
			clean(t)
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			prefixes := tt.prefixes
			if prefixes == nil {
				prefixes = []string{"BUILD_", ""}
			}
			if got := tt.access.Named(prefixes...); got != tt.want {
				t.Errorf("%t", got)
			}
		})
	}
}
