// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"os"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/fleet"
	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// proven gives the image the tag that says how its machine was checked: by what
// the provisioner goss left for us, and by what went over the connection after
// it.
type proven struct {
	ui    packersdk.Ui
	cloud *fleet.Fleet
	find  *phase.FindMachine
	watch phase.Watch
}

// connect lets the watch see what goes over the connection.
func (p *proven) connect(c *phase.Connect) {
	wrap := c.Wrap
	c.Wrap = func(comm packersdk.Communicator) packersdk.Communicator {
		if wrap != nil {
			comm = wrap(comm)
		}
		return p.watch.Wrap(comm)
	}
}

// take returns what was left for us; nothing of it stays.
func (p *proven) take() []proof.Note {
	key := proof.Key{Run: os.Getenv("PACKER_RUN_UUID"), Instance: p.find.ID}
	if key.Run == "" || key.Instance == "" {
		return nil
	}
	notes, err := proof.Default().Take(key, time.Now())
	if err != nil {
		p.ui.Errorf("What goss found cannot be read, so that the image is not tagged with it: %v", err)
		return nil
	}
	return notes
}

// tag is called once provisioning is over.
func (p *proven) tag() {
	notes := p.take()
	if len(notes) == 0 {
		return
	}
	of, err := proof.Of(notes, p.watch.Fresh)
	if err == nil {
		err = p.cloud.TagImage(p.find.ID, map[string]string{proof.Tag: proof.Value(of)})
	}
	if err != nil {
		p.ui.Errorf("The image is not tagged with what goss found: %v", err)
		return
	}
	if of.State == goss.ProofStale {
		p.ui.Say("Something ran on the machine after goss had checked it: the image is tagged as validated before that")
	}
}
