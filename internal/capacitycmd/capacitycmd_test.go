// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacitycmd

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// clean hides what is on this computer, and then sets env.
func clean(t *testing.T, env []string) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.Contains(name, "OCI_") {
			t.Setenv(name, "")
			_ = os.Unsetenv(name)
		}
	}
	t.Setenv("HOME", t.TempDir())
	for _, e := range env {
		if name, value, _ := strings.Cut(e, "="); strings.Contains(name, "OCI_") {
			t.Setenv(name, value)
		}
	}
}

func run(ctx context.Context, t *testing.T, s *stage.Stage, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	c := Command{Out: &o, Err: &e, Mask: new(mask.Masker)}
	if s != nil {
		c.HTTP = s.Net.Client()
	}
	code = c.Run(ctx, args)
	return code, o.String(), e.String()
}

func TestMistakes(t *testing.T) {
	clean(t, nil)
	for args, want := range map[string]string{
		"everything":                            `"everything" is no option`,
		"--region a --all-regions":              "exclude each other",
		"--watch 1s":                            "--watch must be 10s or more",
		"--until-free":                          "--until-free needs --watch",
		"--size 2x12":                           `"2x12"`,
		"--size 0/1":                            "more than nothing",
		"--shape VM.Standard.E4.Flex":           "--size must be set for VM.Standard.E4.Flex",
		"--shape BM.Standard.A1.160 --size 1/6": "has one size only",
		"--frobnicate":                          "--frobnicate is no option; see --help",
		"":                                      "tenancy_ocid must be set",
		"--size x --watch 1s":                   "--watch",
	} {
		code, out, errs := run(t.Context(), t, nil, strings.Fields(args)...)
		if code != Failed || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, errs, want)
		}
	}
	if code, out, _ := run(t.Context(), t, nil, "--help"); code != Free || !strings.Contains(out, "Exit codes:") || !strings.Contains(out, "-until-free") {
		t.Errorf("%d %s", code, out)
	}
}

// The report says what the service says, place for place, and what a build would try.
func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []ocisim.Fault
		args   []string
		adjust func(b *ocisim.Tenancy)
		code   int
		says   []string
		first  string
	}{
		{name: "all is free", code: Free, says: []string{"FAULT-DOMAIN-3", "any", "2 OCPU/12 GB", "1 OCPU/6 GB", "free"}, first: "AD-1"},
		{
			name: "one domain is full", faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, AD: "AD-1"}}, code: Free,
			says: []string{"full"}, first: "AD-2",
		},
		{
			name: "all is full", faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity}}, code: Full,
			says: []string{"A build would wait"},
		},
		{
			name: "the limit is too low", faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 1}}, code: Free,
			says: []string{"free, over the limit", "limit of cores"}, first: "1 OCPU/6 GB",
		},
		{
			name: "reports are forbidden", adjust: func(b *ocisim.Tenancy) { b.NoCapacityReports = true }, code: Full,
			says: []string{"unknown", "may not ask for capacity reports"},
		},
		{name: "another size", args: []string{"--size", "4/24"}, code: Free, says: []string{"4 OCPU/24 GB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{Adjust: func(b, _ *ocisim.Tenancy) {
				if tt.adjust != nil {
					tt.adjust(b)
				}
			}})
			clean(t, s.Env())
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			code, out, errs := run(t.Context(), t, s, tt.args...)
			t.Log(out, errs)
			if code != tt.code {
				t.Errorf("exit code %d", code)
			}
			for _, want := range append(tt.says, stage.BuildRegion) {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not said", want)
				}
			}
			if _, after, ok := strings.Cut(out, "A build would try "); tt.first != "" && (!ok || !strings.Contains(after, tt.first)) {
				t.Errorf("it would try %q", after)
			}
			if n := s.Cloud.CountRequests("LaunchInstance"); n != 0 {
				t.Errorf("%d machines were launched", n)
			}
			code, out, _ = run(t.Context(), t, s, append(tt.args, "--json")...)
			var r report
			if err := json.Unmarshal([]byte(out), &r); err != nil || code != tt.code || len(r.Regions) != 1 || r.Free != (code == Free) || (r.Regions[0].First != nil) != r.Free || len(r.Regions[0].Places) == 0 {
				t.Errorf("%v: %d, %s", err, code, out)
			}
		})
	}
}

// Every region of the tenancy is asked, and one that is down does not hide the others.
func TestRegions(t *testing.T) {
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{"us-ashburn-1"}})
	clean(t, s.Env())
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Region: "us-ashburn-1"}); err != nil {
		t.Fatal(err)
	}
	code, out, errs := run(t.Context(), t, s, "--all-regions", "--json")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != Free {
		t.Fatalf("%v: %d, %s", err, code, errs)
	}
	if len(r.Regions) != 2 || r.Regions[0].Region != stage.BuildRegion || r.Regions[0].First == nil || r.Regions[1].First != nil {
		t.Errorf("%s", out)
	}
	// One that the tenancy has not, does not hide the other.
	code, out, _ = run(t.Context(), t, s, "--region", stage.BuildRegion+",ap-tokyo-1")
	if code != Free || !strings.Contains(out, "could not be asked") || !strings.Contains(out, "ap-tokyo-1") {
		t.Errorf("%d %s", code, out)
	}
}

// A look that repeats ends when something is free, if it is to, and at Ctrl-C.
func TestWatch(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	clean(t, s.Env())
	if code, out, _ := run(t.Context(), t, s, "--watch", "1h", "--until-free"); code != Free || strings.Count(out, "A build would try") != 1 {
		t.Errorf("%d %s", code, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if code, out, _ := run(ctx, t, s, "--watch", "1h"); code != Free || strings.Count(out, "A build would try") != 1 || ctx.Err() == nil {
		t.Errorf("%d %s", code, out)
	}
}
