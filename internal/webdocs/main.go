// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Webdocs makes .web-docs, which the Packer registry shows, of docs in which
// "packer-sdc renderdocs" has put the partials. A page of a component becomes
// components/TYPE/SLUG/README.md; docs/README.md becomes README.md. The front matter and
// the heading of a page go, for the registry has its own. Links to other components lead
// to their pages there, links to all else into the repository.
//
// Usage: webdocs RENDERED OUT
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/help"
)

const (
	repository = help.Repository + "/blob/main/"
	registry   = "/packer/integrations/armfree/armfree/latest/components/"
)

// types returns the registry's words for the folders in docs.
func types() map[string]string {
	return map[string]string{"builders": "builder", "provisioners": "provisioner", "post-processors": "post-processor", "datasources": "data-source"}
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: webdocs RENDERED OUT")
		os.Exit(2)
	}
	if err := compile(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "webdocs:", err)
		os.Exit(1)
	}
}

// compile makes out anew of the rendered docs in from, but for what is written by hand.
func compile(from, out string) error {
	if err := os.RemoveAll(filepath.Join(out, "components")); err != nil { //nolint:gosec // the folder that make names
		return err
	}
	if err := convert(from, "README.md", filepath.Join(out, "README.md")); err != nil {
		return err
	}
	for folder, kind := range types() {
		pages, err := filepath.Glob(filepath.Join(from, folder, "*.mdx"))
		if err != nil || len(pages) == 0 {
			return errors.Join(err, fmt.Errorf("there is no page in docs/%s", folder))
		}
		for _, p := range pages {
			name := filepath.Base(p)
			if err := convert(from, path.Join(folder, name), filepath.Join(out, "components", kind, strings.TrimSuffix(name, ".mdx"), "README.md")); err != nil {
				return err
			}
		}
	}
	return nil
}

func convert(from, page, to string) error {
	text, err := os.ReadFile(filepath.Join(from, filepath.FromSlash(page))) //nolint:gosec // likewise
	if err != nil {
		return err
	}
	if text, err = body(text); err != nil {
		return fmt.Errorf("docs/%s: %w", page, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // pages for everybody
		return err
	}
	return os.WriteFile(to, relink(text, page), 0o644) //nolint:gosec // a page for everybody
}

// body is a page without its front matter and its heading.
func body(text []byte) ([]byte, error) {
	if rest, ok := bytes.CutPrefix(text, []byte("---\n")); ok {
		_, after, ok := bytes.Cut(rest, []byte("\n---\n"))
		if !ok {
			return nil, errors.New("the front matter has no end")
		}
		text = bytes.TrimLeft(after, "\n")
	}
	head, rest, _ := bytes.Cut(text, []byte("\n"))
	if !bytes.HasPrefix(head, []byte("# ")) {
		return nil, fmt.Errorf("it begins by %q, not by a heading", head)
	}
	if bytes.Contains(rest, []byte("@include '")) {
		return nil, errors.New("a partial was not put in")
	}
	return bytes.TrimLeft(rest, "\n"), nil
}

// relink gives the links of a page, which lead to files beside it, their addresses.
func relink(text []byte, page string) []byte {
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	return link.ReplaceAllFunc(text, func(m []byte) []byte {
		to := string(link.FindSubmatch(m)[1])
		if strings.Contains(to, "://") || strings.HasPrefix(to, "#") || strings.HasPrefix(to, "/") {
			return m
		}
		to, anchor, _ := strings.Cut(to, "#")
		if anchor != "" {
			anchor = "#" + anchor
		}
		to = path.Join("docs", path.Dir(page), to)
		parts := strings.Split(to, "/")
		if len(parts) == 3 && types()[parts[1]] != "" && strings.HasSuffix(to, ".mdx") {
			return []byte("](" + registry + types()[parts[1]] + "/" + strings.TrimSuffix(parts[2], ".mdx") + anchor + ")")
		}
		return []byte("](" + repository + to + anchor + ")")
	})
}
