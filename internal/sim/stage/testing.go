// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package stage

import (
	"crypto/rand"
	"crypto/rsa"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// testKeys are the API keys of all stages of one test process, by tenancy.
var testKeys = struct {
	sync.Mutex
	made map[string]*rsa.PrivateKey
}{made: map[string]*rsa.PrivateKey{}}

func testKey(tenancy string) (*rsa.PrivateKey, error) {
	testKeys.Lock()
	defer testKeys.Unlock()
	if key := testKeys.made[tenancy]; key != nil {
		return key, nil
	}
	// A short one: signatures with a longer one took a third of these tests.
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	testKeys.made[tenancy] = key
	return key, err
}

// ForTest builds a stage with fast machines for one test. At the end of the
// test it closes it, and fails the test if anybody asked for something outside
// the simulated clouds.
func ForTest(t testing.TB, o Options) *Stage {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("each simulated machine has a loopback address of its own, as only Linux has them")
	}
	o.Dir, o.Key = t.TempDir(), testKey
	if o.Driver == nil {
		o.Driver = &machine.Fast{}
	}
	if o.Image == "" {
		o.Image = filepath.Join(o.Dir, "base.qcow2")
		if err := machine.FastDisk(o.Image, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, r := range s.Net.Refused() {
			t.Errorf("asked for something outside the clouds: %s", r)
		}
	})
	return s
}
