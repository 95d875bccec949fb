// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package owner

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
	"time"
)

// Series is the mark of the images that follow one another: the newest takes the place
// of the others. It is a hash, since names may have blanks, and tags have little room.
func Series(name ...string) string {
	h := sha256.Sum256([]byte(strings.Join(name, "\x00")))
	return strings.ToLower(base32.StdEncoding.EncodeToString(h[:10]))
}

// Image is what Surplus must know of an image.
type Image struct {
	ID, Name string
	Created  time.Time // zero if that is not known
	Mark     Tag       // zero if it is not ours
	// Ready means that the cloud has made it, and does nothing with it.
	Ready bool
}

// Surplus are the images of a role that a series has beyond the newest keep, oldest first.
// Of these made is one, whether or not the list shows it. What has no mark, or that of
// another series or role, is neither counted nor in it, nor is what is not finished, did not
// pass its check, is being used by the cloud, or has no known age. It is pure.
func Surplus(all []Image, role, series, made string, keep int) []Image {
	if series == "" || made == "" || keep < 1 {
		return nil
	}
	var others []Image
	for _, i := range all {
		m := i.Mark
		if i.ID == "" || i.ID == made || m.Series != series || m.Role != role || m.Unfinished || m.Failed || !m.Expires.IsZero() || !i.Ready || i.Created.IsZero() {
			continue
		}
		others = append(others, i)
	}
	slices.SortFunc(others, func(a, b Image) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return others[:max(0, len(others)-(keep-1))]
}
