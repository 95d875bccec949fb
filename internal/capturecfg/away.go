// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package capturecfg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocicfg"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// To is the bucket on OCI that gets captured disks, and who signs in to it. What is left
// out comes from environment variables whose names begin with `BUILD_`:
// `BUILD_OCI_TENANCY_OCID`, and so on; and where these are not set, from those that
// `armfree-oci` reads: `OCI_TENANCY_OCID`.
type To struct {
	ocicfg.Access `mapstructure:",squash"`
	// The bucket, which must exist, in `region`. Defaults to the environment variable
	// `BUILD_OCI_BUCKET`.
	Bucket string `mapstructure:"bucket" required:"false"`
	// The Object Storage namespace of the bucket. Defaults to the environment variable
	// `BUILD_OCI_NAMESPACE`, else to the tenancy's own.
	Namespace string `mapstructure:"namespace" required:"false"`

	credentials oci.Credentials
}

// prepare fills in what is left out and lists what is wrong. block is put before the names
// of options.
func (t *To) prepare(block string) (bad []error) {
	t.Bucket = cmp.Or(t.Bucket, os.Getenv("BUILD_OCI_BUCKET"))
	t.Namespace = cmp.Or(t.Namespace, os.Getenv("BUILD_OCI_NAMESPACE"))
	t.credentials, bad = t.Access.Prepare(block, "BUILD_", "")
	if t.Bucket == "" {
		bad = append(bad, errors.New(block+"bucket must be set (or the environment variable BUILD_OCI_BUCKET)"))
	}
	return bad
}

// Open signs in and gives the bucket, which nobody has looked at yet.
func (t *To) Open(ctx context.Context, o oci.Options) (*oci.Bucket, error) {
	who, err := oci.SignIn(ctx, t.credentials, o)
	if err != nil {
		return nil, fmt.Errorf("capture_to: %w", err)
	}
	c, err := who.Client(who.Region)
	if err != nil {
		return nil, fmt.Errorf("capture_to: %w", err)
	}
	return &oci.Bucket{Client: c, Namespace: t.Namespace, Bucket: t.Bucket}, nil
}

// Away says how the disk of a machine that runs on another cloud is captured.
type Away struct {
	How `mapstructure:",squash"`
	// The bucket on OCI that gets the captured disk, and who signs in to it. See
	// [`capture_to`](#capture_to).
	CaptureTo *To `mapstructure:"capture_to" required:"false"`
}

// Prepare fills in what is left out and lists what is wrong.
func (a *Away) Prepare(g Given) (list []error) {
	note := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				list = append(list, fmt.Errorf(g.Block+"%w", err))
			}
		}
	}
	names := a.given()
	if a.CaptureTo != nil {
		names = append([]string{"capture_to"}, names...)
	}
	if !g.Wanted && len(names) > 0 && !tmpl.Unknown(g.Method) {
		verb := "is"
		if len(names) > 1 {
			verb = "are"
		}
		note(fmt.Errorf("%s %s for captured disks, and image_method is %q: set it to \"capture\"", strings.Join(names, ", "), verb, g.Method))
	}
	note(a.How.Prepare()...)
	switch {
	case !g.Wanted:
		if a.CaptureTo != nil {
			_ = a.CaptureTo.prepare("") // so that its secrets are known
		}
		return list
	case g.Skip && a.CaptureTo == nil:
		return list
	}
	if !g.Skip {
		note(Connection(g.Method, g.Comm))
	}
	if a.CaptureTo != nil || !g.Shared {
		if a.CaptureTo == nil {
			a.CaptureTo = new(To) // the environment may say it all
			if os.Getenv("BUILD_OCI_BUCKET") == "" {
				note(fmt.Errorf("image_method = %q needs a block capture_to { } that names the bucket on OCI for captured disks (or the environment variable BUILD_OCI_BUCKET)", g.Method))
				return list
			}
		}
		list = append(list, a.CaptureTo.prepare(g.Block+"capture_to.")...)
	}
	return list
}

// Secrets lists what must never be printed; it is known after Prepare.
func (a *Away) Secrets() []string {
	if a.CaptureTo == nil {
		return nil
	}
	return a.CaptureTo.credentials.Secrets()
}
