// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Command standin takes the place of goss in the provisioner's tests. It is
// started as goss is, and insists on that. What it then does is written in its
// gossfile, one order per comment:
//
//	print FILE        copy FILE to standard output
//	say TEXT          print TEXT on standard output
//	warn TEXT         print TEXT on standard error
//	env NAME VALUE    refuse to go on unless the variable has that value
//	unset NAME        refuse to go on if the variable is set
//	vars TEXT         refuse to go on unless --vars names a file with that text
//	hang FILE         start a child, write both process ids to FILE, wait
//	orphan FILE       start a child, write its process id to FILE, go on
//	args TEXT         refuse to go on unless the arguments contain the text
//	exists FILE       refuse to go on unless there is such a file
//	exit CODE
//
// "attempt N ORDER" is carried out by the Nth run of that gossfile only.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	flags := map[string]string{}
	args := os.Args[1:]
	for i := 0; i < len(args); i++ {
		if strings.HasPrefix(args[i], "--") && args[i] != "--no-color" && args[i] != "--debug" && i+1 < len(args) {
			flags[args[i]] = args[i+1]
			i++
			continue
		}
		flags[args[i]] = "yes"
	}
	if flags["--version"] == "yes" {
		fmt.Println("goss version v0.0.1-standin")
		return
	}
	if flags["render"] == "yes" {
		fmt.Printf("rendered: %q\n# debug=%s became=%s\n", flags["--gossfile"], flags["--debug"], os.Getenv("BECAME"))
		return
	}
	for name, want := range map[string]string{
		"--format": "json", "--format-options": "sort", "--no-color": "yes", "validate": "yes",
	} {
		if flags[name] != want {
			refuse("%s is %q", name, flags[name])
		}
	}
	if flags["--log-level"] == "" {
		refuse("--log-level is not set")
	}
	orders, err := os.ReadFile(flags["--gossfile"])
	if err != nil {
		refuse("%v", err)
	}
	run := ""
	if bytes.Contains(orders, []byte("# attempt ")) {
		run = strconv.Itoa(count(flags["--gossfile"]))
	}
	for line := range strings.Lines(string(orders)) {
		line, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "# ")
		if !ok {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "attempt "); ok {
			n, order, _ := strings.Cut(rest, " ")
			if n != run {
				continue
			}
			line = order
		}
		obey(line, flags["--vars"])
	}
}

func obey(line, vars string) {
	order, rest, _ := strings.Cut(line, " ")
	switch order {
	case "", "#":
	case "print":
		b, err := os.ReadFile(rest)
		if err != nil {
			refuse("%v", err)
		}
		os.Stdout.Write(b)
	case "say":
		fmt.Println(rest)
	case "warn":
		fmt.Fprintln(os.Stderr, rest)
	case "env":
		name, want, _ := strings.Cut(rest, " ")
		if want, err := strconv.Unquote(want); err != nil || os.Getenv(name) != want {
			refuse("%s is %q", name, os.Getenv(name))
		}
	case "unset":
		if v, ok := os.LookupEnv(rest); ok {
			refuse("%s is %q", rest, v)
		}
	case "args":
		if !strings.Contains(strings.Join(os.Args, " "), rest) {
			refuse("arguments %q", os.Args)
		}
	case "exists":
		if _, err := os.Stat(rest); err != nil {
			refuse("%v", err)
		}
	case "vars":
		b, err := os.ReadFile(vars)
		if err != nil || strings.TrimSpace(string(b)) != rest {
			refuse("variables %q (%v)", b, err)
		}
	case "hang":
		child := exec.Command("sleep", "300")
		if err := child.Start(); err != nil {
			refuse("%v", err)
		}
		os.WriteFile(rest+".tmp", fmt.Appendf(nil, "%d %d\n", os.Getpid(), child.Process.Pid), 0o600)
		os.Rename(rest+".tmp", rest)
		child.Wait()
	case "orphan":
		child := exec.Command("sleep", "300")
		if err := child.Start(); err != nil {
			refuse("%v", err)
		}
		os.WriteFile(rest, fmt.Appendf(nil, "%d\n", child.Process.Pid), 0o600)
	case "exit":
		code, err := strconv.Atoi(rest)
		if err != nil {
			refuse("%v", err)
		}
		os.Exit(code)
	default:
		refuse("unknown order %q", line)
	}
}

// count says how often the stand-in was started for a gossfile.
func count(gossfile string) int {
	name := filepath.Join(filepath.Dir(os.Args[0]), "runs."+filepath.Base(gossfile))
	b, _ := os.ReadFile(name)
	b = append(b, 'x')
	if err := os.WriteFile(name, b, 0o600); err != nil {
		refuse("%v", err)
	}
	return bytes.Count(b, []byte("x"))
}

func refuse(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "stand-in: "+format+"\n", args...)
	os.Exit(99)
}
