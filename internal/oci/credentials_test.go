// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

const passphrase = "correct horse"

// encryptPKCS8 encrypts a key as "openssl pkcs8 -topk8" does: PBES2 with
// PBKDF2, SHA-256 and AES-256-CBC (RFC 8018). The standard library cannot.
func encryptPKCS8(t *testing.T, der []byte) []byte {
	t.Helper()
	const rounds = 2048
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	rand.Read(salt)
	rand.Read(iv)
	key, err := pbkdf2.Key(sha256.New, passphrase, salt, rounds, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	pad := aes.BlockSize - len(der)%aes.BlockSize
	sealed := append(bytes.Clone(der), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(sealed, sealed)

	type algorithm struct {
		ID     asn1.ObjectIdentifier
		Params any
	}
	type kdf struct {
		Salt   []byte
		Rounds int
		PRF    pkix.AlgorithmIdentifier
	}
	type scheme struct{ KDF, Cipher algorithm }
	out, err := asn1.Marshal(struct {
		Algorithm algorithm
		Data      []byte
	}{
		algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, scheme{
			algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, kdf{salt, rounds, pkix.AlgorithmIdentifier{
				Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue,
			}}},
			algorithm{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, iv},
		}},
		sealed,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestKeyTexts(t *testing.T) {
	key := testKey()
	good := testCredentials(t)
	pkcs1 := good.KeyPEM
	der8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	enc8 := encryptPKCS8(t, der8)
	legacy, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), []byte(passphrase), x509.PEMCipherAES256) //nolint:staticcheck // OCI's own console hands out such keys
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	lines := func(s, end string) string { return strings.ReplaceAll(s, "\n", end) }
	const unreadable = "key cannot be read: it must be the PEM text of an RSA private key"
	const locked = "key cannot be read: it is encrypted, and pass_phrase does not open it"
	const unlocked = "key cannot be read: it is encrypted, and pass_phrase is not set"
	for _, tt := range []struct {
		name, text, pass string
		says             string // empty: it works
	}{
		{"PKCS #1", pkcs1, "", ""},
		{"PKCS #8", pemOf("PRIVATE KEY", der8), "", ""},
		{"a passphrase that is not needed", pkcs1, "unused", ""},
		{"encrypted PKCS #8", pemOf("ENCRYPTED PRIVATE KEY", enc8), passphrase, ""},
		{"encrypted in the old way", string(pem.EncodeToMemory(legacy)), passphrase, ""},
		{"line ends written out", lines(pkcs1, `\n`), "", ""},
		{"encrypted, line ends written out", lines(pemOf("ENCRYPTED PRIVATE KEY", enc8), `\n`), passphrase, ""},
		{"old encryption, line ends written out", lines(string(pem.EncodeToMemory(legacy)), `\n`), passphrase, ""},
		{"Windows line ends", lines(pkcs1, "\r\n"), "", ""},
		{"Windows line ends written out", lines(pkcs1, `\r\n`), "", ""},
		{"white space around", "\n\t  " + pkcs1 + "\n\n", "", ""},
		{"OCI's label behind it", pkcs1 + "OCI_API_KEY\n", "", ""},
		{"encrypted PKCS #8, wrong passphrase", pemOf("ENCRYPTED PRIVATE KEY", enc8), "wrong", locked},
		{"encrypted PKCS #8, no passphrase", pemOf("ENCRYPTED PRIVATE KEY", enc8), "", unlocked},
		{"encrypted in the old way, wrong passphrase", string(pem.EncodeToMemory(legacy)), "wrong", locked},
		{"encrypted in the old way, no passphrase", string(pem.EncodeToMemory(legacy)), "", unlocked},
		{"elliptic curve", pemOf("PRIVATE KEY", ecDER), "", unreadable + ", and it is a key of another kind"},
		{"public key", pemOf("PUBLIC KEY", public), "", unreadable + ", and it is the public half"},
		{"OpenSSH", pemOf("OPENSSH PRIVATE KEY", der8[:50]), "", unreadable + ", and it is a key for SSH"},
		{"cut", pkcs1[:len(pkcs1)/2], "", unreadable},
		{"a piece missing", pkcs1[:100] + pkcs1[165:], "", unreadable},
		{"no PEM", "hunter2hunter2hunter2", "", unreadable},
		{"a path", "/home/me/.oci/key.pem", "", unreadable + ", and it looks like a path, which belongs into key_file"},
		{"spaces only", " \n ", "", "key must be set (or key_file, or key)"},
		{"nothing", "", "", "key must be set (or key_file, or key)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			c.KeyPEM, c.Passphrase = tt.text, tt.pass
			_, err := NewClient(c, Options{})
			if tt.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || err.Error() != tt.says {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if err != nil {
				quotesNothing(t, err, tt.text, tt.pass)
			}
		})
	}
}

// quotesNothing checks that no piece of a secret is in a message.
func quotesNothing(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for _, s := range secrets {
		for _, line := range strings.Fields(strings.ReplaceAll(s, `\n`, " ")) {
			if len(line) > 12 && strings.Contains(err.Error(), line) {
				t.Errorf("%q is quoted: %v", line, err)
			}
		}
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	good := testCredentials(t)
	name := func(f string) string { return "source." + f }
	env := func(f string) string { return "$" + f }
	c := good
	c.Fingerprint = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"
	c.User, c.Tenancy, c.Region = "me@example.com", "", ""
	err := errors.Join(c.Problems(name, env)...)
	if err == nil {
		t.Fatal("no problem")
	}
	for _, want := range []string{
		"source.tenancy_ocid must be set (or $tenancy_ocid)", "source.region must be set (or $region)",
		`source.user_ocid must be an OCID that begins with ocid1.user, it is "me@example.com"`,
		"source.fingerprint is " + c.Fingerprint + ", but the key given by source.key has the fingerprint " + good.Fingerprint,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said: %v", want, err)
		}
	}
	quotesNothing(t, err, c.KeyPEM)
	c = good
	c.Fingerprint = strings.ToUpper(c.Fingerprint)
	if errs := c.Problems(name, env); len(errs) > 0 {
		t.Errorf("a fingerprint in capitals: %v", errs)
	}
}
