// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/communicator"
	"github.com/zclconf/go-cty/cty"
)

// Each takes apart what Decode found, which Packer's SDK has as one error.
func Each(err error) []error {
	var list interface{ WrappedErrors() []error }
	var all []error
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, Each(e)...)
		}
		return all
	}
	if errors.As(err, &list) {
		for _, e := range list.WrappedErrors() {
			all = append(all, Each(e)...)
		}
		return all
	}
	return []error{Plain(err)}
}

// undecoded are the options, or the blocks, that an error of Decode is about.
func undecoded(err error) (names []string) {
	if err == nil {
		return nil
	}
	for _, m := range quoted.FindAllStringSubmatch(unplain(err), -1) {
		name, _, _ := strings.Cut(m[1], ".")
		name, _, _ = strings.Cut(name, "[")
		names = append(names, name)
	}
	return names
}

// without leaves options out of a template. left says whether any was there.
func without(raws []interface{}, names []string) (out []interface{}, left bool) {
	for _, raw := range raws {
		switch v := raw.(type) {
		case map[string]interface{}:
			v = maps.Clone(v)
			for _, n := range names {
				_, ok := v[n]
				left = left || ok
				delete(v, n)
			}
			raw = v
		case map[interface{}]interface{}:
			v = maps.Clone(v)
			for _, n := range names {
				_, ok := v[n]
				left = left || ok
				delete(v, n)
			}
			raw = v
		case cty.Value:
			if !v.Type().IsObjectType() || v.IsNull() || !v.IsKnown() {
				break
			}
			attrs := v.AsValueMap()
			for _, n := range names {
				if a, ok := attrs[n]; ok && !a.IsNull() {
					left, attrs[n] = true, cty.NullVal(a.Type())
				}
			}
			raw = cty.ObjectVal(attrs)
		}
		out = append(out, raw)
	}
	return out, left
}

// quoted is how a decoder names an option: ” error decoding 'instance_timeout'.
var quoted = regexp.MustCompile(`'([a-z0-9_.\[\]]+)'`)

// Follows says whether a problem only follows from one that is known: an option
// that could not be decoded has no value, and is then said to be missing.
func Follows(known []error, err error) bool {
	words := strings.Fields(err.Error())
	words = words[:min(3, len(words))] // "base_image_ocid or base_image_filter must be set"
	return slices.ContainsFunc(known, func(k error) bool {
		lost := undecoded(k)
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(lost, strings.TrimSuffix(w, ":")) })
	})
}

// CheckConnection says what is wrong with the options of Packer's communicators,
// which Packer's SDK finds out when it connects, if at all.
func CheckConnection(c *communicator.Config) (list []error) {
	for _, p := range []struct {
		option string
		port   int
	}{{"ssh_port", c.SSHPort}, {"ssh_bastion_port", c.SSHBastionPort}, {"ssh_proxy_port", c.SSHProxyPort}, {"winrm_port", c.WinRMPort}} {
		if p.port < 0 || p.port > 65535 {
			list = append(list, fmt.Errorf("%s must be from 1 to 65535, it is %d", p.option, p.port))
		}
	}
	for _, d := range []struct {
		option string
		value  time.Duration
	}{
		{"ssh_timeout", c.SSHTimeout}, {"winrm_timeout", c.WinRMTimeout}, {"pause_before_connecting", c.PauseBeforeConnect},
		{"ssh_read_write_timeout", c.SSHReadWriteTimeout},
	} {
		if err := CheckDuration(d.option, max(d.value, 0), time.Millisecond); err != nil {
			list = append(list, err)
		}
	}
	if c.Type != "ssh" || runtime.GOOS == "windows" || os.Getenv("SSH_AUTH_SOCK") != "" {
		return list // agents on Windows need no variable
	}
	for _, a := range []struct {
		option string
		wanted bool
	}{{"ssh_agent_auth", c.SSHAgentAuth}, {"ssh_bastion_agent_auth", c.SSHBastionAgentAuth && c.SSHBastionHost != ""}} {
		if a.wanted {
			list = append(list, fmt.Errorf("%s needs an SSH agent, and there is none: the environment variable SSH_AUTH_SOCK is not set", a.option))
		}
	}
	return list
}
