// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	simRegion  = "eu-frankfurt-1" // three availability domains
	farRegion  = "eu-amsterdam-1" // one; only of a wide build tenancy
	prodRegion = "sa-saopaulo-1"  // one
)

// simTenancies are made once, since RSA keys take long. The last one is a build
// tenancy with a second region.
var simTenancies = sync.OnceValue(func() [4]*ocisim.Tenancy {
	var all [4]*ocisim.Tenancy
	for i, at := range []struct {
		name, region string
		more         []string
	}{{"build", simRegion, nil}, {"production", prodRegion, nil}, {"neighbour", simRegion, nil}, {"build", simRegion, []string{farRegion}}} {
		// A short key: half of the time of these tests would go into signatures.
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err == nil {
			all[i], err = ocisim.NewTenancyWithKey(key, at.name, at.region, at.more...)
		}
		if err != nil {
			panic(err)
		}
	}
	return all
})

// sim is a whole simulated cloud behind memory, so that it lives inside a
// bubble of testing/synctest too.
type sim struct {
	*ocisim.Cloud
	build, production, neighbour *ocisim.Tenancy
	base                         ocisim.BaseImage // of the build tenancy
	mine, theirs                 string           // the images' OCIDs
	http                         *http.Client
}

// simOptions changes what the cloud is like.
type simOptions struct {
	wide   bool // the build tenancy has farRegion, too
	build  func(*ocisim.Tenancy)
	base   func(*ocisim.BaseImage)
	config func(*ocisim.Config)
	faults []ocisim.Fault
	wrap   func(http.Handler) http.Handler
}

func newSim(t *testing.T, o simOptions) *sim {
	t.Helper()
	s := &sim{}
	for i, p := range []**ocisim.Tenancy{&s.build, &s.production, &s.neighbour} {
		own := *simTenancies()[i] // a copy, as tests change limits
		if i == 0 && o.wide {
			own = *simTenancies()[3]
		}
		own.Limits, own.Quotas = map[string]int64{}, map[string]int64{}
		*p = &own
	}
	if o.build != nil {
		o.build(s.build)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	s.base = ocisim.BaseImage{Name: "debian", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "build"}
	if o.base != nil {
		o.base(&s.base)
	}
	cfg := ocisim.Config{
		Tenancies: []*ocisim.Tenancy{s.build, s.production, s.neighbour}, Driver: machine.Idle{}, WorkDir: dir,
		Images: []ocisim.BaseImage{s.base, {Name: "theirs", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "neighbour"}},
	}
	if o.config != nil {
		o.config(&cfg)
	}
	var err error
	if s.Cloud, err = ocisim.New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.AddFaults(o.faults...); err != nil {
		t.Fatal(err)
	}
	var front http.Handler = s.Cloud
	if o.wrap != nil {
		front = o.wrap(front)
	}
	s.http = simnet.Pipe(front)
	s.mine, s.theirs = s.ImageID(s.build, simRegion, "debian"), s.ImageID(s.neighbour, simRegion, "theirs")
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// client is the product's client for a tenancy.
func (s *sim) client(t *testing.T, of *ocisim.Tenancy) *Client {
	t.Helper()
	return s.clientIn(t, of, of.HomeRegion)
}

func (s *sim) clientIn(t *testing.T, of *ocisim.Tenancy, region string) *Client {
	t.Helper()
	c, err := NewClient(Credentials{
		Tenancy: of.ID, User: of.UserID, Fingerprint: of.Fingerprint(), KeyPEM: of.PrivateKeyPEM(), Region: region,
	}, Options{HTTP: s.http})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newBuild is a build of the build tenancy, in its home region.
func (s *sim) newBuild(t *testing.T, change func(*BuildConfig)) *Build {
	t.Helper()
	return s.buildIn(t, simRegion, change)
}

func (s *sim) buildIn(t *testing.T, region string, change func(*BuildConfig)) *Build {
	t.Helper()
	b := buildOver(s.clientIn(t, s.build, region), func(c *BuildConfig) {
		c.Region = region
		c.Compartment, c.Image.Compartment, c.Subnet = s.build.CompartmentID, s.build.CompartmentID, s.build.SubnetID(region)
		c.BaseImage = s.ImageID(s.build, region, "debian")
		c.InstanceTimeout, c.ImageTimeout = 5*time.Minute, time.Hour
		if change != nil {
			change(c)
		}
	})
	b.owner = owner.NewBuild(time.Now(), 8*time.Hour)
	return b
}

// rewrite changes the bodies of good replies to requests whose path contains
// part.
func rewrite(part string, change func(body string) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, part) {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			out := rec.Body.Bytes()
			if rec.Code == http.StatusOK {
				out = []byte(change(string(out)))
			}
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Header().Del("Content-Length")
			w.WriteHeader(rec.Code)
			_, _ = bytes.NewReader(out).WriteTo(w)
		})
	}
}

// hanging lets the first POST have its effect and never answers it.
type hanging struct{ once sync.Once }

func (h *hanging) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			h.once.Do(func() {
				next.ServeHTTP(httptest.NewRecorder(), r)
				<-r.Context().Done()
			})
			if r.Context().Err() != nil {
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// ad is the full name of an availability domain in the home region: "AD-2".
func (s *sim) ad(end string) string {
	for _, name := range s.build.AvailabilityDomains(simRegion) {
		if strings.HasSuffix(name, end) {
			return name
		}
	}
	return ""
}

// run lets a machine run in a compartment of the build tenancy, as somebody
// else's would, and returns its id.
func (s *sim) run(t *testing.T, compartment, ad string, size Size) string {
	t.Helper()
	b := s.newBuild(t, func(c *BuildConfig) { c.Compartment, c.InstanceName = compartment, "other" })
	id, err := b.Launch(t.Context(), capacity.Offer{Zone: s.ad(ad), Shape: size.Shape, OCPUs: size.OCPUs, MemoryGB: size.MemoryGB}, b.owner.Token(compartment, ad, size.String(), rand.Text()))
	if err == nil {
		err = b.AwaitMachine(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}
