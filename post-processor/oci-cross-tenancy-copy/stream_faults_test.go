// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocicrosstenancycopy

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/sample"
)

// awsProblem is what a service of Amazon's answers on a bad day.
func awsProblem(w http.ResponseWriter, r *http.Request, throttled bool) {
	status, code := http.StatusInternalServerError, "InternalError"
	switch {
	case strings.HasPrefix(r.Host, "ebs."):
		code = "InternalServerException"
		if throttled {
			status, code = http.StatusBadRequest, "RequestThrottledException"
		}
		w.Header().Set("X-Amzn-Errortype", code)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, `{"Message":"a bad day","Reason":"ACCOUNT_THROTTLED"}`)
		return
	case strings.Contains(r.Host, ".s3."):
		if throttled {
			status, code = http.StatusServiceUnavailable, "SlowDown"
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `<Error><Code>%s</Code><Message>a bad day</Message></Error>`, code)
		return
	case strings.HasPrefix(r.Host, "sts."):
		if throttled {
			status, code = http.StatusBadRequest, "Throttling"
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>%s</Code><Message>a bad day</Message></Error></ErrorResponse>`, code)
		return
	}
	if throttled {
		status, code = http.StatusServiceUnavailable, "RequestLimitExceeded"
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `<Response><Errors><Error><Code>%s</Code><Message>a bad day</Message></Error></Errors></Response>`, code)
}

// serve plays the right cloud.
func (f *flying) serve(w http.ResponseWriter, r *http.Request) { f.wire.next.ServeHTTP(w, r) }

// way is what an AMI travels as, and by which route.
type way struct{ form, route string }

// streamWays are those that are tried request by request: a VMDK is imported by another
// request, and has another name in every bucket.
func streamWays() []way {
	return []way{{"oci", "direct"}, {"vmdk", "direct"}, {"vmdk", "copy-object"}, {"vmdk", "relay"}}
}

// tries says whether a request of the way is tried. What comes before a detour is tried on
// the direct way; and the race detector makes these tests many times slower, so that
// under it of a VMDK every other pair of requests does.
func (w way) tries(ops []string, i int) bool {
	detour := func(op string) bool {
		return strings.HasSuffix(op, "/actions/copyObject") || strings.HasPrefix(op, "GET /p/") || strings.HasSuffix(op, ".1")
	}
	switch {
	case w.route != "direct" && !slices.ContainsFunc(ops[:i+1], detour):
		return false
	case w.form == "vmdk" && raceDetector:
		return i/2%2 == 0
	}
	return true
}

// by is a template that copies the AMI in a way.
func (f *flying) by(w way) map[string]interface{} {
	in := f.settings()
	for k, v := range dest(f.virtual.settings(w.route)) {
		dest(in)[k] = v
	}
	in["image_format"] = w.form
	return in
}

// streamMoments are all requests of a way from AWS. The blocks come in no order.
func streamMoments(t *testing.T, by way) (ops []string) {
	t.Helper()
	inFlight(t, blocks(1), func(t *testing.T, f *flying) {
		f.tag(t, proven())
		image, said, err := f.copy(t.Context(), t, f.by(by))
		if err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		f.mustLeave(t, image, said)
		ops = f.wire.ops
	})
	for _, want := range []string{"POST /", "GET /snapshots/", "PUT /n/"} {
		if !strings.Contains(strings.Join(ops, "\n"), want) {
			t.Fatalf("%q is not among %q", want, ops)
		}
	}
	return ops
}

// Whatever goes wrong once at any request of the way from AWS, the copy comes to its
// end.
func TestStreamOneFaultAnywhere(t *testing.T) {
	faults := map[string]func(*flying, http.ResponseWriter, *http.Request){
		"throttled": func(_ *flying, w http.ResponseWriter, r *http.Request) {
			if amazon(r) {
				awsProblem(w, r, true)
				return
			}
			problem(w, 429, "TooManyRequests")
		},
		"500": func(_ *flying, w http.ResponseWriter, r *http.Request) {
			if amazon(r) {
				awsProblem(w, r, false)
				return
			}
			problem(w, 500, "InternalError")
		},
		"reset": func(*flying, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"lost": func(f *flying, _ http.ResponseWriter, r *http.Request) {
			f.serve(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		},
	}
	for n, by := range streamWays()[:2] {
		for i, op := range streamMoments(t, by) {
			for kind, fault := range faults {
				if !takes(kind, i+n) { // under the race detector each form has the half that the other has not
					continue
				}
				t.Run(fmt.Sprintf("%s %s %d %s", by, kind, i, op), func(t *testing.T) {
					sample.Case(t)
					t.Parallel()
					inFlight(t, blocks(1), func(t *testing.T, f *flying) {
						f.tag(t, proven())
						happened := false
						f.wire.reset(func(w http.ResponseWriter, r *http.Request, n int) bool {
							if n != i {
								return false
							}
							happened = true
							fault(f, w, r)
							return true
						})
						image, said, err := f.copy(t.Context(), t, f.by(by))
						if err != nil {
							t.Fatalf("%v\n%s", err, said)
						}
						if !happened || strings.Contains(said, "Cleanup:") {
							t.Errorf("happened: %t\n%s", happened, said)
						}
						f.mustLeave(t, image, said)
						f.mustHold(t, f.disk)
					})
				})
			}
		}
	}
}

// Killed after any request, the copy is taken up by the next run.
func TestStreamKilledAnywhere(t *testing.T) {
	for _, by := range streamWays() {
		ops := streamMoments(t, by)
		for i, op := range ops {
			if !by.tries(ops, i) {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", by, i, op), func(t *testing.T) {
				sample.Case(t)
				t.Parallel()
				inFlight(t, blocks(1), func(t *testing.T, f *flying) {
					f.tag(t, proven())
					in := f.by(by)
					ctx, cancel := context.WithCancel(t.Context())
					f.wire.reset(f.killAfter(i, cancel))
					if _, said, err := f.copy(ctx, t, in); err == nil && i < 10 {
						t.Fatalf("it was not killed\n%s", said)
					}
					f.wire.reset(nil)
					if i%2 == 1 {
						time.Sleep(time.Hour)
					}
					image, said, err := f.copy(t.Context(), t, in)
					if err != nil {
						t.Fatalf("%v\n%s", err, said)
					}
					f.mustLeave(t, image, said)
					f.mustHold(t, f.disk)
				})
			})
		}
	}
}

// killAfter lets a request have its effect, and after it nothing gets through any more.
func (f *flying) killAfter(i int, cancel func()) func(http.ResponseWriter, *http.Request, int) bool {
	var dead atomic.Bool // several requests are on their way
	return func(_ http.ResponseWriter, r *http.Request, n int) bool {
		switch {
		case dead.Load() || n > i:
			panic(http.ErrAbortHandler)
		case n < i:
			return false
		}
		dead.Store(true)
		f.serve(httptest.NewRecorder(), r)
		cancel()
		panic(http.ErrAbortHandler)
	}
}

// Cancelled at any request, the copy ends soon with nothing left.
func TestStreamCancelledAnywhere(t *testing.T) {
	for _, by := range streamWays()[:2] {
		ops := streamMoments(t, by)
		for i, op := range ops {
			if !by.tries(ops, i) {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", by, i, op), func(t *testing.T) {
				sample.Case(t)
				t.Parallel()
				inFlight(t, blocks(1), func(t *testing.T, f *flying) {
					f.tag(t, proven())
					ctx, cancel := context.WithCancel(t.Context())
					var at time.Time
					f.wire.reset(func(_ http.ResponseWriter, _ *http.Request, n int) bool {
						if n == i {
							at = time.Now()
							cancel()
						}
						return false
					})
					image, said, err := f.copy(ctx, t, f.by(by))
					if at.IsZero() {
						t.Fatal("the copy did not come so far")
					}
					if d := time.Since(at); d > 30*time.Second {
						t.Errorf("went on for %s", d)
					}
					if err == nil { // too late to matter
						f.mustLeave(t, image, said)
						f.mustHold(t, f.disk)
						return
					}
					if left := f.left(); len(left) > 0 {
						t.Errorf("left: %q\n%s", left, said)
					}
				})
			})
		}
	}
}

// A second run uploads only the parts that the first one did not get to.
func TestStreamResumes(t *testing.T) {
	for _, by := range streamWays()[:2] {
		t.Run(by.form, func(t *testing.T) { resumes(t, by) })
	}
}

func resumes(t *testing.T, by way) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlying(t, blocks(100)) // 38 MiB that cannot be compressed: four parts
		f.tag(t, proven())
		ctx, cancel := context.WithCancel(t.Context())
		parts, dead := 0, false
		f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
			switch {
			case dead:
				panic(http.ErrAbortHandler)
			case r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/u/"):
				return false
			}
			if parts++; parts < 3 {
				return false
			}
			dead = true
			cancel()
			panic(http.ErrAbortHandler)
		})
		if _, said, err := f.copy(ctx, t, f.by(by)); err == nil {
			t.Fatalf("it was not killed\n%s", said)
		}
		f.wire.reset(nil)
		image, said, err := f.copy(t.Context(), t, f.by(by))
		if err != nil || !strings.Contains(said, "An earlier run of this copy was broken off") {
			t.Fatalf("%v\n%s", err, said)
		}
		again := 0
		for _, op := range f.wire.ops {
			if strings.HasPrefix(op, "PUT ") && strings.Contains(op, "/u/") {
				again++
			}
		}
		if !strings.Contains(said, "2 parts were there from an earlier run") || again != 2 {
			t.Errorf("%d parts were uploaded by the second run\n%s", again, said)
		}
		f.mustLeave(t, image, said)
		sameDisk(t, f.disk, f.imported(t)[0])
	})
}

// The object of a run that was killed says what the image is: where the template says
// something else by now, or wants it in another form, it is another object.
func TestStreamObjectWithOtherMetadata(t *testing.T) {
	for name, change := range map[string]map[string]interface{}{
		"same": nil, "system": {"operating_system": "Mine"}, "version": {"operating_system_version": "9"},
		"form": {"image_format": "vmdk"},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				f.killed(t, f.settings(), http.MethodPost)
				in := f.settings()
				maps.Copy(in, change)
				_, said, err := f.copy(t.Context(), t, in)
				if used := strings.Contains(said, "The object of an earlier run is used"); err != nil || used != (change == nil) {
					t.Errorf("used: %t, %v\n%s", used, err, said)
				}
			})
		})
	}
}

// What lies under the object's name after a run that was killed is used if that run made it.
// Somebody else's under a name of the plugin's own is made anew; under one of the user's it
// ends the copy, and stays.
func TestStreamTakesOnlyItsOwnObject(t *testing.T) {
	for name, tt := range map[string]struct {
		object  string // object_name
		foreign bool
		says    string
	}{
		"its own":                             {says: "The object of an earlier run is used"},
		"its own, under a name of the user's": {object: "mine.oci", says: "The object of an earlier run is used"},
		"another":                             {foreign: true, says: "is none that an earlier run of this copy made: it is made again"},
		"another, under a name of the user's": {object: "mine.oci", foreign: true, says: "nothing was started"},
	} {
		t.Run(name, func(t *testing.T) {
			inFlight(t, blocks(1), func(t *testing.T, f *flying) {
				f.tag(t, proven())
				in := f.settings()
				if tt.object != "" {
					in["object_name"] = tt.object
				}
				ctx, cancel := context.WithCancel(t.Context())
				var dead atomic.Bool
				object := ""
				f.wire.reset(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
					_, rest, ours := strings.Cut(r.URL.Path, "/u/")
					switch {
					case dead.Load():
						panic(http.ErrAbortHandler)
					case !ours || r.Method != http.MethodPost:
						return false
					}
					dead.Store(true)
					object = rest
					if !tt.foreign {
						f.serve(httptest.NewRecorder(), r) // the object is complete
					}
					cancel()
					panic(http.ErrAbortHandler)
				})
				if _, said, err := f.copy(ctx, t, in); err == nil || !dead.Load() {
					t.Fatalf("it was not killed\n%s", said)
				}
				f.wire.reset(nil)
				if tt.foreign {
					f.put(t, object, packed(t, blocks(2)))
				}
				image, said, err := f.copy(t.Context(), t, in)
				fails := tt.foreign && tt.object != ""
				if (err != nil) != fails || !strings.Contains(said, tt.says) {
					t.Fatalf("%v, want %q\n%s", err, tt.says, said)
				}
				if !fails {
					f.mustLeave(t, image, said)
					sameDisk(t, f.disk, f.imported(t)[0])
					return
				}
				if left := strings.Join(f.left(), "\n"); !strings.Contains(left, "object "+tt.object) || len(f.imported(t)) > 0 {
					t.Errorf("left %s", left)
				}
			})
		})
	}
}
