// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config,Report,Selector
//go:generate go tool packer-sdc struct-markdown

package goss

import (
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"
)

// Config is what a template says about the check.
type Config struct {
	common.PackerConfig `mapstructure:",squash"`

	// Files and folders on this host that goss reads: gossfiles, and whatever
	// they include or compare with. Each one arrives in goss's working
	// directory under its own base name, a folder with everything in it. Two
	// entries with the same base name are an error.
	Tests []string `mapstructure:"tests" required:"false"`
	// The gossfile to run. With `tests`, a path relative to goss's working
	// directory, for example `base/goss.yaml` for a folder `base`; without
	// `tests`, a path on this host, and the file is brought along. Defaults to
	// the only file of `tests`, to `goss.yaml` among them, or to the
	// `goss.yaml` of the only folder of `tests`.
	GossFile string `mapstructure:"goss_file" required:"false"`
	// Several gossfiles to run, each by itself and with a verdict of its own,
	// named like `goss_file`. A folder stands for its `goss.yaml`, or, where it
	// has none, for every gossfile that lies directly in it; `*` and `?` stand
	// for what they do in a shell. Excludes `goss_file`.
	GossFiles []string `mapstructure:"goss_files" required:"false"`
	// A YAML or JSON file on this host with variables for the gossfiles'
	// templates (`.Vars`).
	VarsFile string `mapstructure:"vars_file" required:"false"`
	// More such files. They are merged in this order over `vars_file`: maps key
	// by key, at any depth; anything else, lists included, is replaced.
	VarsFiles []string `mapstructure:"vars_files" required:"false"`
	// Variables of any type, as a JSON object: `jsonencode({...})`. They replace
	// variables of the same name in the files. They reach the machine in a file
	// and never on a command line.
	Vars string `mapstructure:"vars" required:"false"`
	// Variables whose values are strings. They replace variables of the same
	// name in `vars` and in the files, and travel like `vars`.
	VarsInline map[string]string `mapstructure:"vars_inline" required:"false"`
	// Environment variables for goss and for the commands that its tests run;
	// templates see them as `.Env`. They reach the machine in a file and never
	// on a command line. Names that begin with `GOSS_` are refused, because
	// they would change how goss judges.
	VarsEnv map[string]string `mapstructure:"vars_env" required:"false"`
	// The same as `vars_env`; both may be given.
	Env map[string]string `mapstructure:"env" required:"false"`

	// Check only the resources that one of these blocks describes; see
	// [below](#selecting).
	Select []Selector `mapstructure:"select" required:"false"`
	// Do not check the resources that one of these blocks describes, also where
	// `select` does.
	Deselect []Selector `mapstructure:"deselect" required:"false"`

	// A gossfile that must pass before the others are run, for services that
	// are still starting; named like `goss_file`. Its tests are repeated until
	// they pass, and count for nothing else.
	Wait string `mapstructure:"wait" required:"false"`
	// How long `wait` may take. Defaults to `"5m"`.
	WaitTimeout string `mapstructure:"wait_timeout" required:"false"`
	// The pause between two runs of `wait`. Defaults to `"2s"`.
	WaitInterval string `mapstructure:"wait_interval" required:"false"`
	// How long failing gossfiles are repeated before they count, for example
	// `"30s"`. Only those with failing tests are run again, not one that cannot
	// be read. Defaults to `"0s"`: one run.
	RetryTimeout string `mapstructure:"retry_timeout" required:"false"`
	// The pause between two runs when `retry_timeout` is set. Defaults to
	// `"1s"`.
	Sleep string `mapstructure:"sleep" required:"false"`

	// How many tests must have been carried out over all gossfiles, skipped
	// ones not counted. A run with fewer fails, also when all of them passed.
	// At least 1, so that a run without tests never passes. Defaults to `1`.
	MinTests *int `mapstructure:"min_tests" required:"false"`
	// The lowest `meta.severity` whose failures count: `info`, `low`, `medium`,
	// `high` or `critical`. Failures below it are shown as warnings. A test
	// without a severity always counts. By default all count.
	FailOn string `mapstructure:"fail_on" required:"false"`
	// How many failing tests that count are let pass. Defaults to `0`.
	MaxFailed int `mapstructure:"max_failed" required:"false"`
	// Report failing tests and go on with the build. Where goss could not run, or
	// ran nothing, the build fails all the same. Defaults to `false`.
	ReportOnly bool `mapstructure:"report_only" required:"false"`
	// The same as `report_only`.
	Inspect bool `mapstructure:"inspect" required:"false"`
	// Fail where a gossfile checks less than is written in it: sections that
	// goss does not know and passes over, empty lists that assert nothing, keys
	// that one file takes from another. Without it they are only named.
	// Defaults to `false`.
	Strict bool `mapstructure:"strict" required:"false"`
	// An earlier JSON report, a path on this host. What changed since is shown:
	// new failures, fixed tests, tests that vanished.
	Baseline string `mapstructure:"baseline" required:"false"`
	// Fail if tests of the `baseline` are not carried out any more. Defaults to
	// `false`.
	BaselineComplete bool `mapstructure:"baseline_complete" required:"false"`

	// A script on this host that is the last thing done on the machine, run as
	// goss is, once the machine has passed: for a clean-up that removes keys
	// and logs. It is executed directly, by its `#!` line, without arguments.
	// The image still counts as checked, because the receipt and the image's tag
	// name the script by its SHA-256. Nothing is done on the machine
	// afterwards, so that it may lock everybody out. If it fails, the build
	// does.
	Finish string `mapstructure:"finish" required:"false"`

	Binary  `mapstructure:",squash"`
	Machine `mapstructure:",squash"`
	Output  `mapstructure:",squash"`

	ctx interpolate.Context

	waitTimeout, waitInterval, retryTimeout, sleep time.Duration

	// dropIn takes the defaults of the plugin whose name "goss" is.
	dropIn bool
}

// Selector describes resources of gossfiles. All that is set must fit. In
// values `*` stands for any text and `?` for any sign.
type Selector struct {
	// The section that the resource is in, such as `file`.
	Type string `mapstructure:"type" required:"false"`
	// The resource's name, such as `/etc/ssh/*`.
	Name string `mapstructure:"name" required:"false"`
	// Its `title`.
	Title string `mapstructure:"title" required:"false"`
	// Values of its `meta`. Where one of them is a list, one entry must fit.
	Meta map[string]string `mapstructure:"meta" required:"false"`
}
