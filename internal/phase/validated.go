// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"os"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// Validated gives the image a tag that says how its machine was checked: by
// what the provisioner goss left for the builder, and by what went over the
// connection after it.
type Validated struct {
	UI      packersdk.Ui
	Machine *FindMachine
	// Tag adds tags to the image of a machine.
	Tag func(machine string, tags map[string]string) error

	watch Watch
}

// Follow lets v see what provisioners do, and asks them for notes. It comes
// after everything else that wraps the connection.
func (v *Validated) Follow(connect *Connect, provision *Provision) {
	wrap := connect.Wrap
	connect.Wrap = func(comm packersdk.Communicator) packersdk.Communicator {
		if wrap != nil {
			comm = wrap(comm)
		}
		return v.watch.Wrap(comm)
	}
	more := provision.More
	provision.More = func() map[string]interface{} {
		data := map[string]interface{}{}
		if more != nil {
			data = more()
		}
		data[proof.Wanted] = "true"
		return data
	}
	provision.Done = v.tag
}

// Forget removes what was left for a build that came to nothing.
func (v *Validated) Forget() { v.take() }

// take returns what was left for us; nothing of it stays.
func (v *Validated) take() []proof.Note {
	key := proof.Key{Run: os.Getenv("PACKER_RUN_UUID"), Instance: v.Machine.ID}
	if key.Run == "" || key.Instance == "" {
		return nil
	}
	notes, err := proof.Default().Take(key, time.Now())
	if err != nil {
		v.UI.Errorf("What goss found cannot be read, so that the image is not tagged with it: %v", err)
		return nil
	}
	return notes
}

// tag is called once provisioning is over.
func (v *Validated) tag() {
	notes := v.take()
	if len(notes) == 0 {
		return
	}
	var marks []string
	for _, n := range notes {
		marks = append(marks, n.Mark)
	}
	of, err := proof.Of(notes, v.watch.Fresh(marks...))
	if err == nil {
		err = v.Tag(v.Machine.ID, map[string]string{proof.Tag: proof.Value(of)})
	}
	if err != nil {
		v.UI.Errorf("The image is not tagged with what goss found: %v", err)
		return
	}
	if of.State == goss.ProofStale {
		v.UI.Say("Something ran on the machine after goss had checked it: the image is tagged as validated before that. A clean-up that belongs to it can be the check's own last act, by its option \"finish\"")
	}
}
