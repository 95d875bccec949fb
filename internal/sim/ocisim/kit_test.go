// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"
	"github.com/oracle/oci-go-sdk/v65/workrequests"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	homeRegion = "us-ashburn-1"   // of the build tenancy: three availability domains
	prodRegion = "eu-frankfurt-1" // of the production tenancy
	a1         = "VM.Standard.A1.Flex"
)

// testTenancies are made once, since RSA keys take long.
var testTenancies = sync.OnceValues(func() (made []*tenancy, err error) {
	for name, regions := range map[string][]string{
		"build": {homeRegion, "us-phoenix-1"}, "production": {prodRegion}, "stranger": {homeRegion},
	} {
		t, err := ocisim.NewTenancy(name, regions[0], regions[1:]...)
		if err != nil {
			return nil, err
		}
		made = append(made, t)
	}
	return made, nil
})

// kit is a cloud with two tenancies and the real SDK pointed at it.
type kit struct {
	t          *testing.T
	cloud      *ocisim.Cloud
	driver     *stillDriver
	http       *http.Client
	build      *ocisim.Tenancy
	production *ocisim.Tenancy
	stranger   *ocisim.Tenancy // somebody else in the build tenancy's home region
	base       string          // base image in the build tenancy's home region
}

// newKit starts a cloud. change may adjust its configuration.
func newKit(t *testing.T, change func(*ocisim.Config)) *kit {
	t.Helper()
	made, err := testTenancies()
	if err != nil {
		t.Fatal(err)
	}
	k := &kit{t: t, driver: &stillDriver{}}
	for _, one := range made {
		own := *one // a copy per test, as tests change limits
		own.Limits, own.Quotas = map[string]int64{}, map[string]int64{}
		switch own.Name {
		case "build":
			k.build = &own
		case "production":
			k.production = &own
		default:
			k.stranger = &own
		}
	}

	dir := t.TempDir()
	disk := filepath.Join(dir, "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	cfg := ocisim.Config{
		Tenancies: []*ocisim.Tenancy{k.build, k.production, k.stranger}, Driver: k.driver, WorkDir: dir,
		Delays: &ocisim.Delays{Provision: d1, Attach: d1, Start: d1, Stop: d1, Terminate: d1, Capture: d1, Export: d1, Import: d1,
			Copy: d1, Reserve: d1, History: d1, Bastion: d1, Session: d1, ShutdownLimit: time.Minute},
		Images: []ocisim.BaseImage{{Name: "debian-12", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "build"},
			{Name: "Canonical-Ubuntu-24.04-aarch64-2026.01.01-0", OperatingSystem: "Canonical Ubuntu", OperatingSystemVersion: "24.04", Path: disk}},
	}
	if change != nil {
		change(&cfg)
	}
	if k.cloud, err = ocisim.New(cfg); err != nil {
		t.Fatal(err)
	}
	k.http = simnet.Pipe(k.cloud)
	t.Cleanup(func() {
		k.http.CloseIdleConnections()
		if err := k.cloud.Close(); err != nil {
			t.Error(err)
		}
		if n := k.driver.running(); n != 0 {
			t.Errorf("%d machines still run", n)
		}
	})
	k.base = k.cloud.ImageID(k.build, homeRegion, "debian-12")
	return k
}

// d1 is long enough for every state to be seen by a client that polls.
const d1 = 20 * time.Millisecond

// stillDriver starts machines that do nothing but exist. A proper shutdown
// leaves a mark at the end of the disk.
type stillDriver struct {
	mu       sync.Mutex
	machines []*stillMachine
}

type stillMachine struct {
	spec machine.Spec
	once sync.Once
	done chan struct{}
}

const shutdownMark = "shut down properly"

func (d *stillDriver) Start(_ context.Context, spec machine.Spec) (machine.Machine, error) {
	disk, err := os.ReadFile(spec.Disk)
	if err != nil || !bytes.HasPrefix(disk, []byte("QFI\xfb")) {
		return nil, fmt.Errorf("no disk: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &stillMachine{spec: spec, done: make(chan struct{})}
	d.machines = append(d.machines, m)
	return m, nil
}

func (m *stillMachine) Shutdown(context.Context) error {
	f, err := os.OpenFile(m.spec.Disk, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(shutdownMark)
	return errors.Join(err, f.Close(), m.Kill())
}

func (m *stillMachine) Kill() error           { m.once.Do(func() { close(m.done) }); return nil }
func (m *stillMachine) Done() <-chan struct{} { return m.done }
func (m *stillMachine) Console() []byte       { return []byte("booting\nlogin: ") }

func (d *stillDriver) running() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.machines {
		select {
		case <-m.done:
		default:
			n++
		}
	}
	return n
}

func (d *stillDriver) started() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.machines)
}

func (d *stillDriver) last() *stillMachine {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.machines[len(d.machines)-1]
}

func provider(t *ocisim.Tenancy, regionName string) common.ConfigurationProvider {
	return common.NewRawConfigurationProvider(t.ID, t.UserID, regionName, t.Fingerprint(), t.PrivateKeyPEM(), nil)
}

// compute is a Compute client of a tenancy in a region.
func (k *kit) compute(t *ocisim.Tenancy, regionName string) core.ComputeClient {
	k.t.Helper()
	client, err := core.NewComputeClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

func (k *kit) network(t *ocisim.Tenancy, regionName string) core.VirtualNetworkClient {
	client, err := core.NewVirtualNetworkClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

func (k *kit) volumes(t *ocisim.Tenancy, regionName string) core.BlockstorageClient {
	client, err := core.NewBlockstorageClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

func (k *kit) identity(t *ocisim.Tenancy, regionName string) identity.IdentityClient {
	client, err := identity.NewIdentityClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

func (k *kit) limits(t *ocisim.Tenancy, regionName string) limits.LimitsClient {
	client, err := limits.NewLimitsClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

func (k *kit) work(t *ocisim.Tenancy, regionName string) workrequests.WorkRequestClient {
	client, err := workrequests.NewWorkRequestClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

// once is request metadata that keeps the SDK from retrying.
func once() common.RequestMetadata {
	policy := common.NoRetryPolicy()
	return common.RequestMetadata{RetryPolicy: &policy}
}

// wantError checks the status and code of an answer, and a part of its
// message.
func wantServiceError(t *testing.T, err error, status int, code, part string) {
	t.Helper()
	var service common.ServiceError
	if !errors.As(err, &service) {
		t.Fatalf("got %v, want %d %s", err, status, code)
	}
	if service.GetHTTPStatusCode() != status || service.GetCode() != code || !strings.Contains(service.GetMessage(), part) {
		t.Fatalf("got %d %s %q, want %d %s %q", service.GetHTTPStatusCode(), service.GetCode(), service.GetMessage(), status, code, part)
	}
	if service.GetOpcRequestID() == "" {
		t.Error("the answer has no opc-request-id")
	}
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// launchRequest asks for 2 OCPUs and 12 GB in the first availability domain.
func (k *kit) launchRequest(change func(*core.LaunchInstanceDetails)) core.LaunchInstanceRequest {
	d := core.LaunchInstanceDetails{
		AvailabilityDomain: common.String(k.build.AvailabilityDomains(homeRegion)[0]),
		CompartmentId:      &k.build.CompartmentID,
		DisplayName:        common.String("builder"),
		Shape:              common.String(a1),
		ShapeConfig:        &core.LaunchInstanceShapeConfigDetails{Ocpus: common.Float32(2), MemoryInGBs: common.Float32(12)},
		SourceDetails:      core.InstanceSourceViaImageDetails{ImageId: &k.base},
		CreateVnicDetails:  &core.CreateVnicDetails{SubnetId: common.String(k.build.SubnetID(homeRegion)), AssignPublicIp: common.Bool(true)},
		Metadata:           map[string]string{"ssh_authorized_keys": "ssh-ed25519 AAAA test"},
		FreeformTags:       map[string]string{"owner": "test"},
	}
	if change != nil {
		change(&d)
	}
	return core.LaunchInstanceRequest{LaunchInstanceDetails: d, RequestMetadata: once()}
}

// launched launches an instance and waits until it is RUNNING.
func (k *kit) launched() core.Instance {
	k.t.Helper()
	c := k.compute(k.build, homeRegion)
	resp, err := c.LaunchInstance(context.Background(), k.launchRequest(nil))
	if err != nil {
		k.t.Fatal(err)
	}
	return k.reaches(c, *resp.Id, core.InstanceLifecycleStateRunning)
}

// reaches waits until an instance is in a state.
func (k *kit) reaches(c core.ComputeClient, id string, state core.InstanceLifecycleStateEnum) (i core.Instance) {
	k.t.Helper()
	eventually(k.t, "instance is "+string(state), func() bool {
		resp, err := c.GetInstance(context.Background(), core.GetInstanceRequest{InstanceId: &id})
		if err != nil {
			k.t.Fatal(err)
		}
		i = resp.Instance
		return i.LifecycleState == state
	})
	return i
}

// imageReaches waits until an image is in a state.
func (k *kit) imageReaches(c core.ComputeClient, id string, state core.ImageLifecycleStateEnum) (img core.Image) {
	k.t.Helper()
	eventually(k.t, "image is "+string(state), func() bool {
		resp, err := c.GetImage(context.Background(), core.GetImageRequest{ImageId: &id, RequestMetadata: once()})
		if err != nil {
			k.t.Fatal(err)
		}
		img = resp.Image
		return img.LifecycleState == state
	})
	return img
}

// workEnds waits until a work request is over.
func (k *kit) workEnds(c workrequests.WorkRequestClient, id *string) (w workrequests.WorkRequest) {
	k.t.Helper()
	eventually(k.t, "work request is over", func() bool {
		resp, err := c.GetWorkRequest(context.Background(), workrequests.GetWorkRequestRequest{WorkRequestId: id})
		if err != nil {
			k.t.Fatal(err)
		}
		w = resp.WorkRequest
		return w.TimeFinished != nil
	})
	return w
}

type tenancy = ocisim.Tenancy
