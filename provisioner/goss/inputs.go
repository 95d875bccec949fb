// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Gossfiles are small. These limits turn a mistaken folder ("/", a repository
// with its history) into a message instead of an upload.
const (
	maxInputBytes = 64 << 20
	maxInputFiles = 2000
	maxInputDepth = 32
)

// inputs is what goss reads, gathered on this host.
type inputs struct {
	files     []inputFile
	gossfiles []string // what to run, relative to the working directory, slash-separated
	wait      string   // the same, for what is waited for; empty if there is nothing
	varsFiles []string // on this host, in the order in which they are merged
	private   string   // among the files, the one that only the login user may read; empty if there is none
}

// inputFile is one file: where it is here and what it is called there,
// relative to goss's working directory.
type inputFile struct {
	local, remote string
	size          int64
	executable    bool
}

// inputs finds out which files have to reach the machine, and checks that they
// make sense together. It reads folders but no file.
func (c *Config) inputs() (*inputs, error) {
	in := &inputs{varsFiles: c.VarsFiles}
	if c.VarsFile != "" {
		in.varsFiles = slices.Concat([]string{c.VarsFile}, c.VarsFiles)
	}
	if c.GossFile != "" && len(c.GossFiles) > 0 {
		return nil, errors.New("goss_file and goss_files exclude each other")
	}
	tests, option := c.Tests, "tests"
	var errs []error
	if len(tests) == 0 {
		tests, errs = c.fromHost()
		option = "goss_file"
	}
	tops := map[string]string{}
	var names []string
	for _, local := range tests {
		name, err := baseName(local)
		if other, taken := tops[name]; err == nil && taken {
			if filepath.Clean(other) == filepath.Clean(local) {
				continue
			}
			err = fmt.Errorf("%s and %s would both arrive as %q", other, local, name)
		}
		if err == nil {
			tops[name] = local
			names = append(names, name)
			err = in.add(local, name, 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", option, err))
		}
	}
	for i, local := range in.varsFiles {
		if err := regularFile(local); err != nil {
			option := "vars_files"
			if i == 0 && c.VarsFile != "" {
				option = "vars_file"
			}
			errs = append(errs, fmt.Errorf("%s: %w", option, err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	in.bringVars(c)
	var size int64
	for _, f := range in.files {
		size += f.size
	}
	if size > maxInputBytes {
		return nil, fmt.Errorf("%s: the files hold %d MB and may hold %d: name a smaller folder", option, size>>20, maxInputBytes>>20)
	}
	return in, in.choose(c, names)
}

// bringVars puts the file of variables beside the tests, where old templates
// find it. goss itself is given another copy.
func (in *inputs) bringVars(c *Config) {
	if !c.dropIn || c.VarsFile == "" {
		return
	}
	name, err := baseName(c.VarsFile)
	if info, err2 := os.Stat(c.VarsFile); err == nil && err2 == nil && !in.has(name) {
		in.private = name
		in.files = append(in.files, inputFile{c.VarsFile, name, info.Size(), false})
	}
}

// fromHost lists what is brought along where there are no tests: the gossfiles
// are named by their paths on this host then.
func (c *Config) fromHost() (local []string, errs []error) {
	if c.GossFile != "" {
		if err := regularFile(c.GossFile); err != nil {
			return nil, []error{fmt.Errorf("goss_file: %w", err)}
		}
		local = append(local, c.GossFile)
	}
	for _, name := range c.GossFiles {
		found := []string{name}
		if strings.ContainsAny(name, "*?[") {
			var err error
			if found, err = filepath.Glob(name); err != nil || len(found) == 0 {
				errs = append(errs, fmt.Errorf("goss_files: no file is called %q", name))
			}
		}
		local = append(local, found...)
	}
	if c.Wait != "" {
		if err := regularFile(c.Wait); err != nil {
			errs = append(errs, fmt.Errorf("wait: %w", err))
		} else {
			local = append(local, c.Wait)
		}
	}
	return local, errs
}

// add takes a file, or a folder with everything in it. Symbolic links are
// followed, as a copy to another machine has to.
func (in *inputs) add(local, remote string, depth int) error {
	info, err := os.Stat(local)
	if err != nil {
		return err
	}
	switch {
	case depth > maxInputDepth:
		return fmt.Errorf("%s: folders are nested more than %d deep", local, maxInputDepth)
	case info.Mode().IsRegular():
		in.files = append(in.files, inputFile{local, remote, info.Size(), info.Mode()&0o111 != 0})
		if len(in.files) > maxInputFiles {
			return fmt.Errorf("more than %d files: name a smaller folder", maxInputFiles)
		}
		return nil
	case !info.IsDir():
		return fmt.Errorf("%s is neither a file nor a folder", local)
	}
	entries, err := os.ReadDir(local)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := in.add(filepath.Join(local, entry.Name()), path.Join(remote, entry.Name()), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// baseName is the name under which a file or folder arrives.
func baseName(local string) (string, error) {
	abs, err := filepath.Abs(local) // "." and "tests/" have a name as well
	if err != nil {
		return "", err
	}
	name := filepath.Base(abs)
	if local == "" || name == string(filepath.Separator) {
		return "", fmt.Errorf("%q has no name of its own to arrive under", local)
	}
	return name, nil
}

// regularFile checks that there is a file to be read.
func regularFile(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", name)
	}
	return nil
}
