// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"cmp"
	"os"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// Named says whether the template or the environment say who signs in to the
// tenancy. A region alone is not that.
func (s *Origin) Named() bool { return s.Access.Named(originPrefixes()...) }

// PrepareAs is Prepare for a bucket of somebody else's, who signs in. Its region is his,
// unless the template or BUILD_OCI_REGION names one: any other variable or file is for
// other work.
func (s *Origin) PrepareAs(block string, who oci.Credentials) []error {
	region := cmp.Or(s.Region, os.Getenv("BUILD_OCI_REGION"))
	_ = s.Prepare(block) // nobody signs in, as Named has said
	s.credentials = who
	s.credentials.Region = cmp.Or(region, who.Region)
	return s.bucketMissing(block)
}
