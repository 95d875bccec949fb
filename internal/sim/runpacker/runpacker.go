// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package runpacker runs the real Packer with a plugin that was just built, in
// an environment of its own: no file of the user's is read or written, no
// variable of the user's reaches it, and what it starts ends with it, and with
// this process, however that ends.
package runpacker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Source is the address under which templates ask for the plugin.
const Source = "github.com/armfree/armfree"

// Packer is a Packer with one plugin installed.
type Packer struct {
	// Ended, if set, is called when Packer has ended and before what outlived it is
	// killed.
	Ended func()

	binary string
	home   string
}

// Bare makes dir (which must exist) the home of a Packer that has no plugin.
func Bare(binary, dir string) (*Packer, error) {
	p := &Packer{home: dir}
	var err error
	if p.binary, err = there(binary); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return nil, err
	}
	return p, nil
}

// there is the absolute path of a program that was built before.
func there(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no %s: run \"make packer build\" first: %w", filepath.Base(path), err)
	}
	return path, nil
}

// Install makes dir (which must exist) the home of a Packer and installs the
// plugin in it under the address source.
func Install(ctx context.Context, binary, plugin, source, dir string) (*Packer, error) {
	p, err := Bare(binary, dir)
	if err != nil {
		return nil, err
	}
	if plugin, err = there(plugin); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := p.Run(ctx, dir, nil, &out, "plugins", "install", "--path", plugin, source); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, &out)
	}
	return p, nil
}

// command is one invocation of Packer in dir, with env on top of the private
// environment.
func (p *Packer) command(ctx context.Context, dir string, env []string, args ...string) *exec.Cmd {
	cmd := guarded(ctx, p.binary, args)
	cmd.Dir = dir
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + p.home,
		"TMPDIR=" + filepath.Join(p.home, "tmp"),
		"PACKER_CONFIG_DIR=" + p.home,
		"PACKER_PLUGIN_PATH=" + filepath.Join(p.home, "plugins"),
		"PACKER_CACHE_DIR=" + filepath.Join(p.home, "cache"),
		"CHECKPOINT_DISABLE=1",
		"PACKER_NO_COLOR=1",
	}, env...)
	// A cancel is Ctrl-C: Packer and its plugins get SIGINT, as from a
	// terminal, and time to clean up before they are killed.
	cmd.Cancel = func() error { return interruptGroup(cmd) }
	cmd.WaitDelay = 5 * time.Minute
	return cmd
}

// Run runs Packer with args in dir and copies what it prints to out. When ctx
// ends, Packer is interrupted as by Ctrl-C and waited for.
func (p *Packer) Run(ctx context.Context, dir string, env []string, out io.Writer, args ...string) error {
	cmd := p.command(ctx, dir, env, args...)
	cmd.Stdout, cmd.Stderr = out, out
	release, err := guard(cmd)
	if err != nil {
		return err
	}
	defer release()
	err = cmd.Run()
	if p.Ended != nil {
		p.Ended()
	}
	killGroup(cmd) // whatever outlived it
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return fmt.Errorf("packer %s: %w", args[0], err)
	}
	return nil
}
