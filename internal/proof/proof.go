// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package proof hands what goss found on a machine from the provisioner to the
// builder that makes an image of it.
//
// The two run in processes of their own, and Packer carries nothing from a
// provisioner back to a builder. But both run on one host as one user, and both
// know which run of Packer they belong to and which machine it is about. So the
// provisioner leaves a note in a folder that only this user can read, and the
// builder takes it from there: taking removes it. A note is written only for
// builders that ask for one, and a note that nobody took is removed by whoever
// comes by a week later.
//
// A note also carries a mark: a random word that is part of everything that the
// provisioner did on the machine. The builder owns the connection to the
// machine. When something without that mark went over it after the last thing
// with it, the machine is no longer the one that was checked.
package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Wanted is the key of the generated data by which a builder asks for notes.
const Wanted = "ArmfreeProof"

// old is the age at which a note is of no use to anybody.
const old = 7 * 24 * time.Hour

// most is how much is read of a note.
const most = 4 << 20

// Key says what a note is about.
type Key struct {
	Run      string `json:"run"`      // PACKER_RUN_UUID
	Instance string `json:"instance"` // the id of the machine
}

// prefix is how the names of a key's notes begin.
func (k Key) prefix() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(k.Run), k.Run, k.Instance))
	return hex.EncodeToString(sum[:16]) + "-"
}

// Note is what one provisioner says of one machine.
type Note struct {
	Key Key `json:"key"`
	// Mark is in everything that the provisioner did on the machine.
	Mark string `json:"mark"`
	// Time is when the check ended.
	Time time.Time `json:"time"`
	// Receipt is what goss found.
	Receipt []byte `json:"receipt"`
}

// word is what a mark looks like.
var word = regexp.MustCompile(`armfree-goss\.[A-Z2-7]{26}`)

// Mark returns the mark in a command or in the name of a file, or "".
func Mark(text string) string { return word.FindString(text) }

// Box is the folder of the notes.
type Box struct{ Dir string }

// Default is the folder of this user. Processes that Packer starts agree on it.
func Default() Box {
	return Box{filepath.Join(os.TempDir(), "armfree-proof-"+strconv.Itoa(os.Getuid()))}
}

// Leave writes a note.
func (b Box) Leave(n Note) error {
	if n.Key.Run == "" || n.Key.Instance == "" || Mark(n.Mark) != n.Mark || n.Mark == "" {
		return errors.New("a note needs a run, a machine and a mark")
	}
	if err := b.open(true); err != nil {
		return err
	}
	b.tidy(n.Time)
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(b.Dir, ".new-") // with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(b.Dir, n.Key.prefix()+strings.TrimPrefix(n.Mark, "armfree-goss.")+".json"))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Take returns the notes about a key, the oldest first, and removes them. A
// note that cannot be read is an error: it may have been the one that failed.
func (b Box) Take(k Key, now time.Time) ([]Note, error) {
	if err := b.open(false); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	b.tidy(now)
	names, err := b.names(k.prefix())
	if err != nil {
		return nil, err
	}
	var notes []Note
	var errs []error
	for _, name := range names {
		n, err := read(name)
		if err == nil && n.Key != k {
			err = errors.New("it is about something else")
		}
		if rerr := os.Remove(name); err == nil {
			err = rerr
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the note %s: %w", name, err))
			continue
		}
		notes = append(notes, n)
	}
	slices.SortFunc(notes, func(a, c Note) int { return a.Time.Compare(c.Time) })
	return notes, errors.Join(errs...)
}

func read(name string) (n Note, err error) {
	info, err := os.Lstat(name)
	if err != nil {
		return n, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return n, errors.New("it is no file of ours")
	}
	if err := private(info, 0o600); err != nil {
		return n, err
	}
	data, err := os.ReadFile(name) // #nosec G304 -- in a folder of our own
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(data, &n)
}

// open makes sure that the folder is there and nobody else's.
func (b Box) open(create bool) error {
	if create {
		if err := os.Mkdir(b.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	info, err := os.Lstat(b.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", b.Dir)
	}
	if err := private(info, 0o700); err != nil {
		return fmt.Errorf("%s: %w", b.Dir, err)
	}
	return nil
}

func (b Box) names(prefix string) ([]string, error) {
	entries, err := os.ReadDir(b.Dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, filepath.Join(b.Dir, e.Name()))
		}
	}
	return names, nil
}

// tidy removes what is too old to be anybody's.
func (b Box) tidy(now time.Time) {
	names, err := b.names("")
	if err != nil {
		return
	}
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil && now.Sub(info.ModTime()) > old {
			os.Remove(name)
		}
	}
}
