// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// oneMachine is a service with one instance and its boot volume, which do as
// they are told only after a while.
type oneMachine struct {
	mu        sync.Mutex
	instance  string // lifecycle state; empty: unknown to the service
	volume    string
	lingers   bool // the volume does not go with its instance
	conflicts int  // how often deleting the volume is refused first
	noVolumes bool // the attachments may not be listed
	preserved string
	got       seen
}

func (m *oneMachine) set(field *string, state string, d time.Duration) {
	time.AfterFunc(d, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		*field = state
	})
}

func (m *oneMachine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got.add(r)
	gone := func() {
		refuse(w, 404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found.")
	}
	switch path := strings.Trim(strings.TrimPrefix(r.URL.Path, "/20160918"), "/"); r.Method + " " + path {
	case "GET bootVolumeAttachments":
		if m.noVolumes {
			gone()
			return
		}
		answer(w, 200, []map[string]string{{"bootVolumeId": "v-1", "instanceId": "i-1", "lifecycleState": "ATTACHED"}})
	case "GET instances/i-1":
		if m.instance == "" {
			gone()
			return
		}
		answer(w, 200, map[string]string{"id": "i-1", "availabilityDomain": "x:AD-1", "lifecycleState": m.instance})
	case "DELETE instances/i-1":
		if m.instance == "" {
			gone()
			return
		}
		m.preserved, m.instance = r.URL.Query().Get("preserveBootVolume"), "TERMINATING"
		m.set(&m.instance, "TERMINATED", time.Minute)
		if !m.lingers {
			m.set(&m.volume, "TERMINATED", 2*time.Minute)
		}
		w.WriteHeader(http.StatusNoContent)
	case "GET bootVolumes/v-1":
		if m.volume == "" {
			gone()
			return
		}
		answer(w, 200, map[string]string{"id": "v-1", "lifecycleState": m.volume})
	case "DELETE bootVolumes/v-1":
		if m.conflicts > 0 || m.instance != "TERMINATED" && m.instance != "" {
			m.conflicts--
			refuse(w, 409, "IncorrectState", "Volume v-1 is currently attached")
			return
		}
		m.volume = "TERMINATING"
		m.set(&m.volume, "TERMINATED", time.Minute)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, 400, "Unexpected", r.Method+" "+path)
	}
}

func TestTerminate(t *testing.T) {
	for _, tt := range []struct {
		name    string
		m       *oneMachine
		asked   int // requests to terminate
		deletes int // requests to delete the volume
		fails   string
		left    bool // the volume cannot be known, so it stays
	}{
		{name: "the volume goes with it", m: &oneMachine{instance: "RUNNING", volume: "AVAILABLE"}, asked: 1, deletes: 1},
		{name: "the volume stays behind", m: &oneMachine{instance: "RUNNING", volume: "AVAILABLE", lingers: true}, asked: 1, deletes: 1},
		{name: "the volume is still attached", m: &oneMachine{instance: "RUNNING", volume: "AVAILABLE", lingers: true, conflicts: 3}, asked: 1, deletes: 4},
		{name: "the volume is gone first", m: &oneMachine{instance: "RUNNING"}, asked: 1},
		{name: "nothing is there", m: &oneMachine{}, asked: 1},
		{name: "on its way out already", m: &oneMachine{instance: "TERMINATED", volume: "TERMINATED"}, asked: 1},
		{name: "volumes that may not be listed", m: &oneMachine{instance: "RUNNING", volume: "AVAILABLE", noVolumes: true}, asked: 1, left: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := buildOver(wire(t, tt.m.ServeHTTP), nil)
				if err := b.Terminate(contextFor(t, time.Hour), "i-1"); err != nil {
					t.Error(err)
				}
				tt.m.mu.Lock()
				defer tt.m.mu.Unlock()
				if n := tt.m.got.count("DELETE /20160918/instances/i-1"); n != tt.asked {
					t.Errorf("asked %d times to terminate: %q", n, tt.m.got.list)
				}
				if tt.m.instance != "" && tt.m.instance != "TERMINATED" {
					t.Errorf("the instance is %s", tt.m.instance)
				}
				if !tt.left && tt.m.volume != "" && tt.m.volume != "TERMINATED" {
					t.Errorf("the volume is %s", tt.m.volume)
				}
				if n := tt.m.got.count("DELETE /20160918/bootVolumes/"); n != tt.deletes {
					t.Errorf("asked %d times to delete the volume, want %d", n, tt.deletes)
				}
				if tt.m.preserved == "true" {
					t.Error("asked to keep the volume")
				}
			})
		})
	}
}

// A machine that cannot be terminated is an error, not a silence.
func TestTerminateThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &oneMachine{instance: "RUNNING", volume: "AVAILABLE"}
		b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				refuse(w, 403, "NotAllowed", "no")
				return
			}
			m.ServeHTTP(w, r)
		}), nil)
		if err := b.Terminate(contextFor(t, time.Hour), "i-1"); err == nil || !strings.Contains(err.Error(), "terminate instance i-1: no (403 NotAllowed") {
			t.Errorf("%v", err)
		}
	})
}

func TestAddress(t *testing.T) {
	yes, no := true, false
	const public, private = "203.0.113.7", "10.0.0.7"
	for _, tt := range []struct {
		name       string
		assign     *bool
		usePrivate bool
		publicAt   time.Duration // 0: never
		want       string
		fails      bool
	}{
		{name: "public, late", assign: &yes, publicAt: 20 * time.Second, want: public},
		{name: "public, never", assign: &yes, fails: true},
		{name: "left to the subnet, which gives none", want: private},
		{name: "left to the subnet, which gives one", publicAt: time.Nanosecond, want: public},
		{name: "private behind a NAT", assign: &no, want: private},
		{name: "private although there is a public one", assign: &yes, usePrivate: true, publicAt: time.Nanosecond, want: private},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				time.Sleep(time.Millisecond)
				b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case strings.Contains(r.URL.Path, "/vnicAttachments"):
						attached := "ATTACHING"
						if time.Since(begin) > 5*time.Second {
							attached = "ATTACHED"
						}
						answer(w, 200, []map[string]string{{"vnicId": "second", "lifecycleState": attached}, {"vnicId": "first", "lifecycleState": attached}, {"lifecycleState": "ATTACHED"}, {"vnicId": "gone", "lifecycleState": "DETACHED"}})
					case strings.HasSuffix(r.URL.Path, "/vnics/second"):
						answer(w, 200, map[string]any{"isPrimary": false, "privateIp": "10.9.9.9", "publicIp": "198.51.100.9"})
					case strings.HasSuffix(r.URL.Path, "/vnics/gone"):
						answer(w, 200, map[string]any{"isPrimary": true, "privateIp": "10.9.9.8", "publicIp": "198.51.100.8"})
					default:
						v := map[string]any{"isPrimary": true, "privateIp": private}
						if tt.publicAt > 0 && time.Since(begin) > tt.publicAt {
							v["publicIp"] = public
						}
						answer(w, 200, v)
					}
				}), func(c *BuildConfig) { c.AssignPublicIP, c.UsePrivateIP = tt.assign, tt.usePrivate })
				got, err := b.Address(t.Context(), "i-1")
				if got != tt.want || (err != nil) != tt.fails {
					t.Errorf("%q, %v; want %q", got, err, tt.want)
				}
				if tt.fails && !strings.Contains(err.Error(), "instance_timeout") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}
