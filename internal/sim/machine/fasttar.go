// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// unpack fills an empty tree from a tar archive. What follows the archive's
// end is not read: a disk is longer than what is on it.
func (t *tree) unpack(r io.Reader) error {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if n == 0 {
				return errors.New("the disk holds no file system")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the disk's file system: %w", err)
		}
		if err := t.unpackOne(h, tr); err != nil {
			return fmt.Errorf("unpack %s: %w", h.Name, err)
		}
	}
}

func (t *tree) unpackOne(h *tar.Header, r io.Reader) error {
	name := path.Join("/", h.Name)
	perm := h.FileInfo().Mode() & permMask
	if name != "/" {
		if err := t.mkdirAll(path.Dir(name), 0o755, 0); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := t.mkdirAll(name, 0o755, 0); err != nil {
			return err
		}
	case tar.TypeSymlink:
		return t.symlink(h.Linkname, name, 0)
	case tar.TypeReg:
		f, err := t.open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm, 0)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("file type %q cannot be on this disk", h.Typeflag)
	}
	if err := t.update(name, 0, func(m *inodeMeta) { m.perm, m.uid = perm, h.Uid }); err != nil {
		return err
	}
	return t.chtimes(name, h.ModTime, 0)
}

// pack writes the tree as a tar archive. What lives in memory on a real
// machine (/run, /dev, /proc, /sys and /dev/shm) keeps its folders only.
func (t *tree) pack(w io.Writer) error {
	tw := tar.NewWriter(w)
	err := fs.WalkDir(t.root.FS(), ".", func(rel string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if volatile(rel) {
			return nil
		}
		return t.packOne(tw, rel)
	})
	if err != nil {
		return fmt.Errorf("pack the disk's file system: %w", err)
	}
	if err := tw.Close(); err != nil {
		return fmt.Errorf("pack the disk's file system: %w", err)
	}
	return nil
}

func volatile(rel string) bool {
	dir := path.Dir(rel)
	for _, v := range []string{"run", "dev", "proc", "sys"} {
		if dir == v || len(dir) > len(v) && dir[:len(v)+1] == v+"/" {
			return true
		}
	}
	return false
}

func (t *tree) packOne(tw *tar.Writer, rel string) error {
	info, err := t.root.Lstat(rel)
	if err != nil {
		return err
	}
	var link string
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = t.root.Readlink(rel); err != nil {
			return err
		}
	}
	g := t.info(rel, info)
	h, err := tar.FileInfoHeader(g, link)
	if err != nil {
		return err
	}
	// The host's names and numbers are none of the guest's business.
	h.Name, h.Uname, h.Gname = rel, "", ""
	h.Uid, h.Gid = g.meta.uid, g.meta.uid
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	h.Format = tar.FormatPAX
	if info.IsDir() {
		h.Name += "/"
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := t.root.Open(rel)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}
