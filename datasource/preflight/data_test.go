// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

type block = map[string]interface{}

func access(t *ocisim.Tenancy) block {
	return block{"tenancy_ocid": t.ID, "user_ocid": t.UserID, "fingerprint": t.Fingerprint(), "key": t.PrivateKeyPEM(), "region": t.HomeRegion}
}

func with(b block, more block) block {
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
	return d.Execute()
}

func TestNothingIsInTheWay(t *testing.T) {
	s := stage.ForTest(t, stage.Options{ProductionRegions: []string{"us-ashburn-1"}})
	far := with(access(s.Production), block{"region": "us-ashburn-1"})
	out, err := look(t, s.Net.Client(), block{
		"source":      with(access(s.Build), block{"bucket": stage.BucketName}),
		"destination": []interface{}{with(access(s.Production), block{"compartment_ocid": s.Production.CompartmentID, "verify": block{"subnet_ocid": s.Production.SubnetID(stage.ProductionRegion)}}), far},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for it := out.GetAttr("destinations").ElementIterator(); it.Next(); {
		_, v := it.Element()
		names = append(names, v.AsString())
	}
	if len(names) != 2 || !strings.HasPrefix(names[0], stage.ProductionRegion+" (tenancy ") || !strings.HasPrefix(names[1], "us-ashburn-1 (tenancy ") {
		t.Errorf("%q", names)
	}
	if strings.Contains(out.GoString(), "PRIVATE KEY") {
		t.Error("the output has a secret")
	}
	if left := s.Left(); len(left) > 0 {
		t.Errorf("it made something: %q", left)
	}
}

// Everything that is in the way is said at once.
func TestEverythingThatIsInTheWay(t *testing.T) {
	s := stage.ForTest(t, stage.Options{Adjust: func(_, p *ocisim.Tenancy) { p.Limits["custom-image-count"] = 0 }})
	out, err := look(t, s.Net.Client(), block{
		"source": with(access(s.Build), block{"bucket": "nowhere"}),
		"destination": []interface{}{
			with(access(s.Production), block{"defined_tags_json": `{"Acme": {"k": "v"}}`}),
			with(access(s.Production), block{"region": "us-ashburn-1"}),
			with(access(s.Production), block{"compartment_ocid": s.Build.CompartmentID}),
			with(access(s.Production), block{"verify": block{"subnet_ocid": s.Production.SubnetID(stage.ProductionRegion), "free_allowance": block{"ocpus": 0.5, "memory_in_gbs": 1}}}),
		},
	})
	if err == nil || !out.RawEquals(cty.NullVal(cty.EmptyObject)) {
		t.Fatalf("%v, %#v", err, out)
	}
	for _, want := range []string{
		"nothing is built", `there is no bucket "nowhere"`, `"custom-image-count"`, `there is no tag namespace "Acme"`,
		"not subscribed to the region us-ashburn-1", "there is no compartment " + s.Build.CompartmentID,
		"verify: ", "would not be free",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not said:\n%v", want, err)
		}
	}
}

// silent is a network that never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func template(t *testing.T) block {
	t.Helper()
	s := stage.ForTest(t, stage.Options{})
	return block{"destination": []interface{}{access(s.Production)}}
}

func TestNoAnswer(t *testing.T) {
	in := template(t)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := look(t, &http.Client{Transport: silent{}}, in)
		if err == nil || !strings.Contains(err.Error(), "not known after 15s") || time.Since(start) > 16*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// Ctrl-C is obeyed at once.
func TestInterrupt(t *testing.T) {
	in := template(t)
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

func TestMistakes(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	s := stage.ForTest(t, stage.Options{})
	for want, in := range map[string]block{
		"source is there twice":                     {"source": []interface{}{with(access(s.Build), block{"bucket": "b"}), with(access(s.Build), block{"bucket": "b"})}},
		"source.bucket must be set":                 {"source": access(s.Build)},
		"destination[1].user_ocid must be an OCID":  {"destination": []interface{}{access(s.Production), with(access(s.Production), block{"user_ocid": "jane"})}},
		"destination.defined_tags_json must be a J": {"destination": with(access(s.Production), block{"defined_tags_json": "{"})},
		"buckett": {"source": with(access(s.Build), block{"buckett": "b"})},
	} {
		if in["destination"] == nil {
			in["destination"] = access(s.Production)
		}
		if err := (&Datasource{Mask: new(mask.Masker)}).Configure(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
