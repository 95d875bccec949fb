// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// choose finds the gossfiles to run. The names are those of the entries of
// tests, as they arrive.
func (in *inputs) choose(c *Config, names []string) error {
	if c.Wait != "" {
		in.wait = c.inWork(c.Wait)
		if len(c.Tests) == 0 {
			in.wait = filepath.Base(c.Wait)
		}
		if !in.has(in.wait) {
			return fmt.Errorf("wait: %q is not among the files of tests, which are %s", c.Wait, in.list())
		}
		if err := readable(in.wait); err != nil {
			return fmt.Errorf("wait: %w", err)
		}
	}
	switch {
	case len(c.GossFiles) > 0:
		wanted := c.GossFiles
		if len(c.Tests) == 0 {
			wanted = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == in.wait })
		}
		for _, name := range wanted {
			found, err := in.expand(c.inWork(name))
			if err != nil {
				return fmt.Errorf("goss_files: %w", err)
			}
			for _, f := range found {
				if !slices.Contains(in.gossfiles, f) {
					in.gossfiles = append(in.gossfiles, f)
				}
			}
		}
		if len(in.gossfiles) == 0 {
			return fmt.Errorf("goss_files: there is nothing to run beside %s, which wait names: a gossfile that is waited for is not a check by itself", in.wait)
		}
	case len(c.Tests) == 0:
		in.gossfiles = names[:1]
	case c.GossFile != "":
		name := c.inWork(c.GossFile)
		if !in.has(name) {
			return fmt.Errorf("goss_file: %q is not among the files of tests, which are %s", c.GossFile, in.list())
		}
		in.gossfiles = []string{name}
	case len(names) == 1 && in.has(names[0]):
		in.gossfiles = names
	case in.has("goss.yaml"):
		in.gossfiles = []string{"goss.yaml"}
	case len(names) == 1 && in.has(path.Join(names[0], "goss.yaml")):
		in.gossfiles = []string{path.Join(names[0], "goss.yaml")}
	default:
		return fmt.Errorf("goss_file must say which of the files of tests to run, which are %s", in.list())
	}
	for _, name := range in.gossfiles {
		if err := readable(name); err != nil {
			return err
		}
	}
	return nil
}

// inWork is the name of a gossfile relative to goss's working directory; a
// template may also write it as it is on the machine.
func (c *Config) inWork(name string) string {
	name = path.Clean(filepath.ToSlash(name))
	if work := c.remotePath(); work != "" {
		if rest, ok := strings.CutPrefix(name, path.Clean(work)+"/"); ok {
			return rest
		}
	}
	return name
}

// remotePath is the working directory that the template asks for, or "".
func (c *Config) remotePath() string {
	switch {
	case c.RemotePath != "":
		return c.RemotePath
	case c.dropIn && c.RemoteFolder != "":
		return path.Join(c.RemoteFolder, "goss")
	case c.dropIn:
		return "/tmp/goss"
	}
	return ""
}

// expand lists the gossfiles that a name stands for: itself, those of a folder,
// or those that fit a pattern.
func (in *inputs) expand(name string) ([]string, error) {
	if in.has(name) {
		return []string{name}, nil
	}
	var direct, fitting []string
	for _, f := range in.files {
		if readable(f.remote) != nil || f.remote == in.wait {
			continue
		}
		if path.Dir(f.remote) == name {
			direct = append(direct, f.remote)
		}
		if ok, err := path.Match(name, f.remote); ok && err == nil {
			fitting = append(fitting, f.remote)
		}
	}
	switch {
	case slices.Contains(direct, path.Join(name, "goss.yaml")):
		return []string{path.Join(name, "goss.yaml")}, nil
	case len(direct) > 0:
		return direct, nil
	case len(fitting) > 0:
		return fitting, nil
	}
	return nil, fmt.Errorf("%q is not among the files of tests, which are %s", name, in.list())
}

// readable says why goss would not read a file as a gossfile.
func readable(name string) error {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return nil
	}
	return fmt.Errorf("the gossfile %q must end in .yaml, .yml or .json, or goss will not read it", name)
}

func (in *inputs) has(remote string) bool {
	return slices.ContainsFunc(in.files, func(f inputFile) bool { return f.remote == remote })
}

// origin is where a file is on this host.
func (in *inputs) origin(remote string) string {
	for _, f := range in.files {
		if f.remote == remote {
			return f.local
		}
	}
	return ""
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
