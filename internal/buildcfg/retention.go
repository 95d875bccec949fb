// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package buildcfg

import (
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// Retention says how many images of a series are kept.
type Retention struct {
	// How many images of the series are kept, the new one among them: once it is
	// finished the older ones are deleted, with their snapshots on AWS. By default
	// all are kept. See [Keeping the last images](#keeping-the-last-images).
	Retain int `mapstructure:"retain" required:"false"`
	// The series that the image belongs to: any text, the same for all images
	// that follow one another. Is needed by `retain`, unless the name is made of
	// a prefix: then it defaults to the prefix and the name of the source in the
	// template.
	ImageSeries string `mapstructure:"image_series" required:"false"`
}

// Series is the mark of the series; empty if there is none.
func (r Retention) Series(prefix, source string) string {
	switch {
	case r.ImageSeries != "":
		return owner.Series(r.ImageSeries)
	case prefix != "":
		return owner.Series("prefix", prefix, source)
	}
	return ""
}

// Problems says what is wrong. option is the one that makes names of a prefix, none
// whether no image is made.
func (r Retention) Problems(option, prefix string, none bool) (errs []error) {
	switch {
	case r.Retain < 0:
		errs = append(errs, fmt.Errorf("retain must be 1 or more, or left out to keep all images; it is %d", r.Retain))
	case r.Retain > 0 && r.ImageSeries == "" && prefix == "" && !none:
		errs = append(errs, fmt.Errorf("retain needs image_series or %s, which say what the images have in common that follow one another", option))
	}
	return errs
}
