// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown
//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Access

// Package ocicfg is the part of a template that says who signs in to OCI and
// where. The builder has it at its top level, under the names that the
// oracle-oci builder uses; the post-processor has it in its source and
// destination blocks.
package ocicfg

import (
	"fmt"
	"os"

	"github.com/hashicorp/packer-plugin-sdk/pathing"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

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
	// The passphrase of the private key, if it has one.
	PassPhrase string `mapstructure:"pass_phrase" required:"false"`
	// The region to work in, such as `eu-frankfurt-1`. Defaults to the
	// environment variable `OCI_REGION`.
	Region string `mapstructure:"region" required:"false"`
}

// variables are the environment variables that stand in for options.
func variables() map[string]string {
	return map[string]string{
		"tenancy_ocid": "OCI_TENANCY_OCID", "user_ocid": "OCI_USER_OCID", "fingerprint": "OCI_FINGERPRINT",
		"key": "OCI_API_PRIVATE_KEY", "region": "OCI_REGION",
	}
}

// Prepare fills in what the template leaves out from the environment and
// returns the credentials with every problem they have. block is put before
// the names of options in messages ("source."), each of prefixes before the
// name of a variable ("BUILD_" for BUILD_OCI_REGION); the first that is set
// counts. It makes no request.
func (a *Access) Prepare(block string, prefixes ...string) (oci.Credentials, []error) {
	names := variables()
	env := func(field string) string {
		for _, p := range prefixes {
			if v := os.Getenv(p + names[field]); v != "" {
				return v
			}
		}
		return ""
	}
	for field, value := range map[string]*string{
		"tenancy_ocid": &a.TenancyOCID, "user_ocid": &a.UserOCID, "fingerprint": &a.Fingerprint, "region": &a.Region,
	} {
		if *value == "" {
			*value = env(field)
		}
	}
	var errs []error
	key := a.Key
	if key == "" && a.KeyFile != "" {
		path, err := pathing.ExpandUser(a.KeyFile)
		if err == nil {
			var b []byte
			b, err = os.ReadFile(path)
			key = string(b)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%skey_file cannot be read: %w", block, err))
		}
	}
	if key == "" && a.KeyFile == "" {
		key = env("key")
	}
	c := oci.Credentials{
		Tenancy: a.TenancyOCID, User: a.UserOCID, Fingerprint: a.Fingerprint,
		KeyPEM: key, Passphrase: a.PassPhrase, Region: a.Region,
	}
	if len(errs) > 0 {
		return c, errs
	}
	for _, v := range []string{c.Tenancy, c.User, c.Fingerprint, c.KeyPEM, c.Passphrase, c.Region} {
		if tmpl.Unknown(v) {
			return c, nil // a build will tell
		}
	}
	return c, c.Problems(
		func(field string) string { return block + field },
		func(field string) string { return "the environment variable " + prefixes[0] + names[field] },
	)
}
