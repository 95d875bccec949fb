// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import "context"

// imageToCome says that the machine is to start from an image that there is not
// yet.
func (b *Build) imageToCome() bool { return b.cfg.BaseImage == "" && b.cfg.ImageFilter == nil }

// Check says why no machine could be had, as far as that can be told before there
// is the image that it is to start from: every reason, and nothing else.
func (b *Build) Check(ctx context.Context) error {
	s, err := b.survey(ctx)
	if err != nil {
		return err
	}
	_, err = s.plan()
	return Reasons(err)
}
