// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package simnet_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

func errorAs[E any](err error) (E, bool) {
	var target E
	ok := errors.As(err, &target)
	return target, ok
}

func computeClient(t *testing.T, c *http.Client) core.ComputeClient {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	client, err := core.NewComputeClientWithConfigurationProvider(
		common.NewRawConfigurationProvider("ocid1.tenancy.oc1..t", "ocid1.user.oc1..u", "us-phoenix-1", "aa:bb", string(block), nil))
	if err != nil {
		t.Fatal(err)
	}
	client.HTTPClient = c
	return client
}

// The SDK's own idea of host, path and signature arrives unchanged.
func TestSDKThroughProxy(t *testing.T) {
	n := start(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			t.Error("unsigned")
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"id": r.Host + r.URL.Path, "lifecycleState": "RUNNING"})
	}, simnet.Options{})
	id := "ocid1.instance.oc1.phx.i"
	got, err := computeClient(t, n.Client()).GetInstance(t.Context(), core.GetInstanceRequest{InstanceId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if want := "iaas.us-phoenix-1.oraclecloud.com/20160918/instances/" + id; *got.Id != want {
		t.Errorf("got %q, want %q", *got.Id, want)
	}
}

// An hour of scarcity passes at once, with the real SDK in between.
func TestSDKInsideBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		pipe := simnet.Pipe(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if time.Since(begin) < time.Hour {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write([]byte(`{"code":"InternalError","message":"Out of host capacity."}`))
				return
			}
			_, _ = w.Write([]byte(`{"id":"i"}`))
		}))
		client := computeClient(t, pipe)
		none := common.NoRetryPolicy()
		attempts := 0
		for {
			attempts++
			_, err := client.LaunchInstance(t.Context(), core.LaunchInstanceRequest{
				LaunchInstanceDetails: core.LaunchInstanceDetails{CompartmentId: new("c"), AvailabilityDomain: new("a")},
				RequestMetadata:       common.RequestMetadata{RetryPolicy: &none},
			})
			if err == nil {
				break
			}
			if se, ok := errorAs[common.ServiceError](err); !ok || se.GetMessage() != "Out of host capacity." {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Minute)
		}
		if attempts != 4 {
			t.Errorf("%d attempts", attempts)
		}
		pipe.CloseIdleConnections()
	})
}
