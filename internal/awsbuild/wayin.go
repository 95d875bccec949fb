// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsbuild

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/packer-plugin-sdk/communicator"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// How a key gets to the machine.
const (
	byUserData = "user_data"
	byKeyPair  = "key_pair"
)

// What EC2 takes of user data, and what is kept for the parts of the builder: a
// public key of RSA, a host key and a few lines.
const (
	maxUserData = 16 << 10
	partsSize   = 2 << 10
)

// FromEnvironment completes the connection from the environment: the user, and the
// key with its key pair. A key pair of the environment goes with its key only: what
// key the template's own would need is not known.
func FromEnvironment(c *communicator.Config) {
	if c.Type != "" && c.Type != "ssh" {
		return
	}
	if c.SSHUsername == "" {
		c.SSHUsername = os.Getenv("AWS_SSH_USERNAME")
	}
	own := len(c.SSHPrivateKey) > 0
	buildcfg.KeysFromEnvironment(c, "AWS")
	if !own && len(c.SSHPrivateKey) > 0 && c.SSHKeyPairName == "" {
		c.SSHKeyPairName = os.Getenv("AWS_SSH_KEYPAIR_NAME")
	}
}

// readUserData is the user's own user data.
func (o *Options) readUserData(n *notes) []byte {
	m := &o.Machine
	if tmpl.Unknown(m.UserData + m.UserDataFile) {
		m.mixable = true // a build will tell
		return nil
	}
	data := []byte(m.UserData)
	if m.UserDataFile != "" {
		if m.UserData != "" {
			n.bad("user_data and user_data_file exclude each other")
		}
		b, err := os.ReadFile(m.UserDataFile)
		if err != nil {
			n.bad("user_data_file cannot be read: %w", err)
		}
		data = b
	}
	if plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(data))); err == nil && userData(plain) {
		data = plain
	}
	if len(data) > maxUserData {
		n.bad("user data has %d bytes, EC2 takes at most %d", len(data), maxUserData)
	}
	m.mixable = sshkey.Mixes(data)
	if len(data) > maxUserData-partsSize {
		m.mixable, m.tooLong = false, true
	}
	return data
}

// userData says whether text is what machines take at their start. A word that
// happens to be base64 is not.
func userData(b []byte) bool {
	return slices.ContainsFunc([]string{"#", "Content-Type:", "MIME-Version:", "From ", "\x1f\x8b", "{", "<"}, func(start string) bool {
		return bytes.HasPrefix(b, []byte(start))
	})
}

// prepareWayIn settles how the key gets to the machine, and how long that lives.
func (o *Options) prepareWayIn(n *notes, g Given) {
	m, c := &o.Machine, g.Comm
	if c.SSHKeyPairName != "" && c.Type == "ssh" && len(c.SSHPrivateKey) == 0 && c.SSHPrivateKeyFile == "" && !c.SSHAgentAuth && c.SSHPassword == "" {
		n.bad("ssh_keypair_name needs its private key: set ssh_private_key_file, ssh_private_key (or the environment variable AWS_SSH_PRIVATE_KEY) or ssh_agent_auth")
	}
	for _, r := range o.AdditionalRegions {
		if c.SSHKeyPairName != "" && r.SSHKeyPairName == "" && c.SSHAgentAuth {
			n.bad("additional_region: ssh_keypair_name must be set for %s: with ssh_agent_auth the builder has no key to hand over", r.Region)
		}
	}
	n.oneOf("ssh_key_delivery", m.SSHKeyDelivery, byUserData, byKeyPair)
	must := "must be a script (#!), #cloud-config, #include or MIME for that"
	if m.tooLong {
		must = fmt.Sprintf("must not be longer than %d bytes for that", maxUserData-partsSize)
	}
	switch {
	case m.mixable:
	case m.PinHostKey:
		n.bad("ssh_pin_host_key adds to the user data, which %s; set it to false", must)
	case m.SSHKeyDelivery == byUserData:
		n.bad("ssh_key_delivery = %q adds to the user data, which %s; use %q", byUserData, must, byKeyPair)
	case m.MachineLifetime != 0:
		n.bad("machine_lifetime adds to the user data, which %s", must)
	case m.tooLong:
		n.warn("Nothing can be added to user data of more than %d bytes: the key of this build becomes a key pair of EC2, and machine_lifetime does not end the machine", maxUserData-partsSize)
	default:
		n.warn("Nothing can be added to user data of this kind: the key of this build becomes a key pair of EC2, and machine_lifetime does not end the machine")
	}
	if m.SSHKeyDelivery == "" {
		if m.SSHKeyDelivery = byUserData; !m.mixable {
			m.SSHKeyDelivery = byKeyPair
		}
	}
	if err := sshkey.CheckLifetime(m.MachineLifetime, m.SkipMachineLifetime); err != nil {
		n.bad("%w", err)
	}
	if !m.SkipMachineLifetime && m.MachineLifetime == 0 && m.mixable {
		m.MachineLifetime = sshkey.DefaultLifetime
	}
}

// Keys are what is made for a build and handed to its machine.
type Keys struct {
	Public string          // the public key that is to be let in, as authorized_keys has it; empty if there is none
	Host   *sshkey.HostKey // the machine's own, with ssh_pin_host_key
}

// complete is the user data as it is sent.
func (o *Options) complete(keys Keys, deliver bool) ([]byte, error) {
	var parts []sshkey.Part
	if deliver {
		parts = append(parts, sshkey.Authorize(keys.Public))
	}
	if keys.Host != nil {
		parts = append(parts, keys.Host.Part())
	}
	if o.MachineLifetime > 0 {
		parts = append(parts, sshkey.PowerOff(o.MachineLifetime))
	}
	data, err := sshkey.Mix(o.userData, parts...)
	if err == nil && len(data) > maxUserData {
		err = fmt.Errorf("user data has %d bytes with the parts of the builder, EC2 takes at most %d", len(data), maxUserData)
	}
	return data, err
}
