// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

// recorded is what the unmodified packer-plugin-oracle was seen to do while
// there was no capacity. TestAccPeerOracleScarcity of package e2e records it.
type recorded struct {
	Peer         string
	Version      string
	Launches     []int64 // when they arrived, in milliseconds since the first
	AnswerAtMost int64   // milliseconds
	Failed       int64   // when the build had failed, as Launches
	OneToken     bool
}

// inRange says whether a client asked again, or gave up, as late after attempt
// n as the peer does: 2^n s, up to 2 s more, and what the answer took.
func inRange(n int, gap, answer time.Duration) bool {
	low := time.Duration(1<<n) * time.Second
	return gap >= low && gap <= low+2*time.Second+answer
}

// The baseline is the peer: both ask ten times, at times out of the same
// ranges, and sleep once more before they fail.
func TestTheBaselineIsThePeer(t *testing.T) {
	text, err := os.ReadFile("testdata/oracle-oci-launches.json")
	if err != nil {
		t.Fatal(err)
	}
	var peer recorded
	if err := json.Unmarshal(text, &peer); err != nil {
		t.Fatal(err)
	}
	if peer.Peer != "packer-plugin-oracle" || peer.Version != "1.1.2" || !peer.OneToken || len(peer.Launches) != oracleAttempts {
		t.Fatalf("the recording is another's: %+v", peer)
	}
	// Until a request arrives, its client has to sign and to send it.
	answer := time.Duration(peer.AnswerAtMost)*time.Millisecond + 250*time.Millisecond
	at := func(n int) time.Duration { return time.Duration(peer.Launches[n-1]) * time.Millisecond }
	for n := 1; n < oracleAttempts; n++ {
		if gap := at(n+1) - at(n); !inRange(n, gap, answer) {
			t.Errorf("the peer slept for %s after attempt %d", gap, n)
		}
	}
	// Packer takes a moment to end.
	if gap := time.Duration(peer.Failed)*time.Millisecond - at(oracleAttempts); !inRange(oracleAttempts, gap, answer+5*time.Second) {
		t.Errorf("the peer failed %s after its last attempt", gap)
	}

	nothing := Named("nothing")
	for seed := range uint64(seeds) {
		r, events := play(Baselines()[0], nothing.Trace(seed))
		if len(events) != oracleAttempts {
			t.Fatalf("%d: the baseline asks %d times", seed, len(events))
		}
		for n := 1; n < oracleAttempts; n++ {
			if gap := events[n].At - events[n-1].At; !inRange(n, gap-LaunchTime, 0) {
				t.Errorf("%d: the baseline asks again %s after attempt %d", seed, gap, n)
			}
		}
		if gap := r.Ended - events[oracleAttempts-1].At; !inRange(oracleAttempts, gap-LaunchTime, 0) {
			t.Errorf("%d: the baseline fails %s after its last attempt", seed, gap)
		}
	}
}
