// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sudo runs a program as root (or -u) without asking: cloud images grant that
// to their login user.
func sudo(ctx context.Context, p *Process) int {
	if p.UID != 0 && p.m.behaviour.NoSudo {
		fmt.Fprintln(p.Stderr, "sudo: a password is required")
		return 1
	}
	user := "root"
	args := p.Args[1:]
	keep, login := false, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		a := args[0]
		args = args[1:]
		switch a {
		case "-n", "-S", "-H", "--non-interactive", "--stdin", "--set-home":
		case "-E", "--preserve-env":
			keep = true
		case "-i", "-s", "--login", "--shell":
			login = true
		case "-u", "--user":
			if len(args) > 0 {
				user, args = args[0], args[1:]
			}
		case "--":
			goto run
		default:
			if u, ok := strings.CutPrefix(a, "-u"); ok && u != "" {
				user = u
			} else if !strings.HasPrefix(a, "--preserve-env=") {
				return usage(p, fmt.Errorf("unknown option '%s'", a))
			}
		}
	}
run:
	a, ok := accountByName(user)
	if !ok {
		fmt.Fprintf(p.Stderr, "sudo: unknown user %s\n", user)
		return 1
	}
	c := p.child()
	c.UID = a.uid
	if !keep {
		c.Env = baseEnv(a)
		for _, name := range []string{"LANG", "LC_ALL", "TERM"} {
			if v := p.Getenv(name); v != "" {
				c.Env = withEnv(c.Env, name, v)
			}
		}
	}
	c.Env = withEnv(c.Env, "SUDO_USER", accountByUID(p.UID).name)
	for len(args) > 0 && strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "/") {
		name, value, _ := strings.Cut(args[0], "=")
		c.Env = withEnv(c.Env, name, value)
		args = args[1:]
	}
	switch {
	case login && len(args) > 0:
		c.Args = []string{"bash", "-c", strings.Join(args, " ")}
	case login:
		c.Args = []string{"bash"}
	case len(args) == 0:
		return usage(p, fmt.Errorf("a command is required"))
	default:
		c.Args = args
	}
	return c.run(ctx)
}

func baseEnv(a account) []string {
	return []string{
		"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name, "SHELL=/bin/bash",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
}

func env(ctx context.Context, p *Process) int {
	c := p.child()
	args := p.Args[1:]
	for len(args) > 0 {
		a := args[0]
		switch name, value, isVar := strings.Cut(a, "="); {
		case a == "-i" || a == "-":
			c.Env = nil
		case a == "-u" && len(args) > 1:
			args = args[1:]
			var kept []string
			for _, e := range c.Env {
				if !strings.HasPrefix(e, args[0]+"=") {
					kept = append(kept, e)
				}
			}
			c.Env = kept
		case strings.HasPrefix(a, "-"):
			return usage(p, fmt.Errorf("invalid option '%s'", a))
		case isVar:
			c.Env = withEnv(c.Env, name, value)
		default:
			c.Args = args
			return c.run(ctx)
		}
		args = args[1:]
	}
	for _, e := range c.Env {
		fmt.Fprintln(p.Stdout, e)
	}
	return 0
}

func printenv(_ context.Context, p *Process) int {
	if len(p.Args) == 1 {
		for _, e := range p.Env {
			fmt.Fprintln(p.Stdout, e)
		}
		return 0
	}
	status := 0
	for _, name := range p.Args[1:] {
		found := false
		for _, e := range p.Env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				fmt.Fprintln(p.Stdout, v)
				found = true
			}
		}
		if !found {
			status = 1
		}
	}
	return status
}

// passOn runs its arguments: nohup and setsid, where there is no terminal.
func passOn(ctx context.Context, p *Process) int {
	args := p.Args[1:]
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	if len(args) == 0 {
		return usage(p, fmt.Errorf("missing operand"))
	}
	return p.child(args...).run(ctx)
}

func timeout(ctx context.Context, p *Process) int {
	_, args, err := options(p, "k:s:v", map[string]string{"foreground": "f", "preserve-status": "p", "kill-after": "k", "signal": "s"})
	if err != nil || len(args) < 2 {
		return usage(p, fmt.Errorf("missing operand (%v)", err))
	}
	d, err := seconds(args[0])
	if err != nil {
		return usage(p, err)
	}
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	status := p.child(args[1:]...).run(limited)
	if limited.Err() != nil && ctx.Err() == nil {
		return 124
	}
	return status
}

// seconds reads "1.5", "2s", "3m", "4h" and "5d".
func seconds(s string) (time.Duration, error) {
	unit := time.Second
	if s != "" {
		if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[s[len(s)-1]]; ok {
			unit, s = u, s[:len(s)-1]
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 {
		return 0, fmt.Errorf("invalid time interval '%s'", s)
	}
	return time.Duration(f * float64(unit)), nil
}

func sleep(ctx context.Context, p *Process) int {
	var total time.Duration
	for _, a := range p.Args[1:] {
		d, err := seconds(a)
		if err != nil {
			return usage(p, err)
		}
		total += d
	}
	t := time.NewTimer(total)
	defer t.Stop()
	select {
	case <-t.C:
		return 0
	case <-ctx.Done():
		return 130
	}
}
