// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

func TestVerifiedTag(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for _, v := range []cloud.Verified{{By: "x", Time: at}, {By: "x", Time: at, Tests: 42, Digest: strings.Repeat("ab", 32)}} {
		tags := withVerified(map[string]string{"team": "infra", owner.Key: "old"}, &v)
		if got := verifiedOf(owner.Tag{Verified: "x"}, tags); got == nil || *got != v || tags["team"] != "infra" || tags[owner.Key] != "" {
			t.Errorf("%+v became %+v, in %q", v, got, tags)
		}
	}
	if got := verifiedOf(owner.Tag{}, map[string]string{VerifiedTag: "2026-01-02T15:04:05Z tests=1"}); got != nil {
		t.Errorf("without our tag: %+v", got)
	}
	// People may write anything there.
	if got := verifiedOf(owner.Tag{Verified: "x"}, map[string]string{VerifiedTag: "yes tests=many sha256"}); got == nil || !got.Time.IsZero() || got.Tests != 0 {
		t.Errorf("%+v", got)
	}
}

// Where the user's tags leave no room there is none, and an older one is replaced.
func TestVerifiedTagNeedsRoom(t *testing.T) {
	full := map[string]string{}
	for i := range 9 {
		full[fmt.Sprint(i)] = "x"
	}
	if got := withVerified(full, &cloud.Verified{By: "x"}); len(got) != 9 || got[VerifiedTag] != "" {
		t.Errorf("%q", got)
	}
	delete(full, "0")
	full[VerifiedTag] = "old"
	if got := withVerified(full, &cloud.Verified{By: "x", Tests: 3}); len(got) != 9 || !strings.Contains(got[VerifiedTag], "tests=3") {
		t.Errorf("%q", got)
	}
}
