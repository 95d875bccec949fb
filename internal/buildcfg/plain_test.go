// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

// What the decoder finds is told like any other mistake, in the words of a template.
func TestPlain(t *testing.T) {
	var target struct {
		Timeout time.Duration     `mapstructure:"instance_timeout"`
		Size    int64             `mapstructure:"disk_size"`
		Share   float64           `mapstructure:"share"`
		Public  bool              `mapstructure:"assign_public_ip"`
		Tags    map[string]string `mapstructure:"tags"`
	}
	for _, tt := range []struct {
		option string
		value  any
		want   string
	}{
		{"instance_timeout", "5", `instance_timeout must be a duration such as "30m", it is "5"`},
		{"instance_timeout", "soon", `instance_timeout must be a duration such as "30m", it is "soon"`},
		{"disk_size", "big", `disk_size must be a whole number, it is "big"`},
		{"share", "half", `share must be a number, it is "half"`},
		{"assign_public_ip", "maybe", `assign_public_ip must be true or false, it is "maybe"`},
		{"disk_size", []string{"1", "2"}, `disk_size must be a whole number, and is a list`},
		{"tags", "x", `tags must be a block or a map, and is a text`},
		{"instance_timeout", "30m", ""},
	} {
		err := Decode(&target, "test", &interpolate.Context{}, []any{map[string]any{tt.option: tt.value}})
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s = %v: %v", tt.option, tt.value, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s = %v is accepted", tt.option, tt.value)
			continue
		}
		var said []string
		for _, e := range Each(err) {
			said = append(said, e.Error())
		}
		if got := strings.Join(said, "\n"); got != tt.want {
			t.Errorf("%s = %v:\ngot  %q\nwant %q", tt.option, tt.value, got, tt.want)
		}
		if all := PlainAll(err); all == nil || !strings.Contains(all.Error(), tt.want) {
			t.Errorf("all of them: %v", all)
		}
		// What is said to be missing only because it could not be read is left out.
		if !Follows(Each(err), errors.New(tt.option+" must be set")) {
			t.Errorf("%s is said to be missing as well", tt.option)
		}
	}
	if Plain(nil) != nil || PlainAll(nil) != nil {
		t.Error("nothing is wrong, and that is an error")
	}
	if err := errors.New("something else"); !errors.Is(Plain(err), err) || Plain(err).Error() != err.Error() {
		t.Errorf("what is not known is changed: %v", Plain(err))
	}
}
