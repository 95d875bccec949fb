// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"cmp"
	"os"
	"reflect"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
)

// Named says whether the template or the environment say who signs in to the
// tenancy. A region alone is not that.
func (s *Origin) Named() bool {
	a := s.Access
	a.Region = ""
	if !reflect.DeepEqual(a, ocicfg.Access{}) {
		return true
	}
	for _, prefix := range []string{"BUILD_OCI_", "OCI_"} {
		for _, name := range []string{"TENANCY_OCID", "USER_OCID", "FINGERPRINT", "API_PRIVATE_KEY"} {
			if os.Getenv(prefix+name) != "" {
				return true
			}
		}
	}
	return false
}

// PrepareAs is Prepare for a bucket of somebody else's, who signs in.
func (s *Origin) PrepareAs(block string, who oci.Credentials) []error {
	region := s.Region
	_ = s.Prepare(block) // nobody signs in, as Named has said
	s.credentials = who
	s.credentials.Region = cmp.Or(region, who.Region)
	return s.bucketMissing(block)
}
