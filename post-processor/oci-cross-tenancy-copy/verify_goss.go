// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package ocicrosstenancycopy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/packer-plugin-sdk/common"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/buildcfg"
)

// Gossfiles are what is checked on the machine, as the provisioner armfree-goss
// does it.
type Gossfiles struct {
	// Files and folders on this host that goss reads, like `tests` of the
	// [provisioner](../provisioners/goss.mdx). Without `tests`, `goss_file` and
	// `goss_files` it is only proven that the image boots and lets the user in.
	Tests []string `mapstructure:"tests" required:"false"`
	// The gossfile to run, if it does not follow from `tests`.
	GossFile string `mapstructure:"goss_file" required:"false"`
	// Several gossfiles to run, each by itself.
	GossFiles []string `mapstructure:"goss_files" required:"false"`
	// YAML or JSON files with variables for the gossfiles, later ones over earlier
	// ones.
	VarsFiles []string `mapstructure:"vars_files" required:"false"`
	// Variables of any type, as a JSON object: `jsonencode({...})`.
	Vars string `mapstructure:"vars" required:"false"`
	// Variables whose values are strings.
	VarsInline map[string]string `mapstructure:"vars_inline" required:"false"`
	// Environment variables for goss and for what its tests run.
	VarsEnv map[string]string `mapstructure:"vars_env" required:"false"`
	// A gossfile that must pass first: services may still be starting.
	Wait string `mapstructure:"wait" required:"false"`
	// How long `wait` may take. Defaults to `5m`.
	WaitTimeout string `mapstructure:"wait_timeout" required:"false"`
	// How long failing gossfiles are repeated before they count: a machine that has
	// just booted is still busy. Defaults to `1m`.
	RetryTimeout string `mapstructure:"retry_timeout" required:"false"`
	// How many tests must have been carried out. Defaults to `1`.
	MinTests int `mapstructure:"min_tests" required:"false"`
	// Fail where a gossfile checks less than is written in it. Defaults to `false`.
	Strict bool `mapstructure:"strict" required:"false"`
	// The goss to run, for linux/arm64. Defaults to the one that the plugin carries.
	GossBinary string `mapstructure:"goss_binary" required:"false"`
}

// some says whether there is anything for goss to do.
func (g *Gossfiles) some() bool { return len(g.Tests)+len(g.GossFiles) > 0 || g.GossFile != "" }

// options are those of the provisioner. What was a template in them has been filled
// in.
func (g *Gossfiles) options() map[string]interface{} {
	all := map[string]interface{}{}
	text := func(name, value string) {
		if value != "" {
			all[name] = value
		}
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			all[name] = values
		}
	}
	object := func(name string, values map[string]string) {
		if len(values) > 0 {
			all[name] = values
		}
	}
	list("tests", g.Tests)
	text("goss_file", g.GossFile)
	list("goss_files", g.GossFiles)
	list("vars_files", g.VarsFiles)
	text("vars", g.Vars)
	object("vars_inline", g.VarsInline)
	object("vars_env", g.VarsEnv)
	text("wait", g.Wait)
	text("wait_timeout", g.WaitTimeout)
	all["retry_timeout"] = "1m"
	text("retry_timeout", g.RetryTimeout)
	text("goss_binary", g.GossBinary)
	if g.MinTests != 0 {
		all["min_tests"] = g.MinTests
	}
	if g.Strict {
		all["strict"] = true
	}
	return all
}

// bringer is a provisioner that knows what it would bring to a machine.
type bringer interface{ InputsDigest() (string, error) }

// by names what an image is verified by: where the machine, what goss reads or the
// variables are others, it is another name. goss is nil if nothing is run.
func (v *Verify) by(goss packersdk.Provisioner) (string, error) {
	h := sha256.New()
	options := v.Gossfiles.options()
	for _, name := range []string{
		"retry_timeout", "wait_timeout", "goss_binary", // which do not change what is checked
		"tests", "goss_file", "goss_files", "vars_files", "wait", // where files are here does not matter
	} {
		delete(options, name)
	}
	o := v.Options("")
	text, err := json.Marshal([]any{options, o.Search.Shape, o.Search.ShapeConfig})
	if err != nil {
		return "", err
	}
	h.Write(text)
	if goss != nil {
		b, is := goss.(bringer)
		if !is {
			return "", errors.New("it is not known what goss reads")
		}
		sum, err := b.InputsDigest()
		if err != nil {
			return "", err
		}
		h.Write([]byte(sum))
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}

// checker makes the provisioner that runs the gossfiles; nil if there are none.
// packer is what Packer tells every component.
func (g *Gossfiles) checker(block string, make func() packersdk.Provisioner, packer *common.PackerConfig) (packersdk.Provisioner, []error) {
	switch {
	case !g.some() && (g.Wait != "" || g.MinTests > 0 || len(g.VarsFiles)+len(g.VarsInline)+len(g.VarsEnv) > 0 || g.Vars != ""):
		return nil, []error{fmt.Errorf("%stests, goss_file or goss_files must be set for the other options of goss", block)}
	case !g.some():
		return nil, nil
	case make == nil:
		return nil, []error{errors.New(block + "tests: there is no goss in this program")}
	}
	p := make()
	var list []error
	if err := p.Prepare(g.options(), map[string]interface{}{
		"packer_build_name": packer.PackerBuildName, "packer_builder_type": packer.PackerBuilderType,
		"packer_user_variables": packer.PackerUserVars, "packer_sensitive_variables": packer.PackerSensitiveVars,
	}); err != nil {
		all := []error{err}
		if many := (*packersdk.MultiError)(nil); errors.As(err, &many) {
			all = many.Errors
		}
		for _, e := range all {
			for _, e := range buildcfg.Each(e) {
				list = append(list, fmt.Errorf("%s%w", block, e))
			}
		}
	}
	return p, list
}
