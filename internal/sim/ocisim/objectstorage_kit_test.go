// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// noMachines is a driver for tests that launch nothing.
type noMachines struct{}

func (noMachines) Start(context.Context, machine.Spec) (machine.Machine, error) {
	return nil, errors.New("no machines here")
}

// storage is a cloud with two tenancies and the real SDK's client of each.
type storage struct {
	*testing.T
	cloud *Cloud
	web   *http.Client // unsigned

	mine, theirs *Tenancy
	client       objectstorage.ObjectStorageClient // of mine, at home
	stranger     objectstorage.ObjectStorageClient // of theirs, in the same region
	away         objectstorage.ObjectStorageClient // of mine, in another region
}

const nearRegion, farRegion = "us-phoenix-1", "eu-frankfurt-1"

func newStorage(t *testing.T, edits ...func(*Config)) *storage {
	t.Helper()
	s := &storage{T: t}
	var err error
	if s.mine, err = NewTenancy("mine", nearRegion, farRegion); err != nil {
		t.Fatal(err)
	}
	if s.theirs, err = NewTenancy("theirs", nearRegion); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Tenancies: []*Tenancy{s.mine, s.theirs}, Driver: noMachines{}, WorkDir: t.TempDir(), MinPartSize: 10}
	for _, edit := range edits {
		edit(&cfg)
	}
	if s.cloud, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	s.web = simnet.Pipe(s.cloud)
	t.Cleanup(func() {
		s.web.CloseIdleConnections()
		if err := s.cloud.Close(); err != nil {
			t.Error(err)
		}
		// Close removes the bytes, all of them.
		if left, _ := filepath.Glob(filepath.Join(cfg.WorkDir, "objects", "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	s.client = s.sdk(s.mine, nearRegion)
	s.away = s.sdk(s.mine, farRegion)
	s.stranger = s.sdk(s.theirs, nearRegion)
	return s
}

func (s *storage) sdk(t *Tenancy, region string) objectstorage.ObjectStorageClient {
	s.Helper()
	c, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(
		common.NewRawConfigurationProvider(t.ID, t.UserID, region, t.Fingerprint(), t.PrivateKeyPEM(), nil))
	if err != nil {
		s.Fatal(err)
	}
	c.HTTPClient = s.web
	none := common.NoRetryPolicy()
	c.Configuration.RetryPolicy = &none
	c.Configuration.CircuitBreaker = nil
	return c
}

// files counts what lies in the store's directory.
func (s *storage) files() int {
	entries, err := os.ReadDir(s.cloud.objects.dir)
	if err != nil {
		s.Fatal(err)
	}
	return len(entries)
}

func (s *storage) bucket(c objectstorage.ObjectStorageClient, t *Tenancy, name string) {
	s.Helper()
	_, err := c.CreateBucket(s.Context(), objectstorage.CreateBucketRequest{
		NamespaceName: &t.Namespace, CreateBucketDetails: objectstorage.CreateBucketDetails{Name: &name, CompartmentId: &t.CompartmentID},
	})
	if err != nil {
		s.Fatal(err)
	}
}

func (s *storage) put(name, content string) objectstorage.PutObjectResponse {
	s.Helper()
	r, err := s.client.PutObject(s.Context(), objectstorage.PutObjectRequest{
		NamespaceName: &s.mine.Namespace, BucketName: new("b"), ObjectName: &name,
		ContentLength: new(int64(len(content))), PutObjectBody: io.NopCloser(strings.NewReader(content)),
	})
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// wantRefusal checks the status and code of an SDK error. Without a code only
// the status counts, as in replies to HEAD.
func wantRefusal(t *testing.T, what string, err error, status int, code string) {
	t.Helper()
	var se common.ServiceError
	if !errors.As(err, &se) {
		t.Errorf("%s: got %v, want %d %s", what, err, status, code)
		return
	}
	if se.GetHTTPStatusCode() != status || (code != "" && se.GetCode() != code) {
		t.Errorf("%s: got %d %s %q, want %d %s", what, se.GetHTTPStatusCode(), se.GetCode(), se.GetMessage(), status, code)
	}
	if se.GetOpcRequestID() == "" {
		t.Errorf("%s: no request id", what)
	}
}

// sign signs a request by hand as the SDK does.
func (s *storage) sign(r *http.Request, hashBody bool) {
	s.Helper()
	r.Header.Set("Date", httpTime(time.Now()))
	provider := common.NewRawConfigurationProvider(s.mine.ID, s.mine.UserID, nearRegion, s.mine.Fingerprint(), s.mine.PrivateKeyPEM(), nil)
	signer := common.RequestSignerWithBodyHashingPredicate(provider, common.DefaultGenericHeaders(), common.DefaultBodyHeaders(),
		func(*http.Request) bool { return hashBody })
	if err := signer.Sign(r); err != nil {
		s.Fatal(err)
	}
}

func (s *storage) signed(method, url, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		s.Fatal(err)
	}
	s.sign(req, false)
	return s.send(req)
}

// postJSON signs and sends a body that the SDK's types cannot express.
func (s *storage) postJSON(url, body string) (int, string) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	s.sign(req, true)
	return s.send(req)
}

func (s *storage) send(req *http.Request) (int, string) {
	s.Helper()
	resp, err := s.web.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
