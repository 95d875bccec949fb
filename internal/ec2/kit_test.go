// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/launch"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	simRegion = "eu-central-1" // three availability zones
	farRegion = "eu-north-1"
	debian    = "debian-13-arm64-20261112-2658"
	micro     = "t4g.micro"
)

// What is on this computer must not decide about tests.
func TestMain(m *testing.M) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	_ = os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Exit(m.Run())
}

// realDelays are in the proportions of the real service; waiting costs nothing in a
// bubble.
func realDelays() *ec2sim.Delays {
	return &ec2sim.Delays{
		Pending: 12 * time.Second, Stop: 30 * time.Second, Terminate: 40 * time.Second, Snapshot: 90 * time.Second,
		Image: 20 * time.Second, Copy: 3 * time.Minute, Volume: 5 * time.Second, Visible: time.Hour, SpotNotice: 2 * time.Minute, ShutdownLimit: 2 * time.Minute,
	}
}

// sim is a whole simulated cloud behind memory, so that it lives inside a bubble of
// testing/synctest.
type sim struct {
	*ec2sim.Cloud
	account *ec2sim.Account
	http    *http.Client

	mu    sync.Mutex
	said  []string
	ready func(context.Context) error // the launch loop's
	fleet bool                        // builds are looked at as the builder does
}

// simOptions changes what the cloud is like.
type simOptions struct {
	account func(*ec2sim.Account)
	config  func(*ec2sim.Config)
	faults  []ec2sim.Fault
	wrap    func(http.Handler) http.Handler
}

func newSim(t *testing.T, o simOptions) *sim {
	t.Helper()
	s := &sim{account: ec2sim.NewAccount("build")}
	if o.account != nil {
		o.account(s.account)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	cfg := ec2sim.Config{
		Accounts: []*ec2sim.Account{s.account}, Driver: machine.Idle{}, WorkDir: dir, Images: ec2sim.DebianImages(disk), Delays: realDelays(), Offline: true,
	}
	cfg.Images = append(cfg.Images, ec2sim.BaseImage{Name: "mine", Path: disk, Owner: s.account, Regions: []string{simRegion}})
	if o.config != nil {
		o.config(&cfg)
	}
	var err error
	if s.Cloud, err = ec2sim.New(cfg); err != nil {
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
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *sim) credentials() Credentials {
	return Credentials{Region: simRegion, AccessKey: s.account.AccessKeyID, SecretKey: s.account.SecretAccessKey, NoIMDS: true}
}

func (s *sim) client(t *testing.T) *Client {
	t.Helper()
	c, err := NewClient(t.Context(), s.credentials(), Options{HTTP: s.http, UserAgent: "packer-plugin-armfree/test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *sim) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

func (s *sim) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, "\n")
}

// newBuild is a build that asks for the usual machine.
func (s *sim) newBuild(t *testing.T, change func(*BuildConfig)) *Build {
	t.Helper()
	cfg := BuildConfig{
		Region: simRegion, Types: []string{micro}, Markets: []Market{OnDemand}, FreeTier: FreePrefer, Allowance: Allowance{StorageGB: 30},
		Source:  SourceConfig{ID: s.ImageID(simRegion, debian)},
		Network: NetworkConfig{Temporary: TemporaryGroup{Port: 22}},
		MachineConfig: MachineConfig{
			Root: RootVolume{SizeGB: 10, Type: "gp3"}, UserData: []byte("#cloud-config\n"), Metadata: MetadataOptions{TokensNeeded: true, HopLimit: 1}, Shutdown: "terminate",
		},
		Image: ImageConfig{Name: "built", Method: BySnapshot, NameMustBeFree: true},
		Render: func(i SourceImage) (Words, error) {
			return Words{
				Description: "made of " + i.Name, RunTags: map[string]string{"Name": "run"},
				ImageTags: map[string]string{"Name": "image"}, SnapshotTags: map[string]string{"Name": "snapshot"},
			}, nil
		},
		InstanceTimeout: 5 * time.Minute, ImageTimeout: time.Hour,
	}
	if change != nil {
		change(&cfg)
	}
	return NewBuild(s.client(t), cfg, owner.NewBuild(time.Now(), 8*time.Hour), s.say)
}

// find runs the launch loop, as a build does.
func (s *sim) find(ctx context.Context, b *Build) (id string, o capacity.Offer, made []string, err error) {
	plan, err := b.Plan(ctx)
	if err != nil {
		return "", o, nil, err
	}
	var at cloud.Launcher = b
	if s.fleet {
		at = fleet.New(fleet.Place{Cloud: "aws", Region: simRegion, Site: b})
	}
	loop := launch.Loop{
		Cloud: at, Offers: plan.Offers, Token: b.owner.Token, Say: s.say, Ready: s.ready,
		Policy: capacity.Policy{Interval: 10 * time.Second, Retries: 2, Deadline: time.Now().Add(time.Hour), Worked: plan.Worked},
		Made:   func(id string) { made = append(made, id) },
		Gone: func(id string) {
			for n := range made {
				if made[n] == id {
					made = append(made[:n], made[n+1:]...)
					return
				}
			}
		},
	}
	id, o, err = loop.Run(ctx)
	return id, o, made, err
}

// machine is a running machine of a build.
func (s *sim) machine(t *testing.T, b *Build) string {
	t.Helper()
	id, _, _, err := s.find(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// image makes the image of a machine, and returns its id.
func (s *sim) image(t *testing.T, b *Build, machine string) string {
	t.Helper()
	id, err := b.StartImage(t.Context(), machine, b.owner.Token("image", machine))
	if err == nil {
		id, err = b.FinishImage(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// tidy removes what a build no longer needs.
func (s *sim) tidy(t *testing.T, b *Build, machines ...string) {
	t.Helper()
	for _, id := range machines {
		if err := b.Terminate(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	if err := b.RemoveSundries(t.Context()); err != nil {
		t.Error(err)
	}
}

// nothingLeft checks that only what is to stay is there.
func (s *sim) nothingLeft(t *testing.T, keep ...string) {
	t.Helper()
	time.Sleep(10 * time.Second) // volumes go a little later than their machine
	for _, left := range s.Left(keep...) {
		t.Errorf("left behind: %s", left)
	}
}

// resource is what the inventory says of an id.
func (s *sim) resource(id string) (ec2sim.Resource, string) {
	for _, a := range s.Inventory().Accounts {
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if x.ID == id {
					return x, r.Region
				}
			}
		}
	}
	return ec2sim.Resource{}, ""
}

// kept are the ids of all images and snapshots.
func (s *sim) kept() (ids []string) {
	for _, a := range s.Inventory().Accounts {
		for _, r := range a.Regions {
			for _, x := range r.Resources {
				if x.Kind == "image" || x.Kind == "snapshot" {
					ids = append(ids, x.ID)
				}
			}
		}
	}
	return ids
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, test func(t *testing.T)) { t.Helper(); synctest.Test(t, test) }

// checkText looks for parts in a text, and for what must not be in it.
func checkText(t *testing.T, text string, has, hasNot []string) {
	t.Helper()
	for _, part := range has {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
	for _, part := range hasNot {
		if strings.Contains(text, part) {
			t.Errorf("%q is in:\n%s", part, text)
		}
	}
}

// action is the operation of a request of EC2; the body can be read again.
func action(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	for part := range strings.SplitSeq(string(body), "&") {
		if a, is := strings.CutPrefix(part, "Action="); is {
			return a
		}
	}
	return ""
}

// hang lets the first request of an operation have its effect and never answers.
func hang(op string) func(http.Handler) http.Handler {
	var once sync.Once
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if action(r) == op {
				once.Do(func() {
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
}
