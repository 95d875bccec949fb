// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package flags

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

// What is wrong with a command line is told in our words, with the next step.
func TestParse(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"--watch 30s", ""},
		{"--wacth 30s", "--wacth is no option; see --help"},
		{"--watch soon", "; see --help"},
		{"--watch", "; see --help"},
	} {
		f := flag.NewFlagSet("capacity", flag.ContinueOnError)
		f.Duration("watch", 0, "look again")
		err := Parse(f, strings.Fields(tt.args), io.Discard, "", "")
		if (err == nil) != (tt.says == "") || err != nil && !strings.HasSuffix(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
	var help strings.Builder
	f := flag.NewFlagSet("capacity", flag.ContinueOnError)
	f.Duration("watch", 0, "look again")
	if err := Parse(f, []string{"--help"}, &help, "Usage: x", "Codes: y"); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "look again") || !strings.HasSuffix(help.String(), "Codes: y") {
		t.Errorf("%v: %q", err, help.String())
	}
}
