// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/hashicorp/packer-plugin-sdk/template/config"
	"github.com/hashicorp/packer-plugin-sdk/template/interpolate"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

var (
	envName    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	safeFolder = regexp.MustCompile(`^/[A-Za-z0-9/._-]*$`)
	hexDigest  = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// problems gathers what is wrong with a configuration.
type problems struct{ list *packersdk.MultiError }

func (p *problems) add(errs ...error) {
	for _, err := range errs {
		if err != nil {
			p.list = packersdk.MultiErrorAppend(p.list, err)
		}
	}
}

func (p *problems) addf(format string, a ...any) { p.add(fmt.Errorf(format, a...)) }

// oneOf demands one of some words, or nothing, or what only a build will tell.
func (p *problems) oneOf(option, value string, allowed ...string) {
	if value != "" && !tmpl.Unknown(value) && !slices.Contains(allowed, value) {
		p.addf("%s must be one of %s, it is %q", option, strings.Join(allowed, ", "), value)
	}
}

// decode fills c from what Packer passes and checks all of it. It looks at
// files on this host and never at a network. All problems come back at once.
func (c *Config) decode(dropIn bool, raws ...any) error {
	*c = Config{} // Packer prepares a provisioner a second time before it runs
	if err := config.Decode(c, &config.DecodeOpts{
		PluginType:         "armfree-goss",
		Interpolate:        true,
		InterpolateContext: &c.ctx,
		InterpolateFilter: &interpolate.RenderFilter{
			// They have variables of their own.
			Exclude: []string{"report", "reports", "receipt", "spec_file", "record_file", "execute_command"},
		},
	}, raws...); err != nil {
		return err
	}
	c.dropIn = dropIn
	var bad problems
	c.checkTimes(&bad)
	c.checkVerdict(&bad)
	c.checkBinary(&bad)
	c.checkMachine(&bad)
	c.checkOutput(&bad)
	c.checkSelection(&bad)
	c.checkFinish(&bad)
	bad.add(c.checkVars()...)
	switch {
	case !c.checks():
		if len(c.Record) == 0 {
			bad.addf("tests, goss_file or goss_files must be set: there is nothing to check otherwise")
		}
		if c.Finish != "" {
			bad.addf("finish is set, but nothing is checked before it: tests, goss_file or goss_files must be set")
		}
		if c.Wait != "" {
			bad.addf("wait is set, but there is nothing to wait with: tests, goss_file or goss_files must be set")
		}
	case !c.unknown():
		in, err := c.inputs()
		bad.add(err)
		if err == nil {
			bad.add(c.lint(in)...)
		}
	}
	if bad.list != nil {
		return bad.list
	}
	return nil
}

// checkTimes reads the durations. They are text, because an empty one stands
// for the default.
func (c *Config) checkTimes(bad *problems) {
	for _, d := range []struct {
		option, text string
		value        *time.Duration
		or           time.Duration
	}{
		{"retry_timeout", c.RetryTimeout, &c.retryTimeout, 0},
		{"sleep", c.Sleep, &c.sleep, time.Second},
		{"wait_timeout", c.WaitTimeout, &c.waitTimeout, 5 * time.Minute},
		{"wait_interval", c.WaitInterval, &c.waitInterval, 2 * time.Second},
	} {
		*d.value = d.or
		if d.text == "" || tmpl.Unknown(d.text) {
			continue
		}
		v, err := time.ParseDuration(d.text)
		switch {
		case err != nil:
			bad.addf("%s must be a duration with its unit, such as \"30s\" or \"5m\", it is %q", d.option, d.text)
		case v < 0:
			bad.addf("%s must not be negative, it is %s", d.option, v)
		default:
			*d.value = v
		}
	}
	if c.Wait == "" && (c.WaitTimeout != "" || c.WaitInterval != "") {
		bad.addf("wait_timeout and wait_interval are for wait, which is not set")
	}
}

func (c *Config) checkVerdict(bad *problems) {
	if c.MinTests == nil {
		one := 1
		c.MinTests = &one
	}
	if *c.MinTests < 1 {
		bad.addf("min_tests must be 1 or more, it is %d: a run without tests proves nothing", *c.MinTests)
	}
	if c.MaxFailed < 0 {
		bad.addf("max_failed must not be negative, it is %d", c.MaxFailed)
	}
	if c.FailOn != "" && !tmpl.Unknown(c.FailOn) {
		if _, err := goss.ParseSeverity(c.FailOn); err != nil {
			bad.addf("fail_on: %w", err)
		}
	}
	if c.Baseline != "" && !tmpl.Unknown(c.Baseline) {
		if _, err := c.baseline(); err != nil {
			bad.addf("baseline: %w", err)
		}
	}
	if c.BaselineComplete && c.Baseline == "" {
		bad.addf("baseline_complete is set but baseline is not")
	}
}

// url is where goss is fetched from if it is.
func (c *Config) url() string {
	if c.GossURL != "" {
		return c.GossURL
	}
	return c.URL
}

func (c *Config) checkBinary(bad *problems) {
	if c.GossSHA256 != "" && !tmpl.Unknown(c.GossSHA256) && !hexDigest.MatchString(c.GossSHA256) {
		bad.addf("goss_sha256 must be 64 hexadecimal digits")
	}
	switch {
	case c.SkipInstall && (c.GossBinary != "" || c.GossURL != "" || c.GossSHA256 != ""):
		bad.addf("skip_install runs the goss that is on the machine; goss_binary, goss_url and goss_sha256 are for one that is brought")
	case c.GossBinary != "" && c.GossURL != "":
		bad.addf("goss_binary and goss_url exclude each other: each is a goss")
	case c.GossURL != "" && c.GossSHA256 == "":
		bad.addf("goss_url is set but goss_sha256 is not: what is fetched is known by its digest")
	case c.GossSHA256 != "" && c.GossBinary == "" && c.url() == "" && c.Version == "":
		bad.addf("goss_sha256 is set but goss_binary, goss_url and version are not; the plugin checks its own goss by itself")
	}
	if c.GossMirror != "" && (c.GossSHA256 == "") != (c.Version == "") {
		bad.addf("goss_mirror has releases of goss: version must say which, and goss_sha256 what its digest is, or neither is set")
	}
	for _, o := range []struct{ name, value string }{{"goss_url", c.GossURL}, {"goss_mirror", c.GossMirror}} {
		if o.value != "" && !tmpl.Unknown(o.value) && !strings.HasPrefix(o.value, "https://") && !strings.HasPrefix(o.value, "http://") {
			bad.addf("%s must begin with https:// or http://", o.name)
		}
	}
	if c.fetchesRelease() && !tmpl.Unknown(c.Version) {
		if _, err := goss.AssetURL("", c.Version, "arm64"); err != nil {
			bad.addf("version: %w", err)
		}
	}
	if c.GossBinary != "" && !tmpl.Unknown(c.GossBinary) {
		if err := regularFile(c.GossBinary); err != nil {
			bad.addf("goss_binary: %w", err)
		}
	}
}

// fetchesRelease says whether a release is fetched that only its version names.
func (c *Config) fetchesRelease() bool {
	return c.Version != "" && c.GossSHA256 != "" && c.GossBinary == "" && c.url() == ""
}

func (c *Config) checkMachine(bad *problems) {
	for _, o := range []struct{ name, value string }{{"remote_folder", c.RemoteFolder}, {"remote_path", c.RemotePath}} {
		if v := o.value; v != "" && !tmpl.Unknown(v) && (!safeFolder.MatchString(v) || path.Clean(v) == "/") {
			bad.addf("%s must be an absolute path of letters, digits and /._-, other than /, it is %q", o.name, v)
		}
	}
	if strings.ContainsRune(c.DownloadPath, 0) {
		bad.addf("download_path contains a zero byte")
	}
	if c.TargetOS != "" && !tmpl.Unknown(c.TargetOS) && !strings.EqualFold(c.TargetOS, "Linux") {
		bad.addf("target_os must be \"Linux\", the only system that can be checked, it is %q", c.TargetOS)
	}
	bad.oneOf("package", c.Package, "apk", "deb", "dpkg", "pacman", "rpm")
	bad.oneOf("log_level", strings.ToUpper(c.LogLevel), "ERROR", "WARN", "INFO", "DEBUG", "TRACE")
	if c.Strict && strings.EqualFold(c.LogLevel, "ERROR") {
		bad.addf("log_level is %q, which hides the warnings of goss that strict judges by: set it to WARN or leave it out", c.LogLevel)
	}
	if c.MaxConcurrent != nil && *c.MaxConcurrent < 1 {
		bad.addf("max_concurrent must be 1 or more, it is %d: with less, goss runs nothing and calls it a success", *c.MaxConcurrent)
	}
	if strings.ContainsAny(c.SudoPassword, "\n\x00") {
		bad.addf("sudo_password must be one line")
	}
	if c.SudoPassword != "" && c.UseSudo.False() && c.ExecuteCommand == "" {
		bad.addf("sudo_password is set but use_sudo is false")
	}
	if c.ExecuteCommand == "" {
		return
	}
	line, err := c.command("/x/run")
	switch {
	case err != nil:
		bad.addf("execute_command: %w", err)
	case !strings.Contains(line, "/x/run"):
		bad.addf("execute_command must contain {{ .Path }}, the script that runs goss")
	case strings.ContainsAny(line, "\n\x00"):
		bad.addf("execute_command must be one line")
	}
}

// command is execute_command for a script.
func (c *Config) command(script string) (string, error) {
	ctx := c.ctx
	ctx.Data = map[string]string{"Path": script, "Vars": ""}
	return interpolate.Render(c.ExecuteCommand, &ctx)
}

// env is the environment that goss is given.
func (c *Config) env() map[string]string {
	all := maps.Clone(c.VarsEnv)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, c.Env)
	return all
}

func (c *Config) checkVars() []error {
	var errs []error
	for option, env := range map[string]map[string]string{"vars_env": c.VarsEnv, "env": c.Env} {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			switch {
			case name == "GOSS_USE_ALPHA":
				// Old templates set it for Windows; it is not passed on.
			case !envName.MatchString(name):
				errs = append(errs, fmt.Errorf("%s: %q cannot be the name of an environment variable", option, name))
			case strings.HasPrefix(name, "GOSS_"):
				errs = append(errs, fmt.Errorf("%s: %s is refused, because variables that begin with GOSS_ change how goss judges", option, name))
			case strings.ContainsRune(env[name], 0):
				errs = append(errs, fmt.Errorf("%s: the value of %s contains a zero byte", option, name))
			}
		}
	}
	if !tmpl.Unknown(c.Vars) {
		inline, err := c.inlineText()
		if err != nil {
			errs = append(errs, err)
		}
		if len(inline) > maxInline {
			errs = append(errs, fmt.Errorf("vars and vars_inline hold %d bytes and may hold %d: use vars_files", len(inline), maxInline))
		}
	}
	return errs
}

// unknown reports whether the inputs name something that only a build will
// tell. Packer validates templates with such values in them.
func (c *Config) unknown() bool {
	return slices.ContainsFunc(slices.Concat(c.Tests, c.GossFiles, c.VarsFiles, []string{c.GossFile, c.VarsFile, c.Wait}), tmpl.Unknown)
}

// varsUnknown reports the same of variables.
func (c *Config) varsUnknown() bool {
	values := slices.Concat(slices.Collect(maps.Values(c.VarsInline)), slices.Collect(maps.Values(c.env())), []string{c.Vars})
	return slices.ContainsFunc(values, tmpl.Unknown)
}

// checkOutput checks what is written on this host.
func (c *Config) checkOutput(bad *problems) {
	bad.oneOf("github", c.GitHub, "auto", "true", "false")
	bad.oneOf("format", c.Format, "documentation", "json", "json_oneline", "junit", "nagios", "nagios_verbose", "rspecish", "silent", "tap")
	for o := range strings.SplitSeq(c.FormatOptions, ",") {
		bad.oneOf("format_options", strings.TrimSpace(o), "exclude_raw", "perfdata", "pretty", "sort", "verbose")
	}
	taken := map[string]string{} // by what
	// Any build, in which no two things have one name.
	sample := build{BuildName: "name", BuilderType: "type", ID: "id", RunUUID: "run"}
	for _, r := range c.reports() {
		if !slices.Contains(goss.Formats(), r.Format) && !tmpl.Unknown(r.Format) {
			bad.addf("report: %q is no format; there are %s", r.Format, strings.Join(goss.Formats(), ", "))
		}
		if r.Path == "" {
			bad.addf("report: path must be set, for the format %s", r.Format)
			continue
		}
		name, err := c.fileName(r.Path, sample)
		switch {
		case err != nil:
			bad.addf("report: path: %w", err)
		case tmpl.Unknown(name):
			continue
		case taken[filepath.Clean(name)] != "":
			bad.addf("report: two reports are written to %s", r.Path)
		}
		taken[filepath.Clean(name)] = "report"
	}
	for _, o := range []struct{ name, value string }{{"receipt", c.Receipt}, {"spec_file", c.SpecFile}, {"record_file", c.RecordFile}} {
		name, err := c.fileName(o.value, sample)
		if err != nil {
			bad.addf("%s: %w", o.name, err)
		}
		if err != nil || name == "" || tmpl.Unknown(name) {
			continue
		}
		if by := taken[filepath.Clean(name)]; by != "" {
			bad.addf("%s: %s is written by %s as well", o.name, o.value, by)
		}
		taken[filepath.Clean(name)] = o.name
	}
	if c.RecordFile != "" && len(c.Record) == 0 {
		bad.addf("record_file is set but record is not: it says what to record")
	}
	for _, item := range c.Record {
		if err := checkRecord(item); err != nil && !tmpl.Unknown(item) {
			bad.addf("record: %w", err)
		}
	}
}
