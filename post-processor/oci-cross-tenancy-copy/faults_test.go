// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// moment is a request at which something goes wrong.
type moment struct {
	n  int
	op string
}

// moments are all requests of a direct copy, and of the other routes, and of one that
// is verified, those that the direct one does not make: of what is read there, the first
// and the last request of each kind.
func moments(t *testing.T) map[string][]moment {
	t.Helper()
	kind := func(op string) string { return ids.ReplaceAllString(op, "") }
	all, known := map[string][]moment{}, map[string]bool{}
	for _, route := range []string{"direct", "copy-object", "relay", "verify"} {
		seen := map[string]bool{}
		log := rehearse(t, route)
		last := map[string]int{}
		for n, op := range log {
			last[kind(op)] = n
		}
		for n, op := range log {
			k := kind(op)
			between := strings.HasPrefix(op, "GET ") && seen[k] && n < last[k]
			if route == "direct" || !known[k] && !between {
				all[route] = append(all[route], moment{n, op})
			}
			seen[k] = true
		}
		for k := range seen {
			known[k] = true
		}
		t.Logf("%s: %d requests", route, len(all[route]))
	}
	return all
}

// ids are the parts of a path that are never the same.
var ids = regexp.MustCompile(`ocid1[a-z0-9.-]+|ns[0-9a-f]{10}|/p/[^.].*|armfree-[a-z0-9-]+|-[a-z0-9]{16}`)

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"message":"a bad day"}`, code)
}

// takes says whether a fault is tried at a request. With the race detector, which makes
// each try ten times as long, it is half of them: two of four kinds at each request, and
// each kind at every other one.
func takes(kind string, request int) bool {
	kinds := []string{"429", "throttled", "reset", "500", "lost"}
	return !raceDetector || slices.Index(kinds, kind)/2%2 == request%2
}

// Whatever goes wrong once at any request of a copy, the copy comes to its end.
func TestOneFaultAnywhere(t *testing.T) {
	faults := map[string]func(*virtual) func(http.ResponseWriter, *http.Request){
		"429": func(*virtual) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) { problem(w, 429, "TooManyRequests") }
		},
		"500": func(*virtual) func(http.ResponseWriter, *http.Request) {
			return func(w http.ResponseWriter, _ *http.Request) { problem(w, 500, "InternalError") }
		},
		"reset": func(*virtual) func(http.ResponseWriter, *http.Request) {
			return func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		},
		"lost": func(v *virtual) func(http.ResponseWriter, *http.Request) {
			return func(_ http.ResponseWriter, r *http.Request) {
				v.Cloud.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
		},
	}
	for route, at := range moments(t) {
		for kind, fault := range faults {
			for _, m := range at {
				i := m.n
				if !takes(kind, i) {
					continue
				}
				t.Run(fmt.Sprintf("%s %s %d %s", route, kind, i, m.op), func(t *testing.T) {
					sample.Case(t)
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						v := newVirtual(t)
						hit := fault(v)
						happened := false
						v.wire.reset(func(w http.ResponseWriter, r *http.Request, n int) bool {
							if n != i {
								return false
							}
							happened = true
							hit(w, r)
							return true
						})
						image, said, err := v.copy(t.Context(), t, v.settings(route))
						if err != nil {
							t.Fatalf("%v\n%s", err, said)
						}
						if !happened {
							t.Error("the copy did not come so far")
						}
						if strings.Contains(said, "Cleanup:") {
							t.Errorf("said:\n%s", said)
						}
						v.mustLeave(t, image, said)
					})
				})
			}
		}
	}
}

// Killed after any request, the copy is taken up by the next run.
func TestKilledAnywhere(t *testing.T) {
	for route, at := range moments(t) {
		for _, m := range at {
			i := m.n
			t.Run(fmt.Sprintf("%s %d %s", route, i, m.op), func(t *testing.T) {
				sample.Case(t)
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					v := newVirtual(t)
					in := v.settings(route)
					if i%2 == 0 {
						in["object_name"] = "mine.oci"
					}
					ctx, cancel := context.WithCancel(t.Context())
					var dead atomic.Bool
					v.wire.reset(func(w http.ResponseWriter, r *http.Request, n int) bool {
						switch {
						case dead.Load() || n > i:
							panic(http.ErrAbortHandler)
						case n < i:
							return false
						}
						dead.Store(true)
						v.Cloud.ServeHTTP(httptest.NewRecorder(), r)
						cancel()
						panic(http.ErrAbortHandler)
					})
					if _, said, err := v.copy(ctx, t, in); err == nil && i < 10 {
						t.Fatalf("it was not killed\n%s", said)
					}
					v.wire.reset(nil)
					// The next run comes at once, or after the cloud has done what it
					// was asked for.
					if i%4 > 1 {
						time.Sleep(time.Hour)
					}
					image, said, err := v.copy(t.Context(), t, in)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					v.mustLeave(t, image, said)
					if n := v.CountRequests("ExportImage"); n > 2 {
						t.Errorf("%d exports", n)
					}
				})
			})
		}
	}
}

// The header of packer-plugin-oracle#154 on an import, whichever request it is.
func TestMalformedHeaderOnImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		if err := v.AddFaults(ocisim.Fault{Kind: ocisim.FaultMalformedHeader, Op: "CreateImage"}); err != nil {
			t.Fatal(err)
		}
		image, said, err := v.copy(t.Context(), t, v.settings("direct"))
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		v.mustLeave(t, image, said)
	})
}

// An import is asked for, Ctrl-C comes before the reply, and the list of images does not
// show yet what it made: it is looked for until it does, and removed.
func TestLostImportThatShowsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := newVirtual(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked time.Time
		v.wire.reset(func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if !strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/images") {
				return false
			}
			switch {
			case r.Method == http.MethodPost:
				v.Cloud.ServeHTTP(httptest.NewRecorder(), r)
				asked = time.Now()
				cancel()
				panic(http.ErrAbortHandler)
			case !asked.IsZero() && time.Since(asked) < time.Minute:
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte("[]"))
				return true
			}
			return false
		})
		_, said, err := v.copy(ctx, t, v.settings("direct"))
		if err == nil || !errors.Is(err, context.Canceled) || asked.IsZero() {
			t.Errorf("%v\n%s", err, said)
		}
		if left := v.left(); len(left) > 0 {
			t.Errorf("left %q\n%s", left, said)
		}
	})
}
