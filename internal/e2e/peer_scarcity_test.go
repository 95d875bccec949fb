// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// launchesRecording is when the unmodified peer was seen to send its launches
// while there was no capacity. The baseline in package scarcity is held
// against it.
const launchesRecording = "../sim/scarcity/testdata/oracle-oci-launches.json"

// launches is when a client sent its launches, and under which retry tokens.
type launches struct {
	mu      sync.Mutex
	at      []time.Time
	tokens  map[string]bool
	slowest time.Duration // how long the slowest answer took
	seen    chan struct{}
}

func (l *launches) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/20160918/instances" {
			next.ServeHTTP(w, r)
			return
		}
		begin := time.Now()
		next.ServeHTTP(w, r)
		l.mu.Lock()
		l.at = append(l.at, begin)
		l.tokens[r.Header.Get("Opc-Retry-Token")] = true
		l.slowest = max(l.slowest, time.Since(begin))
		l.mu.Unlock()
		l.seen <- struct{}{}
	})
}

func (l *launches) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.at)
}

// checkGaps holds the times between launches against the model: after attempt
// n the peer sleeps for 2^n s and up to 2 s more, and asks again. A second is
// for the answer and for a busy machine.
func (l *launches) checkGaps(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := 1; n < len(l.at); n++ {
		low := time.Duration(1<<n) * time.Second
		if gap := l.at[n].Sub(l.at[n-1]); gap < low || gap > low+3*time.Second {
			t.Errorf("between attempts %d and %d are %s, not %s to %s", n, n+1, gap, low, low+2*time.Second)
		}
	}
	if len(l.tokens) != 1 || l.tokens[""] {
		t.Errorf("the launches came under %d retry tokens", len(l.tokens))
	}
}

// The unmodified packer-plugin-oracle takes "Out of host capacity" for a
// failure that passes, asks in the same place again and again, and twice as
// late each time. That is what the baseline of package scarcity is made after.
// With RECORD=1 the peer is watched until it gives up, which takes 35 minutes;
// else for four attempts.
func TestAccPeerOracleScarcity(t *testing.T) {
	alone(t)
	plugin := os.Getenv("PEER_ORACLE_PLUGIN")
	if plugin == "" {
		t.Skip("PEER_ORACLE_PLUGIN does not name a binary of packer-plugin-oracle; package scarcity has what it was seen to do")
	}
	sent := &launches{tokens: map[string]bool{}, seen: make(chan struct{}, 100)}
	s := stage.ForTest(t, stage.Options{Wrap: sent.wrap})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity}); err != nil {
		t.Fatal(err)
	}
	p := packer(t, plugin, "github.com/hashicorp/oracle")
	env := append(s.Env(), "OCI_AVAILABILITY_DOMAIN="+s.Build.AvailabilityDomains(stage.BuildRegion)[0])

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type ending struct {
		said string
		err  error
	}
	ended := make(chan ending, 1)
	go func() {
		said, err := packerBuild(ctx, p, env, "oracle-oci.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
		ended <- ending{said, err}
	}()

	if os.Getenv("RECORD") != "" {
		end := <-ended
		t.Log(end.said)
		if n := sent.count(); end.err == nil || !strings.Contains(end.said, "Out of host capacity.") || n != 10 {
			t.Fatalf("after %d launches: %v", n, end.err)
		}
		sent.checkGaps(t)
		if !t.Failed() {
			sent.write(t, peerVersion(t, plugin), time.Now())
		}
		return
	}

	for range 4 {
		select {
		case <-sent.seen:
		case end := <-ended:
			t.Fatalf("it ended early: %v\n%s", end.err, end.said)
		}
	}
	// It does not hear a Ctrl-C while it waits for a launch. So that it ends
	// soon, the next answer is one that it does not wait after.
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultStatus, Op: "LaunchInstance", Status: 400, Code: "LimitExceeded", Message: "enough"}); err != nil {
		t.Fatal(err)
	}
	cancel()
	end := <-ended
	if !errors.Is(end.err, context.Canceled) {
		t.Errorf("%v\n%s", end.err, end.said)
	}
	sent.checkGaps(t)
	if n := sent.count(); n < 4 || n > 5 {
		t.Errorf("%d launches", n)
	}
}

// peerVersion is what the plugin says that its version is.
func peerVersion(t *testing.T, plugin string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), plugin, "describe").Output()
	if err != nil {
		t.Fatal(err)
	}
	var says struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(out, &says); err != nil {
		t.Fatal(err)
	}
	return says.Version
}

func (l *launches) write(t *testing.T, version string, ended time.Time) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	offsets := []int64{}
	for _, at := range l.at {
		offsets = append(offsets, at.Sub(l.at[0]).Milliseconds())
	}
	text, err := json.MarshalIndent(map[string]any{
		"peer":    "packer-plugin-oracle",
		"version": version,
		"how": "The unmodified peer under the real Packer, against the simulated cloud, which had no capacity: every LaunchInstance was answered 500 " +
			"Out of host capacity. Recorded by RECORD=1 and TestAccPeerOracleScarcity. Times are in milliseconds since the first launch arrived.",
		"launches":     offsets,
		"answerAtMost": l.slowest.Milliseconds() + 1,
		"failed":       ended.Sub(l.at[0]).Milliseconds(),
		"oneToken":     len(l.tokens) == 1 && !l.tokens[""],
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(launchesRecording, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
