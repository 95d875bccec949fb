// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// modulePath is the path of this module.
const modulePath = "github.com/armfree/packer-plugin-armfree"

// tree is the content of the repository, or of an example of one.
type tree struct {
	fset  *token.FileSet
	files []*source
}

// source is a file. Its path is relative to the root, with slashes. Only Go
// files outside testdata have syntax.
type source struct {
	path string
	data []byte
	ast  *ast.File
}

func (s *source) dir() string { return path.Dir(s.path) }

func (s *source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s *source) generated() bool { return strings.HasSuffix(s.path, ".hcl2spec.go") }

// simulation says whether a file belongs to what stands for the clouds, to the tests
// of whole builds, or to what measures them: to what never becomes part of the plugin.
func (s *source) simulation() bool { return simulation(s.dir()) }

func simulation(dir string) bool {
	return under(dir, "internal/sim") || under(dir, "internal/e2e") || under(dir, "internal/archtest") || under(dir, "bench")
}

// product says whether a file is Go code that users run.
func (s *source) product() bool {
	return s.ast != nil && !s.test() && !s.simulation()
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// load reads the named files.
func load(fsys fs.FS, paths []string) (*tree, error) {
	t := &tree{fset: token.NewFileSet()}
	for _, p := range paths {
		data, err := fs.ReadFile(fsys, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, but not committed yet
		}
		if err != nil {
			return nil, err
		}
		s := &source{path: p, data: data}
		if path.Ext(p) == ".go" && !slices.Contains(strings.Split(p, "/"), "testdata") {
			s.ast, err = parser.ParseFile(t.fset, p, data, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
		}
		t.files = append(t.files, s)
	}
	return t, nil
}

// checkout is this repository as it stands: what git would commit and what it
// knows already; without git, the former. It is read once, and never changed.
var checkout = sync.OnceValues(func() (*tree, error) {
	fsys := os.DirFS(root)
	paths, err := walk(fsys)
	if err != nil {
		return nil, err
	}
	paths = append(paths, tracked(root)...)
	slices.Sort(paths)
	return load(fsys, slices.Compact(paths))
})

// root is where the repository begins, seen from here.
const root = "../.."

func repository(t *testing.T) *tree {
	t.Helper()
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	r, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tracked lists the files that git knows, and nothing where there is no git.
// It finds what walk does not: ignored files that were committed by force.
func tracked(root string) []string {
	cmd := exec.Command("git", "ls-files", "-z", "--cached")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil // then only those files are checked that git would not ignore
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

// walk lists the files that the .gitignore at the root does not name. It knows
// the patterns that are used there: "/a/b*" and "*.c", with a slash at the end
// for folders.
func walk(fsys fs.FS) ([]string, error) {
	var patterns []string
	ignore, err := fs.ReadFile(fsys, ".gitignore")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range bytes.Lines(ignore) {
		if p := strings.TrimSpace(string(line)); p != "" && !strings.HasPrefix(p, "#") {
			patterns = append(patterns, p)
		}
	}
	var paths []string
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && p != "." {
				return nil // gone since its folder was read
			}
			return err
		}
		out, err := ignored(patterns, p, d.IsDir())
		switch {
		case err != nil:
			return err
		case d.IsDir() && (p == ".git" || out):
			return fs.SkipDir
		case d.Type().IsRegular() && p != ".git" && !out:
			paths = append(paths, p)
		}
		return nil
	})
	return paths, err
}

func ignored(patterns []string, p string, dir bool) (bool, error) {
	for _, pattern := range patterns {
		name := path.Base(p)
		want, onlyDirs := strings.CutSuffix(pattern, "/")
		if onlyDirs && !dir {
			continue
		}
		if strings.Contains(want, "/") {
			name, want = p, strings.TrimPrefix(want, "/")
		}
		ok, err := path.Match(want, name)
		if err != nil {
			return false, fmt.Errorf(".gitignore: %q: %w", pattern, err)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}
