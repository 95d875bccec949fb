// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Bench measures this plugin beside the plugins that people use today, in the same
// simulated clouds with the same delays, by the real Packer, and prints tables.
//
// The peers are binaries, named by PEER_ORACLE_PLUGIN, PEER_AMAZON_PLUGIN and
// PEER_GOSS_PLUGIN; the rows of one that is missing are left out, which is said.
// Run it by "make bench".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is what was asked for.
type bench struct {
	packer, plugin       string
	oracle, amazon, goss string // the peers
	runs                 int
	states               []string
	sources              int
	traces               string
	out                  io.Writer
}

// section is a part of the report.
type section struct {
	name string
	run  func(*bench, context.Context) error
}

func sections() []section {
	return []section{{"startup", (*bench).startup}, {"oci", (*bench).onOCI}, {"aws", (*bench).onAWS}, {"scale", (*bench).scale}, {"copies", (*bench).copies}}
}

func main() {
	b := &bench{oracle: os.Getenv("PEER_ORACLE_PLUGIN"), amazon: os.Getenv("PEER_AMAZON_PLUGIN"), goss: os.Getenv("PEER_GOSS_PLUGIN")}
	flag.StringVar(&b.packer, "packer", "bin/packer", "the Packer to run")
	flag.StringVar(&b.plugin, "plugin", "bin/packer-plugin-armfree", "the plugin to measure")
	flag.IntVar(&b.runs, "runs", 5, "how often each is run")
	flag.IntVar(&b.sources, "sources", 50, "how many sources the build of the section scale has")
	states := flag.String("states", "short,realistic,slow", "how long the states of resources last, comma-separated")
	only := flag.String("only", "", "the sections to run, comma-separated: startup, oci, aws, scale, copies; all by default")
	file := flag.String("out", "", "a file that gets the report as well")
	flag.StringVar(&b.traces, "traces", "", "a folder that gets the traces of our builds")
	flag.Parse()
	b.states = strings.Split(*states, ",")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.report(ctx, *only, *file); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// report runs the sections that are named in only, or all.
func (b *bench) report(ctx context.Context, only, file string) (err error) {
	if b.runs < 1 || b.sources < 1 {
		return errors.New("-runs and -sources must be positive")
	}
	if err := b.known(); err != nil {
		return fmt.Errorf("-states: %w", err)
	}
	wanted := strings.Split(only, ",")
	for _, name := range wanted {
		if only != "" && !slices.ContainsFunc(sections(), func(s section) bool { return s.name == name }) {
			return fmt.Errorf("-only: there is no section %q", name)
		}
	}
	b.out = os.Stdout
	if file != "" {
		f, ferr := os.Create(file)
		if ferr != nil {
			return ferr
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		b.out = io.MultiWriter(os.Stdout, f)
	}
	fmt.Fprintf(b.out, "%s/%s, %d CPUs, %s, %d runs each, %s for each request and its answer, %s\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), b.runs, roundTrip, time.Now().UTC().Format(time.DateOnly))
	for _, s := range sections() {
		if only != "" && !slices.Contains(wanted, s.name) {
			continue
		}
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// missing says that the rows of a peer are left out.
func (b *bench) missing(variable, peer string) {
	fmt.Fprintf(b.out, "\n%s does not name a binary of %s: its rows are missing.\n", variable, peer)
}
