// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	"github.com/armfree/packer-plugin-armfree/internal/sim/tripwire"
)

// later is a cloud whose clock is ahead, by the dates of its replies.
type later struct{ by atomic.Int64 }

func (l *later) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d := time.Duration(l.by.Load()); d > 0 {
			w.Header().Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat))
		}
		next.ServeHTTP(w, r)
	})
}

func (l *later) now() time.Time { return time.Now().Add(time.Duration(l.by.Load())) }

// killAll ends every process that has a variable in its environment, at once and
// without a word, as when a computer is switched off.
func killAll(variable string) {
	for range 3 { // one may just be starting another
		envs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, e := range envs {
			if b, err := os.ReadFile(e); err == nil && bytes.Contains(b, []byte(variable)) {
				if pid, err := strconv.Atoi(strings.Split(e, "/")[2]); err == nil {
					_ = signal(pid, syscall.SIGKILL)
				}
			}
		}
	}
}

// sweepCommand runs the command of the plugin's binary.
func sweepCommand(ctx context.Context, t *testing.T, env []string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Getenv("ACC_PLUGIN"), append([]string{"sweep"}, args...)...)
	cmd.Env = append(env, "HOME="+t.TempDir(), "PATH="+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

var anyID = regexp.MustCompile(`ocid1\.[a-z0-9.-]+`)

var buildLine = regexp.MustCompile(`Build ([a-z2-7]{16})\n`)

// A build that was killed half way leaves what a sweep finds once its time is over:
// everything of it, and nothing of anybody else.
func TestAccSweep(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for n, m := range []tripwire.Moment{
		{Op: "LaunchInstance", Nth: 1}, {Op: "GetInstance", Nth: 2}, {Op: "CreateImage", Nth: 1}, {Op: "UpdateImage", Nth: 1},
		{Op: "CreatePreauthenticatedRequest", Nth: 1}, {Op: "ExportImage", Nth: 1}, {Op: "CreateImage", Nth: 2},
	} {
		t.Run(fmt.Sprintf("oci-%s-%d", m.Op, m.Nth), func(t *testing.T) {
			mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-%d", os.Getpid(), n)
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: func() { killAll(mark) }}
			clock := &later{}
			s := stage.ForTest(t, stage.Options{Wrap: func(next http.Handler) http.Handler { return clock.wrap(w.Wrap(next)) }})
			// Of others, and finished by this plugin: it stays.
			said, err := pipeline(t.Context(), s, p)
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			keep := imageID.FindAllString(said, -1)
			seen := countOf(s, m.Op)
			w.Nth += seen
			w.Watch(s.Cloud)
			said, err = packerBuild(t.Context(), p, append(s.Env(), mark), "pipeline.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.Cloud.SSHPort()), "-var", "capacity_reports=false")
			if _, pulled := w.Pulled(); !pulled || err == nil {
				t.Fatalf("the build did not come so far: %v\n%s", err, said)
			}
			keep = append(keep, finishedImages(s)...) // whether or not that was said any more
			left := s.Left(keep...)
			if len(left) == 0 {
				t.Fatalf("nothing was left: this test proves nothing\n%s", said)
			}
			sweepAll := func() {
				for _, of := range [][]string{nil, {"--env-prefix", "PROD_"}} {
					code, text := sweepCommand(t.Context(), t, s.Env(), append([]string{"--cloud", "oci"}, of...)...)
					t.Log(text)
					if code != 0 {
						t.Errorf("exit code %d", code)
					}
				}
			}
			sweepAll()
			// By their ids, for a machine that is stopped for its image starts again meanwhile.
			now := fmt.Sprint(s.Left(keep...))
			for _, id := range anyID.FindAllString(fmt.Sprint(left), -1) {
				if !strings.Contains(now, id) {
					t.Errorf("before its time was over there was %q, and then %q", left, now)
				}
			}
			clock.by.Store(int64(10 * 24 * time.Hour))
			for strings.Contains(fmt.Sprint(s.Left(keep...)), "(PROVISIONING)") && t.Context().Err() == nil {
				time.Sleep(50 * time.Millisecond) // an image that is being made cannot be deleted
			}
			sweepAll()
			if left := s.Left(keep...); len(left) > 0 {
				t.Errorf("left behind: %q\n%s", left, said)
			}
			for _, id := range keep {
				if !strings.Contains(fmt.Sprint(s.Cloud.Inventory()), id) {
					t.Errorf("the finished image %s is gone", id)
				}
			}
		})
	}
}

// finishedImages are those that this plugin has marked as finished.
func finishedImages(s *stage.Stage) (ids []string) {
	for _, of := range s.Cloud.Inventory().Tenancies {
		for _, r := range of.Regions {
			for _, x := range r.Images {
				if tag := x.FreeformTags["armfree"]; tag != "" && !strings.Contains(tag, "expires=") {
					ids = append(ids, x.ID)
				}
			}
		}
	}
	return ids
}

// countOf is how often an operation was called so far.
func countOf(s *stage.Stage, op string) int { return s.Cloud.CountRequests(op) }

// The same on AWS, as the last step of a workflow does it: it names the build. What
// has not expired stays otherwise.
func TestAccSweepAWS(t *testing.T) {
	acceptance(t)
	p := packer(t, os.Getenv("ACC_PLUGIN"), runpacker.Source)
	for n, m := range []tripwire.Moment{
		{Op: "CreateSecurityGroup", Nth: 1}, {Op: "RunInstances", Nth: 1}, {Op: "CreateSnapshot", Nth: 1}, {Op: "RegisterImage", Nth: 1}, {Op: "CopyImage", Nth: 1},
	} {
		t.Run(fmt.Sprintf("%s-%d", m.Op, m.Nth), func(t *testing.T) {
			mark := fmt.Sprintf("ARMFREE_TEST_RUN=%d-aws%d", os.Getpid(), n)
			w := &tripwire.Wire{Op: m.Op, Nth: m.Nth, Pull: func() { killAll(mark) }}
			s := stage.ForTest(t, stage.Options{WrapAWS: w.Wrap})
			w.Watch(s.AWS.Cloud)
			said, err := packerBuild(t.Context(), p, append(s.Env(), "AWS_SUBNET_ID=", mark), "aws.pkr.hcl", "-var", fmt.Sprintf("ssh_port=%d", s.AWS.Cloud.SSHPort()))
			if _, pulled := w.Pulled(); !pulled || err == nil {
				t.Fatalf("the build did not come so far: %v\n%s", err, said)
			}
			before := len(leftOnAWS(s, ""))
			if before == 0 {
				t.Fatalf("nothing was left: this test proves nothing\n%s", said)
			}
			id := buildLine.FindStringSubmatch(said)
			if id == nil {
				t.Fatalf("the build does not say its id\n%s", said)
			}
			for _, of := range [][]string{nil, {"--build", "aaaaaaaaaaaaaaaa"}, {"--build", id[1], "--dry-run"}, {"--build", id[1]}} {
				code, text := sweepCommand(t.Context(), t, s.Env(), append([]string{"--cloud", "aws", "--json", "--region", "us-east-1,us-west-2,eu-central-1,eu-west-1"}, of...)...)
				var report struct {
					Places []struct {
						Removed []struct{ Build, Kind string }
					}
				}
				if err := json.Unmarshal([]byte(text), &report); err != nil || code != 0 {
					t.Fatalf("%q: exit code %d, %v\n%s", of, code, err, text)
				}
				removed := 0
				for _, place := range report.Places {
					removed += len(place.Removed)
				}
				if named := len(of) > 0 && of[1] == id[1]; removed > 0 != named {
					t.Errorf("%q: %d were removed\n%s", of, removed, text)
				}
				if left := leftOnAWS(s, ""); len(left) > 0 == (len(of) == 2 && of[1] == id[1]) {
					t.Errorf("%q: there is %q\n%s\n%s", of, left, said, text)
				}
			}
		})
	}
}
