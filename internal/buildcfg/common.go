// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// HoldState is the key of an artifact's State with which a post-processor asks it
// to survive. Packer destroys the artifact of a build when one of its
// post-processors fails; an image that took hours to get must not go with it.
const HoldState = "armfree.hold"

// Mistakes are what is wrong with a template. The zero value is a template without
// any.
type Mistakes struct{ all packersdk.MultiError }

// Note adds mistakes. It leaves out nil, and what only follows from a mistake that
// is known.
func (m *Mistakes) Note(more ...error) {
	for _, err := range more {
		if err != nil && !Follows(m.all.Errors, err) {
			_ = packersdk.MultiErrorAppend(&m.all, err) // it is m.all
		}
	}
}

// Err is all mistakes as Packer shows them, or nil.
func (m *Mistakes) Err() error {
	if len(m.all.Errors) == 0 {
		return nil
	}
	return &m.all
}

// Secrets are those of a communicator's options.
func Secrets(c *communicator.Config) []string {
	return []string{string(c.SSHPrivateKey), c.SSHPassword, c.SSHBastionPassword, c.SSHProxyPassword, c.WinRMPassword}
}

// UseKey settles with which key the machine is reached, the user's or one made for
// the build; mask is told of it. With -debug a key of the build is in a file, whose
// name begins with prefix, until done is called.
func UseKey(p *common.PackerConfig, c *communicator.Config, prefix string, mask func(...string), ui packersdk.Ui) (done func(), err error) {
	secret, err := sshkey.Prepare(c)
	if err != nil {
		return nil, err
	}
	mask(secret)
	if !p.PackerDebug || c.SSHTemporaryKeyPairName == "" {
		return func() {}, nil
	}
	return writeKey(fmt.Sprintf("%s_%s.pem", prefix, p.PackerBuildName), c.SSHPrivateKey, ui)
}

// Labels are the values of build.* that an image has as labels in HCP Packer: those
// of names that are there and not empty.
func Labels(data map[string]interface{}, names []string) map[string]string {
	labels := map[string]string{}
	for _, name := range names {
		if v := data[name]; v != nil && fmt.Sprint(v) != "" {
			labels[name] = fmt.Sprint(v)
		}
	}
	return labels
}
