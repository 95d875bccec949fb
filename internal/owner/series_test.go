// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package owner

import (
	"strings"
	"testing"
	"time"
)

func TestSurplus(t *testing.T) {
	series, other := Series("a"), Series("b")
	day := func(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }
	image := func(id string, n int, change ...func(i *Image)) Image {
		i := Image{ID: id, Created: day(n), Mark: Tag{Build: "b" + id, Role: RoleImage, Series: series}, Ready: true}
		for _, c := range change {
			c(&i)
		}
		return i
	}
	five := []Image{image("4", 4), image("1", 1), image("3", 3), image("2", 2), image("made", 5)}
	foreign := []Image{
		image("no mark", 1, func(i *Image) { i.Mark = Tag{} }),
		image("no series", 1, func(i *Image) { i.Mark.Series = "" }),
		image("other", 1, func(i *Image) { i.Mark.Series = other }),
		image("unfinished", 1, func(i *Image) { i.Mark.Unfinished = true }),
		image("failed", 1, func(i *Image) { i.Mark.Failed = true }),
		image("copy", 1, func(i *Image) { i.Mark.Role = RoleImport }),
		image("expires", 1, func(i *Image) { i.Mark.Expires = day(1) }),
		image("busy", 1, func(i *Image) { i.Ready = false }),
		image("ageless", 1, func(i *Image) { i.Created = time.Time{} }),
		image("", 1),
	}
	for _, tt := range []struct {
		name         string
		all          []Image
		series, made string
		keep         int
		want         string
	}{
		{"all are kept by default", five, series, "made", 0, ""},
		{"the new one is kept", five, series, "made", 1, "1 2 3 4"},
		{"the newest are kept", five, series, "made", 3, "1 2"},
		{"there are as many as are kept", five, series, "made", 5, ""},
		{"there are fewer", five, series, "made", 50, ""},
		{"the list does not show the new one yet", five[:4], series, "made", 3, "1 2"},
		{"what is not of the series is neither counted nor deleted", append(foreign, five...), series, "made", 4, "1"},
		{"another build was faster", []Image{image("later", 9), image("made", 5), image("1", 1)}, series, "made", 2, "1"},
		{"the new one is kept although others are newer", []Image{image("later", 9), image("made", 5), image("latest", 10)}, series, "made", 2, "later"},
		{"no series", append(foreign, five...), "", "made", 1, ""},
		{"no new one", five, series, "", 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, i := range Surplus(tt.all, RoleImage, tt.series, tt.made, tt.keep) {
				got = append(got, i.ID)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%q, want %q", s, tt.want)
			}
		})
	}
}

func TestSeries(t *testing.T) {
	if Series("a", "b") == Series("ab") || Series("a") == "" || strings.ContainsAny(Series("a b"), " =") {
		t.Errorf("%q %q", Series("a", "b"), Series("ab"))
	}
	tag := Tag{Build: "b", Role: RoleImage, Series: Series("a")}
	if got, err := ParseTag(tag.String()); err != nil || got != tag {
		t.Errorf("%q gives %+v, %v", tag, got, err)
	}
}
