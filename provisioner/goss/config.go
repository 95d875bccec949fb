// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc mapstructure-to-hcl2 -type Config
//go:generate go tool packer-sdc struct-markdown

package goss

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/packer-plugin-sdk/common"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
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
	// A YAML or JSON file on this host with variables for the gossfile's
	// templates (`.Vars`).
	VarsFile string `mapstructure:"vars_file" required:"false"`
	// Variables for the gossfile's templates. They replace variables of the
	// same name in `vars_file`. The values are strings. They reach the machine
	// in a file and never on a command line.
	VarsInline map[string]string `mapstructure:"vars_inline" required:"false"`
	// Environment variables for goss and for the commands that its tests run;
	// templates see them as `.Env`. They reach the machine in a file and never
	// on a command line. Names that begin with `GOSS_` are refused, because
	// they would change how goss judges.
	VarsEnv map[string]string `mapstructure:"vars_env" required:"false"`
	// Whether goss runs as root, by `sudo` without a password. Many tests need
	// it: an unprivileged goss cannot read the sshd configuration or a
	// listening socket's process. Ignored where the communicator logs in as
	// root already. Defaults to `true`.
	UseSudo config.Trilean `mapstructure:"use_sudo" required:"false"`
	// How many tests must have been carried out, skipped ones not counted. A
	// run with fewer fails, also when all of them passed. At least 1, so that
	// a run without tests never passes. Defaults to `1`.
	MinTests *int `mapstructure:"min_tests" required:"false"`
	// How long failing tests are repeated before they count, for services that
	// are still starting, for example `"30s"`. Only failing tests are repeated,
	// not a gossfile that cannot be read. Defaults to `"0s"`: one run.
	RetryTimeout time.Duration `mapstructure:"retry_timeout" required:"false"`
	// The pause between two runs when `retry_timeout` is set. Defaults to
	// `"1s"`.
	Sleep time.Duration `mapstructure:"sleep" required:"false"`
	// The folder on the machine in which the provisioner makes its private
	// folder; programs must be allowed to run in it. An absolute path of
	// letters, digits and `/._-`. Defaults to the first that works of
	// `/dev/shm` (memory, so that nothing touches the disk), the home folder,
	// `/tmp` and `/var/tmp`. The private folder is removed at the end in any
	// case.
	RemoteFolder string `mapstructure:"remote_folder" required:"false"`
	// A goss binary on this host that is used instead of the one that the
	// plugin carries: an ELF executable for the machine's architecture, not an
	// archive.
	GossBinary string `mapstructure:"goss_binary" required:"false"`
	// The SHA-256 that `goss_binary` must have, in hex.
	GossSHA256 string `mapstructure:"goss_sha256" required:"false"`

	ctx interpolate.Context
}

// The system limits one environment variable to 128 KiB; inline variables
// travel as one.
const maxInline = 100 << 10

var (
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	safeFolder = regexp.MustCompile(`^/[A-Za-z0-9/._-]*$`)
	hexDigest  = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// decode fills c from what Packer passes and checks all of it. It looks at
// files on this host and never at a network. All problems come back at once.
func (c *Config) decode(raws ...any) error {
	*c = Config{} // Packer prepares a provisioner a second time before it runs
	if err := config.Decode(c, &config.DecodeOpts{
		PluginType:         "armfree-goss",
		Interpolate:        true,
		InterpolateContext: &c.ctx,
	}, raws...); err != nil {
		return err
	}
	if c.Sleep == 0 {
		c.Sleep = time.Second
	}
	if c.MinTests == nil {
		one := 1
		c.MinTests = &one
	}

	var errs *packersdk.MultiError
	fail := func(err error) {
		if err != nil {
			errs = packersdk.MultiErrorAppend(errs, err)
		}
	}
	if len(c.Tests) == 0 && c.GossFile == "" {
		fail(errors.New("tests or goss_file must be set: there is nothing to check otherwise"))
	} else if !c.unknown() {
		_, err := c.inputs()
		fail(err)
	}
	if *c.MinTests < 1 {
		fail(fmt.Errorf("min_tests is %d and must be at least 1: a run without tests proves nothing", *c.MinTests))
	}
	if c.RetryTimeout < 0 {
		fail(fmt.Errorf("retry_timeout is %s and must not be negative", c.RetryTimeout))
	}
	if c.Sleep < 0 {
		fail(fmt.Errorf("sleep is %s and must not be negative", c.Sleep))
	}
	if f := c.RemoteFolder; f != "" && !isUnknown(f) && (!safeFolder.MatchString(f) || path.Clean(f) == "/") {
		fail(fmt.Errorf("remote_folder is %q and must be an absolute path of letters, digits and /._-, other than /", f))
	}
	fail(c.checkBinary())
	fail(c.checkVars())
	if errs != nil {
		return errs
	}
	return nil
}

func (c *Config) checkBinary() error {
	switch {
	case c.GossSHA256 != "" && c.GossBinary == "":
		return errors.New("goss_sha256 is set but goss_binary is not; the plugin checks its own goss by itself")
	case isUnknown(c.GossSHA256) || isUnknown(c.GossBinary) || c.GossBinary == "":
		return nil
	case c.GossSHA256 != "" && !hexDigest.MatchString(c.GossSHA256):
		return errors.New("goss_sha256 must be 64 hexadecimal digits")
	}
	if err := regularFile(c.GossBinary); err != nil {
		return fmt.Errorf("goss_binary: %w", err)
	}
	return nil
}

func (c *Config) checkVars() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.VarsEnv)) {
		switch {
		case !envName.MatchString(name):
			errs = append(errs, fmt.Errorf("vars_env: %q cannot be the name of an environment variable", name))
		case strings.HasPrefix(name, "GOSS_"):
			errs = append(errs, fmt.Errorf("vars_env: %s is refused, because variables that begin with GOSS_ change how goss judges", name))
		case strings.ContainsRune(c.VarsEnv[name], 0):
			errs = append(errs, fmt.Errorf("vars_env: the value of %s contains a zero byte", name))
		}
	}
	inline, err := c.inlineJSON()
	if err != nil {
		errs = append(errs, err)
	}
	if len(inline) > maxInline {
		errs = append(errs, fmt.Errorf("vars_inline holds %d bytes and may hold %d: use vars_file", len(inline), maxInline))
	}
	return errors.Join(errs...)
}

// unknown reports whether the inputs name something that only a build will
// tell. Packer validates templates with such values in them.
func (c *Config) unknown() bool {
	return slices.ContainsFunc(slices.Concat(c.Tests, []string{c.GossFile, c.VarsFile}), isUnknown)
}

// isUnknown recognises the two ways in which Packer writes a value that it does
// not know yet.
func isUnknown(s string) bool {
	return strings.Contains(s, "<unknown>") || strings.Contains(s, "74D93920-ED26-11E3-AC10-0800200C9A66")
}
