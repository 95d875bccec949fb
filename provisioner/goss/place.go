// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// placement is a working directory outside of the private folder, for
// gossfiles that name it. What is put there is taken away at the end, and what
// was there before is as it was.
type placement struct {
	dir   string // the private folder, which remembers what was done
	work  string
	files []string // relative to work
	// private is one of them that stays readable by the login user only.
	private string
	// done is what put said that it did. The private folder may be gone before
	// all of it is undone: a test or the script of finish can remove it.
	done []string
}

// folders are those that have to be there, parents first.
func (p placement) folders() []string {
	var above, below []string
	for d := path.Clean(p.work); d != "/"; d = path.Dir(d) {
		above = append(above, d)
	}
	slices.Reverse(above)
	for _, f := range p.files {
		for d := path.Dir(f); d != "."; d = path.Dir(d) {
			if full := path.Join(p.work, d); !slices.Contains(below, full) {
				below = append(below, full)
			}
		}
	}
	slices.Sort(below)
	return append(above, below...)
}

// aside is where a file goes that is in the way. It stays in its folder, so
// that it stays the same file.
func (p placement) aside(f string) string { return path.Join(p.work, f) + "." + path.Base(p.dir) }

// put is the script that puts the files in place. It is part of unpackScript,
// whose function sum it uses. Each command that may fail ends it by itself:
// left of || a shell ignores "set -e". What was to be put there is read once
// more, since a copy that was cut short does not always report an error.
//
// What away has to undo is noted, there and by us, before it is done.
func (p placement) put() string {
	var b strings.Builder
	fmt.Fprintf(&b, `
(
	umask 022
	dir=%s
	mkdir "$dir/put" || exit 1
	note() { : >"$dir/put/$1" && printf 'armfree:put=%%s\n' "$1"; }
	folder() {
		[ -d "$2" ] && return 0
		note "folder.$1" && mkdir "$2" || exit 1
	}
	file() {
		if [ -e "$3" ] || [ -L "$3" ]; then
			note "old.$1" && mv -f "$3" "$4" || exit 1
		fi
		note "file.$1" && cp "$2" "$3" || exit 1
		[ -n "$5" ] || chmod a+rX "$3" || exit 1
		want=$(sum "$2")
		[ -n "$want" ] && [ "$(sum "$3")" = "$want" ] || exit 1
	}
`, quote(p.dir))
	for i, d := range p.folders() {
		fmt.Fprintf(&b, "\tfolder %d %s\n", i, quote(d))
	}
	for i, f := range p.files {
		private := ""
		if f == p.private {
			private = "private"
		}
		fmt.Fprintf(&b, "\tfile %d %s\n", i, quoteAll([]string{path.Join(p.dir, "tests", f), path.Join(p.work, f), p.aside(f), private}))
	}
	b.WriteString("\texit 0\n) || printf '%s\\n' " + quote("armfree:bad=the test files could not be put into "+p.work) + "\n")
	return b.String()
}

// away is the script that undoes put, in a shell whose variable dir is the
// private folder. A folder that was made goes with all that is in it. What is
// undone already stays as it is.
func (p placement) away() string {
	var b strings.Builder
	b.WriteString(`
	# What was put there is ours only as long as what was there lies aside.
	back() {
		if [ -e "$4" ] || [ -L "$4" ]; then
			rm -f "$3" && mv -f "$4" "$3"
		elif [ -e "$dir/put/file.$1" ] && [ ! -e "$dir/put/old.$1" ] || [ -n "$2" ]; then
			rm -f "$3" "$dir/put/file.$1"
		fi
	}
	gone() {
		if [ -e "$dir/put/folder.$1" ] || [ -n "$2" ]; then
			rm -rf "$3" "$dir/put/folder.$1"
		fi
	}
`)
	for i, f := range p.files {
		fmt.Fprintf(&b, "\tback %d %s\n", i, quoteAll([]string{p.alone(i), path.Join(p.work, f), p.aside(f)}))
	}
	for i, d := range p.folders() {
		fmt.Fprintf(&b, "\tgone %d %s\n", i, quoteAll([]string{p.did("folder", i), d}))
	}
	return b.String()
}

// did is a word if put said that it did something.
func (p placement) did(what string, i int) string {
	if slices.Contains(p.done, fmt.Sprintf("%s.%d", what, i)) {
		return "known"
	}
	return ""
}

// alone is a word if put said that a file was put where nothing was.
func (p placement) alone(i int) string {
	if p.did("old", i) != "" {
		return ""
	}
	return p.did("file", i)
}

// remains are the names under which something of ours would be left.
func (p placement) remains() []string {
	var names []string
	for i, f := range p.files {
		names = append(names, p.aside(f))
		if p.alone(i) != "" {
			names = append(names, path.Join(p.work, f))
		}
	}
	for i, d := range p.folders() {
		if p.did("folder", i) != "" {
			names = append(names, d)
		}
	}
	return names
}
