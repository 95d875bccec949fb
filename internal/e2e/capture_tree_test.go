// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// leaf is one file of a file system, of whatever kind.
type leaf struct {
	mode, owner string // in octal, of the kind and the permissions; user:group
	size        string // empty for folders
	content     string // digest of a regular file, target of a symbolic link
	xattrs      string // with capabilities and access lists
}

// readTree reads all files of an ext4 file system by debugfs: neither root nor a mount is
// needed, and the kernel does not touch it.
func readTree(t *testing.T, fs string) map[string]leaf {
	t.Helper()
	dump := filepath.Join(t.TempDir(), "files")
	if err := os.Mkdir(dump, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "debugfs", "-R", "rdump / "+dump, fs)
	tree, inodes := map[string]leaf{}, map[string]string{}
	folders := map[string]string{"<2>": "/"} // by inode
	for len(folders) > 0 {
		below := map[string]string{}
		debugfs(t, fs, "ls -p", slices.Sorted(maps.Keys(folders)), func(inode, line string) {
			f := strings.Split(line, "/")
			if len(f) != 8 || f[0] != "" {
				t.Fatalf("debugfs says %q of %s", line, inode)
			}
			name := path.Join(folders[inode], f[5])
			switch {
			case f[5] == "..", f[1] == "0":
				return
			case f[5] == "." && name != "/":
				return // as in the folder above
			case f[5] == ".":
			case strings.HasPrefix(f[2], "04"):
				below["<"+f[1]+">"] = name
			}
			inodes[name] = "<" + f[1] + ">"
			tree[name] = leaf{mode: f[2], owner: f[3] + ":" + f[4], size: f[6], content: contentOf(t, filepath.Join(dump, name), f[2])}
		})
		folders = below
	}
	names := map[string][]string{} // of hard links, one inode has several
	for name, inode := range inodes {
		names[inode] = append(names[inode], name)
	}
	debugfs(t, fs, "ea_list", slices.Sorted(maps.Keys(names)), func(inode, line string) {
		if line == "Extended attributes:" {
			return
		}
		for _, name := range names[inode] {
			x := tree[name]
			x.xattrs += strings.TrimSpace(line) + "\n"
			tree[name] = x
		}
	})
	return tree
}

// debugfs runs one command for each of many inodes, and hands out the lines that it says.
func debugfs(t *testing.T, fs, do string, inodes []string, each func(inode, line string)) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "script")
	var text strings.Builder
	for _, i := range inodes {
		fmt.Fprintf(&text, "%s %s\n", do, i)
	}
	if err := os.WriteFile(script, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	at, said := "", 0
	lines := bufio.NewScanner(strings.NewReader(command(t, "debugfs", "-f", script, fs)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		switch inode, ok := strings.CutPrefix(line, "debugfs: "+do+" "); {
		case ok:
			at, said = inode, said+1
		case at != "" && strings.TrimSpace(line) != "":
			each(at, line)
		}
	}
	if lines.Err() != nil || said != len(inodes) {
		t.Fatalf("debugfs did %d of %d: %v", said, len(inodes), lines.Err())
	}
}

func contentOf(t *testing.T, file, mode string) string {
	t.Helper()
	switch {
	case strings.HasPrefix(mode, "12"):
		to, err := os.Readlink(file)
		if err != nil {
			t.Fatal(err)
		}
		return to
	case !strings.HasPrefix(mode, "10"):
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// unlike is a difference between an image and a captured disk.
type unlike struct{ path, what string }

func (u unlike) String() string { return u.path + ": " + u.what }

// compareTrees lists all differences, by path.
func compareTrees(image, captured map[string]leaf) (list []unlike) {
	all := maps.Clone(image)
	maps.Copy(all, captured)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a, inImage := image[name]
		b, inCaptured := captured[name]
		switch {
		case !inCaptured:
			list = append(list, unlike{name, "not in the captured disk"})
			continue
		case !inImage:
			list = append(list, unlike{name, "not in the image"})
			continue
		}
		for _, x := range []struct{ what, image, captured string }{
			{"mode", a.mode, b.mode}, {"owner", a.owner, b.owner}, {"size", a.size, b.size}, {"content", a.content, b.content}, {"attributes", a.xattrs, b.xattrs},
		} {
			if x.image != x.captured {
				list = append(list, unlike{name, fmt.Sprintf("%s %q in the image, %q in the captured disk", x.what, x.image, x.captured)})
			}
		}
	}
	return list
}

// mayDiffer is what docs/capture.md says may differ: a file, or a folder with all below it
// if it ends with a slash; parts of a path may be patterns.
type mayDiffer struct{ paths []string }

// allows says whether a path is among them, and by which entry.
func (m mayDiffer) allows(name string) (entry string, ok bool) {
	for _, p := range m.paths {
		folder, all := strings.CutSuffix(p, "/")
		at := name
		for all && strings.Count(at, "/") > strings.Count(folder, "/") {
			at = path.Dir(at)
		}
		if yes, err := path.Match(folder, at); err == nil && yes && (!all || at != name) {
			return p, true
		}
	}
	return "", false
}

// documentedDifferences reads the table in docs/capture.md.
func documentedDifferences() (m mayDiffer, err error) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "capture.md"))
	if err != nil {
		return m, err
	}
	_, after, ok := strings.Cut(string(text), "## What differs from an image\n")
	section, _, _ := strings.Cut(after, "\n## ")
	for line := range strings.Lines(section) {
		cell, isRow := strings.CutPrefix(line, "| `")
		cell, _, _ = strings.Cut(cell, " |")
		if !isRow {
			continue
		}
		for _, p := range strings.Split(cell, "`, `") {
			p = strings.Trim(p, "`")
			if _, err := path.Match(p, ""); err != nil || !strings.HasPrefix(p, "/") {
				return m, fmt.Errorf("%q is no path", p)
			}
			m.paths = append(m.paths, p)
		}
	}
	if !ok || len(m.paths) == 0 {
		err = errors.New("docs/capture.md does not say what differs")
	}
	return m, err
}
