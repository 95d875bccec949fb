// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package record_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/record"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	region    = "us-phoenix-1"
	secretKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIIII somebody@somewhere"
	userData  = "dGhlIHBhc3N3b3JkIGlzIHN3b3JkZmlzaA=="
)

// idle is a driver whose machines do nothing but be there.
type idle struct{}

type idleMachine struct {
	off  chan struct{}
	once sync.Once
}

func (idle) Start(context.Context, machine.Spec) (machine.Machine, error) {
	return &idleMachine{off: make(chan struct{})}, nil
}

func (m *idleMachine) Kill() error                    { m.once.Do(func() { close(m.off) }); return nil }
func (m *idleMachine) Shutdown(context.Context) error { return m.Kill() }
func (m *idleMachine) Done() <-chan struct{}          { return m.off }
func (m *idleMachine) Console() []byte                { return nil }

// world is one simulated cloud: each has other keys, identifiers and images.
type world struct {
	cloud   *ocisim.Cloud
	tenancy *ocisim.Tenancy
	image   string
}

func newWorld(t *testing.T, edits ...func(*ocisim.Config)) *world {
	t.Helper()
	tenancy, err := ocisim.NewTenancy("build", region)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "base.qcow2")
	if err := machine.FastDisk(disk, nil); err != nil {
		t.Fatal(err)
	}
	cfg := ocisim.Config{
		Tenancies: []*ocisim.Tenancy{tenancy}, Driver: idle{}, WorkDir: t.TempDir(),
		Images: []ocisim.BaseImage{{Name: "debian-12", OperatingSystem: "Debian", OperatingSystemVersion: "12", Path: disk, Tenancy: "build"}},
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	cloud, err := ocisim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{cloud: cloud, tenancy: tenancy}
	web := w.client(t, cloud)
	images, err := newCompute(t, w, web).ListImages(t.Context(), core.ListImagesRequest{CompartmentId: &tenancy.CompartmentID, DisplayName: new("debian-12")})
	if err != nil || len(images.Items) == 0 {
		// Images may be kept in the root compartment.
		images, err = newCompute(t, w, web).ListImages(t.Context(), core.ListImagesRequest{CompartmentId: &tenancy.ID, DisplayName: new("debian-12")})
	}
	if err != nil || len(images.Items) == 0 {
		t.Fatal("no base image", err)
	}
	w.image = *images.Items[0].Id
	return w
}

func (w *world) client(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	c := simnet.Pipe(h)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func (w *world) known() map[string]string {
	return map[string]string{
		"tenancy": w.tenancy.ID, "user": w.tenancy.UserID, "compartment": w.tenancy.CompartmentID, "namespace": w.tenancy.Namespace,
		"region": region, "subnet": w.tenancy.SubnetID(region), "image": w.image,
	}
}

func (w *world) replayer(t *testing.T, h http.Handler) *record.Replayer {
	t.Helper()
	signer, err := record.NewSigner(w.tenancy.ID+"/"+w.tenancy.UserID+"/"+w.tenancy.Fingerprint(), w.tenancy.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	return &record.Replayer{Client: w.client(t, h), Known: w.known(), Signers: map[string]record.Signer{"tenancy": signer}, Patience: 3 * time.Second}
}

func (w *world) provider() common.ConfigurationProvider {
	return common.NewRawConfigurationProvider(w.tenancy.ID, w.tenancy.UserID, region, w.tenancy.Fingerprint(), w.tenancy.PrivateKeyPEM(), nil)
}

func newCompute(t *testing.T, w *world, web *http.Client) core.ComputeClient {
	t.Helper()
	c, err := core.NewComputeClientWithConfigurationProvider(w.provider())
	if err != nil {
		t.Fatal(err)
	}
	c.HTTPClient = web
	return c
}

// session is what a client does between launch and clean-up, with the real SDK.
func session(t *testing.T, w *world, web *http.Client) {
	t.Helper()
	ctx := t.Context()
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	who, err := identity.NewIdentityClientWithConfigurationProvider(w.provider())
	must("identity", err)
	who.HTTPClient = web
	compute := newCompute(t, w, web)
	store, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(w.provider())
	must("storage", err)
	store.HTTPClient = web

	ads, err := who.ListAvailabilityDomains(ctx, identity.ListAvailabilityDomainsRequest{CompartmentId: &w.tenancy.ID})
	must("list ADs", err)
	launched, err := compute.LaunchInstance(ctx, core.LaunchInstanceRequest{LaunchInstanceDetails: core.LaunchInstanceDetails{
		AvailabilityDomain: ads.Items[1].Name, CompartmentId: &w.tenancy.CompartmentID, Shape: new("VM.Standard.A1.Flex"),
		ShapeConfig:       &core.LaunchInstanceShapeConfigDetails{Ocpus: new(float32(1)), MemoryInGBs: new(float32(6))},
		SourceDetails:     core.InstanceSourceViaImageDetails{ImageId: &w.image},
		CreateVnicDetails: &core.CreateVnicDetails{SubnetId: new(w.tenancy.SubnetID(region))},
		Metadata:          map[string]string{"ssh_authorized_keys": secretKey, "user_data": userData},
	}})
	must("launch", err)
	for state := launched.LifecycleState; state != core.InstanceLifecycleStateRunning; time.Sleep(10 * time.Millisecond) {
		got, err := compute.GetInstance(ctx, core.GetInstanceRequest{InstanceId: launched.Id})
		must("get instance", err)
		state = got.LifecycleState
	}
	bucket := objectstorage.CreateBucketDetails{Name: new("images"), CompartmentId: &w.tenancy.CompartmentID}
	created, err := store.CreateBucket(ctx, objectstorage.CreateBucketRequest{NamespaceName: &w.tenancy.Namespace, CreateBucketDetails: bucket})
	must("create bucket", err)
	_, err = store.PutObject(ctx, objectstorage.PutObjectRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ObjectName: new("dir/x.oci"),
		ContentLength: new(int64(20)), PutObjectBody: io.NopCloser(strings.NewReader("these are the bytes.")), ContentMD5: new("1hxex7BovPpER2idsYWAuQ==")})
	must("put", err)
	_, err = store.PutObject(ctx, objectstorage.PutObjectRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ObjectName: new("dir/x.oci"),
		ContentLength: new(int64(20)), PutObjectBody: io.NopCloser(strings.NewReader("these are the bytes.")), IfNoneMatch: new("*")})
	if err == nil {
		t.Fatal("overwritten") // a refusal is part of the session
	}
	par, err := store.CreatePreauthenticatedRequest(ctx, objectstorage.CreatePreauthenticatedRequestRequest{
		NamespaceName: &w.tenancy.Namespace, BucketName: new("images"),
		CreatePreauthenticatedRequestDetails: objectstorage.CreatePreauthenticatedRequestDetails{
			Name: new("share"), ObjectName: new("dir/x.oci"), AccessType: objectstorage.CreatePreauthenticatedRequestDetailsAccessTypeObjectread,
			TimeExpires: &common.SDKTime{Time: time.Now().Add(time.Hour)},
		}})
	must("create PAR", err)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://objectstorage."+region+".oraclecloud.com"+*par.AccessUri, nil)
	resp, err := web.Do(req)
	must("use PAR", err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	_, err = store.DeletePreauthenticatedRequest(ctx, objectstorage.DeletePreauthenticatedRequestRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ParId: par.Id})
	must("delete PAR", err)
	_, err = store.DeleteObject(ctx, objectstorage.DeleteObjectRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), ObjectName: new("dir/x.oci")})
	must("delete object", err)
	_, err = store.DeleteBucket(ctx, objectstorage.DeleteBucketRequest{NamespaceName: &w.tenancy.Namespace, BucketName: new("images"), IfMatch: created.ETag})
	must("delete bucket", err)
	_, err = compute.TerminateInstance(ctx, core.TerminateInstanceRequest{InstanceId: launched.Id})
	must("terminate", err)
	for state := launched.LifecycleState; state != core.InstanceLifecycleStateTerminated; time.Sleep(10 * time.Millisecond) {
		got, err := compute.GetInstance(ctx, core.GetInstanceRequest{InstanceId: launched.Id})
		must("get instance", err)
		state = got.LifecycleState
	}
}

// recorded is a recording of session, once per test binary's run.
func recorded(t *testing.T) []byte {
	t.Helper()
	w := newWorld(t)
	recorder, err := record.NewRecorder(w.cloud, w.known())
	if err != nil {
		t.Fatal(err)
	}
	session(t, w, w.client(t, recorder))
	exchanges, err := recorder.Session()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := record.Write(&b, exchanges); err != nil {
		t.Fatal(err)
	}
	for what, secret := range map[string]string{
		"a signature": "Signature", "the tenancy": w.tenancy.ID, "the user": w.tenancy.UserID, "the fingerprint": w.tenancy.Fingerprint(),
		"an identifier": "ocid1.", "the SSH key": "AAAAC3Nz", "the user data": userData, "the namespace": w.tenancy.Namespace, "a year": "20" + time.Now().Format("06") + "-",
	} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the recording holds %s", what)
		}
	}
	if strings.Contains(b.String(), `"/p/`) && !strings.Contains(b.String(), "/p/${par-token.1}/") {
		t.Error("the recording holds the token of a PAR")
	}
	if t.Failed() {
		t.Log(b.String())
	}
	return b.Bytes()
}

func TestReplay(t *testing.T) {
	recording := recorded(t)
	exchanges, err := record.Read(bytes.NewReader(append([]byte("# by hand\n\n"), recording...)))
	if err != nil {
		t.Fatal(err)
	}
	polls := 0
	for _, e := range exchanges {
		if e.Times > 1 {
			polls++
		}
	}
	if polls == 0 {
		t.Error("repeated requests were not put together")
	}
	t.Run("in another world", func(t *testing.T) {
		w := newWorld(t)
		if err := w.replayer(t, w.cloud).Replay(t.Context(), exchanges); err != nil {
			t.Errorf("%v\n%s", err, recording)
		}
		// What the replay did, it did: the clean-up took effect too.
		for _, r := range w.cloud.Requests() {
			if r.Op == "DeleteBucket" && r.Status == http.StatusNoContent {
				return
			}
		}
		t.Error("the replay did not delete the bucket")
	})

	// A simulator that has changed is found out.
	for name, change := range map[string]struct {
		path, old, new string
		want           string
	}{
		"field gone":       {"/instances", `"shape":`, `"form":`, "reply.shape is missing"},
		"field new":        {"/instances", `"shape":`, `"new":1,"shape":`, "reply.new is new"},
		"type":             {"/instances/", `"displayName":"`, `"displayName":1,"x":"`, "reply.displayName: got number, want string"},
		"error code":       {"/o/", "IfNoneMatchFailed", "Exists", `got "Exists", want "IfNoneMatchFailed"`},
		"never terminated": {"/instances/", "TERMINATED", "SHREDDED", `got "SHREDDED", want "TERMINATED"`},
		"time":             {"/p", `"timeExpires":"`, `"timeExpires":"about `, "reply.timeExpires: got string, want time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := w.replayer(t, tamper{w.cloud, change.path, change.old, change.new})
			p.Patience = 500 * time.Millisecond
			err := p.Replay(t.Context(), exchanges)
			var differs *record.Difference
			if !errors.As(err, &differs) || !strings.Contains(err.Error(), change.want) {
				t.Errorf("got %v, want %q", err, change.want)
			}
		})
	}
	t.Run("status", func(t *testing.T) {
		w := newWorld(t)
		p := w.replayer(t, http.NotFoundHandler())
		p.Patience = time.Millisecond
		err := p.Replay(t.Context(), exchanges)
		if err == nil || !strings.Contains(err.Error(), "status 404, want 200") {
			t.Error(err)
		}
	})
	t.Run("another key", func(t *testing.T) {
		w, stranger := newWorld(t), newWorld(t)
		p := w.replayer(t, w.cloud)
		p.Signers, p.Patience = stranger.replayer(t, stranger.cloud).Signers, time.Millisecond
		if err := p.Replay(t.Context(), exchanges); err == nil || !strings.Contains(err.Error(), "status 401, want 200") {
			t.Error(err)
		}
	})
	t.Run("no key", func(t *testing.T) {
		w := newWorld(t)
		p := w.replayer(t, w.cloud)
		p.Signers = nil
		if err := p.Replay(t.Context(), exchanges); err == nil || !strings.Contains(err.Error(), "no key to sign as ${tenancy}") {
			t.Error(err)
		}
	})
	t.Run("something not told", func(t *testing.T) {
		w := newWorld(t)
		if err := w.replayer(t, w.cloud).Replay(t.Context(), exchanges[2:]); err == nil || !strings.Contains(err.Error(), "nothing has told what ${instance.1} is") {
			t.Error(err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.replayer(t, w.cloud).Replay(ctx, exchanges); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// tamper changes replies on some paths.
type tamper struct {
	next           http.Handler
	path, old, new string
}

func (h tamper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, h.path) {
		h.next.ServeHTTP(w, r)
		return
	}
	b := &buffered{header: http.Header{}, status: http.StatusOK}
	h.next.ServeHTTP(b, r)
	for name, values := range b.header {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(b.status)
	_, _ = io.WriteString(w, strings.ReplaceAll(b.body.String(), h.old, h.new))
}

type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffered) Header() http.Header         { return b.header }
func (b *buffered) WriteHeader(status int)      { b.status = status }
func (b *buffered) Write(p []byte) (int, error) { return b.body.Write(p) }

// A connection that is cut is part of a recording too.
func TestHijacked(t *testing.T) {
	cut := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	recorder, err := record.NewRecorder(cut, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := simnet.Pipe(recorder)
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://iaas.r.oraclecloud.com/x", strings.NewReader("body"))
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("got a reply")
	}
	exchanges, err := recorder.Session()
	if err != nil || len(exchanges) != 1 || exchanges[0].Reply.Status != 0 {
		t.Fatalf("%+v, %v", exchanges, err)
	}
	if err := (&record.Replayer{Client: client}).Replay(t.Context(), exchanges); err != nil {
		t.Error(err)
	}
	fine := simnet.Pipe(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer fine.CloseIdleConnections()
	if err := (&record.Replayer{Client: fine}).Replay(t.Context(), exchanges); err == nil {
		t.Error("a reply passes for none")
	}
}

func TestRefused(t *testing.T) {
	for name, known := range map[string]map[string]string{
		"short value": {"bucket": "b"}, "name": {"a.b": "longer"}, "no name": {"": "longer"}, "same value": {"a": "longer", "b": "longer"},
	} {
		if _, err := record.NewRecorder(http.NotFoundHandler(), known); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, text := range map[string]string{
		"empty": "\n# nothing\n", "not JSON": "{", "unknown field": `{"request":{"method":"GET","host":"h","path":"/"},"reply":{"status":200},"x":1}`,
		"no method": `{"request":{"host":"h","path":"/"},"reply":{"status":200}}`, "two values": `{"request":{"method":"GET","host":"h","path":"/"},"reply":{"status":200}} {}`,
	} {
		if _, err := record.Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := record.NewSigner("a/b/c", "no key"); err == nil {
		t.Error("accepted a key that is none")
	}
	// What looks like a placeholder cannot be told from one later.
	recorder, _ := record.NewRecorder(http.NotFoundHandler(), nil)
	client := simnet.Pipe(recorder)
	defer client.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://h.oraclecloud.com/", strings.NewReader(`{"a":"${b}"}`))
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := recorder.Session(); err == nil {
		t.Error("recorded")
	}
}
