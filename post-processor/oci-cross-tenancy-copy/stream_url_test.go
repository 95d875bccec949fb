// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A file at a URL that is larger than the limit is not brought to Object Storage, and it is
// not downloaded first.
func TestStreamURLTooLarge(t *testing.T) {
	for name, tt := range map[string]struct {
		size, limit int64
		says        string
	}{
		"more than the limit":   {3 << 30, 2, "size_limit_in_gbs: https://images.example/large.raw has 3 GB, and the limit is 2; raise the limit"},
		"more than the default": {20<<30 + 1, 0, "size_limit_in_gbs: https://images.example/large.raw has 21 GB, and the limit is 20; raise the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				var asked, sent atomic.Int64
				f.wire.reset(func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if r.Host != "images.example" {
						return false
					}
					asked.Add(1)
					w.Header().Set("Content-Length", strconv.FormatInt(tt.size, 10))
					for chunk := make([]byte, 1<<20); sent.Load() < 64<<20; {
						n, err := w.Write(chunk)
						if sent.Add(int64(n)); err != nil {
							break
						}
					}
					panic(http.ErrAbortHandler)
				})
				_, said, err := f.copy(t.Context(), t, f.ofFile(map[string]interface{}{
					"source_url": "https://images.example/large.raw", "source_checksum": fmt.Sprintf("sha256:%064x", 1), "size_limit_in_gbs": tt.limit,
				}))
				if err == nil || !strings.Contains(said, tt.says) || asked.Load() != 1 || sent.Load() > 4<<20 {
					t.Errorf("%v, want %q; %d requests, %d bytes\n%s", err, tt.says, asked.Load(), sent.Load(), said)
				}
				if left := f.left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			})
		})
	}
}

// How far a download is is said from time to time.
func TestStreamURLTellsHowFarItIs(t *testing.T) {
	for _, length := range []bool{true, false} { // as the server says it
		t.Run(fmt.Sprintf("length %t", length), func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				data, err := os.ReadFile(f.disk)
				if err != nil {
					t.Fatal(err)
				}
				parts, of := []int{len(data) / 3, len(data) / 2, 2 * len(data) / 3, len(data)}, ""
				if length {
					of = fmt.Sprintf(" of %.1f", float64(len(data))/1e6)
				}
				f.wire.reset(func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if r.Host != "images.example" {
						return false
					}
					if length {
						w.Header().Set("Content-Length", strconv.Itoa(len(data)))
					}
					begin := 0
					for _, end := range parts {
						if begin > 0 {
							time.Sleep(50 * time.Second)
						}
						_, _ = w.Write(data[begin:end])
						w.(http.Flusher).Flush() //nolint:forcetypeassert // the server's can
						begin = end
					}
					return true
				})
				image, said, err := f.copy(t.Context(), t, f.ofFile(map[string]interface{}{
					"source_url": "https://images.example/disk.qcow2", "source_checksum": fmt.Sprintf("sha256:%x", sha256.Sum256(data)),
				}))
				if err != nil {
					t.Fatalf("%v\n%s", err, said)
				}
				f.mustLeave(t, image, said)
				for after, bytes := range map[string]int{"20s": parts[0], "1m20s": parts[1]} {
					if want := fmt.Sprintf("Downloading for %s: %.1f%s MB\n", after, float64(bytes)/1e6, of); !strings.Contains(said, want) {
						t.Errorf("%q is not in\n%s", want, said)
					}
				}
			})
		})
	}
}
