// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"crypto/rand"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// How long leaving may take: long enough for a slow link, short enough that a
// cancelled build does not seem to hang on a machine that no longer answers.
const (
	removeWithin = 20 * time.Second
	settleWithin = 3 * time.Second
)

// facts is what the machine tells about itself.
type facts struct {
	arch string // in Go's words: arm64, amd64
	uid  string
	home string
	sudo bool // goss and the clean-up go through sudo
}

// look asks the machine what it is, and makes sure that it is one that can be
// checked.
func look(ctx context.Context, g *guest, wantSudo bool) (facts, error) {
	said, err := g.sh(ctx, "look at the machine", probeScript(wantSudo))
	if err != nil {
		return facts{}, err
	}
	f := facts{uid: said.one("uid"), home: said.one("home")}
	if system := said.one("system"); system != "Linux" {
		return facts{}, fmt.Errorf("the machine runs %q, but only Linux can be checked", system)
	}
	switch machine := said.one("machine"); machine {
	case "aarch64", "arm64":
		f.arch = "arm64"
	case "x86_64", "amd64":
		f.arch = "amd64"
	default:
		return facts{}, fmt.Errorf("the machine is of the architecture %q, for which there is no goss", machine)
	}
	if wantSudo && f.uid != "0" {
		if said.one("sudo") != "0" {
			return facts{}, fmt.Errorf("sudo does not work without a password on the machine (it says %.200q): "+
				"allow it, or set use_sudo = false to run goss without root's rights", said.one("sudo"))
		}
		f.sudo = true
	}
	return f, nil
}

// workspace is the private folder on the machine.
type workspace struct {
	guest *guest
	sudo  bool
	dir   string   // empty until it is made
	tried []string // every folder that may have been made
}

// newWorkspace chooses the names. They are chosen here and not on the machine,
// so that they are known even if the answer to "make it" is lost.
func newWorkspace(g *guest, f facts, folder string) *workspace {
	bases := []string{folder}
	if folder == "" {
		bases = []string{"/dev/shm", f.home, "/tmp", "/var/tmp"}
	}
	w := &workspace{guest: g, sudo: f.sudo}
	name := "armfree-goss." + rand.Text()
	for _, base := range bases {
		// The SSH communicator puts paths on a command line as they are.
		if safeFolder.MatchString(base) {
			w.tried = append(w.tried, path.Join(base, name))
		}
	}
	return w
}

// open makes the folder.
func (w *workspace) open(ctx context.Context) error {
	said, err := w.guest.sh(ctx, "make a private folder on the machine", openScript(w.tried))
	if err != nil {
		return err
	}
	if w.dir = said.one("dir"); w.dir == "" {
		return fmt.Errorf("there is no folder on the machine from which goss could run: %s; "+
			"set remote_folder to one that is writable and not mounted noexec", strings.Join(said["unfit"], ", "))
	}
	return nil
}

// path names a file in the folder.
func (w *workspace) path(name string) string { return path.Join(w.dir, name) }

// remove ends what still runs there and removes the folder, also when ctx was
// cancelled. It is an error when the folder is still there afterwards: it would
// become part of the image.
func (w *workspace) remove(ctx context.Context) error {
	ctx, cancel := wait.Cleanup(ctx, removeWithin)
	defer cancel()
	script := removeScript(w.tried, w.sudo)
	said, err := w.guest.sh(ctx, "remove the private folder from the machine", script)
	if err != nil {
		return fmt.Errorf("%w; it may be left as %s", err, strings.Join(w.tried, " or "))
	}
	// A cancelled upload may still have been writing, and a cancelled command
	// may have ended only now. Once they are over nothing comes back.
	short, cancelShort := context.WithTimeout(ctx, settleWithin)
	defer cancelShort()
	if w.guest.interrupted.Load() {
		w.guest.settle(short)
		if said, err = w.guest.sh(ctx, "remove the private folder from the machine", script); err != nil {
			return fmt.Errorf("%w; it may be left as %s", err, strings.Join(w.tried, " or "))
		}
	}
	if left := said["left"]; len(left) > 0 {
		return fmt.Errorf("%s could not be removed from the machine", strings.Join(left, ", "))
	}
	return nil
}
