// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/md5" //nolint:gosec // the fingerprint of an API key is an MD5 by definition
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// cleanPEM mends what happens to a PEM text on its way through the settings of
// a CI system.
func cleanPEM(text string) string {
	p := strings.TrimSpace(text)
	if !strings.Contains(p, "\n") {
		p = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n").Replace(p)
	}
	return strings.ReplaceAll(p, "\r\n", "\n") + "\n"
}

// parseKey reads an RSA key: PKCS #1, PKCS #8, both encrypted or not. option is
// what the passphrase is called. Its errors quote nothing of the text.
func parseKey(text, passphrase, option string) (*rsa.PrivateKey, error) {
	const want = "it must be the PEM text of an RSA private key"
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		if t := strings.TrimSpace(text); !strings.Contains(t, "\n") && strings.ContainsAny(t, `/\~`) && len(t) < 200 {
			return nil, errors.New(want + ", and it looks like a path, which belongs into key_file")
		}
		return nil, errors.New(want)
	}
	key, err := common.PrivateKeyFromBytesWithPassword([]byte(text), []byte(passphrase))
	if err == nil && key != nil {
		return key, nil
	}
	// The error of the parser may quote the key: it is not passed on.
	other, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
	switch {
	case strings.Contains(text, "ENCRYPTED") && passphrase == "":
		return nil, fmt.Errorf("it is encrypted, and %s is not set", option)
	case strings.Contains(text, "ENCRYPTED"):
		return nil, fmt.Errorf("it is encrypted, and %s does not open it", option)
	case strings.Contains(block.Type, "PUBLIC KEY"), block.Type == "CERTIFICATE":
		return nil, errors.New(want + ", and it is the public half")
	case block.Type == "OPENSSH PRIVATE KEY":
		return nil, errors.New(want + ", and it is a key for SSH")
	case other != nil || block.Type == "EC PRIVATE KEY":
		return nil, errors.New(want + ", and it is a key of another kind")
	}
	return nil, errors.New(want)
}

// SameKey says whether two PEM texts are the same private key. What cannot be
// read is like nothing.
func SameKey(a, b, passphraseA, passphraseB string) bool {
	x, errX := parseKey(cleanPEM(a), passphraseA, "")
	y, errY := parseKey(cleanPEM(b), passphraseB, "")
	return errX == nil && errY == nil && x.PublicKey.Equal(&y.PublicKey)
}

// KeyFingerprint is the fingerprint of the private key in a PEM text, or empty
// if it cannot be read.
func KeyFingerprint(text, passphrase string) string {
	key, err := parseKey(cleanPEM(text), passphrase, "")
	if err != nil {
		return ""
	}
	print, err := fingerprint(key)
	if err != nil {
		return ""
	}
	return print
}

// fingerprint is how OCI names a key: the MD5 of its public half, as hex pairs.
func fingerprint(key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	sum := md5.Sum(der) //nolint:gosec // see the import
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(pairs, ":"), nil
}
