// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
)

// An applet is a program that each Fast machine is born with. It does what the
// program of the same name does, as far as build scripts use it, and refuses
// options that it does not know rather than guess.
type applet func(ctx context.Context, p *Process) int

func applets() map[string]applet {
	m := map[string]applet{
		"sh": shell, "bash": shell, "dash": shell,
		"sudo": sudo, "env": env, "printenv": printenv, "nohup": passOn, "setsid": passOn, "timeout": timeout,
		"id": id, "whoami": whoami, "uname": uname, "hostname": hostname, "date": date, "sleep": sleep,
		"which": typeOf, "sync": succeed, "cloud-init": cloudInit, "nproc": nproc,
		"poweroff": powerOff, "halt": powerOff, "shutdown": powerOff, "systemd-detect-virt": detectVirt,
		"scp": scp, "mount": mount, "umount": umount,
	}
	for name, a := range fileApplets() {
		m[name] = a
	}
	for name, a := range textApplets() {
		m[name] = a
	}
	return m
}

func succeed(context.Context, *Process) int { return 0 }

// options takes the options off p.Args. short names single-letter flags; one
// followed by ":" takes a value. long maps a long option to a short one. An
// unknown option is an error, so that no script passes by luck.
func options(p *Process, short string, long map[string]string) (map[rune]string, []string, error) {
	got := make(map[rune]string)
	args := p.Args[1:]
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			return got, args[1:], nil
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		args = args[1:]
		if name, ok := strings.CutPrefix(a, "--"); ok {
			name, value, _ := strings.Cut(name, "=")
			s, ok := long[name]
			if !ok {
				return nil, nil, fmt.Errorf("unrecognized option '%s'", a)
			}
			got[rune(s[0])] = value
			continue
		}
		for i, c := range a[1:] {
			at := strings.IndexRune(short, c)
			if at < 0 {
				return nil, nil, fmt.Errorf("invalid option -- '%c'", c)
			}
			if at+1 < len(short) && short[at+1] == ':' {
				value := a[1+i+1:]
				if value == "" {
					if len(args) == 0 {
						return nil, nil, fmt.Errorf("option requires an argument -- '%c'", c)
					}
					value, args = args[0], args[1:]
				}
				got[c] = value
				break
			}
			got[c] = ""
		}
	}
	return got, args, nil
}

func usage(p *Process, err error) int {
	fmt.Fprintf(p.Stderr, "%s: %v\n", path.Base(p.Args[0]), err)
	return 2
}

func id(_ context.Context, p *Process) int {
	opt, args, err := options(p, "ugnGr", nil)
	if err != nil {
		return usage(p, err)
	}
	a := accountByUID(p.UID)
	if len(args) > 0 {
		named, ok := accountByName(args[0])
		if !ok {
			fmt.Fprintf(p.Stderr, "id: '%s': no such user\n", args[0])
			return 1
		}
		a = named
	}
	_, name := opt['n']
	if len(opt) == 0 {
		fmt.Fprintf(p.Stdout, "uid=%d(%s) gid=%d(%s) groups=%d(%s)\n", a.uid, a.name, a.uid, a.name, a.uid, a.name)
	} else if name {
		fmt.Fprintln(p.Stdout, a.name)
	} else {
		fmt.Fprintln(p.Stdout, a.uid)
	}
	return 0
}

func whoami(_ context.Context, p *Process) int {
	fmt.Fprintln(p.Stdout, accountByUID(p.UID).name)
	return 0
}

func uname(_ context.Context, p *Process) int {
	opt, args, err := options(p, "asnrvmpio", map[string]string{"machine": "m", "kernel-name": "s", "kernel-release": "r", "all": "a"})
	if err != nil || len(args) > 0 {
		return usage(p, fmt.Errorf("extra operand (%v)", err))
	}
	if len(opt) == 0 {
		opt['s'] = ""
	}
	_, all := opt['a']
	var out []string
	for _, f := range []struct {
		flag  rune
		value string
	}{{'s', "Linux"}, {'n', p.m.hostname()}, {'r', "6.1.0-armfree-arm64"}, {'v', "#1 SMP"}, {'m', "aarch64"}, {'o', "GNU/Linux"}} {
		if _, ok := opt[f.flag]; ok || all {
			out = append(out, f.value)
		}
	}
	fmt.Fprintln(p.Stdout, strings.Join(out, " "))
	return 0
}

func hostname(_ context.Context, p *Process) int {
	fmt.Fprintln(p.Stdout, p.m.hostname())
	return 0
}

func nproc(_ context.Context, p *Process) int {
	fmt.Fprintln(p.Stdout, max(1, p.m.spec.CPUs))
	return 0
}

func detectVirt(_ context.Context, p *Process) int {
	fmt.Fprintln(p.Stdout, "kvm")
	return 0
}

// date knows the formats that scripts use for stamps.
func date(_ context.Context, p *Process) int {
	now := time.Now().UTC()
	var format string
	for _, a := range p.Args[1:] {
		switch {
		case a == "-u" || a == "--utc":
		case a == "-Is" || a == "--iso-8601=seconds":
			format = "%Y-%m-%dT%H:%M:%S+00:00"
		case strings.HasPrefix(a, "+"):
			format = a[1:]
		default:
			return usage(p, fmt.Errorf("invalid option '%s'", a))
		}
	}
	if format == "" {
		format = "%a %b %e %H:%M:%S UTC %Y"
	}
	out := strings.NewReplacer("%Y", now.Format("2006"), "%m", now.Format("01"), "%d", now.Format("02"), "%H", now.Format("15"),
		"%M", now.Format("04"), "%S", now.Format("05"), "%s", strconv.FormatInt(now.Unix(), 10), "%F", now.Format("2006-01-02"),
		"%T", now.Format("15:04:05"), "%N", now.Format("000000000"), "%a", now.Format("Mon"), "%b", now.Format("Jan"),
		"%e", now.Format("_2"), "%Z", "UTC", "%z", "+0000", "%%", "%").Replace(format)
	fmt.Fprintln(p.Stdout, out)
	return 0
}

// cloudInit answers the question that templates wait for. By the time anyone
// can log in, what this machine does at first boot is done.
func cloudInit(ctx context.Context, p *Process) int {
	switch {
	case len(p.Args) > 1 && p.Args[1] == "status":
		fmt.Fprint(p.Stdout, "status: done\n")
		return 0
	case len(p.Args) > 1 && p.Args[1] == "clean": // with whatever options
		return p.child("rm", "-rf", "/var/lib/cloud").run(ctx)
	}
	return usage(p, fmt.Errorf("only 'status' and 'clean' are known here"))
}

func powerOff(_ context.Context, p *Process) int {
	if p.UID != 0 {
		fmt.Fprintf(p.Stderr, "%s: must be root\n", p.Args[0])
		return 1
	}
	for _, a := range p.Args[1:] {
		if a == "-r" {
			return usage(p, fmt.Errorf("restarting is not possible here"))
		}
	}
	p.m.powerOff()
	return 0
}

// lines calls f for each line of r, without its newline.
func lines(r io.Reader, f func(string) bool) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	text := string(data)
	for text != "" {
		line, rest, _ := strings.Cut(text, "\n")
		if !f(line) {
			return nil
		}
		text = rest
	}
	return nil
}
