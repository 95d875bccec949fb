// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// strict needs the lines in which goss says that it forgot a test.
func TestStrictHearsWarnings(t *testing.T) {
	warned := []string{"warn [WARN] Duplicate key detected: 'x'. The value from 'a' overwrites the one from 'b'", "print checks/pass.json"}
	lost := func(name string, data []byte) ([]byte, error) {
		if strings.Contains(name, "warnings") {
			return nil, errors.New("scp: broken pipe")
		}
		return data, nil
	}
	short := func(name string, data []byte) ([]byte, error) {
		if strings.Contains(name, "warnings") {
			return data[:5], nil
		}
		return data, nil
	}
	for _, tt := range []struct {
		name     string
		level    string
		lenient  bool
		download func(string, []byte) ([]byte, error)
		says     string
	}{
		{name: "heard", says: "goss checks less than is written"},
		{name: "silenced", level: "ERROR", says: `log_level is "ERROR"`},
		{name: "silenced in small letters", level: "error", says: `log_level is "error"`},
		{name: "more is heard", level: "DEBUG", says: "goss checks less than is written"},
		{name: "lost", download: lost, says: "its warnings are missing, which strict needs"},
		{name: "cut short", download: short, says: "its warnings did not come back whole, which strict needs"},
		{name: "silenced without strict", level: "ERROR", lenient: true},
		{name: "lost without strict", lenient: true, download: lost},
		{name: "cut short without strict", lenient: true, download: short},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sample.Case(t)
			c := newCheck(t, warned...)
			c.options["strict"] = !tt.lenient
			if tt.level != "" {
				c.options["log_level"] = tt.level
			}
			c.host.download = tt.download
			if err := c.run(t.Context()); tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("got error %v, want %q", err, tt.says)
			}
			c.mustBeClean()
		})
	}
}
