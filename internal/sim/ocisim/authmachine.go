// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// authority signs the certificates of machines, by way of an intermediate one.
type authority struct {
	root, above *x509.Certificate
	key         *ecdsa.PrivateKey // of the intermediate one
}

// Machine is a computer in the cloud on which a client may run. It has an
// instance principal: as its metadata service, it hands out a certificate for
// which the auth service gives a token.
type Machine struct {
	http.Handler // what answers 169.254.169.254 on it

	tenancy *Tenancy
	region  region
	id      string
	life    time.Duration
	cert    *x509.Certificate
}

// MachineTokenLife is how long the tokens of machines live.
const MachineTokenLife = time.Hour

// NewMachine makes a computer of a tenancy in a region.
func (c *Cloud) NewMachine(t *Tenancy, regionName string) (*Machine, error) {
	r, err := lookUpRegion(regionName)
	if err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.federation.ca == nil {
		if c.federation.ca, err = newAuthority(); err != nil {
			return nil, err
		}
	}
	ca := c.federation.ca
	m := &Machine{tenancy: t, region: r, id: newOCID("instance", r.ocid), life: MachineTokenLife}
	m.cert, err = signCertificate(&x509.Certificate{
		Subject: pkix.Name{CommonName: m.id, OrganizationalUnit: []string{
			"opc-certtype:instance", "opc-compartment:" + t.CompartmentID, "opc-instance:" + m.id, "opc-tenant:" + t.ID,
		}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.above, &key.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	if c.federation.machines == nil {
		c.federation.machines = map[string]*Machine{}
	}
	c.federation.machines[certificatePrint(m.cert)] = m
	own := machine.OCIMetadata(machine.InstanceInfo{
		ID: m.id, DisplayName: "runner", TenantID: t.ID, CompartmentID: t.CompartmentID, Region: r.name,
		AvailabilityDomain: r.availabilityDomains(t.adPrefix)[0], Shape: "VM.Standard.A1.Flex",
	})
	identity := map[string]string{
		"/opc/v2/identity/cert.pem":         pemText("CERTIFICATE", m.cert.Raw),
		"/opc/v2/identity/intermediate.pem": pemText("CERTIFICATE", ca.above.Raw),
		"/opc/v2/identity/key.pem":          pemText("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
	}
	m.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := identity[r.URL.Path]
		switch {
		case !ok:
			own.ServeHTTP(w, r)
		case r.Header.Get("Authorization") != "Bearer Oracle" || r.Header.Get("X-Forwarded-For") != "":
			http.Error(w, "Forbidden", http.StatusForbidden)
		case r.Method != http.MethodGet:
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		default:
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, text)
		}
	})
	return m, nil
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func newAuthority() (*authority, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	ca := func(name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	root := ca("the simulator's root for machines")
	if a.root, err = signCertificate(root, root, &rootKey.PublicKey, rootKey); err != nil {
		return nil, err
	}
	a.above, err = signCertificate(ca("the simulator's intermediate for machines"), a.root, &a.key.PublicKey, rootKey)
	return a, err
}

func signCertificate(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(30*24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// certificatePrint is how the auth service names a certificate.
func certificatePrint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":")
}

// authRoutes are the auth service's.
func (c *Cloud) authRoutes() []route {
	return []route{op("X509Federation", "POST /v1/x509", c.federateX509).unsigned().withoutLock()}
}

// federateX509 gives a token for a certificate. The request is signed with the
// certificate's key; unlike all others, its host is not part of what is signed.
func (c *Cloud) federateX509(q *call) (*reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sig, err := parseSignature(q.Header.Get("Authorization"))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"(request-target)", "content-length", "content-type", "x-content-sha256"} {
		if !slices.Contains(sig.headers, name) {
			return nil, errUnauthenticated()
		}
	}
	if !slices.Contains(sig.headers, "date") && !slices.Contains(sig.headers, "x-date") {
		return nil, errUnauthenticated()
	}
	if err := checkDate(q.Request, sig.headers); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(q.body)
	if q.Header.Get("X-Content-Sha256") != base64.StdEncoding.EncodeToString(sum[:]) {
		return nil, errUnauthenticated()
	}
	var body struct {
		Certificate   string   `json:"certificate" oci:"required"`
		PublicKey     string   `json:"publicKey" oci:"required"`
		Intermediates []string `json:"intermediateCertificates"`
		Algorithm     string   `json:"fingerprintAlgorithm"`
	}
	if err := q.decode(&body); err != nil {
		return nil, err
	}
	if body.Algorithm != "SHA256" {
		return nil, errInvalid("The fingerprint algorithm %s is not supported.", body.Algorithm)
	}
	leaf, err := bareCertificate(body.Certificate)
	if err != nil {
		return nil, errInvalid("The certificate cannot be read.")
	}
	above := x509.NewCertPool()
	for _, text := range body.Intermediates {
		cert, err := bareCertificate(text)
		if err != nil {
			return nil, errInvalid("An intermediate certificate cannot be read.")
		}
		above.AddCert(cert)
	}
	m := c.federation.machines[certificatePrint(leaf)]
	if m == nil || sig.keyID != m.tenancy.ID+"/fed-x509-sha256/"+certificatePrint(leaf) || !m.tenancy.subscribed(q.region().name) {
		return nil, errUnauthenticated()
	}
	roots := x509.NewCertPool()
	roots.AddCert(c.federation.ca.root)
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: above, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return nil, errUnauthenticated()
	}
	text, err := signingString(q.Request, sig.headers)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(text))
	key, isRSA := leaf.PublicKey.(*rsa.PublicKey)
	if !isRSA || rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig.value) != nil {
		return nil, errUnauthenticated()
	}
	session, err := sessionKey(body.PublicKey)
	if err != nil {
		return nil, errInvalid("The public key cannot be used: %v", err)
	}
	return ok(map[string]string{"token": c.issue(m.tenancy, session, m.life, map[string]any{
		"sub": m.id, "ptype": "instance", "ttype": "x509", "opc-certtype": "instance", "opc-instance": m.id,
		"opc-compartment": m.tenancy.CompartmentID, "opc-tenant": m.tenancy.ID,
	})}), nil
}

// bareCertificate reads a certificate in PEM without its armour.
func bareCertificate(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// sessionKey reads the key that a token is to be for.
func sessionKey(text string) (*rsa.PublicKey, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("it is no public key")
	}
	key, isRSA := any.(*rsa.PublicKey)
	if !isRSA || key.N.BitLen() < 2048 {
		return nil, errors.New("it is not an RSA key of 2048 bits")
	}
	return key, nil
}
