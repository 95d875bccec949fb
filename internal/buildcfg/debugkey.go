// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package buildcfg

import (
	"errors"
	"fmt"
	"os"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// writeKey leaves the temporary key in a file for as long as a build with -debug
// runs, for people to look at the machine.
func writeKey(name string, key []byte, ui packersdk.Ui) (remove func(), err error) {
	path := strings.NewReplacer("/", "_", string(os.PathSeparator), "_", ":", "_").Replace(name)
	f, err := create(path)
	if errors.Is(err, os.ErrExist) {
		if !stale(path) {
			return nil, fmt.Errorf("-debug writes the temporary SSH key to %s, which is there already and is not a key that an earlier build left there; please move it away", path)
		}
		// A build that was killed could not remove it, and the next one would fail
		// for ever. It is made anew, never written over: nobody else has it open.
		ui.Sayf("Removing %s, which an earlier build with -debug left there", path)
		if err = os.Remove(path); err == nil {
			f, err = create(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("-debug writes the temporary SSH key to a file, which cannot be made: %w", err)
	}
	_, err = f.Write(key)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	ui.Sayf("The temporary SSH key is in %s until the build ends (-debug)", path)
	return func() {
		if err := os.Remove(path); err != nil {
			ui.Errorf("The temporary SSH key could not be removed, please do so: %v", err)
		}
	}, nil
}

func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// largestKey is more than any private key has.
const largestKey = 32 << 10

// stale says whether a file is what writeKey leaves: an ordinary file, and no
// link to one, with a private key and nothing else in it.
func stale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > largestKey {
		return false
	}
	text, err := os.ReadFile(path)
	return err == nil && (len(text) == 0 || strings.HasPrefix(string(text), "-----BEGIN ") && strings.Contains(string(text), "PRIVATE KEY-----"))
}
