// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"maps"
	"os"
	"reflect"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/zclconf/go-cty/cty"

	"github.com/armfree/packer-plugin-armfree/internal/phase"
	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
)

// The options that hold an SSH key as text. Packer's SDK has them as bytes,
// which a template could only write as a list of numbers.
const (
	privateKeyOption = "ssh_private_key"
	publicKeyOption  = "ssh_public_key"
)

// keysAsText makes those options strings in what Packer asks templates for.
func keysAsText(spec hcldec.ObjectSpec) hcldec.ObjectSpec {
	spec = maps.Clone(spec)
	for _, name := range []string{privateKeyOption, publicKeyOption} {
		spec[name] = &hcldec.AttrSpec{Name: name, Type: cty.String}
	}
	return spec
}

// keysAsBytes undoes that in what Packer hands over, for the SDK to decode.
func keysAsBytes(raws []interface{}) []interface{} {
	out := make([]interface{}, len(raws))
	for i, raw := range raws {
		out[i] = raw
		v, ok := raw.(cty.Value)
		if !ok || !v.Type().IsObjectType() || v.IsNull() || !v.IsKnown() {
			continue
		}
		attrs := v.AsValueMap()
		for _, name := range []string{privateKeyOption, publicKeyOption} {
			text, ok := attrs[name]
			if !ok || text.Type() != cty.String {
				continue
			}
			attrs[name] = cty.NullVal(cty.List(cty.Number))
			if text.IsNull() || !text.IsKnown() || text.AsString() == "" {
				continue
			}
			var bytes []cty.Value
			for _, b := range []byte(text.AsString()) {
				bytes = append(bytes, cty.NumberIntVal(int64(b)))
			}
			attrs[name] = cty.ListVal(bytes)
		}
		out[i] = cty.ObjectVal(attrs)
	}
	return out
}

// pinHostKey makes the host key of the machine and puts it into its user data.
func (b *Builder) pinHostKey() (pin phase.Pin, err error) {
	if !b.config.PinHostKey || b.config.Comm.Type != "ssh" {
		return nil, nil
	}
	key, err := sshkey.NewHostKey()
	if err != nil {
		return nil, err
	}
	b.Mask.Add(key.Secret())
	if b.config.userData, err = key.UserData(b.config.userData); err != nil {
		return nil, err
	}
	return key.Pin, checkMetadata(b.config.userData, b.config.Metadata)
}

// textAsBytes lets JSON templates write those options as text: Packer's SDK would
// take it for a list with one number, and quote the key when it is none.
func textAsBytes(from, to reflect.Type, data interface{}) (interface{}, error) {
	if from.Kind() == reflect.String && to == reflect.TypeFor[[]byte]() {
		return []byte(reflect.ValueOf(data).String()), nil
	}
	return data, nil
}

// keysFromEnvironment takes the SSH keys of the environment where the template
// names no other way in.
func keysFromEnvironment(c *communicator.Config) {
	defer func() { c.SSHPrivateKey = sshkey.Lines(c.SSHPrivateKey) }()
	if c.Type != "" && c.Type != "ssh" || c.SSHPrivateKeyFile != "" || len(c.SSHPrivateKey) > 0 || c.SSHPassword != "" || c.SSHAgentAuth {
		return
	}
	if key := os.Getenv("OCI_SSH_PRIVATE_KEY"); key != "" {
		c.SSHPrivateKey = []byte(key)
		if len(c.SSHPublicKey) == 0 {
			c.SSHPublicKey = []byte(os.Getenv("OCI_SSH_PUBLIC_KEY"))
		}
	}
}
