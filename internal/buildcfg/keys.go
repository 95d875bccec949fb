// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"maps"
	"os"
	"reflect"
	"slices"

	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
	"github.com/zclconf/go-cty/cty"

	"github.com/armfree/packer-plugin-armfree/internal/sshkey"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// The options that hold an SSH key as text. Packer's SDK has them as bytes,
// which a template could only write as a list of numbers.
const (
	privateKeyOption = "ssh_private_key"
	publicKeyOption  = "ssh_public_key"
)

// KeysAsText makes those options strings in what Packer asks templates for.
func KeysAsText(spec hcldec.ObjectSpec) hcldec.ObjectSpec {
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

// textAsBytes lets JSON templates write those options as text: Packer's SDK would
// take it for a list with one number, and quote the key when it is none.
func textAsBytes(from, to reflect.Type, data interface{}) (interface{}, error) {
	if from.Kind() == reflect.String && to == reflect.TypeFor[[]byte]() {
		return []byte(reflect.ValueOf(data).String()), nil
	}
	return data, nil
}

// Decode decodes a template into target, with SSH keys as text. What cannot be
// decoded is left out, so that the rest is seen; Each has all errors. The options
// named late are decoded as they are written: what they speak of is not known yet.
func Decode(target interface{}, builder string, ctx *interpolate.Context, raws []interface{}, late ...string) error {
	var all []error
	for {
		err := decode(target, builder, ctx, raws, late)
		all = append(all, err)
		less := undecoded(err)
		if err == nil || len(less) == 0 {
			return errors.Join(all...)
		}
		var left bool
		if raws, left = without(raws, less); !left {
			return errors.Join(all...)
		}
	}
}

func decode(target interface{}, builder string, ctx *interpolate.Context, raws []interface{}, late []string) error {
	return config.Decode(target, &config.DecodeOpts{
		PluginType:         builder,
		Interpolate:        true,
		InterpolateContext: ctx,
		InterpolateFilter:  &interpolate.RenderFilter{Exclude: late},
		DecodeHooks:        slices.Insert(slices.Clone(config.DefaultDecodeHookFuncs), 0, any(textAsBytes), any(tmpl.EmptyAsUnset), any(tmpl.UnknownAsUnset)),
	}, keysAsBytes(raws)...)
}

// KeysFromEnvironment takes the SSH keys of the environment where the template
// names no other way in: those in prefix_SSH_PRIVATE_KEY and, where public keys are
// given as well, prefix_SSH_PUBLIC_KEY.
func KeysFromEnvironment(c *communicator.Config, prefix string) {
	defer func() { c.SSHPrivateKey = sshkey.Lines(c.SSHPrivateKey) }()
	if c.Type != "" && c.Type != "ssh" || c.SSHPrivateKeyFile != "" || len(c.SSHPrivateKey) > 0 || c.SSHPassword != "" || c.SSHAgentAuth {
		return
	}
	if key := os.Getenv(prefix + "_SSH_PRIVATE_KEY"); key != "" {
		c.SSHPrivateKey = []byte(key)
		if len(c.SSHPublicKey) == 0 {
			c.SSHPublicKey = []byte(os.Getenv(prefix + "_SSH_PUBLIC_KEY"))
		}
	}
}
