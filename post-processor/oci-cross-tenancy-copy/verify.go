// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocicrosstenancycopy

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/ocibuild"
	"github.com/armfree/packer-plugin-armfree/internal/preflight"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// Verify starts a machine from the copy in its destination, signs in to it by SSH,
// runs gossfiles on it if there are any, and terminates it. The copy counts only if
// all of that works. Copies in one tenancy are verified one after the other, so that
// each has all that the tenancy's limits and its free allowance leave.
type Verify struct {
	preflight.VerifyMachine `mapstructure:",squash"`

	// The user to sign in as. Defaults to the environment variable
	// `OCI_SSH_USERNAME`.
	SSHUsername string `mapstructure:"ssh_username" required:"false"`
	// The port of the machine's SSH server. Defaults to `22`.
	SSHPort int `mapstructure:"ssh_port" required:"false"`
	// How long the machine may take until it has booted and lets the copy in.
	// Defaults to `10m`.
	SSHTimeout time.Duration `mapstructure:"ssh_timeout" required:"false"`
	// The private key to sign in with, for images that take no key from their
	// metadata. By default a temporary key is made, which the machine gets as
	// `ssh_authorized_keys`.
	SSHPrivateKeyFile string `mapstructure:"ssh_private_key_file" required:"false"`
	// A host through which the machine is reached.
	SSHBastionHost string `mapstructure:"ssh_bastion_host" required:"false"`
	// The port of that host's SSH server. Defaults to `22`.
	SSHBastionPort int `mapstructure:"ssh_bastion_port" required:"false"`
	// The user on that host.
	SSHBastionUsername string `mapstructure:"ssh_bastion_username" required:"false"`
	// The private key for that host.
	SSHBastionPrivateKeyFile string `mapstructure:"ssh_bastion_private_key_file" required:"false"`

	// How long to look for a machine. Defaults to `1h`.
	CapacityTimeout time.Duration `mapstructure:"capacity_timeout" required:"false"`
	// The least time between two requests of that search. Defaults to `10s`.
	CapacityInterval time.Duration `mapstructure:"capacity_interval" required:"false"`
	// How long a machine that was accepted may take until it runs. Defaults to
	// `15m`.
	InstanceTimeout time.Duration `mapstructure:"instance_timeout" required:"false"`
	// How long all gossfiles together may take. Defaults to `30m`.
	TestTimeout time.Duration `mapstructure:"test_timeout" required:"false"`
	// What becomes of an image that was imported and did not boot or did not pass.
	// `delete` deletes it. `keep` leaves it as it is, tagged as unfinished and under a
	// name that ends in `-unverified`: the next run of the same copy verifies it again,
	// without another export and import. Defaults to `delete`: what is not proven is no
	// image, and one that fails each night would fill up the limit
	// `custom-image-count`. An image of which nothing is known, because no machine could
	// be had or the run was cancelled, always stays like that for the next run; once its
	// time is over it is a leftover, and may be swept.
	OnFailure string `mapstructure:"on_failure" required:"false"`

	Gossfiles `mapstructure:",squash"`
}

// The settings of on_failure.
const (
	deleteFailed = "delete"
	keepFailed   = "keep"
)

// prepare fills in what is left out and notes every mistake. block is put before the
// names of options; shapes are those on which the image can start.
func (v *Verify) prepare(block string, shapes []string, note func(...error)) {
	bad := func(format string, a ...any) { note(fmt.Errorf(block+format, a...)) }
	v.defaults()
	switch v.OnFailure {
	case deleteFailed, keepFailed:
	default:
		bad("on_failure must be %s or %s, it is %q", deleteFailed, keepFailed, v.OnFailure)
	}
	for _, d := range []struct {
		name         string
		value, least time.Duration
	}{
		{"ssh_timeout", v.SSHTimeout, time.Second}, {"capacity_timeout", v.CapacityTimeout, time.Second}, {"capacity_interval", v.CapacityInterval, time.Millisecond},
		{"instance_timeout", v.InstanceTimeout, time.Second}, {"test_timeout", v.TestTimeout, time.Second},
	} {
		note(buildcfg.CheckDuration(block+d.name, d.value, d.least))
	}
	if v.SSHUsername == "" {
		bad("ssh_username must be set (or the environment variable OCI_SSH_USERNAME)")
		v.SSHUsername = "unknown" // it was said
	}
	comm, errs := v.communicator()
	errs = append(errs, buildcfg.CheckConnection(&comm)...)
	note(v.VerifyMachine.Prepare(block, &comm)...)
	if !slices.Contains(shapes, v.Shape) && !tmpl.Unknown(v.Shape) {
		bad("shape: the image cannot start on %s, which is not among image_shapes", v.Shape)
	}
	for _, err := range errs {
		bad("%w", err)
	}
}

func (v *Verify) defaults() {
	if v.SSHUsername == "" {
		v.SSHUsername = os.Getenv("OCI_SSH_USERNAME")
	}
	v.OnFailure = cmp.Or(v.OnFailure, deleteFailed)
	v.SSHTimeout = cmp.Or(v.SSHTimeout, 10*time.Minute)
	v.CapacityTimeout = cmp.Or(v.CapacityTimeout, time.Hour)
	v.CapacityInterval = cmp.Or(v.CapacityInterval, ocibuild.Interval)
	v.InstanceTimeout = cmp.Or(v.InstanceTimeout, 15*time.Minute)
	v.TestTimeout = cmp.Or(v.TestTimeout, 30*time.Minute)
}

// communicator is how the machine is reached. It is made anew for each machine.
func (v *Verify) communicator() (communicator.Config, []error) {
	c := communicator.Config{Type: "ssh", SSH: communicator.SSH{
		SSHUsername: v.SSHUsername, SSHPort: v.SSHPort, SSHTimeout: v.SSHTimeout, SSHPrivateKeyFile: v.SSHPrivateKeyFile,
		SSHBastionHost: v.SSHBastionHost, SSHBastionPort: v.SSHBastionPort, SSHBastionUsername: v.SSHBastionUsername,
		SSHBastionPrivateKeyFile: v.SSHBastionPrivateKeyFile,
	}}
	errs := c.Prepare(new(interpolate.Context))
	if v.SSHBastionHost == "" && v.SSHBastionUsername+v.SSHBastionPrivateKeyFile != "" {
		errs = append(errs, errors.New("ssh_bastion_username and ssh_bastion_private_key_file are for ssh_bastion_host, which is not set"))
	}
	return c, errs
}

// life is how long a verification may take.
func (v *Verify) life() time.Duration {
	return v.CapacityTimeout + v.InstanceTimeout + v.SSHTimeout + v.TestTimeout
}
