// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package flags has what the commands beside Packer's own have in common on their
// command lines.
package flags

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// Run runs a command for a terminal and returns its exit code. Ctrl-C ends its context,
// and the log is shown only where PACKER_LOG asks for it.
func Run(ctx context.Context, command func(ctx context.Context) int) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Getenv("PACKER_LOG") == "" {
		log.SetOutput(io.Discard)
	}
	return command(ctx)
}

// Parse reads the options of a command. Asked for help it writes usage, the options and
// codes, and returns flag.ErrHelp.
func Parse(f *flag.FlagSet, args []string, help io.Writer, usage, codes string) error {
	f.SetOutput(io.Discard)
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(help, usage)
		f.SetOutput(help)
		f.PrintDefaults()
		fmt.Fprint(help, codes)
		return err
	}
	if err == nil {
		return nil
	}
	if name, is := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); is {
		return fmt.Errorf("--%s is no option; see --help", name)
	}
	return fmt.Errorf("%w; see --help", err)
}

// List is a flag that may be given several times, or with commas; it implements
// flag.Value. What is said twice counts once.
type List []string

func (l *List) String() string { return strings.Join(*l, ",") }

// Set implements flag.Value.
func (l *List) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(*l, part) {
			*l = append(*l, part)
		}
	}
	return nil
}

// Or is the list, or one word where it is empty.
func (l List) Or(word string) []string {
	if len(l) == 0 {
		return []string{word}
	}
	return l
}
