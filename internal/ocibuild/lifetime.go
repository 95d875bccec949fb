// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocibuild

import (
	"encoding/base64"
	"errors"

	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// partsSize is what is kept of the user data for what is added to it.
const partsSize = 2 << 10

// settleLifetime decides whether the machine gets a timer. Where the template does
// not ask for one, and nothing can be added to its user data, it gets none, and untimed
// says why.
func (m *Machine) settleLifetime(userData []byte) error {
	if err := sshkey.CheckLifetime(m.MachineLifetime, m.SkipMachineLifetime); err != nil {
		return err
	}
	asked := m.MachineLifetime != 0
	switch {
	case m.SkipMachineLifetime:
	case asked && !sshkey.Mixes(userData):
		return errors.New("machine_lifetime adds to the user data, which must be a script (#!), #cloud-config, #include or MIME for that")
	case asked:
	case !sshkey.Mixes(userData):
		m.untimed = "Nothing can be added to user data of this kind: machine_lifetime does not end the machine"
	case !m.roomy(userData):
		m.untimed = "User data and metadata leave so little room that nothing can be added: machine_lifetime does not end the machine"
	default:
		m.MachineLifetime = sshkey.DefaultLifetime
	}
	return nil
}

// roomy says whether what a builder adds to the user data fits in.
func (m *Machine) roomy(userData []byte) bool {
	size := base64.StdEncoding.EncodedLen(len(userData) + partsSize)
	for k, v := range m.Metadata {
		if k != userDataKey {
			size += len(k) + len(v)
		}
	}
	return size <= maxUserData
}

// complete is the user data as it is sent: the user's own and what is added to it.
func (o *Options) complete(keys Keys) ([]byte, error) {
	var parts []sshkey.Part
	if keys.Host != nil {
		if err := sshkey.CheckUserData(o.userData); err != nil {
			return nil, err
		}
		parts = append(parts, keys.Host.Part())
	}
	if o.MachineLifetime > 0 {
		parts = append(parts, sshkey.PowerOff(o.MachineLifetime))
	}
	data, err := sshkey.Mix(o.userData, parts...)
	if err == nil && len(parts) > 0 {
		err = checkMetadata(data, o.Metadata)
	}
	return data, err
}
