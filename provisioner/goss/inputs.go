// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
	files    []inputFile
	gossfile string // relative to the working directory, slash-separated
	varsfile string // the same; empty if there is none
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
	in := &inputs{}
	tops := map[string]string{}
	var names []string
	tests := c.Tests
	if len(tests) == 0 {
		if err := regularFile(c.GossFile); err != nil {
			return nil, fmt.Errorf("goss_file: %w", err)
		}
		tests = []string{c.GossFile}
	}
	var errs []error
	for _, local := range tests {
		name, err := baseName(local)
		if err == nil {
			if other, taken := tops[name]; taken {
				err = fmt.Errorf("%s and %s would both arrive as %q", other, local, name)
			}
		}
		if err == nil {
			tops[name] = local
			names = append(names, name)
			err = in.add(local, name, 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("tests: %w", err))
		}
	}
	if c.VarsFile != "" {
		if err := regularFile(c.VarsFile); err != nil {
			errs = append(errs, fmt.Errorf("vars_file: %w", err))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := in.choose(c, names); err != nil {
		return nil, err
	}
	if c.VarsFile != "" {
		// Beside the working directory: a test must not meet it by a glob.
		in.varsfile = "../vars/" + filepath.Base(c.VarsFile)
		if err := in.add(c.VarsFile, in.varsfile, 0); err != nil {
			return nil, fmt.Errorf("vars_file: %w", err)
		}
	}
	return in, nil
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

// choose finds the gossfile to run. The names are those of the entries of
// tests, as they arrive.
func (in *inputs) choose(c *Config, names []string) error {
	switch {
	case len(c.Tests) == 0:
		in.gossfile = names[0]
	case c.GossFile != "":
		in.gossfile = path.Clean(filepath.ToSlash(c.GossFile))
		if !in.has(in.gossfile) {
			return fmt.Errorf("goss_file: %q is not among the files of tests, which are %s", c.GossFile, in.list())
		}
	case len(names) == 1 && in.has(names[0]):
		in.gossfile = names[0]
	case in.has("goss.yaml"):
		in.gossfile = "goss.yaml"
	case len(names) == 1 && in.has(path.Join(names[0], "goss.yaml")):
		in.gossfile = path.Join(names[0], "goss.yaml")
	default:
		return fmt.Errorf("goss_file must say which of the files of tests to run, which are %s", in.list())
	}
	switch path.Ext(in.gossfile) {
	case ".yaml", ".yml", ".json":
		return nil
	}
	return fmt.Errorf("the gossfile %q must end in .yaml, .yml or .json, or goss will not read it", in.gossfile)
}

func (in *inputs) has(remote string) bool {
	return slices.ContainsFunc(in.files, func(f inputFile) bool { return f.remote == remote })
}

// list names the files for a message, not more than fit into one.
func (in *inputs) list() string {
	var names []string
	for i, f := range in.files {
		if i == 10 {
			names = append(names, fmt.Sprintf("%d more", len(in.files)-i))
			break
		}
		names = append(names, f.remote)
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// archive packs the files and the script that runs goss into one upload, and
// says how many of its bytes, uncompressed, are the layout script at its
// beginning. That script cuts the files out of the rest and puts them in
// place. This is what tar is for, but minimal images come without tar; head
// and tail are everywhere. No file name is ever seen by a shell unquoted.
func (in *inputs) archive(script string) (packed []byte, layout int, err error) {
	var content bytes.Buffer
	var cuts strings.Builder
	dirs := map[string]bool{"tests": true}
	put := func(name, mode string, data []byte) {
		// Offsets are relative to the end of the layout script, whose length is
		// not known before it is complete.
		fmt.Fprintf(&cuts, "take %d %d %s %s\n", content.Len(), len(data), quote(name), mode)
		content.Write(data)
		dirs[path.Dir(name)] = true
	}
	put("run.sh", "0600", []byte(script))
	for _, f := range in.files {
		data, err := os.ReadFile(f.local)
		if err != nil {
			return nil, 0, err
		}
		if content.Len()+len(data) > maxInputBytes {
			return nil, 0, fmt.Errorf("the files of tests hold more than %d MB", maxInputBytes>>20)
		}
		mode := "0600"
		if f.executable {
			mode = "0700"
		}
		put(path.Join("tests", f.remote), mode, data)
	}
	head := `set -e
umask 077
start=$1
take() {
	tail -c "+$((start + $1 + 1))" inputs | head -c "$2" >"$3"
	chmod "$4" "$3"
}
mkdir -p ` + quoteAll(slices.Sorted(maps.Keys(dirs))) + "\n" + cuts.String()

	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := io.WriteString(zw, head); err != nil {
		return nil, 0, err
	}
	if _, err := content.WriteTo(zw); err != nil {
		return nil, 0, err
	}
	if err := zw.Close(); err != nil {
		return nil, 0, err
	}
	return out.Bytes(), len(head), nil
}

// inlineJSON returns vars_inline as goss takes it; empty if there is nothing.
func (c *Config) inlineJSON() (string, error) {
	if len(c.VarsInline) == 0 {
		return "", nil
	}
	b, err := json.Marshal(c.VarsInline)
	if err != nil {
		return "", fmt.Errorf("vars_inline: %w", err)
	}
	return string(b), nil
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
