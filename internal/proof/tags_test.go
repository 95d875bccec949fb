// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package proof

import (
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
)

func TestParseValue(t *testing.T) {
	want := goss.Proof{State: goss.ProofPassed, Tests: 42, Digest: strings.Repeat("0f", 32), Bootable: true, Finish: strings.Repeat("1e", 32)}
	if got, err := ParseValue(Value(want)); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "true", "true tests=x sha256=y", "tests=1 sha256=y"} {
		if got, err := ParseValue(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}
