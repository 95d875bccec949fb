// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/record"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// recording is what the unmodified peer was seen to send, and what it was
// answered.
const recording = "testdata/oracle-oci.jsonl"

// names are the identifiers of a stage that a recording calls by a name.
func names(s *stage.Stage) map[string]string {
	return map[string]string{
		"tenancy": s.Build.ID, "user": s.Build.UserID, "compartment": s.Build.CompartmentID, "namespace": s.Build.Namespace,
		"region": stage.BuildRegion, "subnet": s.Build.SubnetID(stage.BuildRegion), "base-image": s.BaseImage,
		"fingerprint": s.Build.Fingerprint(), "domain": s.Build.AvailabilityDomains(stage.BuildRegion)[0],
	}
}

// The unmodified packer-plugin-oracle completes a whole build against the
// simulated cloud. It was written by others, for the real service: what it gets
// away with here it gets away with there. PEER_ORACLE_PLUGIN is the path of its
// binary; with RECORD=1 what it sends becomes the recording.
func TestAccPeerOracle(t *testing.T) {
	acceptance(t)
	plugin := os.Getenv("PEER_ORACLE_PLUGIN")
	if plugin == "" {
		t.Skip("PEER_ORACLE_PLUGIN does not name a binary of packer-plugin-oracle; TestReplayPeerOracle replays what it was seen to send")
	}
	var front atomic.Pointer[record.Recorder]
	s := stage.ForTest(t, stage.Options{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rec := front.Load(); rec != nil {
				rec.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r) // the stage itself, before the peer begins
		})
	}})
	rec, err := record.NewRecorder(s.Cloud, names(s))
	if err != nil {
		t.Fatal(err)
	}
	front.Store(rec)
	p := packer(t, plugin, "github.com/hashicorp/oracle")
	env := append(s.Env(), "OCI_AVAILABILITY_DOMAIN="+s.Build.AvailabilityDomains(stage.BuildRegion)[0])
	said, err := packerBuild(t.Context(), p, env, "oracle-oci.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()))
	t.Log(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"aarch64", "An image was created: 'by-oracle-oci' (OCID: ocid1.image."} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said", want)
		}
	}
	if os.Getenv("RECORD") != "" {
		session, err := rec.Session()
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(recording)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(record.Write(f, session), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// What the peer was seen to send gets the answers that it got, so that the
// simulator stays true where no peer is present.
func TestReplayPeerOracle(t *testing.T) {
	f, err := os.Open(recording)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	session, err := record.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	if len(session) < 10 {
		t.Fatalf("the recording has only %d exchanges", len(session))
	}
	s := stage.ForTest(t, stage.Options{})
	b := s.Build
	signer, err := record.NewSigner(b.ID+"/"+b.UserID+"/"+b.Fingerprint(), b.PrivateKeyPEM())
	if err != nil {
		t.Fatal(err)
	}
	r := record.Replayer{Client: s.Net.Client(), Known: names(s), Signers: map[string]record.Signer{"tenancy": signer}}
	if err := r.Replay(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	images := s.Cloud.Inventory().Tenancies[0].Regions[0].Images
	if len(images) != 2 || images[1].Name != "by-oracle-oci" || images[1].State != "AVAILABLE" {
		t.Errorf("images: %+v", images)
	}
}
