// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
)

// tree is the file system of a Fast machine: a folder of the host, seen as a
// chroot would show it. Two layers keep a guest inside. Paths and symbolic
// links are resolved here, link by link, with the tree's root as "/"; what
// comes out is then opened through os.Root, which refuses anything that leaves
// the folder even if a link was swapped in between.
//
// Who owns what and which permission bits it has is kept beside the host's
// files, by inode: the host's user need not be root, and a guest's mode 0000
// must not keep the machine itself from packing its disk.
type tree struct {
	root *os.Root
	dir  string

	mu   sync.Mutex
	meta map[uint64]inodeMeta
}

type inodeMeta struct {
	uid  int
	perm fs.FileMode // permission bits with setuid, setgid and sticky
}

const permMask = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// newTree makes an empty file system in dir, which must exist and be empty.
func newTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the machine's root: %w", err)
	}
	t := &tree{root: root, dir: dir, meta: make(map[uint64]inodeMeta)}
	info, err := root.Lstat(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("look at the machine's root: %w", err)
	}
	t.setMeta(info, inodeMeta{uid: 0, perm: 0o755})
	return t, nil
}

// close removes the host's copy of the file system.
func (t *tree) close() error {
	err := t.root.Close()
	return errors.Join(err, os.RemoveAll(t.dir))
}

func (t *tree) setMeta(info fs.FileInfo, m inodeMeta) {
	if n, ok := inode(info); ok {
		t.mu.Lock()
		t.meta[n] = m
		t.mu.Unlock()
	}
}

func (t *tree) metaOf(info fs.FileInfo) inodeMeta {
	if n, ok := inode(info); ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		if m, ok := t.meta[n]; ok {
			return m
		}
	}
	return inodeMeta{perm: info.Mode() & permMask}
}

// guestInfo shows a file as the guest sees it.
type guestInfo struct {
	fs.FileInfo
	name string
	meta inodeMeta
}

func (g guestInfo) Name() string { return g.name }
func (g guestInfo) Mode() fs.FileMode {
	return g.FileInfo.Mode()&^permMask | g.meta.perm
}

func (t *tree) info(name string, i fs.FileInfo) guestInfo {
	return guestInfo{FileInfo: i, name: path.Base(name), meta: t.metaOf(i)}
}

// resolve turns a guest's absolute path into one relative to the root that
// holds no symbolic link, except as its last element when follow is false.
// The last element need not exist. uid must be allowed to search each folder
// on the way.
func (t *tree) resolve(name string, follow bool, uid int) (string, error) {
	const maxLinks = 40 // as Linux has it
	links := 0
	done := "."
	todo := split(name)
	for len(todo) > 0 {
		elem := todo[0]
		todo = todo[1:]
		if elem == ".." {
			done = path.Dir(done) // the parent of the root is the root
			continue
		}
		if err := t.allowed(done, uid, 0o1); err != nil {
			return "", &fs.PathError{Op: "open", Path: name, Err: err}
		}
		next := path.Join(done, elem)
		info, err := t.root.Lstat(next)
		switch {
		case err != nil && len(todo) == 0 && errors.Is(err, fs.ErrNotExist):
			return next, nil
		case err != nil:
			return "", guestError("open", name, err)
		case info.Mode()&fs.ModeSymlink == 0 || (len(todo) == 0 && !follow):
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
		}
		target, err := t.root.Readlink(next)
		if err != nil {
			return "", guestError("readlink", name, err)
		}
		if path.IsAbs(target) {
			done = "."
		}
		todo = append(split(target), todo...)
	}
	return done, nil
}

// split cuts a path into its elements; ".." stays, because it is only known
// where it leads once the links before it are resolved.
func split(name string) []string {
	var out []string
	for _, e := range strings.Split(name, "/") {
		if e != "" && e != "." {
			out = append(out, e)
		}
	}
	return out
}

// guestError takes the host's paths out of an error and keeps its cause.
func guestError(op, name string, err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// allowed says whether uid has want (4 read, 2 write, 1 search or execute) on
// a resolved path.
func (t *tree) allowed(rel string, uid int, want fs.FileMode) error {
	info, err := t.root.Lstat(rel)
	if err != nil {
		return err
	}
	m := t.metaOf(info)
	if uid == 0 {
		if want&1 != 0 && !info.IsDir() && m.perm&0o111 == 0 {
			return syscall.EACCES // root, too, cannot execute what nobody may
		}
		return nil
	}
	bits := m.perm & 0o7
	if m.uid == uid {
		bits = m.perm >> 6 & 0o7
	}
	if bits&want != want {
		return syscall.EACCES
	}
	return nil
}

// access is what test -r, -w and -x ask.
func (t *tree) access(name string, uid int, want fs.FileMode) error {
	rel, err := t.resolve(name, true, uid)
	if err != nil {
		return err
	}
	if err := t.allowed(rel, uid, want); err != nil {
		return guestError("access", name, err)
	}
	return nil
}

func (t *tree) stat(name string, follow bool, uid int) (fs.FileInfo, error) {
	rel, err := t.resolve(name, follow, uid)
	if err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(rel)
	if err != nil {
		return nil, guestError("stat", name, err)
	}
	return t.info(name, info), nil
}

// open opens a file as uid; perm has the umask already taken off.
func (t *tree) open(name string, flag int, perm fs.FileMode, uid int) (*os.File, error) {
	rel, err := t.resolve(name, flag&os.O_EXCL == 0, uid)
	if err != nil {
		return nil, err
	}
	info, err := t.root.Lstat(rel)
	created := errors.Is(err, fs.ErrNotExist)
	switch {
	case created && flag&os.O_CREATE == 0:
		return nil, guestError("open", name, err)
	case created:
		if err := t.allowed(path.Dir(rel), uid, 0o3); err != nil {
			return nil, guestError("open", name, err)
		}
	case err != nil:
		return nil, guestError("open", name, err)
	default:
		want := fs.FileMode(0o4)
		switch {
		case flag&os.O_RDWR != 0:
			want = 0o6
		case flag&os.O_WRONLY != 0:
			want = 0o2
		}
		if err := t.allowed(rel, uid, want); err != nil {
			return nil, guestError("open", name, err)
		}
		if info.IsDir() && want != 0o4 {
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
		}
		if !info.IsDir() && !info.Mode().IsRegular() {
			return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENXIO}
		}
	}
	f, err := t.root.OpenFile(rel, flag, 0o600)
	if err != nil {
		return nil, guestError("open", name, err)
	}
	if created {
		if st, err := f.Stat(); err == nil {
			t.setMeta(st, inodeMeta{uid: uid, perm: perm & permMask})
		}
	}
	return f, nil
}

func (t *tree) readFile(name string, uid int) ([]byte, error) {
	f, err := t.open(name, os.O_RDONLY, 0, uid)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, guestError("read", name, err)
	}
	return data, nil
}

func (t *tree) writeFile(name string, data []byte, perm fs.FileMode, uid int) error {
	f, err := t.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm, uid)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// readDir lists a folder, sorted by name.
func (t *tree) readDir(name string, uid int) ([]fs.DirEntry, error) {
	rel, err := t.resolve(name, true, uid)
	if err != nil {
		return nil, err
	}
	if err := t.allowed(rel, uid, 0o4); err != nil {
		return nil, guestError("open", name, err)
	}
	entries, err := fs.ReadDir(t.root.FS(), rel)
	if err != nil {
		return nil, guestError("open", name, err)
	}
	for i, e := range entries {
		info, err := t.root.Lstat(path.Join(rel, e.Name()))
		if err != nil {
			return nil, guestError("stat", path.Join(name, e.Name()), err)
		}
		entries[i] = fs.FileInfoToDirEntry(t.info(e.Name(), info))
	}
	return entries, nil
}
