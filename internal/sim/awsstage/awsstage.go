// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package awsstage sets up a simulated Amazon for tests and demonstrations: an
// account that builds, another one that may see nothing of it, and the images
// that Debian publishes, behind the real host names.
package awsstage

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/armfree/packer-plugin-armfree/internal/sim/disks"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// Region is where the account builds, unless a test says otherwise.
const Region = "us-east-1"

// BaseImage is the newest Debian 13 for arm64.
const BaseImage = "debian-13-arm64-20261112-2658"

// Options say what the stage is built from.
type Options struct {
	Driver machine.Driver
	Image  string // qcow2 of Debian's images
	Dir    string // an existing directory; nothing is left in it after Close
	Disks  disks.Disks
	Delays *ec2sim.Delays
	// Adjust, if set, may change the configuration before the cloud opens.
	Adjust func(c *ec2sim.Config, build, other *ec2sim.Account)
	// Wrap, if set, is put around the cloud, between it and its clients.
	Wrap func(http.Handler) http.Handler
}

// Stage is the running setting.
type Stage struct {
	Cloud     *ec2sim.Cloud
	Net       *simnet.Net
	Build     *ec2sim.Account
	Other     *ec2sim.Account
	BaseImage string // id of BaseImage in Region
	CAFile    string

	dir string
}

// New builds the stage. Close it when done.
func New(o Options) (s *Stage, err error) {
	s = &Stage{Build: ec2sim.NewAccount("build"), Other: ec2sim.NewAccount("other")}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = os.MkdirTemp(o.Dir, "awsstage-*"); err != nil {
		return s, err
	}
	cfg := ec2sim.Config{Accounts: []*ec2sim.Account{s.Build, s.Other}, Driver: o.Driver, WorkDir: s.dir, Disks: o.Disks, Delays: o.Delays,
		Images: ec2sim.DebianImages(o.Image)}
	if o.Adjust != nil {
		o.Adjust(&cfg, s.Build, s.Other)
	}
	if s.Cloud, err = ec2sim.New(cfg); err != nil {
		return s, err
	}
	var front http.Handler = s.Cloud
	if o.Wrap != nil {
		front = o.Wrap(front)
	}
	if s.Net, err = simnet.Start(front, simnet.Options{Domains: []string{simnet.AmazonAWS}}); err != nil {
		return s, err
	}
	if s.CAFile, err = s.Net.CAFile(s.dir); err != nil {
		return s, err
	}
	s.BaseImage = s.Cloud.ImageID(Region, BaseImage)
	return s, nil
}

// Close ends every machine and every connection and removes all bytes.
func (s *Stage) Close() error {
	var errs []error
	if s.Net != nil {
		errs = append(errs, s.Net.Close())
	}
	if s.Cloud != nil {
		errs = append(errs, s.Cloud.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Client is an HTTP client for the SDK; see [simnet.Whole].
func (s *Stage) Client() simnet.Whole { return simnet.Whole{Client: s.Net.Client()} }

// Config is that of a client of the SDK in a region, with the keys of the
// build account.
func (s *Stage) Config(region string) aws.Config {
	return aws.Config{Region: region, HTTPClient: s.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(s.Build.AccessKeyID, s.Build.SecretAccessKey, "")}
}

// Env is the environment with which Packer and other unmodified clients reach
// the stage: the network, and the credentials under the names that the
// pipeline reads.
func (s *Stage) Env() []string {
	return append(s.Net.Env(s.CAFile),
		"AWS_ACCESS_KEY_ID="+s.Build.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+s.Build.SecretAccessKey,
		"AWS_REGION="+Region, "AWS_DEFAULT_REGION="+Region, "AWS_SOURCE_AMI="+s.BaseImage, "AWS_SSH_USERNAME=admin",
		"AWS_SUBNET_ID="+s.Cloud.DefaultSubnet(s.Build, Region, Region+"a"),
		"AWS_EC2_METADATA_DISABLED=true", "CLOUDSIM_SSH_PORT="+strconv.Itoa(s.Cloud.SSHPort()))
}

// Left lists what exists beyond what the stage began with and the ids of keep.
func (s *Stage) Left(keep ...string) []string { return s.Cloud.Left(keep...) }

// ForTest builds a stage with fast machines for one test. At the end of the
// test it closes it, and fails the test if anybody asked for something outside
// the simulated cloud.
func ForTest(t testing.TB, o Options) *Stage {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("each simulated machine has a loopback address of its own, as only Linux has them")
	}
	o.Dir = t.TempDir()
	if o.Driver == nil {
		o.Driver = &machine.Fast{}
	}
	if o.Image == "" {
		o.Image = filepath.Join(o.Dir, "base.qcow2")
		if err := machine.FastDisk(o.Image, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(fmt.Errorf("set up the stage: %w", err))
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, r := range s.Net.Refused() {
			t.Errorf("asked for something outside the cloud: %s", r)
		}
	})
	return s
}
