// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package preflight

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
)

// Origin is the tenancy that has the image, and the bucket in it through which
// the image travels. What is left out comes from environment variables whose
// names begin with `BUILD_`: `BUILD_OCI_TENANCY_OCID`, and so on; and where
// these are not set, from those that the builder reads: `OCI_TENANCY_OCID`.
type Origin struct {
	ocicfg.Access `mapstructure:",squash"`
	// The bucket, which must exist. The exported image is in it only while the
	// copy runs. If the build may take place in additional regions, there must be
	// a bucket of this name in each. Defaults to the environment variable
	// `BUILD_OCI_BUCKET`.
	Bucket string `mapstructure:"bucket" required:"false"`
	// The Object Storage namespace of the bucket. Defaults to the environment
	// variable `BUILD_OCI_NAMESPACE`, else to the tenancy's own.
	Namespace string `mapstructure:"namespace" required:"false"`

	credentials oci.Credentials
}

// originPrefixes are what the names of an Origin's variables begin with.
func originPrefixes() []string { return []string{"BUILD_", ""} }

// Prepare is that of a Place.
func (s *Origin) Prepare(block string) (bad []error) {
	if s.Bucket == "" {
		s.Bucket = os.Getenv("BUILD_OCI_BUCKET")
	}
	if s.Namespace == "" {
		s.Namespace = os.Getenv("BUILD_OCI_NAMESPACE")
	}
	s.credentials, bad = s.Access.Prepare(block, originPrefixes()...)
	return append(bad, s.bucketMissing(block)...)
}

func (s *Origin) bucketMissing(block string) []error {
	if s.Bucket != "" {
		return nil
	}
	return []error{errors.New(block + "bucket must be set (or the environment variable BUILD_OCI_BUCKET)")}
}

// Credentials are who signs in; they are known after Prepare.
func (s *Origin) Credentials() oci.Credentials { return s.credentials }

// Check says why images cannot travel through the bucket.
func (s *Origin) Check(ctx context.Context, o oci.Options) error {
	who, err := oci.SignIn(ctx, s.credentials, o)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	c, err := who.Client(who.Region)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := (&oci.Bucket{Client: c, Namespace: s.Namespace, Bucket: s.Bucket}).Check(ctx); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	return nil
}
