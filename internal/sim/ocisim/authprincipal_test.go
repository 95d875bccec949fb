// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/common/auth"
	"github.com/oracle/oci-go-sdk/v65/identity"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// letsIn checks that the cloud lets a provider of Oracle's SDK in, as one of a
// tenancy.
func (k *kit) letsIn(p common.ConfigurationProvider, t *ocisim.Tenancy) {
	k.t.Helper()
	client, err := identity.NewIdentityClientWithConfigurationProvider(p)
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	r, err := client.ListAvailabilityDomains(context.Background(), identity.ListAvailabilityDomainsRequest{CompartmentId: &t.ID})
	if err != nil || len(r.Items) == 0 {
		k.t.Errorf("%v, %d availability domains", err, len(r.Items))
	}
	if own, err := p.TenancyOCID(); err != nil || own != t.ID {
		k.t.Errorf("the tenancy is %s, %v", own, err)
	}
}

// onMachine is a client whose metadata service is a machine's.
func (k *kit) onMachine(m http.Handler) *http.Client {
	pipe := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "169.254.169.254" {
			m.ServeHTTP(w, r)
			return
		}
		k.cloud.ServeHTTP(w, r)
	}))
	k.t.Cleanup(pipe.CloseIdleConnections)
	return pipe
}

// Oracle's own providers, unmodified, for every kind.
func TestSDKInstancePrincipal(t *testing.T) {
	k := newKit(t, nil)
	m, err := k.cloud.NewMachine(k.build, "us-phoenix-1")
	if err != nil {
		t.Fatal(err)
	}
	client := k.onMachine(m)
	p, err := auth.InstancePrincipalConfigurationProviderWithCustomClient(func(common.HTTPRequestDispatcher) (common.HTTPRequestDispatcher, error) { return client, nil })
	if err != nil {
		t.Fatal(err)
	}
	k.letsIn(p, k.build)
	if r, err := p.Region(); err != nil || r != "us-phoenix-1" {
		t.Errorf("region %s, %v", r, err)
	}
	if n := k.cloud.CountRequests("X509Federation"); n != 1 {
		t.Errorf("%d requests for a token", n)
	}
}

func TestSDKResourcePrincipal(t *testing.T) {
	k := newKit(t, nil)
	key := keyOf(t, k.stranger) // any will do
	t.Setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
	t.Setenv("OCI_RESOURCE_PRINCIPAL_REGION", homeRegion)
	t.Setenv("OCI_RESOURCE_PRINCIPAL_RPST", k.cloud.IssueResourceToken(k.build, &key.PublicKey, time.Hour))
	t.Setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", k.stranger.PrivateKeyPEM())
	p, err := auth.ResourcePrincipalConfigurationProvider()
	if err != nil {
		t.Fatal(err)
	}
	k.letsIn(p, k.build)
}

func TestSDKWorkloadIdentity(t *testing.T) {
	k := newKit(t, nil)
	issuer, err := ocisim.NewIssuer("system:serviceaccount:ci:packer") // Kubernetes gives tokens of the same form
	if err != nil {
		t.Fatal(err)
	}
	issuer.Life = time.Hour
	own := issuer.Token("api")
	account := startCluster(t, k.cloud.Proxymux(k.build, own, time.Hour))
	t.Setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
	t.Setenv("OCI_RESOURCE_PRINCIPAL_REGION", homeRegion)
	if err := os.WriteFile(account, []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := auth.OkeWorkloadIdentityConfigurationProviderWithServiceAccountTokenProvider(auth.NewDefaultServiceAccountTokenProvider().WithSaTokenPath(account))
	if err != nil {
		t.Fatal(err)
	}
	k.letsIn(p, k.build)
	if err := os.WriteFile(account, []byte(issuer.Token("other")), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err = auth.OkeWorkloadIdentityConfigurationProviderWithServiceAccountTokenProvider(auth.NewDefaultServiceAccountTokenProvider().WithSaTokenPath(account))
	if err == nil {
		_, err = p.KeyID()
	}
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("another account: %v", err)
	}
}

// startCluster serves what pods of a cluster see, at the port that the SDK knows,
// and returns where the token of the service account is to be.
func startCluster(t *testing.T, h http.Handler) string {
	t.Helper()
	const host = "127.86.12.1"
	l, err := net.Listen("tcp", host+":12250")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.TLS = selfSigned(t, host)
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.TLS.Certificates[0].Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", ca)
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	return filepath.Join(dir, "token")
}

// selfSigned is what a server at an address needs for TLS.
func selfSigned(t *testing.T, host string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// job is GitHub's side of an exchange and an identity domain's.
type job struct {
	*kit
	issuer *ocisim.Issuer
	domain string
}

func newJob(t *testing.T) *job {
	k := newKit(t, nil)
	issuer, err := ocisim.NewIssuer("repo:octo/images:ref:refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	domain := k.cloud.AddDomain(ocisim.Domain{
		Tenancy: k.build, ClientID: "app", ClientSecret: "app-secret",
		Trusts: []ocisim.Trust{{Issuer: issuer, Audience: "oci", Subject: issuer.Subject}},
	})
	return &job{k, issuer, domain}
}

// GetToken implements auth.TokenIssuer.
func (j *job) GetToken() (string, error) { return j.issuer.Token("oci"), nil }

func TestSDKTokenExchange(t *testing.T) {
	j := newJob(t)
	// The SDK's client cannot be told of our network: it gets an address.
	host := strings.TrimPrefix(j.domain, "https://")
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = host
		j.cloud.ServeHTTP(w, r)
	}))
	defer front.Close()
	p, err := auth.TokenExchangeConfigurationProviderFromIssuer(j, auth.TokenExchangeBuilder{
		DomainUrl: front.URL, ClientId: "app", ClientSecret: "app-secret", Region: homeRegion,
		RequestedTokenType: "urn:oci:token-type:oci-upst", SubjectTokenType: "jwt",
	})
	if err != nil {
		t.Fatal(err)
	}
	j.letsIn(p, j.build)
}

func TestGitHub(t *testing.T) {
	j := newJob(t)
	ask := func(query, token string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "https://pipelines.example/token?"+query, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		j.issuer.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, body := ask("api-version=2.0&audience=oci", j.issuer.RequestToken); code != 200 || !strings.Contains(body, `"value":"ey`) {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := ask("api-version=2.0", "another"); code != 401 {
		t.Errorf("another job gets %d", code)
	}
	if code, _ := ask("", j.issuer.RequestToken); code != 400 {
		t.Errorf("no version gets %d", code)
	}
}

func TestTokenExchangeIsStrict(t *testing.T) {
	j := newJob(t)
	other, err := ocisim.NewIssuer(j.issuer.Subject)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(keyOf(t, j.build).Public())
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	stale, branch := *j.issuer, *j.issuer
	stale.Life, branch.Subject = -time.Second, "repo:octo/images:ref:refs/heads/fork"
	good := func() url.Values {
		return url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {"urn:oci:token-type:oci-upst"},
			"subject_token_type": {"jwt"}, "subject_token": {j.issuer.Token("oci")}, "public_key": {base64.StdEncoding.EncodeToString(der)},
		}
	}
	unsigned := strings.Split(j.issuer.Token("oci"), ".")
	for _, tt := range []struct {
		name   string
		set    map[string]string
		secret string
		method string
		host   string
		status int
		says   string
	}{
		{name: "good", status: 200, says: `"token":"ey`},
		{name: "wrong secret", secret: "x", status: 401, says: "invalid_client"},
		{name: "GET", method: http.MethodGet, status: 405, says: "MethodNotAllowed"},
		{name: "no such domain", host: "idcs-0.identity.oraclecloud.com", status: 404, says: "no identity domain"},
		{name: "another grant", set: map[string]string{"grant_type": "client_credentials"}, status: 400, says: "unsupported_grant_type"},
		{name: "another token", set: map[string]string{"requested_token_type": "urn:oci:token-type:oci-rpst"}, status: 400, says: "invalid_request"},
		{name: "another subject type", set: map[string]string{"subject_token_type": "saml"}, status: 400, says: "invalid_request"},
		{name: "a parameter too many", set: map[string]string{"scope": "x"}, status: 400, says: "scope is not known"},
		{name: "no key", set: map[string]string{"public_key": ""}, status: 400, says: "public key"},
		{name: "a curve", set: map[string]string{"public_key": base64.StdEncoding.EncodeToString(ecDER)}, status: 400, says: "not an RSA key"},
		{name: "no JWT", set: map[string]string{"subject_token": "x"}, status: 400, says: "it is no JWT"},
		{name: "not signed", set: map[string]string{"subject_token": unsigned[0] + "." + unsigned[1] + "."}, status: 400, says: "signature is wrong"},
		{name: "signed by somebody else", set: map[string]string{"subject_token": other.Token("oci")}, status: 400, says: "signature is wrong"},
		{name: "expired", set: map[string]string{"subject_token": stale.Token("oci")}, status: 400, says: "expired"},
		{name: "another audience", set: map[string]string{"subject_token": j.issuer.Token("https://github.com/octo")}, status: 400, says: "audience"},
		{name: "another branch", set: map[string]string{"subject_token": branch.Token("oci")}, status: 400, says: "subject is not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := good()
			for k, v := range tt.set {
				form.Set(k, v)
			}
			method, to := http.MethodPost, j.domain
			if tt.method != "" {
				method = tt.method
			}
			if tt.host != "" {
				to = "https://" + tt.host
			}
			req, err := http.NewRequestWithContext(t.Context(), method, to+"/oauth2/v1/token", strings.NewReader(form.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			secret := "app-secret"
			if tt.secret != "" {
				secret = tt.secret
			}
			req.SetBasicAuth("app", secret)
			resp, err := j.http.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
				t.Errorf("%d %s, %v", resp.StatusCode, body, err)
			}
		})
	}
	if n := j.cloud.TokensIssued(); n != 1 {
		t.Errorf("%d tokens were issued", n)
	}
}

// federation is a request of a machine for a token, to be bent.
type federation struct {
	keyID   string
	key     *rsa.PrivateKey
	names   []string
	date    time.Time
	body    map[string]any
	host    string
	changed func(*http.Request)
}

func TestFederationIsStrict(t *testing.T) {
	k := newKit(t, nil)
	m, err := k.cloud.NewMachine(k.build, homeRegion)
	if err != nil {
		t.Fatal(err)
	}
	// A cloud of its own signs for a tenancy that has the same name here.
	elsewhere := newKit(t, nil)
	false1, err := elsewhere.cloud.NewMachine(elsewhere.build, homeRegion)
	if err != nil {
		t.Fatal(err)
	}
	session := keyOf(t, k.stranger)
	for _, tt := range []struct {
		name    string
		machine http.Handler
		bend    func(*federation)
		status  int
	}{
		{name: "good", status: 200},
		{name: "signed with another key", bend: func(f *federation) { f.key = session }, status: 401},
		{name: "another tenancy's name", bend: func(f *federation) { f.keyID = strings.Replace(f.keyID, k.build.ID, k.production.ID, 1) }, status: 401},
		{name: "a clock that is slow", bend: func(f *federation) { f.date = f.date.Add(-6 * time.Minute) }, status: 401},
		{name: "the body not signed", bend: func(f *federation) { f.names = f.names[:2] }, status: 401},
		{name: "the date not signed", bend: func(f *federation) { f.names = f.names[1:] }, status: 401},
		{name: "a body changed on the way", bend: func(f *federation) { f.changed = func(r *http.Request) { r.Header.Set("X-Content-Sha256", "x") } }, status: 401},
		{name: "a certificate of another authority", machine: false1, status: 401},
		{name: "no intermediate certificate", bend: func(f *federation) { f.body["intermediateCertificates"] = []string{} }, status: 401},
		{name: "no certificate", bend: func(f *federation) { f.body["certificate"] = "eA==" }, status: 400},
		{name: "no key", bend: func(f *federation) { f.body["publicKey"] = "eA==" }, status: 400},
		{name: "an unknown field", bend: func(f *federation) { f.body["purpose"] = "x" }, status: 400},
		{name: "SHA1", bend: func(f *federation) { f.body["fingerprintAlgorithm"] = "SHA1" }, status: 400},
		{name: "a region that the tenancy does not have", bend: func(f *federation) { f.host = "auth.eu-frankfurt-1.oraclecloud.com" }, status: 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from := tt.machine
			if from == nil {
				from = m
			}
			f := newFederation(t, from, k.build.ID, session)
			if tt.bend != nil {
				tt.bend(f)
			}
			status, body := f.send(t, k.http)
			if status != tt.status || (status == 200) != strings.Contains(body, `"token":"ey`) {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

func newFederation(t *testing.T, m http.Handler, tenancy string, session *rsa.PrivateKey) *federation {
	t.Helper()
	get := func(path string) []byte {
		r := httptest.NewRequest(http.MethodGet, "http://169.254.169.254/opc/v2/identity/"+path, nil)
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("without the header: %d", w.Code)
		}
		r.Header.Set("Authorization", "Bearer Oracle")
		w = httptest.NewRecorder()
		m.ServeHTTP(w, r)
		block, _ := pem.Decode(w.Body.Bytes())
		if block == nil {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return block.Bytes
	}
	leaf, above := get("cert.pem"), get("intermediate.pem")
	key, err := x509.ParsePKCS1PrivateKey(get("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(session.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf)
	b := base64.StdEncoding.EncodeToString
	return &federation{
		keyID: tenancy + "/fed-x509-sha256/" + strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":"), key: key, date: time.Now(),
		names: []string{"date", "(request-target)", "content-length", "content-type", "x-content-sha256"}, host: "auth." + homeRegion + ".oraclecloud.com",
		body: map[string]any{"certificate": b(leaf), "intermediateCertificates": []string{b(above)}, "publicKey": b(public), "fingerprintAlgorithm": "SHA256"},
	}
}

func (f *federation) send(t *testing.T, client *http.Client) (int, string) {
	t.Helper()
	raw, err := json.Marshal(f.body)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	values := map[string]string{
		"date": f.date.UTC().Format(http.TimeFormat), "(request-target)": "post /v1/x509", "content-length": fmt.Sprint(len(raw)),
		"content-type": "application/json", "x-content-sha256": base64.StdEncoding.EncodeToString(sum[:]),
	}
	var lines []string
	for _, n := range f.names {
		lines = append(lines, n+": "+values[n])
	}
	digest := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	sig, err := rsa.SignPKCS1v15(rand.Reader, f.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+f.host+"/v1/x509", strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"date", "content-type", "x-content-sha256"} {
		req.Header.Set(n, values[n])
	}
	req.Header.Set("Authorization", fmt.Sprintf(`Signature version="1",headers="%s",keyId="%s",algorithm="rsa-sha256",signature="%s"`,
		strings.Join(f.names, " "), f.keyID, base64.StdEncoding.EncodeToString(sig)))
	if f.changed != nil {
		f.changed(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
