// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Command zip looks into zip files, since not every machine has unzip:
//
//	zip list FILE           prints the names of what is in it, sorted
//	zip extract FILE NAME   writes one of its files to the standard output
package main

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"slices"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "zip:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == "list" || len(args) == 3 && args[0] == "extract" {
		z, err := zip.OpenReader(args[1])
		if err != nil {
			return err
		}
		defer z.Close()
		if args[0] == "list" {
			return list(z, out)
		}
		f, err := z.Open(args[2])
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(out, f) // whose end is wrong if its checksum is
		return err
	}
	return fmt.Errorf("usage: zip list FILE | zip extract FILE NAME")
}

func list(z *zip.ReadCloser, out io.Writer) error {
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	for _, n := range names {
		if _, err := fmt.Fprintln(out, n); err != nil {
			return err
		}
	}
	return nil
}
