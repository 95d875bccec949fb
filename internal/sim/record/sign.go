// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Signer signs requests as an OCI user does.
type Signer struct {
	keyID string
	key   *rsa.PrivateKey
}

// NewSigner makes a signer out of a keyId (tenancy/user/fingerprint) and an
// unencrypted RSA key in PEM form, PKCS #1 or #8.
func NewSigner(keyID, keyPEM string) (Signer, error) {
	block, _ := pem.Decode([]byte(keyPEM))
	if block == nil {
		return Signer{}, errors.New("the key is not in PEM form")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return Signer{keyID, key}, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Signer{}, fmt.Errorf("parse the key: %w", err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return Signer{}, fmt.Errorf("the key is a %T, not an RSA key", parsed)
	}
	return Signer{keyID, key}, nil
}

// sign adds the headers that the recorded client signed, and the signature.
func (s Signer) sign(r *http.Request, body []byte, names []string) error {
	sum := sha256.Sum256(body)
	lines := make([]string, len(names))
	for i, name := range names {
		var value string
		switch name {
		case "(request-target)":
			value = strings.ToLower(r.Method) + " " + r.URL.RequestURI()
		case "host":
			value = r.URL.Host
		case "content-length":
			value = strconv.Itoa(len(body))
		case "date", "x-date":
			value = time.Now().UTC().Format(http.TimeFormat)
			r.Header.Set(name, value)
		case "x-content-sha256":
			value = base64.StdEncoding.EncodeToString(sum[:])
			r.Header.Set(name, value)
		default:
			if value = r.Header.Get(name); value == "" {
				return fmt.Errorf("the client signed the header %s, which the recording does not have", name)
			}
		}
		lines[i] = name + ": " + value
	}
	digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	signature, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, digest[:])
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	r.Header.Set("Authorization", fmt.Sprintf(`Signature version="1",headers=%q,keyId=%q,algorithm="rsa-sha256",signature=%q`,
		strings.Join(names, " "), s.keyID, base64.StdEncoding.EncodeToString(signature)))
	return nil
}
