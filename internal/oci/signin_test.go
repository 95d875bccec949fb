// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// keyIn is a tenancy's API key.
func keyIn(t *testing.T, of *ocisim.Tenancy) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(of.PrivateKeyPEM()))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key.(*rsa.PrivateKey)
}

// Whoever is not let in hears why, as far as it can be found out.
func TestWhyNot(t *testing.T) {
	late := func(by time.Duration) func(http.ResponseWriter, *http.Request) bool {
		return func(_ http.ResponseWriter, r *http.Request) bool {
			r.Header.Set("Date", time.Now().Add(by).UTC().Format(http.TimeFormat))
			return false
		}
	}
	for _, tt := range []struct {
		name   string
		tamper func(http.ResponseWriter, *http.Request) bool
		change func(*Credentials, *world)
		says   []string
		not    string
	}{
		{
			name: "a clock that is slow", tamper: late(-6 * time.Minute),
			says: []string{"this computer's clock is 6m0s slow; its date was Fri, 31 Dec 1999 23:54:00 UTC when OCI's was Sat, 01 Jan 2000 00:00:00 UTC; set it right"}, not: "registered",
		},
		{name: "a clock that is fast", tamper: late(7 * time.Minute), says: []string{"this computer's clock is 7m0s fast; its date was "}, not: "registered"},
		{
			name: "a clock that only the reply's date tells about",
			tamper: func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
				refuse(w, 401, "NotAuthenticated", "Failed to verify.")
				return true
			}, says: []string{"this computer's clock is 1h0m0s slow; set it right"}, not: "registered",
		},
		{
			name: "a region that the tenancy does not have", change: func(c *Credentials, _ *world) { c.Region = "uk-cardiff-1" },
			says: []string{"OCI in uk-cardiff-1 does not let user ", "the key is good, but the tenancy is not subscribed to the region uk-cardiff-1; it is subscribed to eu-frankfurt-1"}, not: "registered",
		},
		{
			name: "a key that is not registered",
			change: func(c *Credentials, w *world) {
				c.KeyPEM, c.Fingerprint = w.production.PrivateKeyPEM(), w.production.Fingerprint()
			}, says: []string{"the key is not registered for this user (or was deleted)"}, not: "clock",
		},
		{name: "a user of another tenancy", change: func(c *Credentials, w *world) { c.User = w.production.UserID }, says: []string{"user and tenancy do not belong together"}, not: "clock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, simOptions{})
				w.tamper = tt.tamper
				c := Credentials{Tenancy: w.build.ID, User: w.build.UserID, Fingerprint: w.build.Fingerprint(), KeyPEM: w.build.PrivateKeyPEM(), Region: simRegion}
				if tt.change != nil {
					tt.change(&c, w)
				}
				client, err := NewClient(c, w.options())
				if err != nil {
					t.Fatal(err)
				}
				_, err = client.signIn(t.Context())
				if err == nil {
					t.Fatal("let in")
				}
				for _, want := range append(tt.says, "401 NotAuthenticated, request ") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q is not said: %v", want, err)
					}
				}
				if tt.not != "" && strings.Contains(err.Error(), tt.not) {
					t.Errorf("%q is said: %v", tt.not, err)
				}
				quotesNothing(t, err, c.KeyPEM)
			})
		})
	}
}

// Where nothing can be had to sign in with, one sentence says why, soon.
func TestNoPass(t *testing.T) {
	status := func(op string, code int, name, text string) []ocisim.Fault {
		return []ocisim.Fault{{Kind: ocisim.FaultStatus, Op: op, Status: code, Code: name, Message: text}}
	}
	at := func(host string, code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.Host, host) {
				return false
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
			return true
		}
	}
	hang := func(host string) func(http.ResponseWriter, *http.Request) bool {
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.Host, host) {
				_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection goes unnoticed
				<-r.Context().Done()
				return true
			}
			return false
		}
	}
	machine := func(t *testing.T, w *world) Credentials { w.runner(t); return Credentials{Kind: InstancePrincipal} }
	job := func(_ *testing.T, w *world) Credentials { return w.github() }
	for _, tt := range []struct {
		name   string
		who    func(*testing.T, *world) Credentials
		faults []ocisim.Fault
		tamper func(http.ResponseWriter, *http.Request) bool
		says   string
		within time.Duration
	}{
		{name: "a machine that is none of OCI's", who: func(*testing.T, *world) Credentials { return Credentials{Kind: InstancePrincipal} },
			says: "cannot sign in: this machine has no instance principal: the metadata service at 169.254.169.254 answers 404 Not Found for /instance/region, so it is none of OCI's"},
		{name: "a metadata service that does not answer", who: machine, tamper: hang(metadataHost), within: 4 * time.Second,
			says: "cannot sign in: this machine has no instance principal: no metadata service answers at 169.254.169.254, so it is none of OCI's, or is cut off from it: "},
		{name: "a metadata service that is down", who: machine, tamper: at(metadataHost, 500, "no"), says: "the metadata service of this machine does not answer for /instance/region: 500"},
		{name: "a certificate that is none", who: machine, tamper: func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/cert.pem") && at("", 200, "c2VjcmV0")(w, r)
		}, says: "hands out a certificate that cannot be read"},
		{name: "a machine's key that is none", who: machine, tamper: func(w http.ResponseWriter, r *http.Request) bool {
			return strings.HasSuffix(r.URL.Path, "/key.pem") && at("", 200, "c2VjcmV0")(w, r)
		}, says: "hands out a key that cannot be read"},
		{name: "the auth service refuses", who: machine, faults: status("X509Federation", 401, "NotAuthenticated", "Failed."), says: "the auth service of eu-frankfurt-1 refuses: 401 Unauthorized Failed. (NotAuthenticated)"},
		{name: "the auth service is down", who: machine, faults: status("X509Federation", 503, "", "down"), says: "the last answer was: the auth service of eu-frankfurt-1 refuses: 503"},
		{name: "the auth service hangs", who: machine, tamper: hang("auth."), says: "the auth service of eu-frankfurt-1 does not answer within 20s", within: 45 * time.Second},
		{name: "the auth service gives no token", who: machine, tamper: at("auth.", 200, "{}"), says: "the auth service of eu-frankfurt-1 answers without a token"},
		{name: "a machine of another tenancy", who: func(t *testing.T, w *world) Credentials {
			c := machine(t, w)
			c.Tenancy = w.production.ID
			return c
		}, says: "tenancy_ocid is ocid1.tenancy."},
		{name: "the wrong secret of the application", who: func(_ *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.ClientSecret = "another-secret-4711"
			return c
		}, says: "refuses: 401 Unauthorized Client authentication failed. (invalid_client); check client_id and client_secret"},
		{name: "the wrong audience", who: func(_ *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.Audience = ""
			return c
		}, says: "refuses: 400 Bad Request The subject token is refused: its audience is not the trust's. (invalid_grant); check the domain's identity propagation trust"},
		{name: "a branch that is not trusted", who: func(_ *testing.T, w *world) Credentials { w.issuer.Subject = "repo:x"; return w.github() }, says: "its subject is not the trust's"},
		{name: "GitHub refuses", who: func(_ *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.RequestToken = "somebody else's"
			return c
		}, says: "cannot sign in: GitHub's token service refuses: 401 Unauthorized"},
		{name: "GitHub gives nothing", who: job, tamper: at(githubHost, 200, `{"value":""}`), says: "GitHub's token service answers without a token"},
		{name: "no such domain", who: func(_ *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.DomainURL = "https://idcs-0.identity.oraclecloud.com"
			return c
		}, says: "the identity domain idcs-0.identity.oraclecloud.com refuses: 404 Not Found There is no identity domain at "},
		{name: "the domain repeats the token", who: job, tamper: func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.Host, "idcs-") {
				return false
			}
			_ = r.ParseForm()
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"bad token ` + r.PostForm.Get("subject_token") + `"}`))
			return true
		}, says: "bad token <token> (invalid_grant)"},
		{name: "the domain's token is none", who: job, tamper: at("idcs-", 200, `{"token":"c2VjcmV0"}`), says: "answers without a token"},
		{name: "a token file that went away", who: func(_ *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.TokenFile = "/gone/jwt"
			return c
		}, says: "cannot sign in: the token to exchange cannot be read: open /gone/jwt"},
		{name: "a session's token of another key", who: func(t *testing.T, w *world) Credentials {
			c := w.session(t, time.Hour)
			c.KeyFile, c.KeyPEM = "", w.production.PrivateKeyPEM()
			return c
		}, says: "was made for another key than the one that is given; take both from the same session"},
		{name: "a session that is over", who: func(t *testing.T, w *world) Credentials { return w.session(t, -time.Minute) }, says: "expired at 1999-12-31T23:59:00Z; `oci session refresh`"},
		{name: "no resource", who: func(*testing.T, *world) Credentials { return Credentials{Kind: ResourcePrincipal} },
			says: "cannot sign in: there is no resource principal here: can not create resource principal, environment variable: OCI_RESOURCE_PRINCIPAL_VERSION, not present"},
		{name: "no pod", who: func(*testing.T, *world) Credentials { return Credentials{Kind: WorkloadIdentity} },
			says: "cannot sign in: there is no OKE workload identity here: can not create resource principal, environment variable: OCI_RESOURCE_PRINCIPAL_VERSION, not present"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, simOptions{faults: tt.faults})
				who := tt.who(t, w)
				w.tamper = tt.tamper
				start := time.Now()
				_, err := SignIn(t.Context(), who, w.options())
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("%v, want %q", err, tt.says)
				}
				limit := 25 * time.Second
				if tt.within > 0 {
					limit = tt.within
				}
				if d := time.Since(start); d > limit {
					t.Errorf("it took %s", d)
				}
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %v", err)
				}
				quotesNothing(t, err, append(append(who.Secrets(), w.secrets...), "c2VjcmV0c2VjcmV0")...)
			})
		})
	}
}

// Off OCI the sentence comes at once.
func TestNoInstanceHere(t *testing.T) {
	t.Setenv("OCI_METADATA_BASE_URL", "http://127.0.0.1:9/opc/v2")
	start := time.Now()
	_, err := SignIn(t.Context(), Credentials{Kind: InstancePrincipal}, Options{})
	if err == nil || !strings.Contains(err.Error(), "no metadata service answers at 127.0.0.1:9") {
		t.Error(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
	if _, err := NewClient(Credentials{Kind: InstancePrincipal}, Options{}); err == nil {
		t.Error("a client before signing in")
	}
}
