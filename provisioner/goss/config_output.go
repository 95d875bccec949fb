// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:generate go tool packer-sdc struct-markdown

package goss

// Report is one file that is written about the check, whether it passed or not.
type Report struct {
	// `json`, `junit`, `markdown`, `sarif`, `tap` or `tap14`; `github` for
	// workflow commands of GitHub Actions, one a line.
	Format string `mapstructure:"format" required:"true"`
	// The file on this host. Folders are made. `{{ .BuildName }}`,
	// `{{ .BuilderType }}`, `{{ .ID }}` (of the machine) and `{{ .RunUUID }}` tell
	// builds apart that run side by side; a repetition of the same build
	// (`max_retries`) replaces the file.
	Path string `mapstructure:"path" required:"true"`
}

// Output says where results go, beside the screen.
type Output struct {
	// Files to write; see [below](#reports).
	Reports []Report `mapstructure:"report" required:"false"`
	// The same as a map from formats to paths: `{ junit = "goss.xml" }`.
	ReportFiles map[string]string `mapstructure:"reports" required:"false"`
	// A file for the receipt: what was run with which digests on which machine,
	// as JSON, with mode 0600. A name like those of reports.
	Receipt string `mapstructure:"receipt" required:"false"`
	// A file for the gossfiles as goss rendered them, a name like those of
	// reports. Known secrets in it are masked. For the provisioner `goss` it
	// defaults to `goss-spec.yaml`, with a second file `debug-goss-spec.yaml`.
	SpecFile string `mapstructure:"spec_file" required:"false"`
	// Write no rendered gossfiles. Defaults to `false`.
	SkipDownload bool `mapstructure:"skip_download" required:"false"`
	// Whether GitHub Actions is told: the job's summary, and annotations in a
	// file that a later step prints. Defaults to `"auto"`: if `GITHUB_ACTIONS` is
	// set.
	GitHub string `mapstructure:"github" required:"false"`
	// Show the result as goss would print it: `documentation`, `json`,
	// `json_oneline`, `junit`, `nagios`, `nagios_verbose`, `rspecish`, `silent`
	// or `tap`. By default there is a line for each test that failed, and a
	// table.
	Format string `mapstructure:"format" required:"false"`
	// For `json`, `pretty` shows it on several lines. `perfdata`, `verbose`,
	// `sort` and `exclude_raw` are accepted and change nothing.
	FormatOptions string `mapstructure:"format_options" required:"false"`

	// Write a gossfile instead of running one: services, packages, files and
	// whatever else goss finds by these names (`sshd`), or single resources as
	// `<type>:<name>` (`port:tcp:22`). Without `tests` nothing is checked.
	Record []string `mapstructure:"record" required:"false"`
	// The file on this host for the recorded gossfile, a name like those of
	// reports. Defaults to `recorded.goss.yaml`.
	RecordFile string `mapstructure:"record_file" required:"false"`
}
