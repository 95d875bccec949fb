// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	mdCode    = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
	mdOption  = regexp.MustCompile("(?m)^@include '([^']+)'$")
)

// anchors are the headings of a page as GitHub makes anchors of them, and those of what
// it includes.
func anchors(t *testing.T, root, text string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range mdHeading.FindAllStringSubmatch(text, -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case r == ' ':
				b.WriteRune('-')
			case r == '-', r == '_', r >= 'a' && r <= 'z', r >= '0' && r <= '9', r > 127:
				b.WriteRune(r)
			}
		}
		all[b.String()] = true
	}
	for _, m := range mdOption.FindAllStringSubmatch(text, -1) {
		part, err := os.ReadFile(filepath.Join(root, "docs-partials", filepath.FromSlash(m[1])))
		if err != nil {
			continue // of Packer's SDK
		}
		for a := range anchors(t, root, string(part)) {
			all[a] = true
		}
	}
	return all
}

// brokenLinks are the links of a page within the repository that lead nowhere.
func brokenLinks(t *testing.T, root, page string) (broken []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	body := mdCode.ReplaceAllString(string(text), "")
	for _, m := range mdLink.FindAllStringSubmatch(body, -1) {
		path, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(path, "://") || strings.HasPrefix(path, "mailto:") || strings.HasPrefix(path, "/") {
			continue
		}
		target := page
		if path != "" {
			target = filepath.Join(filepath.Dir(page), filepath.FromSlash(path))
		}
		info, err := os.Stat(target)
		switch {
		case err != nil:
			broken = append(broken, m[1])
		case anchor != "" && !info.IsDir():
			there, err := os.ReadFile(target)
			if err != nil || !anchors(t, root, string(there))[anchor] {
				broken = append(broken, m[1])
			}
		}
	}
	return broken
}

// Every link of every page leads to a page, and to a heading, that exists.
func TestLinks(t *testing.T) {
	root := filepath.Join("..", "..")
	pages := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && (rel == ".git" || rel == ".cache" || rel == "bin" || rel == ".web-docs" || rel == "docs-partials"): // partials are read in their pages
			return fs.SkipDir
		case filepath.Ext(path) != ".md" && filepath.Ext(path) != ".mdx":
			return nil
		}
		pages++
		for _, b := range brokenLinks(t, root, path) {
			t.Errorf("%s: %s leads nowhere", rel, b)
		}
		return nil
	})
	if err != nil || pages < 30 {
		t.Errorf("%d pages, %v", pages, err)
	}
	// What would be missed if this test did not look.
	dir := t.TempDir()
	page := filepath.Join(dir, "a.md")
	if err := os.WriteFile(page, []byte("# A page\n[a](b.md) [b](#a-page) [c](#none) [d](a.md#a-page) `[e](f.md)` [g](https://example.com/x)\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(brokenLinks(t, root, page), " "); got != "b.md #none" {
		t.Errorf("%q", got)
	}
}

// The partials of the options link to headings of the page that includes them.
func TestLinksOfPartials(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, pattern := range []string{"docs/*/*.mdx"} {
		pages, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(pages) == 0 {
			t.Fatal(err)
		}
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			there := anchors(t, root, string(text))
			for _, inc := range mdOption.FindAllStringSubmatch(string(text), -1) {
				part, err := os.ReadFile(filepath.Join(root, "docs-partials", filepath.FromSlash(inc[1])))
				if err != nil {
					continue // of Packer's SDK
				}
				for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(string(part), ""), -1) {
					if anchor, is := strings.CutPrefix(m[1], "#"); is && !there[anchor] {
						t.Errorf("%s includes %s, whose link %s leads nowhere", filepath.Base(page), inc[1], m[1])
					}
				}
			}
		}
	}
}
