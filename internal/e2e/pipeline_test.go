// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	builder "github.com/armfree/packer-plugin-armfree/builder/oci"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
	postprocessor "github.com/armfree/packer-plugin-armfree/post-processor/oci-cross-tenancy-copy"
	"github.com/armfree/packer-plugin-armfree/provisioner/goss"
)

// play is one pipeline on a stage: the components of a template, run in this
// process in the order in which Packer runs them.
type play struct {
	s   *stage.Stage
	out inpacker.Output
}

func (p *play) ui() packersdk.Ui { return &packersdk.BasicUi{Writer: &p.out, ErrorWriter: &p.out} }

func access(t *ocisim.Tenancy) map[string]interface{} {
	return map[string]interface{}{
		"tenancy_ocid": t.ID, "user_ocid": t.UserID, "fingerprint": t.Fingerprint(), "key": t.PrivateKeyPEM(),
		"region": t.HomeRegion, "compartment_ocid": t.CompartmentID,
	}
}

// build runs the builder in a tenancy, from image.
func (p *play) build(t *testing.T, in *ocisim.Tenancy, image string, change map[string]interface{}, h inpacker.Hook) (packersdk.Artifact, error) {
	t.Helper()
	config := access(in)
	maps.Copy(config, map[string]interface{}{
		"base_image_ocid": image, "subnet_ocid": in.SubnetID(in.HomeRegion), "assign_public_ip": true,
		"ssh_username": "debian", "ssh_port": p.s.Cloud.SSHPort(), "ssh_timeout": "30s",
		"image_name": "pipeline", "capacity_interval": "20ms", "capacity_timeout": "10s",
	})
	maps.Copy(config, change)
	b := &builder.Builder{Mask: new(mask.Masker), HTTP: p.s.Net.Client()}
	if _, _, err := b.Prepare(config); err != nil {
		t.Fatal(err)
	}
	return b.Run(t.Context(), p.ui(), h)
}

// copy runs the post-processor on an artifact.
func (p *play) copy(t *testing.T, a packersdk.Artifact) (packersdk.Artifact, error) {
	t.Helper()
	source := access(p.s.Build)
	delete(source, "compartment_ocid")
	source["bucket"] = stage.BucketName
	c := &postprocessor.PostProcessor{Mask: new(mask.Masker), HTTP: p.s.Net.Client()}
	err := c.Configure(map[string]interface{}{"source": source, "destination": []interface{}{access(p.s.Production)}})
	if err != nil {
		t.Fatal(err)
	}
	b, _, _, err := c.PostProcess(t.Context(), p.ui(), a)
	return b, err
}

// check is the provisioner armfree-goss with a gossfile; the machine's goss is
// played by the machine (see gossSays).
func (p *play) check(ctx context.Context, t *testing.T, comm packersdk.Communicator) error {
	t.Helper()
	dir := t.TempDir()
	gossfile := filepath.Join(dir, "base.goss.yaml")
	binary := filepath.Join(dir, "goss")
	if err := os.WriteFile(gossfile, []byte("file:\n  /etc/os-release: {exists: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, machine.Program(), 0o600); err != nil {
		t.Fatal(err)
	}
	var g goss.Provisioner
	if err := g.Prepare(map[string]interface{}{"tests": []string{gossfile}, "goss_binary": binary}); err != nil {
		t.Fatal(err)
	}
	return g.Provision(ctx, p.ui(), comm, nil)
}

// gossSays is a machine whose goss prints text and ends with status.
func gossSays(text string, status int) *machine.Fast {
	return &machine.Fast{ELF: func(_ context.Context, p *machine.Process) int {
		_, _ = io.WriteString(p.Stdout, text)
		return status
	}}
}

const (
	onePassed = `{"results":[{"duration":1,"err":null,"matcher-result":{"actual":true,"expected":true,"message":"to equal"},"meta":null,"property":"exists","resource-id":"/etc/os-release","resource-type":"File","result":0,"skipped":false,"successful":true,"summary-line":"File: /etc/os-release: exists: matches expectation: true","summary-line-compact":"File: /etc/os-release: exists: matches expectation: true","title":"","start-time":"2026-11-22T20:57:26Z","end-time":"2026-11-22T20:57:26Z"}],"summary":{"failed-count":0,"skipped-count":0,"summary-line":"Count: 1, Failed: 0, Skipped: 0, Duration: 0.001s","test-count":1,"total-duration":1}}` + "\n"
	oneFailed = `{"results":[{"duration":1,"err":null,"matcher-result":{"actual":false,"expected":true,"message":"to equal"},"meta":null,"property":"exists","resource-id":"/etc/os-release","resource-type":"File","result":1,"skipped":false,"successful":false,"summary-line":"File: /etc/os-release: exists:\nExpected\n    false\nto equal\n    true","summary-line-compact":"File: /etc/os-release: exists: Expected false to equal true","title":"","start-time":"2026-11-22T20:57:26Z","end-time":"2026-11-22T20:57:26Z"}],"summary":{"failed-count":1,"skipped-count":0,"summary-line":"Count: 1, Failed: 1, Skipped: 0, Duration: 0.001s","test-count":1,"total-duration":1}}` + "\n"
)

// The bytes that a provisioner wrote in the build tenancy are on the disk of a
// machine that starts from the copy in the production tenancy.
func TestPipeline(t *testing.T) {
	p := &play{s: stage.ForTest(t, stage.Options{Driver: gossSays(onePassed, 0)})}
	if err := p.s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Until: ocisim.Duration(time.Second)}); err != nil {
		t.Fatal(err)
	}
	a, err := p.build(t, p.s.Build, p.s.BaseImage, nil, func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		if err := p.check(ctx, t, comm); err != nil {
			return err
		}
		return comm.Upload("/home/debian/made", strings.NewReader("by the pipeline"), nil)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	b, err := p.copy(t, a)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.String())
	}
	var got strings.Builder
	_, err = p.build(t, p.s.Production, b.Id(), map[string]interface{}{"skip_create_image": true}, func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
		if err := p.check(ctx, t, comm); err != nil {
			return err
		}
		return comm.Download("/home/debian/made", &got)
	})
	if err != nil || got.String() != "by the pipeline" {
		t.Errorf("the copy holds %q; %v\n%s", got.String(), err, p.out.String())
	}
	if left := p.s.Left(a.Id(), b.Id()); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Where it is not known how the real service behaves, the pipeline works both
// ways.
func TestPipelineWithEverySwitch(t *testing.T) {
	for name, sw := range map[string]ocisim.Switches{
		"import registers shapes":         {ImportRegistersShapes: true},
		"counts are available":            {CountAvailable: true},
		"work requests are late":          {WorkRequestsLate: true},
		"failed tokens are remembered":    {RemembersFailedTokens: true},
		"a PAR that is gone is not found": {GonePARIsNotFound: true},
		"one fault domain is picked":      {PicksOneFaultDomain: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &play{s: stage.ForTest(t, stage.Options{Switches: sw})}
			if err := p.s.Cloud.AddFaults(ocisim.Fault{Kind: ocisim.FaultCapacity, Until: ocisim.Duration(time.Second)}, ocisim.Fault{Kind: ocisim.FaultImageConflict, Times: 1}); err != nil {
				t.Fatal(err)
			}
			a, err := p.build(t, p.s.Build, p.s.BaseImage, nil, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return nil })
			if err != nil {
				t.Fatalf("%v\n%s", err, p.out.String())
			}
			b, err := p.copy(t, a)
			if err != nil {
				t.Fatalf("%v\n%s", err, p.out.String())
			}
			if left := p.s.Left(a.Id(), b.Id()); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// Nothing becomes an image that did not prove to be right.
func TestNoImageWithoutProof(t *testing.T) {
	tests := []struct {
		name   string
		driver *machine.Fast
		says   string
	}{
		{"a test fails", gossSays(oneFailed, 1), "/etc/os-release"},
		{"goss passes but the result says otherwise", gossSays(oneFailed, 0), "goss"},
		{"no result", gossSays("", 0), "goss"},
		{"half a result", gossSays(onePassed[:200], 0), "goss"},
		{"goss cannot run", &machine.Fast{}, "goss"},
		{"goss is killed", gossSays("", 137), "goss"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &play{s: stage.ForTest(t, stage.Options{Driver: tt.driver})}
			_, err := p.build(t, p.s.Build, p.s.BaseImage, nil, func(ctx context.Context, _ packersdk.Ui, comm packersdk.Communicator) error {
				return p.check(ctx, t, comm)
			})
			if err == nil || !strings.Contains(err.Error()+p.out.String(), tt.says) {
				t.Errorf("error: %v\n%s", err, p.out.String())
			}
			if n := p.s.Cloud.CountRequests("CreateImage"); n > 0 {
				t.Errorf("%d images were asked for", n)
			}
			if left := p.s.Left(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// An image that starts by BIOS never boots on Ampere: it is refused before a
// machine is asked for, and as a copy before it counts.
func TestImageWithoutUEFI(t *testing.T) {
	p := &play{s: stage.ForTest(t, stage.Options{Firmware: machine.BIOS})}
	_, err := p.build(t, p.s.Build, p.s.BaseImage, nil, func(context.Context, packersdk.Ui, packersdk.Communicator) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "UEFI_64") || p.s.Cloud.CountRequests("LaunchInstance") > 0 {
		t.Errorf("build: %v", err)
	}
	_, err = p.copy(t, bare(p.s.BaseImage))
	if err == nil || !strings.Contains(err.Error(), "UEFI_64") {
		t.Errorf("copy: %v\n%s", err, p.out.String())
	}
	if left := p.s.Left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// bare is the artifact of another builder.
type bare string

func (bare) BuilderId() string        { return "packer.oracle.oci" }
func (bare) Files() []string          { return nil }
func (b bare) Id() string             { return string(b) }
func (bare) String() string           { return "an image" }
func (bare) State(string) interface{} { return nil }
func (bare) Destroy() error           { return nil }

// A wrong key is refused by the cloud, and the message says what to check.
func TestWrongKey(t *testing.T) {
	s := stage.ForTest(t, stage.Options{})
	p := &play{s: s}
	stranger := access(s.Neighbour)
	_, err := p.build(t, s.Build, s.BaseImage, map[string]interface{}{"key": stranger["key"], "fingerprint": stranger["fingerprint"]},
		func(context.Context, packersdk.Ui, packersdk.Communicator) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "the key is not registered for this user") {
		t.Errorf("error: %v", err)
	}
	if !slices.ContainsFunc(s.Cloud.Requests(), func(r ocisim.Request) bool { return r.Status == 401 }) {
		t.Error("nothing was refused")
	}
	if n := s.Cloud.CountRequests("LaunchInstance"); n > 0 {
		t.Errorf("%d launches", n)
	}
}
