// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// Config describes the cloud that [New] makes.
type Config struct {
	// Tenancies that exist. At least one.
	Tenancies []*Tenancy

	// Images that exist from the start.
	Images []BaseImage

	// Driver starts the machines behind instances.
	Driver machine.Driver

	// WorkDir is an existing directory for disks, images and objects. What
	// the cloud writes there is gone after Close.
	WorkDir string

	// Disks makes boot volumes out of images and images out of boot volumes.
	// Default: [CopyDisks].
	Disks Disks

	// SSHPort is the port on which every instance listens for SSH, each on a
	// loopback address of its own (127.80.x.y). Default: one that is free.
	SSHPort int

	// Delays are the times that resources spend in each state. Default:
	// [QuickDelays].
	Delays *Delays

	// Fetch is the HTTP client with which the cloud itself reads and writes
	// pre-authenticated URLs on export and import. It must be able to reach
	// this cloud under its host names. Default: one that does so through
	// memory.
	Fetch *http.Client

	// MinPartSize is the least number of bytes of a multipart upload's part
	// other than the last. Default: 10 MiB, as OCI has it.
	MinPartSize int64

	// Switches choose between readings of what is not documented.
	Switches Switches
}

// Switches choose between variants of behaviour that reports disagree about.
// The zero value is the better attested one.
type Switches struct {
	// ImportRegistersShapes makes an .oci import turn the archive's
	// shapeCompatibilities into shape entries. Reports say that it does not,
	// so an imported image has no A1 entry until somebody adds it.
	ImportRegistersShapes bool

	// CountAvailable makes capacity reports carry availableCount. Reports say
	// that it is null.
	CountAvailable bool

	// WorkRequestsLate answers 404 to the first look at every work request,
	// as a store that has not caught up does.
	WorkRequestsLate bool

	// CopiesOutliveSource makes a copy of an object that has begun go on to its
	// end although its source is deleted or overwritten meanwhile. Oracle
	// documents only that one does not complete if that happens before it runs.
	CopiesOutliveSource bool

	// RemembersFailedTokens makes a retry token of a failed request repeat
	// that failure for 24 hours.
	RemembersFailedTokens bool

	// PicksOneFaultDomain makes the service choose a fault domain for a launch
	// that names none before it knows whether there is room: one after the
	// other, in each availability domain. The launch fails if that one is out.
	// Oracle documents only that the system selects one.
	PicksOneFaultDomain bool

	// RefusesPreemptibleImages answers CreateImage of a preemptible instance
	// with 409 IncorrectState: making an image stops the instance, and a
	// preemptible one "cannot be stopped, started or rebooted". Whether that
	// is meant by it nobody outside Oracle knows.
	RefusesPreemptibleImages bool

	// BastionSaysHostKey makes bastion sessions tell the jump host's public
	// key in bastionPublicHostKeyInfo. It was null where somebody looked.
	BastionSaysHostKey bool

	// BastionSessionsLate refuses the first connection to each session that
	// says it is ACTIVE, as a jump host does that has not heard of it yet.
	BastionSessionsLate bool

	// GonePARIsNotFound answers the use of an expired or deleted
	// pre-authenticated request with 404 NotAuthorizedOrNotFound. Oracle's own
	// examples show 401 NotAuthenticated "PAR does not exist".
	GonePARIsNotFound bool
}

// Delays are how long resources stay in their transitional states.
type Delays struct {
	Provision time.Duration // instance PROVISIONING until RUNNING
	Attach    time.Duration // VNIC ATTACHING, counted from RUNNING; 0: attached by then
	Start     time.Duration // instance STARTING
	Stop      time.Duration // least time of instance STOPPING; the guest may need longer
	Terminate time.Duration // instance TERMINATING, boot volume TERMINATING
	Capture   time.Duration // least time of image PROVISIONING
	Export    time.Duration // least time of image EXPORTING
	Import    time.Duration // least time of image IMPORTING
	Copy      time.Duration // least time of an object copy
	Reserve   time.Duration // capacity reservation CREATING, DELETING
	History   time.Duration // console history GETTING-HISTORY
	Bastion   time.Duration // bastion CREATING, DELETING
	Session   time.Duration // bastion session CREATING, DELETING
	// ShutdownLimit is how long a guest may take to power off before its
	// power is cut.
	ShutdownLimit time.Duration
}

// QuickDelays keep every state visible to a client that polls fast, and tests
// short.
func QuickDelays() *Delays {
	const d = 50 * time.Millisecond
	return &Delays{d, d, d, d, d, d, d, d, d, d, d, d, d, 2 * time.Minute}
}

// RealisticDelays are in the proportions that people report from Oracle's
// cloud, about ten times as fast.
func RealisticDelays() *Delays {
	return &Delays{
		Provision: 4 * time.Second, Start: 2 * time.Second, Stop: 2 * time.Second,
		Terminate: 3 * time.Second, Capture: 10 * time.Second, Export: 12 * time.Second, Import: 15 * time.Second,
		Copy: 4 * time.Second, Reserve: 3 * time.Second, History: time.Second, Bastion: 8 * time.Second, Session: time.Second,
		ShutdownLimit: 5 * time.Minute,
	}
}

// Cloud is the simulator. It is an [http.Handler] for all of its host names.
type Cloud struct {
	cfg     Config
	delays  Delays
	routes  map[service][]route
	sshPort int
	gateway net.Listener // keeps the SSH port from other clouds in this host; the bastions' jump host
	jump    jumpHost

	ownFetch *http.Client // reaches this cloud through memory

	base context.Context // ends when the cloud is closed
	stop context.CancelFunc

	work    sync.WaitGroup // background work
	workMu  sync.Mutex     // orders new work before or after the end
	workEnd bool

	// mu guards everything below. Handlers of the control plane run with it
	// held, so each sees and makes one consistent change; whatever takes time
	// runs in the background without it.
	mu           sync.Mutex
	closed       bool
	sessions     map[string]session
	federation   federation
	tokens       map[tokenKey]*tokenUse
	instances    table[*instance]
	images       table[*image]
	vnics        table[*vnic]
	nsgs         table[*nsg]
	bastions     table[*bastion]
	jumps        table[*jumpSession]
	volumes      table[*bootVolume]
	schemas      table[*capabilitySchema]
	consoles     table[*consoleHistory]
	reservations table[*reservation]
	workRequests table[*workRequest]
	addresses    int            // loopback addresses given out so far
	picked       map[string]int // fault domains picked so far, by availability domain
	faults       faultList
	log          []Request
	changes      []Change

	objects *objectStore // has its own lock
}

// New makes a cloud. Close it when done.
func New(cfg Config) (*Cloud, error) {
	if len(cfg.Tenancies) == 0 {
		return nil, errors.New("a cloud needs at least one tenancy")
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
		cfg.Disks = CopyDisks{}
	}
	if cfg.MinPartSize == 0 {
		cfg.MinPartSize = 10 << 20
	}
	for _, dir := range []string{"disks", "images", "objects"} {
		if err := os.MkdirAll(filepath.Join(cfg.WorkDir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make the cloud's work directory: %w", err)
		}
	}
	gateway, err := reservePort(cfg.SSHPort)
	if err != nil {
		return nil, err
	}
	c := &Cloud{
		cfg: cfg, delays: *cfg.Delays,
		gateway: gateway, sshPort: gateway.Addr().(*net.TCPAddr).Port,
		sessions:  map[string]session{},
		tokens:    map[tokenKey]*tokenUse{},
		addresses: 1, picked: map[string]int{},
	}
	if err := c.jump.init(); err != nil {
		return nil, errors.Join(err, gateway.Close())
	}
	c.base, c.stop = context.WithCancel(context.Background())
	c.ownFetch = simnet.Pipe(c)
	if c.cfg.Fetch == nil {
		c.cfg.Fetch = c.ownFetch
	}
	c.objects = newObjectStore(c)
	c.routes = c.allRoutes()
	for _, base := range cfg.Images {
		if err := c.seedImage(base); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// reservePort holds a port on the address that no instance gets. Two clouds in
// one host thereby never share an SSH port.
func reservePort(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(routerIP, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("reserve the SSH port of the cloud's instances: %w", err)
	}
	return l, nil
}

// SSHPort is the port on which every instance listens for SSH.
func (c *Cloud) SSHPort() int { return c.sshPort }

// Close cuts the power of all machines, ends all background work, waits for it
// and removes the bytes of disks, images and objects. Requests that arrive
// later get a 503.
func (c *Cloud) Close() error {
	c.mu.Lock()
	c.closed = true
	var running []machine.Machine
	for _, i := range c.instances.all() {
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
	errs = append(errs, c.gateway.Close())
	c.work.Wait()
	c.ownFetch.CloseIdleConnections()
	for _, dir := range []string{"disks", "images", "objects"} {
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

// table holds resources by OCID and remembers in which order they came.
type table[T any] struct {
	byID  map[string]T
	order []string
}

func (t *table[T]) put(id string, value T) {
	if t.byID == nil {
		t.byID = map[string]T{}
	}
	if _, exists := t.byID[id]; !exists {
		t.order = append(t.order, id)
	}
	t.byID[id] = value
}

func (t *table[T]) get(id string) (T, bool) {
	value, ok := t.byID[id]
	return value, ok
}

// all lists the resources, oldest first.
func (t *table[T]) all() []T {
	values := make([]T, 0, len(t.order))
	for _, id := range t.order {
		values = append(values, t.byID[id])
	}
	return values
}
