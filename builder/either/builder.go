// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package either is the builder armfree: it finds a machine on Oracle Cloud or on
// AWS, whichever has one, provisions it, makes an image of it in that cloud and
// leaves nothing else behind.
//
// What a template may say of a cloud is in internal/ocibuild and internal/awsbuild,
// as for the builders of one cloud; the search runs over the offers of both.
package either

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/awsbuild"
	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/capture"
	"github.com/armfree/packer-plugin-armfree/internal/cloud"
	"github.com/armfree/packer-plugin-armfree/internal/ec2"
	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/mask"
	"github.com/armfree/packer-plugin-armfree/internal/oci"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/ocicapture"
	"github.com/armfree/packer-plugin-armfree/internal/owner"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/version"
)

// Builder implements packersdk.Builder. Mask must be set.
type Builder struct {
	Mask *mask.Masker
	// HTTP replaces the client that the environment describes (proxy,
	// certificates); tests set it.
	HTTP *http.Client
	// Helper gives what is brought to a machine whose disk is captured; default: what the
	// plugin carries. Tests set it.
	Helper func() (*capture.Binary, error)
	config Config
}

// ConfigSpec implements packersdk.Builder.
func (b *Builder) ConfigSpec() hcldec.ObjectSpec {
	return buildcfg.KeysAsText(b.config.FlatMapstructure().HCL2Spec())
}

// Prepare implements packersdk.Builder. It makes no request.
func (b *Builder) Prepare(raws ...interface{}) ([]string, []string, error) {
	warnings, err := b.config.Prepare(raws...)
	b.Mask.AddVariables(b.config.PackerSensitiveVars, b.config.PackerUserVars)
	b.Mask.Add(b.config.secrets()...)
	b.Mask.Add(b.config.Checks.Secrets()...)
	return generatedNames(), warnings, err
}

// generatedNames are those of both clouds, and the cloud's own; what a cloud does
// not have is empty.
func generatedNames() []string {
	names := append([]string{"Cloud"}, ocibuild.GeneratedNames()...)
	for _, n := range awsbuild.GeneratedNames() {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// Run implements packersdk.Builder.
func (b *Builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (_ packersdk.Artifact, err error) {
	defer func() { err = b.Mask.Error(help.With(err)) }()
	c := &b.config
	ui = b.Mask.Ui(ui)
	done, err := buildcfg.UseKey(&c.PackerConfig, &c.Comm, "armfree", b.Mask.Add, ui)
	if err != nil {
		return nil, err
	}
	defer done()
	host, err := sshkey.NewHostKey()
	if err != nil {
		return nil, err
	}
	b.Mask.Add(host.Secret())
	id := owner.NewBuild(time.Now(), c.Life(c.Comm.SSHTimeout))
	r := &run{b: b, ui: ui, id: id, host: host, sites: map[string]site{}}
	if err := c.Checks.Look(ctx, b.toOCI(), ui.Sayf); err != nil {
		return nil, err
	}
	if err := r.signIn(ctx); err != nil {
		return nil, err
	}
	build := phase.Build{
		UI: ui, Hook: hook, Site: r.fleet, Sundries: r.fleet, Token: id.Token, ID: id.ID, Life: c.Life(c.Comm.SSHTimeout), Replaces: c.replaces(), Debug: c.PackerDebug, OnError: c.PackerOnError,
		Policy: c.policy(), Hold: map[string]time.Duration{c.Prefer[1]: c.prefers}, Timeout: c.CapacityTimeout, CleanupTimeout: c.CleanupTimeout, TraceFile: c.TraceFile,
		Comm: &c.Comm, Pin: r.pin, Found: r.found, More: r.generated,
	}
	if c.OCI != nil && c.OCI.SkipTerminationWait {
		build.Leave = func(m *phase.FindMachine) bool { return m.Offer.Cloud == ociBlock }
	}
	captures := ocicapture.Build{Timeout: c.ImageTimeout, Fleet: r.fleet, Secret: b.Mask.AddURL, Helper: b.Helper}
	if c.SkipCreateImage {
		build.NoImage = "skip_create_image is set"
	} else {
		captures.Options = c.captures(id)
	}
	if build.Captures, err = captures.Captures(); err != nil {
		return nil, err
	}
	made, err := build.Run(ctx)
	switch {
	case err != nil || made.Image == "" && made.Captured == nil:
		return nil, err
	case made.Captured != nil:
		return captures.Artifact(made), nil
	}
	return r.sites[made.Offer.Cloud].artifact(made), nil
}

// toOCI is how clients speak to OCI.
func (b *Builder) toOCI() oci.Options {
	return oci.Options{UserAgent: version.UserAgent(), HTTP: b.HTTP, Secret: b.Mask.Add}
}

// policy paces the search.
func (c *Config) policy() capacity.Policy {
	p := c.Policy()
	p.NoAsking = c.OCI != nil && c.OCI.CapacityReports.False()
	if c.CapacityInterval == 0 {
		p.Interval = ocibuild.Interval // for what is said of no cloud
		p.Clouds = map[string]capacity.Terms{ociBlock: {Interval: ocibuild.Interval}, awsBlock: {Interval: awsbuild.Interval}}
	}
	return p
}

// site is what is different between the clouds.
type site struct {
	pins      bool // its machines get the host key
	generated func(m *phase.FindMachine) map[string]interface{}
	artifact  func(made *phase.Made) packersdk.Artifact
}

// run is one build.
type run struct {
	b     *Builder
	ui    packersdk.Ui
	id    owner.Build
	host  sshkey.HostKey
	fleet *fleet.Fleet
	sites map[string]site // by the name of the cloud
	oci   *oci.Principal  // who signs in by the block oci, once he has
	at    string          // where the machine was found
}

// signIn puts the places of both clouds together, in the order of preference.
func (r *run) signIn(ctx context.Context) error {
	c := &r.b.config
	var places []fleet.Place
	var others []error
	for _, name := range c.Prefer {
		var more []fleet.Place
		var err error
		switch {
		case name == ociBlock && c.OCI != nil:
			more, err = r.inOCI(ctx, c.OCI)
		case name == awsBlock && c.AWS != nil:
			more, err = r.inAWS(ctx, c.AWS)
		}
		var outage *cloud.Outage
		if errors.As(err, &outage) {
			others = append(others, fmt.Errorf("%s: %w", name, err))
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		places = append(places, more...)
	}
	if len(places) == 0 {
		return errors.Join(others...)
	}
	for _, err := range others {
		r.ui.Sayf("This cloud is left out, it cannot be reached: %v", err)
	}
	r.fleet = fleet.New(places...)
	return nil
}

// principal signs in by the block oci, once.
func (r *run) principal(ctx context.Context) (who *oci.Principal, err error) {
	if r.oci == nil {
		r.oci, err = oci.SignIn(ctx, r.b.config.OCI.credentials, r.b.toOCI())
	}
	return r.oci, err
}

func (r *run) inOCI(ctx context.Context, o *OCI) ([]fleet.Place, error) {
	c := &r.b.config
	who, err := r.principal(ctx)
	if err != nil {
		return nil, err
	}
	o.Region = who.Region
	o.Options.Settle(who.Tenancy)
	keys := ocibuild.Keys{Public: string(c.Comm.SSHPublicKey)}
	if r.pins(o.PinHostKey) {
		keys.Host = &r.host
	}
	builds, err := o.Builds(c.forOCI(), keys, nil)
	if err != nil {
		return nil, err
	}
	for i := range builds {
		builds[i].Image.Capture = o.Capture.Config(&o.Options, c.forOCI())
	}
	// In a request it is encoded, and Oracle's SDK logs requests if it is told to.
	r.b.Mask.Add(base64.StdEncoding.EncodeToString(builds[0].UserData))
	source := func(region string) string { return r.fleet.In(ociBlock, region).(*oci.Build).BaseImage() }
	r.sites[ociBlock] = site{
		pins: keys.Host != nil,
		generated: func(m *phase.FindMachine) map[string]interface{} {
			return ocibuild.Generated(m.ID, r.id.ID, m.Offer, source(m.Offer.Region))
		},
		artifact: func(made *phase.Made) packersdk.Artifact {
			return &ocibuild.Artifact{
				Image: made.Image, Name: o.ImageName, Region: made.Offer.Region, Remove: r.fleet.DeleteImage,
				Data: made.Data, Source: source(made.Offer.Region), Retained: o.Retain > 0,
			}
		},
	}
	return ocibuild.Places(who, builds, r.id, r.ui.Sayf)
}

func (r *run) inAWS(ctx context.Context, a *AWS) ([]fleet.Place, error) {
	c := &r.b.config
	client, err := ec2.SignIn(ctx, a.credentials, ec2.Options{
		UserAgent: version.UserAgent(), HTTP: r.b.HTTP, Secret: r.b.Mask.Add,
	})
	if err != nil {
		return nil, err
	}
	keys := awsbuild.Keys{Public: string(c.Comm.SSHPublicKey)}
	if r.pins(a.PinHostKey) {
		keys.Host = &r.host
	}
	builds, err := a.Builds(c.forAWS(), keys)
	if err != nil {
		return nil, err
	}
	places := awsbuild.Places(client, builds, r.id, r.ui.Sayf)
	in := func(region string) *ec2.Build { return awsbuild.Site(places, region) }
	r.sites[awsBlock] = site{
		pins: keys.Host != nil,
		generated: func(m *phase.FindMachine) map[string]interface{} {
			return awsbuild.Generated(m.ID, r.id.ID, m.Offer, in(m.Offer.Region).SourceImage())
		},
		artifact: func(made *phase.Made) packersdk.Artifact {
			at := in(made.Offer.Region)
			return &awsbuild.Artifact{
				Images: at.Images(made.Image), Name: builds[0].Image.Name, Region: made.Offer.Region, Source: at.SourceImage().ID, Data: made.Data,
				Retained: a.Retain > 0,
				Remove: func(ctx context.Context, region, image string) error {
					return client.In(region).DeleteImage(ctx, image)
				},
			}
		},
	}
	if !a.Captures() || c.SkipCreateImage {
		return places, nil
	}
	to, err := r.target(ctx, a)
	if err != nil {
		return nil, err
	}
	return ocicapture.Capturing(places, to), nil
}

// target is where disks of machines on AWS are captured to: what the block aws says, else
// the bucket of the block oci.
func (r *run) target(ctx context.Context, a *AWS) (to ocicapture.Target, err error) {
	to = ocicapture.Target{Option: "capture_to", Owner: r.id}
	if a.CaptureTo != nil {
		to.Bucket, err = a.CaptureTo.Open(ctx, r.b.toOCI())
		return to, err
	}
	o := r.b.config.OCI
	who, err := r.principal(ctx)
	if err != nil {
		return to, err
	}
	client, err := who.Client(who.Region)
	to.Option, to.Swept = atOCI+"capture_bucket", o.Possible()
	to.Bucket = &oci.Bucket{Client: client, Namespace: o.CaptureNamespace, Bucket: o.CaptureBucket}
	return to, err
}

func (r *run) pins(wanted bool) bool { return wanted && r.b.config.Comm.Type == "ssh" }

// found settles as whom the machine is connected to.
func (r *run) found(m *phase.FindMachine) {
	r.at = m.Offer.Cloud
	r.b.config.Comm.SSHUsername = r.b.config.username(r.at)
}

// pin is called when the machine is connected to.
func (r *run) pin(c *ssh.ClientConfig) {
	if r.sites[r.at].pins {
		r.host.Pin(c)
	}
}

func (r *run) generated(m *phase.FindMachine) map[string]interface{} {
	data := map[string]interface{}{}
	for _, n := range generatedNames() {
		data[n] = ""
	}
	maps.Copy(data, r.sites[m.Offer.Cloud].generated(m))
	data["Cloud"] = m.Offer.Cloud
	return data
}

// captures are the clouds in which the disk may be captured.
func (c *Config) captures(id owner.Build) map[string]ocicapture.Options {
	all := map[string]ocicapture.Options{}
	if o := c.OCI; o != nil && o.Possible() {
		all[ociBlock] = ocicapture.Options{How: &o.How, Method: o.ImageMethod, Object: o.ObjectName(id), Image: o.ImageName}
	}
	if a := c.AWS; a != nil && a.Captures() {
		all[awsBlock] = ocicapture.Options{How: &a.How, Method: a.ImageMethod, Object: oci.CaptureName(a.AMIName, id), Image: a.AMIName}
	}
	return all
}

// replaces says whether older images go when the new one is finished, on either cloud.
func (c *Config) replaces() bool {
	return c.PackerForce || c.OCI != nil && c.OCI.Retain > 0 || c.AWS != nil && (c.AWS.ForceDeregister || c.AWS.Retain > 0)
}
