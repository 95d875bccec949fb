// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
)

// instance signs in as the machine that this runs on: with the certificate that
// its metadata service hands out, it asks the auth service of its region for a
// token.
//
// Oracle's SDK has a provider for this, which speaks the same protocol. It knows
// no context, tries for two minutes where there is no metadata service, reaches
// for that service through a proxy, and keeps its addresses in variables that two
// providers write at the same time.
type instance struct {
	o  Options
	on bool // it is one of OCI's machines: it had a token before
}

const (
	metadataURL = "http://169.254.169.254/opc/v2"
	// The metadata service is on the machine itself: it answers at once or never.
	metadataLimit = 3 * time.Second
	authLimit     = 20 * time.Second
)

func (i *instance) issue(ctx context.Context) (*pass, error) {
	region, err := i.metadata(ctx, "/instance/region")
	if err != nil {
		return nil, err
	}
	leafPEM, err := i.metadata(ctx, "/identity/cert.pem")
	if err != nil {
		return nil, err
	}
	keyPEM, err := i.metadata(ctx, "/identity/key.pem")
	if err != nil {
		return nil, err
	}
	above, err := i.metadata(ctx, "/identity/intermediate.pem")
	if err != nil {
		return nil, err
	}
	leaf, err := certificate(leafPEM)
	if err != nil {
		return nil, &signInError{text: "the metadata service of this machine hands out a certificate that cannot be read"}
	}
	leafKey, err := parseKey(cleanPEM(keyPEM), "", "")
	if err != nil {
		return nil, &signInError{text: "the metadata service of this machine hands out a key that cannot be read"}
	}
	tenancy := tenantOf(leaf)
	if tenancy == "" {
		return nil, &signInError{text: "the certificate of this machine names no tenancy"}
	}
	session, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(leaf.Raw)
	print := strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":")
	by := &pass{keyID: tenancy + "/fed-x509-sha256/" + print, key: leafKey}
	where := FullRegion(strings.TrimSpace(region))
	text, err := i.federate(ctx, where, by, leafPEM, above, session)
	if err != nil {
		return nil, err
	}
	t, err := parseToken(text)
	if err != nil {
		return nil, &signInError{text: "the auth service of " + where + " answers without a token", passing: true}
	}
	t.tenancy = tenancy
	p := newPass(t, session)
	p.region, i.on = where, true
	return p, nil
}

// metadata asks the machine's own metadata service.
func (i *instance) metadata(ctx context.Context, path string) (string, error) {
	base := cmp.Or(os.Getenv("OCI_METADATA_BASE_URL"), metadataURL)
	limited, cancel := context.WithTimeout(ctx, metadataLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, base+path, http.NoBody) //nolint:gosec // the address is the user's own, as for OCI's tools
	if err != nil {
		return "", &signInError{text: fmt.Sprintf("OCI_METADATA_BASE_URL cannot be used: %v", cause(err))}
	}
	req.Header.Set("Authorization", "Bearer Oracle")
	client := i.o.HTTP
	if client == nil {
		direct := &http.Transport{DialContext: (&net.Dialer{Timeout: metadataLimit}).DialContext} // no proxy
		defer direct.CloseIdleConnections()
		client = &http.Client{Transport: direct}
	}
	resp, err := client.Do(req) //nolint:gosec // as above
	if err != nil {
		if ctx.Err() != nil {
			return "", interrupted(ctx)
		}
		return "", &signInError{text: fmt.Sprintf("this machine has no instance principal: no metadata service answers at %s, so it is none of OCI's, or is cut off from it: %v", req.URL.Host, cause(err)), passing: i.on}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxHeader))
	switch {
	case resp.StatusCode >= 500 || err != nil:
		return "", &signInError{text: fmt.Sprintf("the metadata service of this machine does not answer for %s: %s", path, resp.Status), passing: true}
	case resp.StatusCode != http.StatusOK:
		return "", &signInError{text: fmt.Sprintf("this machine has no instance principal: the metadata service at %s answers %s for %s, so it is none of OCI's", req.URL.Host, resp.Status, path)}
	}
	return string(b), nil
}

// federate asks the auth service of a region for a token for the key session.
func (i *instance) federate(ctx context.Context, region string, by *pass, leaf, above string, session *rsa.PrivateKey) (string, error) {
	public, err := x509.MarshalPKIXPublicKey(session.Public())
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]any{
		"certificate": unarmoured(leaf), "intermediateCertificates": []string{unarmoured(above)},
		"publicKey":            unarmoured(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))),
		"fingerprintAlgorithm": "SHA256",
	})
	if err != nil {
		return "", err
	}
	host := "https://" + common.Region(region).Endpoint("auth")
	if own := os.Getenv("OCI_SDK_AUTH_CLIENT_REGION_URL"); own != "" {
		host = own
		if !strings.Contains(host, "://") {
			host = "https://" + host
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, host+"/v1/x509", bytes.NewReader(body)) //nolint:gosec // as above
	if err != nil {
		return "", &signInError{text: fmt.Sprintf("the auth service of %s has no address: %v", region, cause(err))}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	// This service does not want its name signed.
	names := []string{"date", "(request-target)"}
	if err := common.RequestSigner(by, names, common.DefaultBodyHeaders()).Sign(req); err != nil {
		return "", err
	}
	answer, err := ask(i.o, req, "the auth service of "+region)
	if err != nil {
		return "", err
	}
	var reply struct{ Token string }
	if json.Unmarshal(answer, &reply) != nil || reply.Token == "" {
		return "", &signInError{text: "the auth service of " + region + " answers without a token", passing: true}
	}
	return reply.Token, nil
}

// tenantOf is the tenancy that a machine's certificate names.
func tenantOf(c *x509.Certificate) string {
	for _, n := range c.Subject.Names {
		if text, ok := n.Value.(string); ok {
			if id, ok := strings.CutPrefix(text, "opc-tenant:"); ok {
				return id
			}
		}
	}
	return ""
}

func certificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// unarmoured is a PEM text without its armour and line ends.
func unarmoured(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// ask sends a request for a token and returns the body of the answer.
func ask(o Options, req *http.Request, whom string) ([]byte, error) {
	ctx := req.Context()
	limited, cancel := context.WithTimeout(ctx, authLimit)
	defer cancel()
	d := common.DefaultBaseClientWithSigner(nil).HTTPClient
	if o.HTTP != nil {
		d = o.HTTP
	}
	resp, err := d.Do(req.WithContext(limited))
	var b []byte
	if err == nil {
		defer resp.Body.Close()
		b, err = io.ReadAll(io.LimitReader(resp.Body, maxHeader))
	}
	switch {
	case ctx.Err() != nil:
		return nil, interrupted(ctx)
	case limited.Err() != nil:
		return nil, &signInError{text: fmt.Sprintf("%s does not answer within %s", whom, authLimit), passing: true}
	case err != nil:
		return nil, &signInError{text: fmt.Sprintf("%s does not answer: %v", whom, cause(err)), passing: !nowhere(err)}
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusCreated:
		return b, nil
	}
	return nil, &signInError{
		text:    fmt.Sprintf("%s refuses: %s", whom, complaint(resp, b)),
		passing: resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests,
	}
}

// nowhere says that there is no such host, or nobody to be trusted there.
func nowhere(err error) bool {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &cert)
}

// complaint is what an answer says of why it is none, in one line.
func complaint(resp *http.Response, body []byte) string {
	var said struct {
		Code, Message string // OCI's form
		Error         string `json:"error"` // that of OAuth
		Description   string `json:"error_description"`
	}
	text := ""
	if json.Unmarshal(body, &said) == nil {
		text = cmp.Or(said.Message, said.Description)
		if code := cmp.Or(said.Code, said.Error); code != "" {
			text = strings.TrimSpace(text + " (" + code + ")")
		}
	}
	text = jwtText.ReplaceAllString(strings.Join(strings.Fields(text), " "), "<token>")
	if len(text) > 400 {
		text = text[:400] + "..."
	}
	if theirs, err := http.ParseTime(resp.Header.Get("Date")); err == nil && resp.StatusCode < 500 {
		if s := skewed(time.Until(theirs)); s != "" {
			text = s + " " + text
		}
	}
	return strings.TrimSpace(resp.Status + " " + text)
}

// host is the host of a URL, for messages.
func host(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return u.Host
	}
	return raw
}
