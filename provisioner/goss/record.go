// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// resourceTypes are the kinds of resources that goss can add by itself.
func resourceTypes() []string {
	return []string{
		"addr", "command", "dns", "file", "group", "http", "interface", "kernel-param", "mount", "package", "port", "process", "service", "user",
	}
}

// checkRecord says what is wrong with an entry of record.
func checkRecord(item string) error {
	kind, name, typed := strings.Cut(item, ":")
	switch {
	case item == "" || typed && name == "":
		return fmt.Errorf("%q names nothing", item)
	case strings.ContainsRune(item, 0):
		return errors.New("an entry contains a zero byte")
	case strings.HasPrefix(item, "-") || strings.HasPrefix(name, "-"):
		return fmt.Errorf("%q would be taken for an option", item)
	case typed && !slices.Contains(resourceTypes(), kind):
		return fmt.Errorf("%q: goss records no %q; there are %s", item, kind, strings.Join(resourceTypes(), ", "))
	}
	return nil
}

// record lets goss write a gossfile of what is on the machine.
func (r *run) record(ctx context.Context) ([]byte, error) {
	file := r.w.path("recorded.yaml")
	var script strings.Builder
	for _, item := range r.c.Record {
		args := []string{"--log-level", "ERROR", "--gossfile", file}
		if kind, name, typed := strings.Cut(item, ":"); typed {
			args = append(args, "add", kind, name)
		} else {
			args = append(args, "autoadd", item)
		}
		fmt.Fprintf(&script, "sh %s %s >&2 || exit $?\n", quote(r.w.path("run.sh")), quoteAll(args))
	}
	script.WriteString("[ ! -e " + quote(file) + " ] || cat " + quote(file) + "\n")
	r.ui.Sayf("Recording with %s (linux/%s) as %s: %s", r.used.Origin, r.machine.arch, r.user, strings.Join(r.c.Record, ", "))
	run, err := r.w.run(ctx, "record the machine", script.String())
	if err != nil {
		return nil, err
	}
	if run.ExitCode != 0 {
		return nil, fmt.Errorf("goss could not record the machine (exit code %d): %.300q", run.ExitCode, strings.TrimSpace(r.guest.masked(string(run.Warnings))))
	}
	if len(strings.TrimSpace(string(run.Output))) == 0 {
		return nil, fmt.Errorf("goss found nothing to record by %s", strings.Join(r.c.Record, ", "))
	}
	return run.Output, nil
}
