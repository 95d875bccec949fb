// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/tmpl"
)

// A machine is often cleaned up last of all, and a clean-up takes away what a
// check needs: the keys that let us in, the right to become root. So it can be
// neither before goss nor, by a provisioner of its own, after it: then the
// image would not be the machine that was checked. The option finish makes it
// the last act of the check itself. What ran is known by its digest.

// maxFinish bounds what is read as a script.
const maxFinish = 1 << 20

// checkFinish says what is wrong with the script.
func (c *Config) checkFinish(bad *problems) {
	if c.Finish == "" || tmpl.Unknown(c.Finish) {
		return
	}
	if _, err := c.finishScript(); err != nil {
		bad.addf("finish: %w", err)
	}
}

// finishScript reads the script.
func (c *Config) finishScript() ([]byte, error) {
	if err := regularFile(c.Finish); err != nil {
		return nil, err
	}
	info, err := os.Stat(c.Finish)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFinish {
		return nil, fmt.Errorf("%s has %d bytes and may have %d", c.Finish, info.Size(), maxFinish)
	}
	data, err := os.ReadFile(c.Finish)
	switch {
	case err != nil:
		return nil, err
	case !bytes.HasPrefix(data, []byte("#!")):
		return nil, fmt.Errorf("%s must begin with #! and the program that runs it", c.Finish)
	}
	if first, _, _ := bytes.Cut(data, []byte("\n")); bytes.HasSuffix(first, []byte("\r")) {
		return nil, fmt.Errorf("%s has the line ends of Windows (CR LF), with which Linux does not find the program of its first line", c.Finish)
	}
	return data, nil
}

// finishCargo is the script and what runs it.
func (r *run) finishCargo() ([]cargo, error) {
	if r.c.Finish == "" {
		return nil, nil
	}
	data, err := r.c.finishScript()
	if err != nil {
		return nil, fmt.Errorf("finish: %w", err)
	}
	r.finishing = &goss.Source{Name: filepath.Base(r.c.Finish), Origin: repositoryPath(r.c.Finish), Data: data}
	return []cargo{{"finish", "0700", data}, {"finish.sh", "0700", []byte("#!/bin/sh\n" + finishScript(r.w.dir, r.w.undo(), r.w.leave()))}}, nil
}

// finish runs the script, and in the same command removes the folder: it may
// be the last one that gets through, and the last one that root's rights are
// there for.
func (r *run) finish(ctx context.Context, result *goss.Result) error {
	if r.finishing == nil {
		return nil
	}
	so := "has passed"
	if n := result.Counts(); n.Failed+n.Warned > 0 {
		so = fmt.Sprintf("is let pass although %d of %s failed", n.Failed+n.Warned, spelled(n.Tests, "test"))
	} else if len(result.Waived) > 0 {
		so = "is let pass by report_only"
	}
	r.ui.Sayf("The machine %s. Running %s on it, the last thing that is done there", so, r.finishing.Name)
	w := r.w
	become, err := w.become(w.path("finish.sh"))
	if err != nil {
		return err
	}
	// A shell whose folder is removed could not start programs.
	said, err := w.guest.sh(ctx, "run finish on the machine", "cd /\n"+become+removeScript(w.leave(), "", w.remains()), w.input)
	if err != nil {
		return err
	}
	printed := r.printedBy(said.one("said"))
	for _, line := range goss.Lines([]byte(printed)) {
		r.ui.Say("  " + line)
	}
	switch code := said.one("finish"); code {
	case "0":
	case "":
		return fmt.Errorf("finish: %s could not be started on the machine", r.finishing.Name)
	default:
		return fmt.Errorf("finish: %s ended with exit code %.20s%s", r.finishing.Name, code, lastWords(printed))
	}
	r.finished = r.finishing
	// All that is left to do is done, unless something is still there.
	w.gone = len(said["left"]) == 0
	return nil
}

// printedBy is the end of what the script printed, in whole lines and without
// secrets: half a secret would not be recognised. It decides nothing.
func (r *run) printedBy(said string) string {
	printed, _ := base64.StdEncoding.DecodeString(said)
	if len(printed) > maxFinishSaid {
		_, printed, _ = bytes.Cut(printed, []byte("\n"))
	}
	return r.guest.masked(string(printed))
}

// finishScript runs the file "finish" and then leaves. The end of what it
// printed is told, unless it removed that too. What was put elsewhere for goss
// is taken away before: the script may remove the folder that has noted it.
func finishScript(dir, undo, leave string) string {
	return `
umask 022
cd / || exit 1
` + undo + quote(dir+"/finish") + ` </dev/null >` + quote(dir+"/finish.out") + ` 2>&1
code=$?
printf 'armfree:said='
tail -c ` + strconv.Itoa(maxFinishSaid+1) + ` ` + quote(dir+"/finish.out") + ` 2>/dev/null | base64 | tr -d '\n'
printf '\narmfree:finish=%s\n' "$code"
` + leave
}

// maxFinishSaid is how much is shown of what the script printed, in bytes.
const maxFinishSaid = 60_000
