// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/launch"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

const (
	metadataHost = "169.254.169.254"
	githubHost   = "pipelines.actions.example"
)

// world is a simulated cloud with everything around it that gives tokens.
type world struct {
	*sim
	machine *ocisim.Machine
	issuer  *ocisim.Issuer
	domain  string
	dir     string

	mu      sync.Mutex
	secrets []string
	tamper  func(w http.ResponseWriter, r *http.Request) bool // answers in place of the world
}

func newWorld(t *testing.T, o simOptions) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	o.wrap = func(cloud http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch {
			case w.tamper != nil && w.tamper(rw, r):
			case r.Host == metadataHost && w.machine != nil:
				w.machine.ServeHTTP(rw, r)
			case r.Host == githubHost:
				w.issuer.ServeHTTP(rw, r)
			case r.Host == metadataHost:
				http.NotFound(rw, r)
			default:
				cloud.ServeHTTP(rw, r)
			}
		})
	}
	w.sim = newSim(t, o)
	var err error
	if w.issuer, err = ocisim.NewIssuer("repo:octo/images:ref:refs/heads/main"); err != nil {
		t.Fatal(err)
	}
	w.domain = w.AddDomain(ocisim.Domain{
		Tenancy: w.build, ClientID: "app", ClientSecret: "app-secret-0123",
		Trusts: []ocisim.Trust{{Issuer: w.issuer, Audience: "oci", Subject: w.issuer.Subject}},
	})
	return w
}

func (w *world) options() Options {
	return Options{HTTP: w.http, Secret: func(s ...string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.secrets = append(w.secrets, s...)
	}}
}

func (w *world) file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// runner makes a machine that Packer runs on.
func (w *world) runner(t *testing.T) {
	t.Helper()
	var err error
	if w.machine, err = w.NewMachine(w.build, simRegion); err != nil {
		t.Fatal(err)
	}
}

// github is the exchange of a job of GitHub Actions.
func (w *world) github() Credentials {
	return Credentials{Kind: TokenExchange, Region: simRegion, Exchange: Exchange{
		DomainURL: w.domain, ClientID: "app", ClientSecret: "app-secret-0123", Audience: "oci",
		RequestURL: "https://" + githubHost + "/token?api-version=2.0", RequestToken: w.issuer.RequestToken,
	}}
}

// session is a session of `oci session authenticate`.
func (w *world) session(t *testing.T, life time.Duration) Credentials {
	t.Helper()
	return Credentials{
		Kind: SessionToken, Region: simRegion, KeyPEM: w.build.PrivateKeyPEM(), KeyFile: w.file(t, "session.pem", w.build.PrivateKeyPEM()),
		TokenFile: w.file(t, "token", w.IssueToken(w.build, &keyIn(t, w.build).PublicKey, life)+"\n"),
	}
}

// pod is a pod of a cluster.
func (w *world) pod(t *testing.T) Credentials {
	t.Helper()
	account, err := ocisim.NewIssuer("system:serviceaccount:ci:packer") // Kubernetes gives tokens of the same form
	if err != nil {
		t.Fatal(err)
	}
	account.Life = time.Hour
	own := account.Token("api")
	l, err := net.Listen("tcp", "127.0.0.1:12250")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(w.Proxymux(w.build, own, time.Hour))
	s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
	t.Setenv("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", w.file(t, "ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))))
	t.Setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
	t.Setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
	t.Setenv("OCI_RESOURCE_PRINCIPAL_REGION", simRegion)
	return Credentials{Kind: WorkloadIdentity, TokenFile: w.file(t, "account", own)}
}

// function is the environment of a resource, whose token is in a file.
func (w *world) function(t *testing.T, life time.Duration) Credentials {
	t.Helper()
	t.Setenv("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
	t.Setenv("OCI_RESOURCE_PRINCIPAL_REGION", simRegion)
	t.Setenv("OCI_RESOURCE_PRINCIPAL_RPST", w.file(t, "rpst", w.IssueResourceToken(w.build, &keyIn(t, w.build).PublicKey, life)))
	t.Setenv("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", w.file(t, "rp.pem", w.build.PrivateKeyPEM()))
	return Credentials{Kind: ResourcePrincipal}
}

// Every kind of principal signs in, knows its tenancy and region, and hands over
// what must not be printed.
func TestEveryKindSignsIn(t *testing.T) {
	for _, tt := range []struct {
		name    string
		who     func(*testing.T, *world) Credentials
		secrets int // at least
	}{
		{"API key", func(_ *testing.T, w *world) Credentials {
			return Credentials{Tenancy: w.build.ID, User: w.build.UserID, Fingerprint: w.build.Fingerprint(), KeyPEM: w.build.PrivateKeyPEM(), Region: "FRA"}
		}, 0},
		{"session token", func(t *testing.T, w *world) Credentials { return w.session(t, time.Hour) }, 2},
		{"instance principal", func(t *testing.T, w *world) Credentials {
			w.runner(t)
			return Credentials{Kind: InstancePrincipal}
		}, 2},
		{"resource principal", func(t *testing.T, w *world) Credentials { return w.function(t, time.Hour) }, 2},
		{"OKE workload identity", func(t *testing.T, w *world) Credentials { return w.pod(t) }, 2},
		{"GitHub Actions", func(_ *testing.T, w *world) Credentials { return w.github() }, 3},
		{"a token in a file", func(t *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.RequestURL, c.Exchange.TokenFile = "", w.file(t, "jwt", w.issuer.Token("oci")+"\n")
			return c
		}, 3},
		{"a token", func(_ *testing.T, w *world) Credentials {
			c := w.github()
			c.Exchange.RequestURL, c.Exchange.Token = "", w.issuer.Token("oci")
			return c
		}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, simOptions{})
			p, err := SignIn(t.Context(), tt.who(t, w), w.options())
			if err != nil {
				t.Fatal(err)
			}
			if p.Tenancy != w.build.ID {
				t.Errorf("tenancy %q", p.Tenancy)
			}
			c, err := p.Client(p.Region)
			if err != nil {
				t.Fatal(err)
			}
			domains, err := c.signIn(t.Context())
			if err != nil || len(domains) != 3 || c.Region != simRegion {
				t.Errorf("%v, %q in %s", err, domains, c.Region)
			}
			// A request with a body, and one about the tenancy's root.
			if _, known := c.imagesLeft(t.Context()); !known {
				t.Error("limits are not known")
			}
			b := buildOver(c, func(cfg *BuildConfig) {
				cfg.Compartment, cfg.Subnet, cfg.BaseImage, cfg.Image.Compartment = w.build.CompartmentID, w.build.SubnetID(simRegion), w.mine, w.build.CompartmentID
			})
			if plan, err := b.Plan(t.Context()); err != nil || len(plan.Offers) == 0 {
				t.Errorf("plan: %v", err)
			}
			if len(w.secrets) < tt.secrets {
				t.Errorf("%d secrets were handed over", len(w.secrets))
			}
			if k := tt.name; k != "API key" && !slices.ContainsFunc(w.secrets, func(s string) bool { return strings.Contains(s, p.current.token.text) }) {
				t.Error("the token is not among the secrets")
			}
		})
	}
}

// A search of many hours goes through the ends of many tokens: nothing is
// refused, and no token is asked for without need.
func TestLongSearchRenewsTokens(t *testing.T) {
	for _, tt := range []struct {
		name string
		who  func(*testing.T, *world) Credentials
		ask  string // the operation that gives tokens
	}{
		{"GitHub Actions", func(_ *testing.T, w *world) Credentials { return w.github() }, "TokenExchange"},
		{"instance principal", func(t *testing.T, w *world) Credentials {
			w.runner(t)
			return Credentials{Kind: InstancePrincipal}
		}, "X509Federation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const open = 5*time.Hour - 10*time.Minute
				w := newWorld(t, simOptions{faults: []ocisim.Fault{
					{Kind: ocisim.FaultCapacity, Until: ocisim.Duration(open)},
					// For a while no token can be had.
					{Kind: ocisim.FaultStatus, Op: tt.ask, Status: 503, Code: "ServiceUnavailable", Message: "down", From: ocisim.Duration(50 * time.Minute), Until: ocisim.Duration(58 * time.Minute)},
				}})
				p, err := SignIn(t.Context(), tt.who(t, w), w.options())
				if err != nil {
					t.Fatal(err)
				}
				c, err := p.Client(simRegion)
				if err != nil {
					t.Fatal(err)
				}
				b := buildOver(c, func(cfg *BuildConfig) {
					cfg.Region = simRegion
					cfg.Compartment, cfg.Subnet, cfg.BaseImage, cfg.Image.Compartment = w.build.CompartmentID, w.build.SubnetID(simRegion), w.mine, w.build.CompartmentID
				})
				plan, err := b.Plan(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var said []string
				loop := &launch.Loop{
					Cloud: b, Offers: plan.Offers, Token: b.owner.Token,
					Policy: capacity.Policy{Interval: time.Minute, Deadline: time.Now().Add(6 * time.Hour), Retries: 2},
					Say:    func(f string, a ...any) { said = append(said, fmt.Sprintf(f, a...)) },
					Made:   func(string) {}, Gone: func(string) {},
				}
				id, _, err := loop.Run(t.Context())
				if err != nil {
					t.Fatalf("%v\n%s", err, strings.Join(said, "\n"))
				}
				if err := b.Terminate(t.Context(), id); err != nil {
					t.Error(err)
				}
				given, last := 0, time.Now()
				for _, r := range w.Requests() {
					if r.Status == 401 {
						t.Errorf("%s was refused at %s", r.Op, r.Time)
					}
					if r.Op == tt.ask && r.Status == 200 {
						if d := r.Time.Sub(last); given > 0 && d >= time.Hour {
							t.Errorf("the token of %s was replaced after its end, at %s", last, r.Time)
						}
						given, last = given+1, r.Time
					}
				}
				if said := strings.Join(said, "\n"); strings.Contains(said, "refuses") {
					t.Errorf("a token that still worked was not used:\n%s", said)
				}
				if given < 5 || given > 7 {
					t.Errorf("%d tokens in five hours", given)
				}
			})
		})
	}
}

// A token that is no longer taken is replaced once, for any request, and by one
// of many that find it out at the same time.
func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simOptions{})
		p, err := SignIn(t.Context(), w.github(), w.options())
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Client(simRegion)
		if err != nil {
			t.Fatal(err)
		}
		w.RevokeTokens()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := c.signIn(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := w.TokensIssued(); n != 2 {
			t.Errorf("%d tokens were issued", n)
		}
		// A launch, which is never repeated otherwise.
		w.RevokeTokens()
		b := buildOver(c, func(cfg *BuildConfig) {
			cfg.Compartment, cfg.Subnet, cfg.BaseImage, cfg.Image.Compartment = w.build.CompartmentID, w.build.SubnetID(simRegion), w.mine, w.build.CompartmentID
		})
		id, err := b.Launch(t.Context(), capacity.Offer{Zone: w.ad("AD-1"), Shape: a1, OCPUs: 1, MemoryGB: 6}, "token-1")
		if err != nil {
			t.Fatal(err)
		}
		if n := w.CountRequests("LaunchInstance"); n != 2 {
			t.Errorf("%d requests to launch", n)
		}
		if err := b.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}
		// Whoever is refused all the same stays refused.
		if err := w.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "GetImage", Status: 401, Code: "NotAuthenticated", Message: "no"}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.image(t.Context(), w.mine); err == nil || w.CountRequests("GetImage") != 2 {
			t.Errorf("%v after %d requests", err, w.CountRequests("GetImage"))
		}
	})
}

// A session that is renewed in its files goes on; one that is not ends with a
// sentence.
func TestSessionIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simOptions{})
		p, err := SignIn(t.Context(), w.session(t, time.Hour), w.options())
		if err != nil {
			t.Fatal(err)
		}
		c, err := p.Client(simRegion)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Minute)
		w.session(t, time.Hour) // oci session refresh
		time.Sleep(50 * time.Minute)
		if _, err := c.signIn(t.Context()); err != nil {
			t.Error(err)
		}
		// oci session authenticate, after somebody ended the session
		w.RevokeTokens()
		w.session(t, time.Hour)
		if _, err := c.signIn(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		_, err = c.signIn(t.Context())
		if err == nil || !strings.Contains(err.Error(), "list availability domains: the session token in "+filepath.Join(w.dir, "token")+" expired at 2000-01-01T02:40:00Z; `oci session refresh` renews one in time") {
			t.Errorf("an old session: %v", err)
		}
		if passing(err) || lost(err) {
			t.Error("this counts as something that passes or may have happened")
		}
	})
}

// Resources have their token renewed in a file.
func TestResourceTokenIsReadAgain(t *testing.T) {
	w := newWorld(t, simOptions{})
	who := w.function(t, 2*time.Second)
	p, err := SignIn(t.Context(), who, w.options())
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Client(simRegion)
	if err != nil {
		t.Fatal(err)
	}
	w.function(t, time.Hour)
	w.RevokeTokens()
	w.function(t, time.Hour)
	if _, err := c.signIn(t.Context()); err != nil {
		t.Error(err)
	}
	w.file(t, "rpst", w.IssueResourceToken(w.build, &keyIn(t, w.build).PublicKey, -time.Minute))
	w.RevokeTokens()
	if _, err := SignIn(t.Context(), who, w.options()); err == nil || !strings.Contains(err.Error(), "cannot sign in: the token of the resource principal expired at ") {
		t.Errorf("an old token: %v", err)
	}
}

// While a new token is on its way, a request can be cancelled.
func TestCancelWhileSigningIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, simOptions{})
		w.tamper = func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.Host, "idcs-") {
				_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection goes unnoticed
				<-r.Context().Done()
				return true
			}
			return false
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := SignIn(ctx, w.github(), w.options())
		if err == nil || time.Since(start) > 2*time.Second || !errors.Is(err, ctx.Err()) {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}
