// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/goss"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// How long leaving may take: long enough for a slow link, short enough that a
// cancelled build does not seem to hang on a machine that no longer answers.
const (
	removeWithin = 20 * time.Second
	settleWithin = 3 * time.Second
)

// limits are how long leaving may take, and how much of that is for calls that
// were abandoned and may still be under way.
type limits struct{ remove, settle time.Duration }

// newMark makes the word that everything we do on the machine has in it, and
// that is the name of the private folder. It is chosen here and not on the
// machine, so that it is known even if the answer to "make it" is lost.
func newMark() string { return "armfree-goss." + rand.Text() }

// facts is what the machine tells about itself.
type facts struct {
	arch  string // in Go's words: arm64, amd64
	uid   string
	home  string
	sudo  bool // goss and the clean-up go through sudo
	about goss.Machine
}

// look asks the machine what it is, and makes sure that it is one that can be
// checked. sudo is the command for sudo, or empty if it is not wanted.
func look(ctx context.Context, g *guest, sudo, input string) (facts, error) {
	said, err := g.sh(ctx, "look at the machine", probeScript(sudo), input)
	if err != nil {
		return facts{}, err
	}
	f := facts{uid: said.one("uid"), home: said.one("home")}
	f.about = goss.Machine{Arch: said.one("machine"), Kernel: said.one("kernel")}
	f.about.ParseOSRelease([]byte(strings.Join(said["release"], "\n")))
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
	if sudo != "" && f.uid != "0" {
		switch answer := g.masked(said.one("sudo")); {
		case answer == "0":
		case input != "":
			return facts{}, fmt.Errorf("sudo does not work with sudo_password on the machine (it says %.200q)", answer)
		default:
			return facts{}, fmt.Errorf("sudo does not work without a password on the machine (it says %.200q): "+
				"allow it, set sudo_password, or set use_sudo = false to run goss without root's rights", answer)
		}
		f.sudo = true
	}
	return f, nil
}

// workspace is the private folder on the machine.
type workspace struct {
	guest *guest
	// become makes the command that runs a script as whoever goss runs as.
	become func(script string) (string, error)
	// asRoot makes the command that runs the given script as root, for the
	// clean-up; nil if nobody but the user has a part in it.
	asRoot func(script string) string
	input  string // for standard input of both: sudo's password
	keep   bool
	strict bool     // what goes to standard error decides as well
	dir    string   // empty until it is made
	tried  []string // every folder that may have been made
	place  *placement
	jobs   int
	within limits
	gone   bool // it was removed, and the machine may be locked
}

// newWorkspace chooses the names.
func newWorkspace(g *guest, bases []string) *workspace {
	w := &workspace{guest: g}
	for _, base := range bases {
		// The SSH communicator puts paths on a command line as they are.
		if safeFolder.MatchString(base) {
			w.tried = append(w.tried, path.Join(base, g.mark))
		}
	}
	return w
}

// open makes the folder.
func (w *workspace) open(ctx context.Context) error {
	said, err := w.guest.sh(ctx, "make a private folder on the machine", openScript(w.tried), "")
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

// leave is the script that leaves nothing, in all folders that may be there.
func (w *workspace) leave() string {
	var b strings.Builder
	for _, dir := range w.tried {
		away := ""
		if w.place != nil && dir == w.dir {
			away = w.place.away()
		}
		b.WriteString(leaveScript(dir, away, w.keep))
	}
	return b.String()
}

// undo is the script that takes away what was put outside of the folder, or
// nothing.
func (w *workspace) undo() string {
	if w.place == nil || w.keep {
		return ""
	}
	return "dir=" + quote(w.dir) + "\n" + w.place.away()
}

// remains are the names under which something would be left.
func (w *workspace) remains() []string {
	switch {
	case w.keep:
		return nil
	case w.place == nil:
		return w.tried
	}
	return slices.Concat(w.tried, w.place.remains())
}

// remove ends what still runs there and removes the folder, also when ctx was
// cancelled. It is an error when something is still there afterwards: it would
// become part of the image.
func (w *workspace) remove(ctx context.Context) error {
	if w.gone {
		return nil
	}
	ctx, cancel := wait.Cleanup(ctx, w.within.remove)
	defer cancel()
	asRoot := ""
	if w.asRoot != nil {
		asRoot = w.asRoot(w.leave())
	}
	script := removeScript(w.leave(), asRoot, w.remains())
	said, err := w.guest.sh(ctx, "remove the private folder from the machine", script, w.input)
	if err != nil {
		return fmt.Errorf("%w; it may be left as %s", err, strings.Join(w.tried, " or "))
	}
	// A cancelled upload may still have been writing, and a cancelled command
	// may have ended only now. Once they are over nothing comes back.
	short, cancelShort := context.WithTimeout(ctx, w.within.settle)
	defer cancelShort()
	if w.guest.interrupted.Load() {
		w.guest.settle(short)
		if said, err = w.guest.sh(ctx, "remove the private folder from the machine", script, w.input); err != nil {
			return fmt.Errorf("%w; it may be left as %s", err, strings.Join(w.tried, " or "))
		}
	}
	if left := said["left"]; len(left) > 0 {
		return fmt.Errorf("%s could not be removed from the machine", strings.Join(left, ", "))
	}
	return nil
}

// run runs a script on the machine, as whoever goss runs as, and brings back
// what it printed.
func (w *workspace) run(ctx context.Context, what, script string) (goss.Run, error) {
	w.jobs++
	name := strconv.Itoa(w.jobs)
	become, err := w.become(w.path("job." + name))
	if err != nil {
		return goss.Run{}, err
	}
	said, err := w.guest.sh(ctx, what, jobScript(w.dir, name, script, become), w.input)
	if err != nil {
		return goss.Run{}, err
	}
	var run goss.Run
	if run.ExitCode, err = strconv.Atoi(said.one("code")); err != nil {
		return goss.Run{}, errors.New("the machine did not say how goss ended")
	}
	if sum, warned := said["warned"]; warned {
		run.Warnings, err = w.guest.download(ctx, w.path("warnings."+name))
		switch {
		case err != nil && ctx.Err() != nil:
			return goss.Run{}, err
		case !w.strict: // they explain and do not decide, so that they may get lost
		case err != nil:
			return goss.Run{}, fmt.Errorf("goss ended with exit code %d but its warnings are missing, which strict needs: %w", run.ExitCode, err)
		case !slices.Equal(sum, []string{hexSum(run.Warnings)}):
			return goss.Run{}, fmt.Errorf("goss ended with exit code %d but its warnings did not come back whole, which strict needs", run.ExitCode)
		}
	}
	whole := func(result []byte) bool { return said.one("sum") == hexSum(result) }
	result, err := base64.StdEncoding.DecodeString(said.one("result"))
	if err != nil || !whole(result) {
		result, err = w.guest.download(ctx, w.path("result."+name))
	}
	if err != nil {
		return goss.Run{}, fmt.Errorf("goss ended with exit code %d but its result is missing: %w", run.ExitCode, err)
	}
	if !whole(result) {
		return goss.Run{}, fmt.Errorf("goss ended with exit code %d but its result did not come back whole", run.ExitCode)
	}
	run.Output = result
	return run, nil
}

// hexSum is the digest of data, as sha256sum prints it.
func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
