// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
)

// VerifiedTag is the key of the tag that says, for people, how a copy was verified
// by starting it. What the next run goes by is in the tag of ours, for which there
// is always room.
const VerifiedTag = "armfree-verified"

// verifiedValue is "2026-01-02T15:04:05Z tests=42 sha256=...".
func verifiedValue(v cloud.Verified) string {
	s := fmt.Sprintf("%s tests=%d", v.Time.UTC().Format(time.RFC3339), v.Tests)
	if v.Digest != "" {
		s += " sha256=" + v.Digest
	}
	return s
}

// verifiedOf is how an image with those tags was verified; nil if it was not.
func verifiedOf(t owner.Tag, tags map[string]string) *cloud.Verified {
	if t.Verified == "" {
		return nil
	}
	v := cloud.Verified{By: t.Verified}
	for i, word := range strings.Fields(tags[VerifiedTag]) {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case i == 0:
			v.Time, _ = time.Parse(time.RFC3339, word) // people may have changed it
		case key == "tests":
			v.Tests, _ = strconv.Atoi(value)
		case key == "sha256":
			v.Digest = value
		}
	}
	return &v
}

// withVerified are tags, and how an image was verified, if it was and there is room
// for that.
func withVerified(tags map[string]string, v *cloud.Verified) map[string]string {
	all := maps.Clone(tags)
	if all == nil {
		all = map[string]string{}
	}
	delete(all, owner.Key) // which is added to them last
	if v != nil {
		addTag(all, VerifiedTag, verifiedValue(*v))
	}
	return all
}

// addTag adds a tag, or replaces it, if OCI has room for it.
func addTag(all map[string]string, key, value string) {
	old, had := all[key]
	if all[key] = value; owner.CheckTags("", all) == nil {
		return
	}
	if delete(all, key); had {
		all[key] = old
	}
}
