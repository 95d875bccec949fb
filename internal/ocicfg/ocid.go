// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicfg

import (
	"fmt"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// OCID checks that the value of an option, if it is set and known, is the OCID of
// a resource of that kind, such as "image".
func OCID(option, kind, value string) error {
	if value == "" || tmpl.Unknown(value) || strings.HasPrefix(value, "ocid1."+kind+".") {
		return nil
	}
	return fmt.Errorf("%s must be an OCID that begins with ocid1.%s, it is %q", option, kind, value)
}

// Compartment is OCID for a compartment. A tenancy is its own root compartment.
func Compartment(option, value string) error {
	if strings.HasPrefix(value, "ocid1.tenancy.") || OCID(option, "compartment", value) == nil {
		return nil
	}
	return fmt.Errorf("%s must be the OCID of a compartment or of a tenancy, which begins with ocid1.compartment or ocid1.tenancy, it is %q", option, value)
}
