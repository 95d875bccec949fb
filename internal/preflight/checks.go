// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package preflight

import (
	"context"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/oci"
)

// Checks are the destinations that a builder looks at before it builds.
type Checks struct {
	// A tenancy and region into which the image is going to be copied. May be given
	// several times. Each is looked at before a machine is asked for, and the build
	// ends if a copy could not work. See
	// [`check_destination`](#check_destination).
	CheckDestinations []CheckedPlace `mapstructure:"check_destination" required:"false"`
}

// CheckedPlace is a destination, with what its copies will need beside room.
type CheckedPlace struct {
	Place `mapstructure:",squash"`
	// The machine that the copy is going to be started on, where the copy has a
	// block `verify`: its subnet, the limits and what is free are then looked at as
	// well. Its options are those of that block that say which machine it is. An
	// empty block is enough where the environment names the subnet.
	Verify *VerifyMachine `mapstructure:"verify" required:"false"`
}

// Prepare is that of the Place and of the machine.
func (p *CheckedPlace) Prepare(block string) (bad []error) {
	bad = p.Place.Prepare(block)
	if p.Verify == nil {
		return bad
	}
	// How the copy signs in to the machine is not said here, and not looked at.
	return append(bad, p.Verify.Prepare(block+"verify.", &communicator.Config{Type: "ssh"})...)
}

// Prepare is that of every CheckedPlace.
func (c *Checks) Prepare() (bad []error) {
	for i := range c.CheckDestinations {
		block := "check_destination."
		if len(c.CheckDestinations) > 1 {
			block = fmt.Sprintf("check_destination[%d].", i)
		}
		bad = append(bad, c.CheckDestinations[i].Prepare(block)...)
	}
	return bad
}

// Secrets lists what must never be printed; it is known after Prepare.
func (c *Checks) Secrets() (secrets []string) {
	for i := range c.CheckDestinations {
		secrets = append(secrets, c.CheckDestinations[i].Credentials().Secrets()...)
	}
	return secrets
}

// Look looks at the destinations and says which ones.
func (c *Checks) Look(ctx context.Context, o oci.Options, say func(format string, args ...any)) error {
	if len(c.CheckDestinations) == 0 {
		return nil
	}
	names, err := Check(ctx, c.CheckDestinations, o)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("the image could not be copied to where it is needed, so it is not built:\n%w", err)
	}
	for _, n := range names {
		say("The image can be copied to %s", n)
	}
	return nil
}
