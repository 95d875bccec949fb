// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // EC2 defines fingerprints of RSA keys as MD5
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // and those of keys that it made as SHA-1
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keyPair is a public key that instances can be started with.
type keyPair struct {
	resourceBase
	name, algorithm string // rsa or ed25519
	public          string // a line of authorized_keys
	fingerprint     string
}

func (c *Cloud) findKeyPair(q *call, name string) (*keyPair, error) {
	for _, k := range own[*keyPair](c, q) {
		if k.name == name {
			return k, nil
		}
	}
	return nil, refuse("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
}

// checkNewKey is what making and importing a key pair have in common.
func (c *Cloud) checkNewKey(q *call, name string, tags tagMap) error {
	if len(name) > 255 {
		return errValue("Value for parameter KeyName is invalid. Length exceeds maximum of 255.")
	}
	planned := q.planned("key-pair", tags)
	planned.ARN = strings.TrimSuffix(planned.ARN, "*") + name
	var tagged []AccessResource
	if len(tags) > 0 {
		tagged = append(tagged, planned)
	}
	if err := c.authorize(q, []AccessResource{planned}, tagged...); err != nil {
		return err
	}
	if slices.ContainsFunc(taken[*keyPair](c, q), func(k *keyPair) bool { return k.name == name }) {
		return refuse("InvalidKeyPair.Duplicate", "The keypair '%s' already exists.", name)
	}
	return nil
}

func (c *Cloud) createKeyPair(q *call, in *struct {
	Name   string             `aws:"KeyName,required"`
	Type   string             `aws:"KeyType,enum=rsa|ed25519"`
	Format string             `aws:"KeyFormat,enum=pem|ppk"`
	Specs  []tagSpecification `aws:"TagSpecification"`
}) (any, error) {
	tags, err := specified(in.Specs, "key-pair")
	if err != nil {
		return nil, err
	}
	if in.Format == "ppk" {
		return nil, errNotSimulated("KeyFormat ppk")
	}
	if err := c.checkNewKey(q, in.Name, tags["key-pair"]); err != nil {
		return nil, err
	}
	k := &keyPair{resourceBase: c.newBase(q, "key-pair", tags["key-pair"]), name: in.Name, algorithm: "rsa"}
	var material *pem.Block
	if in.Type == "ed25519" {
		k.algorithm = in.Type
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		if material, err = ssh.MarshalPrivateKey(private, ""); err != nil {
			return nil, err
		}
		if err := k.setPublic(public); err != nil {
			return nil, err
		}
	} else {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		material = &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}
		if err := k.setPublic(&private.PublicKey); err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, err
		}
		sum := sha1.Sum(der) //nolint:gosec // see the import
		k.fingerprint = colons(sum[:])
	}
	c.resources.put(k)
	return struct {
		Name        string      `xml:"keyName"`
		Fingerprint string      `xml:"keyFingerprint"`
		Material    string      `xml:"keyMaterial"`
		ID          string      `xml:"keyPairId"`
		Tags        set[tagXML] `xml:"tagSet"`
	}{k.name, k.fingerprint, strings.TrimSuffix(string(pem.EncodeToMemory(material)), "\n"), k.id, k.tags.xml()}, nil
}

// setPublic sets the key, and the fingerprint of one that was brought along.
func (k *keyPair) setPublic(public any) error {
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return fmt.Errorf("a key that was just made: %w", err)
	}
	return k.setKey(key)
}

func (k *keyPair) setKey(key ssh.PublicKey) error {
	k.public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + k.name
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		k.algorithm = "ed25519"
		sum := sha256.Sum256(key.Marshal())
		k.fingerprint = base64.StdEncoding.EncodeToString(sum[:])
	case ssh.KeyAlgoRSA:
		k.algorithm = "rsa"
		der, err := x509.MarshalPKIXPublicKey(key.(ssh.CryptoPublicKey).CryptoPublicKey())
		if err != nil {
			return err
		}
		sum := md5.Sum(der) //nolint:gosec // see the import
		k.fingerprint = colons(sum[:])
	default:
		return refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	return nil
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":")
}

func (c *Cloud) importKeyPair(q *call, in *struct {
	Name     string             `aws:"KeyName,required"`
	Material string             `aws:"PublicKeyMaterial,required"`
	Specs    []tagSpecification `aws:"TagSpecification"`
}) (any, error) {
	tags, err := specified(in.Specs, "key-pair")
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(in.Material)
	if err != nil {
		return nil, refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(raw)
	if err != nil {
		return nil, refuse("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	if err := c.checkNewKey(q, in.Name, tags["key-pair"]); err != nil {
		return nil, err
	}
	k := &keyPair{resourceBase: c.newBase(q, "key-pair", tags["key-pair"]), name: in.Name}
	if err := k.setKey(key); err != nil {
		return nil, err
	}
	c.resources.put(k)
	return struct {
		Name        string      `xml:"keyName"`
		Fingerprint string      `xml:"keyFingerprint"`
		ID          string      `xml:"keyPairId"`
		Tags        set[tagXML] `xml:"tagSet"`
	}{k.name, k.fingerprint, k.id, k.tags.xml()}, nil
}

type keyPairXML struct {
	ID          string      `xml:"keyPairId"`
	Name        string      `xml:"keyName"`
	Type        string      `xml:"keyType"`
	Fingerprint string      `xml:"keyFingerprint"`
	Public      string      `xml:"publicKey,omitempty"`
	Created     string      `xml:"createTime"`
	Tags        set[tagXML] `xml:"tagSet"`
}

func (c *Cloud) describeKeyPairs(q *call, in *struct {
	Names         []string `aws:"KeyName"`
	IDs           []string `aws:"KeyPairId"`
	IncludePublic bool     `aws:"IncludePublicKey"`
	Filters       []filter `aws:"Filter"`
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*keyPair](c, q, "key-pair", in.IDs)
	if err != nil {
		return nil, err
	}
	for _, name := range in.Names {
		if _, err := c.findKeyPair(q, name); err != nil {
			return nil, err
		}
	}
	list, err = narrow(list, in.Filters, attributes[*keyPair]{
		"key-name":    func(k *keyPair) []string { return one(k.name) },
		"key-pair-id": func(k *keyPair) []string { return one(k.id) },
		"fingerprint": func(k *keyPair) []string { return one(k.fingerprint) },
	})
	if err != nil {
		return nil, err
	}
	rows := []keyPairXML{}
	for _, k := range list {
		if len(in.Names) > 0 && !slices.Contains(in.Names, k.name) {
			continue
		}
		row := keyPairXML{k.id, k.name, k.algorithm, k.fingerprint, "", stamp(k.created), k.tags.xml()}
		if in.IncludePublic {
			row.Public = k.public
		}
		rows = append(rows, row)
	}
	return struct {
		Keys set[keyPairXML] `xml:"keySet"`
	}{setOf(rows)}, nil
}

// deleteKeyPair succeeds for a key pair that does not exist, as EC2 does.
func (c *Cloud) deleteKeyPair(q *call, in *struct {
	Name string `aws:"KeyName"`
	ID   string `aws:"KeyPairId"`
}) (any, error) {
	if (in.Name == "") == (in.ID == "") {
		return nil, refuse("MissingParameter", "The request must contain exactly one of KeyName and KeyPairId")
	}
	asked := q.planned("key-pair", nil)
	var found *keyPair
	for _, k := range own[*keyPair](c, q) {
		if k.name == in.Name || k.id == in.ID {
			found, asked = k, existing(k)
			asked.ARN = ec2ARN(k.region.name, k.account.ID, "key-pair", k.name)
		}
	}
	if err := c.authorize(q, []AccessResource{asked}); err != nil {
		return nil, err
	}
	if found != nil {
		c.resources.remove(found.id)
	}
	return done(), nil
}
