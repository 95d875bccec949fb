// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"strings"
	"testing"
)

func TestRetention(t *testing.T) {
	for _, tt := range []struct {
		r      Retention
		prefix string
		none   bool
		want   string
	}{
		{r: Retention{}},
		{r: Retention{Retain: 1, ImageSeries: "x"}},
		{r: Retention{Retain: 1}, prefix: "debian"},
		{r: Retention{Retain: 1}, none: true},
		{r: Retention{Retain: 1}, want: "retain needs image_series or image_name_prefix"},
		{r: Retention{Retain: -1, ImageSeries: "x"}, want: "retain must be 1 or more"},
	} {
		err := errors.Join(tt.r.Problems("image_name_prefix", tt.prefix, tt.none)...)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	// What two sources of a template make are two series; a named one is one.
	r := Retention{}
	if r.Series("", "a") != "" || r.Series("p", "a") == r.Series("p", "b") || r.Series("p", "a") == r.Series("q", "a") {
		t.Error("series of prefixes")
	}
	if r.ImageSeries = "p"; r.Series("p", "a") != r.Series("q", "b") || r.Series("", "") == (Retention{}).Series("p", "") {
		t.Error("named series")
	}
}
