// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
)

// newOCID makes an identifier such as ocid1.instance.oc1.phx.anyhqljs…: kind,
// realm, region (empty for global things such as tenancies) and a unique part
// of 60 characters.
func newOCID(kind, regionPart string) string {
	raw := make([]byte, 38)
	if _, err := rand.Read(raw); err != nil {
		panic(fmt.Sprintf("the system has no randomness: %v", err)) // documented never to happen
	}
	unique := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
	return fmt.Sprintf("ocid1.%s.oc1.%s.a%s", kind, regionPart, unique[:59])
}

// randomHex is n random bytes in hexadecimal capitals.
func randomHex(n int) string {
	raw := make([]byte, n)
	if _, err := rand.Read(raw); err != nil {
		panic(fmt.Sprintf("the system has no randomness: %v", err)) // documented never to happen
	}
	return fmt.Sprintf("%X", raw)
}
