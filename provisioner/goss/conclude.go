// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"fmt"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/help"
	"github.com/armfree/packer-plugin-armfree/internal/proof"
)

// conclude shows a result, writes it wherever it is wanted, and is the verdict.
// A report that cannot be written is an error beside it: somebody relies on it.
//
// The check may have broken off by an error. What it had come to by then is
// shown and written all the same, as the failure that it is, and proves nothing.
func (r *run) conclude(result *goss.Result, broken error) error {
	verdict := help.About(help.Check, result.Err())
	if broken != nil {
		result = result.Interrupted(broken)
	}
	shown := result.Masked(r.secrets.Text)
	r.show(shown)
	about := r.about()
	var errs []error
	for _, report := range r.c.reports() {
		errs = append(errs, r.write(report, shown, about))
	}
	errs = append(errs, r.writeSpecs(), r.tellGitHub(shown, about))

	receipt, err := goss.NewReceipt(shown, r.receipt(about))
	var data []byte
	if err == nil {
		data, err = receipt.Marshal()
	}
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	if r.c.Receipt != "" {
		errs = append(errs, r.save("receipt", r.c.Receipt, data, 0o600))
	}
	switch {
	case broken != nil && len(r.printed) == 0: // it says why, or what was waited for in vain
		return errors.Join(append([]error{broken}, errs...)...)
	case broken != nil:
		return errors.Join(append([]error{broken, verdict}, errs...)...)
	case verdict != nil:
		if r.c.retryTimeout > 0 && again(verdict) {
			verdict = fmt.Errorf("%w (the limit is the option \"retry_timeout\")", verdict)
		}
		return errors.Join(append([]error{verdict}, errs...)...)
	}
	// Beside an error there is none: Packer may try again, and one check would
	// look like two.
	if err := errors.Join(errs...); err != nil || !r.build.wantsProof {
		return err
	}
	note := proof.Note{
		Key: proof.Key{Run: r.build.RunUUID, Instance: r.build.ID}, Mark: r.guest.mark, Time: about.Time, Receipt: data,
	}
	if err := r.box.Leave(note); err != nil {
		return fmt.Errorf("what was found could not be left for the builder: %w", err)
	}
	return nil
}

// receipt is what the receipt says beside the result.
func (r *run) receipt(about goss.About) goss.ReceiptInput {
	in := goss.ReceiptInput{About: about, Sources: r.sent, Vars: r.vars.merged, Keys: map[string]string{}}
	for name, value := range map[string]string{"packer_run_uuid": r.build.RunUUID, "instance_id": r.build.ID} {
		if value != "" {
			in.Keys[name] = value
		}
	}
	in.Finish = r.finished
	return in
}

// show prints a result for people.
func (r *run) show(result *goss.Result) {
	say := r.ui.Say
	if result.Err() != nil {
		say = r.ui.Error
	}
	var lines []string
	if r.c.Format == "" {
		lines = result.Summary()
	} else {
		for i := range result.Suites {
			for _, line := range result.Suites[i].Warnings {
				lines = append(lines, "goss warns: "+line)
			}
		}
		lines = append(lines, formatted(r.c.Format, r.c.FormatOptions, result, r.raw())...)
		for _, waived := range result.Waived {
			lines = append(lines, "not a failure under report_only: "+waived.Error())
		}
	}
	for _, line := range lines {
		say("  " + line)
	}
}

// raw is what goss printed for each gossfile at last.
func (r *run) raw() []string {
	var all []string
	for _, name := range r.in.gossfiles {
		all = append(all, string(r.printed[name]))
	}
	return all
}

// writeSpecs writes the gossfiles as they were rendered.
func (r *run) writeSpecs() error {
	name := r.c.specFile()
	if name == "" || r.spec == nil {
		return nil
	}
	err := r.save("spec_file", name, []byte(r.secrets.Text(string(r.spec))), 0o600)
	if r.c.debugSpec() {
		err = errors.Join(err, r.save("spec_file", "debug-goss-spec.yaml", []byte(r.secrets.Text(string(r.debug))), 0o600))
	}
	return err
}

// specFile is where rendered gossfiles go, or "".
func (c *Config) specFile() string {
	switch {
	case c.SkipDownload:
		return ""
	case c.SpecFile != "":
		return c.SpecFile
	case c.dropIn:
		return "goss-spec.yaml"
	}
	return ""
}

// debugSpec says whether there is a second file, as old templates expect it.
func (c *Config) debugSpec() bool { return c.dropIn && c.SpecFile == "" && !c.SkipDownload }

func (r *run) writeRecorded(data []byte) error {
	name := r.c.RecordFile
	if name == "" {
		name = "recorded.goss.yaml"
	}
	return r.save("record_file", name, []byte(r.secrets.Text(string(data))), 0o644)
}

// write writes one report.
func (r *run) write(report Report, result *goss.Result, about goss.About) error {
	data, err := goss.Render(report.Format, result, about)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return r.save("report", report.Path, data, 0o644)
}
