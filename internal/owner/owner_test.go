// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package owner

import (
	"testing"
	"time"
)

func TestNameRoundTrip(t *testing.T) {
	b := NewBuild(time.Now(), 3*time.Hour)
	for _, role := range []string{RoleImage, RoleExport, "two-words"} {
		got, r, err := ParseName(b.Name(role))
		if err != nil || r != role || got != b {
			t.Errorf("ParseName(%q) = %v, %q, %v", b.Name(role), got, r, err)
		}
	}
	for _, foreign := range []string{"", "armfree-", "armfree-x", "backup-abc-image-5", "armfree-abc-image-tomorrow", "armfree--image-5", "armfree-abc--5"} {
		if got, r, err := ParseName(foreign); err == nil {
			t.Errorf("ParseName(%q) = %v, %q: not ours, but taken", foreign, got, r)
		}
	}
}

func TestTagsNeverReplaceTheUsers(t *testing.T) {
	b := NewBuild(time.Now(), time.Hour)
	got := b.Tags(RoleInstance, map[string]string{"Name": "mine", KeyRole: "theirs", "empty": ""})
	if got["Name"] != "mine" || got[KeyRole] != "theirs" || got[KeyBuild] != b.ID {
		t.Errorf("tags: %v", got)
	}
	if v, ok := got["empty"]; !ok || v != "" {
		t.Error("an empty tag value was lost")
	}
	if _, err := time.Parse(time.RFC3339, got[KeyExpires]); err != nil {
		t.Error(err)
	}
}

func TestToken(t *testing.T) {
	b := NewBuild(time.Now(), time.Hour)
	first := b.Token("a", "b")
	if again := b.Token("a", "b"); again != first {
		t.Error("the same request has two tokens")
	}
	seen := map[string]bool{}
	for _, tok := range []string{b.Token("a", "b"), b.Token("ab"), b.Token("", "ab"), NewBuild(time.Now(), time.Hour).Token("a", "b")} {
		if seen[tok] {
			t.Errorf("two requests share the token %s", tok)
		}
		seen[tok] = true
		if len(tok) > 64 {
			t.Errorf("token of %d characters", len(tok))
		}
	}
}
