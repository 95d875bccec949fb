// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/disks"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/oidc"
)

// Config describes the cloud that [New] makes.
type Config struct {
	// Accounts that exist. At least one.
	Accounts []*Account

	// Images that exist from the start; see [DebianImages].
	Images []BaseImage

	// Driver starts the machines behind instances.
	Driver machine.Driver

	// WorkDir is an existing directory for the bytes of volumes and
	// snapshots. What the cloud writes there is gone after Close.
	WorkDir string

	// Disks makes volumes out of snapshots and snapshots out of volumes.
	// Default: [disks.Copy].
	Disks disks.Disks

	// SSHPort is the port at which machines are reached by SSH, in place of
	// 22. Default: one that is free.
	SSHPort int

	// Caller is the public address that clients in this process and on this
	// host are seen to come from: security groups and policies look at it,
	// and checkip.amazonaws.com answers it. Default: 198.51.100.7.
	Caller netip.Addr

	// CallerInVPC puts clients into the VPCs: they reach private addresses,
	// and security groups see CallerPrivate.
	CallerInVPC bool

	// Offline leaves the machines without a way in, so that no socket is
	// open: for testing/synctest.
	Offline bool

	// Delays are the times that resources spend in each state. Default:
	// [QuickDelays].
	Delays *Delays

	// Now is the clock by which the time of a signature is judged. Default:
	// time.Now.
	Now func() time.Time

	// Authorize is IAM's answer, instead of that of the accounts' policies.
	Authorize Authorizer

	// Switches choose between readings of what is not documented.
	Switches Switches
}

// Switches choose between variants of behaviour that reports disagree about.
// The zero value is the better attested one.
type Switches struct {
	// OptInRequired answers requests to regions that the account has not
	// enabled with OptInRequired instead of AuthFailure.
	OptInRequired bool
	// OldBlockTokensWork lets the block tokens of an earlier list of a
	// snapshot's blocks work after a later one.
	OldBlockTokensWork bool
	// ARM64NotExportable refuses to export images for arm64. Nobody is known to have
	// tried.
	ARM64NotExportable bool
}

// Delays are how long resources stay in their transitional states.
type Delays struct {
	Pending    time.Duration // instance pending
	Stop       time.Duration // least time of instance stopping; the guest may need longer
	Terminate  time.Duration // instance shutting-down
	Snapshot   time.Duration // least time of snapshot pending
	Image      time.Duration // image pending, beyond its snapshots
	Copy       time.Duration // least time of an image copy
	Volume     time.Duration // volume creating, deleting
	Visible    time.Duration // how long terminated instances are still described
	SpotNotice time.Duration // between the notice of an interruption and the end
	Reply      time.Duration // how long each answer is on its way
	// ShutdownLimit is how long a guest may take to power off before its
	// power is cut.
	ShutdownLimit time.Duration
}

// QuickDelays keep every state visible to a client that polls fast, and tests
// short.
func QuickDelays() *Delays {
	const d = 50 * time.Millisecond
	return &Delays{d, d, d, d, d, d, d, time.Hour, d, time.Millisecond, 2 * time.Minute}
}

// RealisticDelays are in the proportions that people report, about ten times
// as fast as Amazon.
func RealisticDelays() *Delays {
	return &Delays{
		Pending: 2 * time.Second, Stop: 3 * time.Second, Terminate: 4 * time.Second, Snapshot: 8 * time.Second,
		Image: 2 * time.Second, Copy: 12 * time.Second, Volume: time.Second, Visible: time.Hour,
		SpotNotice: 12 * time.Second, Reply: 20 * time.Millisecond, ShutdownLimit: 5 * time.Minute,
	}
}

// Cloud is the simulator. It is an [http.Handler] for all of its host names.
type Cloud struct {
	cfg     Config
	delays  Delays
	apis    map[string]*api // by signing name
	regions []*region
	types   []instanceType
	ports   ports

	base context.Context // ends when the cloud is closed
	stop context.CancelFunc

	work    sync.WaitGroup // background work
	workMu  sync.Mutex     // orders new work before or after the end
	workEnd bool

	// mu guards everything below. Operations run with it held, so each sees
	// and makes one consistent change; whatever takes time runs in the
	// background without it.
	mu        sync.Mutex
	closed    bool
	keys      map[string]*credential // by access key id
	resources table                  // everything that has an id
	networks  map[home]*network      // default network of each account and region
	vpcs      int                    // VPCs made so far
	public    int                    // public addresses given out so far
	tokens    map[tokenKey]*tokenUse
	faults    faultList
	iam       iamState
	issuers   []*oidc.Issuer // of identity tokens

	parameters map[parameterKey]*parameter
	listings   map[string]*blockListing // the last one of each snapshot
	buckets    map[string]*s3Bucket     // by name
	ebsRates   ebsRates
	log        []Request
}

// New makes a cloud. Close it when done.
func New(cfg Config) (*Cloud, error) {
	if len(cfg.Accounts) == 0 {
		return nil, errors.New("a cloud needs at least one account")
	}
	if cfg.Driver == nil {
		return nil, errors.New("a cloud needs a machine driver")
	}
	if info, err := os.Stat(cfg.WorkDir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("the cloud's work directory %q is not a directory", cfg.WorkDir)
	}
	if cfg.Delays == nil {
		cfg.Delays = QuickDelays()
	}
	if cfg.Disks == nil {
		cfg.Disks = disks.Copy{}
	}
	if !cfg.Caller.IsValid() {
		cfg.Caller = netip.MustParseAddr("198.51.100.7")
	}
	for _, dir := range workDirs() {
		if err := os.MkdirAll(filepath.Join(cfg.WorkDir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make the cloud's work directory: %w", err)
		}
	}
	c := &Cloud{
		cfg: cfg, delays: *cfg.Delays, regions: regions(), types: instanceTypes(),
		keys: map[string]*credential{}, networks: map[home]*network{}, tokens: map[tokenKey]*tokenUse{}, buckets: map[string]*s3Bucket{},
	}
	if err := c.ports.reserve(cfg.SSHPort); err != nil {
		return nil, err
	}
	c.base, c.stop = context.WithCancel(context.Background())
	c.apis = c.allAPIs()
	for _, a := range cfg.Accounts {
		c.keys[a.AccessKeyID] = &credential{who: a.Principal(), secret: a.SecretAccessKey}
	}
	used := map[string]int64{} // by path: images may share a disk
	for _, base := range cfg.Images {
		if _, known := used[base.Path]; !known {
			used[base.Path] = usedBytes(base.Path)
		}
		if err := c.seedImage(base, used[base.Path]); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func workDirs() []string { return []string{"volumes", "snapshots", "objects"} }

// ports are the ones at which machines listen and are reached.
type ports struct {
	ssh    int // where clients connect
	inside int // where the machines themselves listen
	held   []net.Listener
}

// reserve holds both ports on an address that no instance gets. Two clouds in
// one host thereby never share them.
func (p *ports) reserve(ssh int) error {
	for _, port := range []int{ssh, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort(routerIP, fmt.Sprint(port)))
		if err != nil {
			return errors.Join(fmt.Errorf("reserve the SSH port of the cloud's instances: %w", err), p.close())
		}
		p.held = append(p.held, l)
	}
	p.ssh, p.inside = p.held[0].Addr().(*net.TCPAddr).Port, p.held[1].Addr().(*net.TCPAddr).Port
	return nil
}

func (p *ports) close() error {
	var errs []error
	for _, l := range p.held {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// SSHPort is the port at which machines are reached by SSH.
func (c *Cloud) SSHPort() int { return c.ports.ssh }

// Close cuts the power of all machines, ends all background work, waits for it
// and removes the bytes of volumes, snapshots and objects. Requests that arrive later
// get a 503.
func (c *Cloud) Close() error {
	c.mu.Lock()
	c.closed = true
	var running []machine.Machine
	for _, i := range all[*instance](c) {
		i.gate.close()
		if i.machine != nil {
			running = append(running, i.machine)
		}
	}
	c.mu.Unlock()

	c.workMu.Lock()
	c.workEnd = true
	c.workMu.Unlock()
	c.stop()
	var errs []error
	for _, m := range running {
		errs = append(errs, m.Kill())
	}
	errs = append(errs, c.ports.close())
	c.work.Wait()
	for _, dir := range workDirs() {
		errs = append(errs, os.RemoveAll(filepath.Join(c.cfg.WorkDir, dir)))
	}
	return errors.Join(errs...)
}

// background runs work that outlives its request. The context ends when the
// cloud is closed.
func (c *Cloud) background(work func(ctx context.Context)) {
	c.workMu.Lock()
	defer c.workMu.Unlock()
	if !c.workEnd {
		c.work.Go(func() { work(c.base) })
	}
}

// now is the time by the cloud's clock.
func (c *Cloud) now() time.Time {
	if c.cfg.Now != nil {
		return c.cfg.Now()
	}
	return time.Now()
}
