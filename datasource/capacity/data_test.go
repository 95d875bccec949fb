// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/zclconf/go-cty/cty"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

type block = map[string]interface{}

func access(t *ocisim.Tenancy, more block) block {
	b := block{"tenancy_ocid": t.ID, "user_ocid": t.UserID, "fingerprint": t.Fingerprint(), "key": t.PrivateKeyPEM(), "region": t.HomeRegion}
	for k, v := range more {
		b[k] = v
	}
	return b
}

// look configures and executes the data source.
func look(t *testing.T, h *http.Client, in block) (cty.Value, error) {
	t.Helper()
	d := &Datasource{Mask: new(mask.Masker), HTTP: h}
	if err := d.Configure(in); err != nil {
		t.Fatal(err)
	}
	out, err := d.Execute()
	if want := hcldec.ImpliedType(d.OutputSpec()); err == nil && !out.Type().Equals(want) {
		t.Fatalf("the output is %#v, and not %#v as it says", out.Type(), want)
	}
	return out, err
}

// texts are the values of an attribute of each element of a list, as text.
func texts(list cty.Value, attribute string) (all []string) {
	for it := list.ElementIterator(); it.Next(); {
		_, v := it.Element()
		if attribute != "" {
			v = v.GetAttr(attribute)
		}
		switch {
		case v.IsNull():
			all = append(all, "null")
		case v.Type() == cty.Number:
			all = append(all, v.AsBigFloat().String())
		case v.Type() == cty.Bool:
			all = append(all, map[bool]string{true: "yes", false: "no"}[v.True()])
		default:
			all = append(all, v.AsString())
		}
	}
	return all
}

// What the service says reaches the template, place for place, and no machine is started.
func TestOutput(t *testing.T) {
	for _, tt := range []struct {
		name   string
		adjust func(b *ocisim.Tenancy)
		faults []ocisim.Fault
		in     block
		free   string
		// what each place has, without repetitions, in order
		status, allowed, ocpus, left string
		first                        int // how many places are first
		note                         string
	}{
		{name: "all is free", free: stage.BuildRegion, status: "free", allowed: "yes", ocpus: "2 1 2 1 2 1", left: "2", first: 1},
		{
			name: "one domain is full", faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity, AD: "AD-1"}},
			free: stage.BuildRegion, status: "full free", allowed: "yes", ocpus: "2 1 2 1 2 1", left: "2", first: 1,
		},
		{name: "all is full", faults: []ocisim.Fault{{Kind: ocisim.FaultCapacity}}, status: "full", allowed: "yes", ocpus: "2 1 2 1 2 1", left: "2"},
		{
			name: "the limit is too low", faults: []ocisim.Fault{{Kind: ocisim.FaultLimitValue, Limit: "standard-a1-core-count", Value: 1}},
			in: block{"shape_config": []interface{}{block{"ocpus": 2}}}, status: "free", allowed: "no", ocpus: "2", left: "1",
		},
		{
			name: "reports are forbidden", adjust: func(b *ocisim.Tenancy) { b.NoCapacityReports = true },
			status: "unknown", allowed: "yes", ocpus: "2 1 2 1 2 1", left: "2", note: "may not ask for capacity reports",
		},
		{
			name: "another size", in: block{"shape_config": []interface{}{block{"ocpus": 1, "memory_in_gbs": 8}}},
			free: stage.BuildRegion, status: "free", allowed: "yes", ocpus: "1", left: "2", first: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := stage.ForTest(t, stage.Options{Adjust: func(b, _ *ocisim.Tenancy) {
				b.Limits["standard-a1-core-count"] = 2
				if tt.adjust != nil {
					tt.adjust(b)
				}
			}})
			if err := s.Cloud.AddFaults(tt.faults...); err != nil {
				t.Fatal(err)
			}
			out, err := look(t, s.Net.Client(), access(s.Build, tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(texts(out.GetAttr("free_regions"), ""), " "); got != tt.free || out.GetAttr("free").True() != (tt.free != "") {
				t.Errorf("free regions %q, %#v", got, out.GetAttr("free"))
			}
			places := out.GetAttr("places")
			for attribute, want := range map[string]string{"status": tt.status, "allowed": tt.allowed, "ocpus": tt.ocpus, "free_cores": tt.left, "region": stage.BuildRegion} {
				var got []string
				for _, v := range texts(places, attribute) {
					if len(got) == 0 || got[len(got)-1] != v {
						got = append(got, v)
					}
				}
				if s := strings.Join(got, " "); s != want {
					t.Errorf("%s is %q, want %q", attribute, s, want)
				}
			}
			if n := strings.Count(strings.Join(texts(places, "first"), " "), "yes"); n != tt.first {
				t.Errorf("%d places are first", n)
			}
			if notes := strings.Join(texts(out.GetAttr("notes"), ""), " "); (tt.note == "") != (notes == "") || !strings.Contains(notes, tt.note) {
				t.Errorf("notes: %q", notes)
			}
			if left := s.Left(); len(left) > 0 || s.Cloud.CountRequests("LaunchInstance") > 0 || strings.Contains(out.GoString(), "PRIVATE KEY") {
				t.Errorf("it made %q, or tells a secret", left)
			}
		})
	}
}

// A region that is down does not hide the others; that none answers is an error.
func TestRegions(t *testing.T) {
	s := stage.ForTest(t, stage.Options{MoreRegions: []string{"us-ashburn-1"}})
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Region: stage.BuildRegion}); err != nil {
		t.Fatal(err)
	}
	h := s.Net.Client()
	out, err := look(t, h, access(s.Build, block{"all_regions": true}))
	if err != nil || strings.Join(texts(out.GetAttr("free_regions"), ""), " ") != "us-ashburn-1" {
		t.Errorf("%v %#v", err, out)
	}
	out, err = look(t, h, access(s.Build, block{"regions": []string{"us-ashburn-1", "ap-tokyo-1"}}))
	if err != nil || !out.GetAttr("free").True() || !strings.Contains(strings.Join(texts(out.GetAttr("notes"), ""), " "), "ap-tokyo-1 could not be asked") {
		t.Errorf("%v %#v", err, out)
	}
	_, err = look(t, h, access(s.Build, block{"regions": []string{"ap-tokyo-1"}}))
	if err == nil || !strings.Contains(err.Error(), "ap-tokyo-1 could not be asked") {
		t.Error(err)
	}
}

func TestRequireFree(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	in := access(s.Build, block{"require_free": true})
	if _, err := look(t, s.Net.Client(), in); err != nil {
		t.Error(err)
	}
	if err := s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity}); err != nil {
		t.Fatal(err)
	}
	_, err := look(t, s.Net.Client(), in)
	if err == nil || !strings.Contains(err.Error(), "nothing is free that the limits allow") || !strings.Contains(err.Error(), "24 full") {
		t.Error(err)
	}
}

// All mistakes are said at once, and nobody is asked.
func TestMistakes(t *testing.T) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.Contains(name, "OCI_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	d := &Datasource{Mask: new(mask.Masker)}
	err := d.Configure(block{"regions": []string{""}, "all_regions": true, "shape": "VM.Standard.E4.Flex"})
	for _, want := range []string{"exclude each other", "empty name", "ocpus must be set for VM.Standard.E4.Flex", "tenancy_ocid must be set"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// silent is a cloud that takes requests and never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A cloud that does not answer does not hold up a build for long.
func TestLimit(t *testing.T) {
	in := access(stage.ForTest(t, stage.Options{}).Build, nil)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := look(t, &http.Client{Transport: silent{}}, in)
		if err == nil || !strings.Contains(err.Error(), "not known after 30s") || time.Since(start) > 31*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// Ctrl-C is obeyed at once.
func TestInterrupt(t *testing.T) {
	in := access(stage.ForTest(t, stage.Options{}).Build, nil)
	time.AfterFunc(500*time.Millisecond, func() {
		if p, err := os.FindProcess(os.Getpid()); err == nil {
			_ = p.Signal(syscall.SIGINT)
		}
	})
	start := time.Now()
	_, err := look(t, &http.Client{Transport: silent{}}, in)
	if err == nil || !strings.Contains(err.Error(), "interrupted") || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}
