// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/md5" //nolint:gosec // OCI defines key fingerprints as MD5
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// Tenancy is a customer's account: one user with an API key, two compartments,
// one below the other, and in every subscribed region a network.
// Make it with [NewTenancy]; the exported fields may be changed until it is
// given to [New].
type Tenancy struct {
	Name          string
	ID            string // OCID of the tenancy, which is also its root compartment
	UserID        string
	CompartmentID string // a compartment directly below the root
	// ChildCompartmentID is a compartment below CompartmentID. What is in it
	// counts for the tenancy's limits, but is in no list of its parent.
	ChildCompartmentID string
	Namespace          string // the tenancy's Object Storage namespace
	HomeRegion         string
	Regions            []string // subscribed regions, the home region first

	// AlwaysFree makes it an account without a credit card: 2 OCPUs and 12 GB
	// of A1, one region. It changes the default limits.
	AlwaysFree bool

	// Limits overrides service limits by name, such as
	// "standard-a1-core-count" or "custom-image-count".
	Limits map[string]int64

	// Quotas are compartment quotas by limit name; exceeding one is a 400
	// QuotaExceeded. None by default.
	Quotas map[string]int64

	// TagNamespaces are the defined-tag namespaces that exist, with the keys
	// of each. None by default.
	TagNamespaces map[string][]string

	// NoAccess are compartments in which the user has no permissions: they
	// exist in ListCompartments with accessLevel ANY, and nowhere else.
	NoAccess []string

	// NoCapacityReports takes the permission away that
	// CreateComputeCapacityReport needs: the answer is then a 404.
	NoCapacityReports bool

	key      *rsa.PrivateKey
	adPrefix string
	networks map[string]*network // by region name
	keys     map[string]string   // of the vault, by region name
}

// NewTenancy makes an account with fresh identifiers and a fresh RSA key. The
// home region comes first; more are subscribed regions. It fails when a region
// is unknown.
func NewTenancy(name, homeRegion string, more ...string) (*Tenancy, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the API key of tenancy %s: %w", name, err)
	}
	return NewTenancyWithKey(key, name, homeRegion, more...)
}

// NewTenancyWithKey is NewTenancy for an API key that exists. Making a key
// takes longer than most tests.
func NewTenancyWithKey(key *rsa.PrivateKey, name, homeRegion string, more ...string) (*Tenancy, error) {
	t := &Tenancy{
		Name:          name,
		ID:            newOCID("tenancy", ""),
		UserID:        newOCID("user", ""),
		CompartmentID: newOCID("compartment", ""), ChildCompartmentID: newOCID("compartment", ""),
		Namespace:  "ns" + strings.ToLower(randomHex(5)),
		HomeRegion: homeRegion,
		Regions:    append([]string{homeRegion}, more...),
		Limits:     map[string]int64{},
		Quotas:     map[string]int64{},
		key:        key,
		adPrefix:   randomHex(2),
		networks:   map[string]*network{}, keys: map[string]string{},
	}
	for _, regionName := range t.Regions {
		r, err := lookUpRegion(regionName)
		if err != nil {
			return nil, fmt.Errorf("tenancy %s: %w", name, err)
		}
		t.networks[regionName] = newNetwork(t, r)
		t.keys[regionName] = newOCID("key", r.ocid+"."+strings.ToLower(randomHex(6)))
	}
	return t, nil
}

// Fingerprint is the MD5 of the user's public key, as the console shows it.
func (t *Tenancy) Fingerprint() string { return fingerprint(&t.key.PublicKey) }

// PrivateKeyPEM is the user's API key in PKCS #8.
func (t *Tenancy) PrivateKeyPEM() string {
	der, err := x509.MarshalPKCS8PrivateKey(t.key)
	if err != nil {
		panic(fmt.Sprintf("an RSA key that was just made does not marshal: %v", err))
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// AvailabilityDomains are the names that this tenancy knows a region's
// availability domains by. The result is empty for an unknown region.
func (t *Tenancy) AvailabilityDomains(regionName string) []string {
	r, err := lookUpRegion(regionName)
	if err != nil {
		return nil
	}
	return r.availabilityDomains(t.adPrefix)
}

// SubnetID is the public subnet in a region, or "" where the tenancy is not
// subscribed.
func (t *Tenancy) SubnetID(regionName string) string {
	if n := t.networks[regionName]; n != nil {
		return n.public.ID
	}
	return ""
}

// PrivateSubnetID is the subnet in a region in which public addresses are
// prohibited, or "" where the tenancy is not subscribed.
func (t *Tenancy) PrivateSubnetID(regionName string) string {
	if n := t.networks[regionName]; n != nil {
		return n.private.ID
	}
	return ""
}

// ADSubnetID is the public subnet of one availability domain, given by its name
// or the end of it ("AD-2"), or "" where there is none.
func (t *Tenancy) ADSubnetID(regionName, ad string) string {
	if n := t.networks[regionName]; n != nil && ad != "" {
		for _, s := range n.local {
			if strings.HasSuffix(*s.AvailabilityDomain, ad) {
				return s.ID
			}
		}
	}
	return ""
}

// VCNID is the VCN that all of the tenancy's subnets in a region are in, or ""
// where the tenancy is not subscribed.
func (t *Tenancy) VCNID(regionName string) string {
	if n := t.networks[regionName]; n != nil {
		return n.vcn.ID
	}
	return ""
}

// EmptyVCNID is another VCN, in the compartment below, without subnets.
func (t *Tenancy) EmptyVCNID(regionName string) string {
	if n := t.networks[regionName]; n != nil {
		return n.empty.ID
	}
	return ""
}

// KMSKeyID is the tenancy's one master encryption key in a region, or "" where
// the tenancy is not subscribed.
func (t *Tenancy) KMSKeyID(regionName string) string { return t.keys[regionName] }

// subscribed tells whether the tenancy may use a region.
func (t *Tenancy) subscribed(regionName string) bool {
	_, ok := t.networks[regionName]
	return ok
}

// owns tells whether a compartment OCID is one of the tenancy's own.
func (t *Tenancy) owns(compartment string) bool {
	return compartment == t.ID || compartment == t.CompartmentID || compartment == t.ChildCompartmentID
}

// hasAD tells whether a name is one of the tenancy's availability domains in
// a region.
func (t *Tenancy) hasAD(r region, name string) bool {
	for _, ad := range r.availabilityDomains(t.adPrefix) {
		if ad == name {
			return true
		}
	}
	return false
}

func fingerprint(key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(fmt.Sprintf("an RSA public key does not marshal: %v", err))
	}
	sum := md5.Sum(der) //nolint:gosec // OCI defines key fingerprints as MD5
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":")
}
