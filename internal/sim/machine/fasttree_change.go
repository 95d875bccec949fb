// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"io/fs"
	"path"
	"syscall"
	"time"
)

func (t *tree) mkdir(name string, perm fs.FileMode, uid int) error {
	rel, err := t.resolve(name, false, uid)
	if err != nil {
		return err
	}
	if _, err := t.root.Lstat(rel); err == nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EEXIST}
	}
	if err := t.allowed(path.Dir(rel), uid, 0o3); err != nil {
		return guestError("mkdir", name, err)
	}
	if err := t.root.Mkdir(rel, 0o700); err != nil {
		return guestError("mkdir", name, err)
	}
	info, err := t.root.Lstat(rel)
	if err != nil {
		return guestError("mkdir", name, err)
	}
	t.setMeta(info, inodeMeta{uid: uid, perm: perm & permMask})
	return nil
}

// mkdirAll makes a folder and its parents.
func (t *tree) mkdirAll(name string, perm fs.FileMode, uid int) error {
	at := "/"
	for _, e := range split(name) {
		at = path.Join(at, e)
		if info, err := t.stat(at, true, uid); err == nil {
			if !info.IsDir() {
				return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
			}
			continue
		}
		if err := t.mkdir(at, perm, uid); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) symlink(target, name string, uid int) error {
	rel, err := t.resolve(name, false, uid)
	if err != nil {
		return err
	}
	if err := t.allowed(path.Dir(rel), uid, 0o3); err != nil {
		return guestError("symlink", name, err)
	}
	if err := t.root.Symlink(target, rel); err != nil {
		return guestError("symlink", name, err)
	}
	if info, err := t.root.Lstat(rel); err == nil {
		t.setMeta(info, inodeMeta{uid: uid, perm: 0o777})
	}
	return nil
}

func (t *tree) readlink(name string, uid int) (string, error) {
	rel, err := t.resolve(name, false, uid)
	if err != nil {
		return "", err
	}
	target, err := t.root.Readlink(rel)
	if err != nil {
		return "", guestError("readlink", name, err)
	}
	return target, nil
}

// mayUnlink says whether uid may take an entry out of its folder; in a sticky
// folder only its owner may.
func (t *tree) mayUnlink(rel string, uid int) error {
	dir := path.Dir(rel)
	if err := t.allowed(dir, uid, 0o3); err != nil {
		return err
	}
	if uid == 0 {
		return nil
	}
	d, err := t.root.Lstat(dir)
	if err != nil {
		return err
	}
	e, err := t.root.Lstat(rel)
	if err != nil {
		return err
	}
	if dm := t.metaOf(d); dm.perm&fs.ModeSticky != 0 && dm.uid != uid && t.metaOf(e).uid != uid {
		return syscall.EPERM
	}
	return nil
}

// remove takes away a file, a link or an empty folder.
func (t *tree) remove(name string, uid int) error {
	rel, err := t.resolve(name, false, uid)
	if err != nil {
		return err
	}
	if err := t.mayUnlink(rel, uid); err != nil {
		return guestError("remove", name, err)
	}
	if err := t.root.Remove(rel); err != nil {
		return guestError("remove", name, err)
	}
	return nil
}

func (t *tree) rename(from, to string, uid int) error {
	rf, err := t.resolve(from, false, uid)
	if err != nil {
		return err
	}
	rt, err := t.resolve(to, false, uid)
	if err != nil {
		return err
	}
	if err := t.mayUnlink(rf, uid); err != nil {
		return guestError("rename", from, err)
	}
	if err := t.allowed(path.Dir(rt), uid, 0o3); err != nil {
		return guestError("rename", to, err)
	}
	if err := t.root.Rename(rf, rt); err != nil {
		return guestError("rename", from, err)
	}
	return nil
}

// update changes what is kept about an inode; only its owner and root may.
func (t *tree) update(name string, uid int, change func(*inodeMeta)) error {
	rel, err := t.resolve(name, true, uid)
	if err != nil {
		return err
	}
	info, err := t.root.Lstat(rel)
	if err != nil {
		return guestError("chmod", name, err)
	}
	m := t.metaOf(info)
	if uid != 0 && m.uid != uid {
		return &fs.PathError{Op: "chmod", Path: name, Err: syscall.EPERM}
	}
	change(&m)
	t.setMeta(info, m)
	return nil
}

func (t *tree) chmod(name string, perm fs.FileMode, uid int) error {
	return t.update(name, uid, func(m *inodeMeta) { m.perm = perm & permMask })
}

// chown is for root alone.
func (t *tree) chown(name string, owner, uid int) error {
	if uid != 0 {
		return &fs.PathError{Op: "chown", Path: name, Err: syscall.EPERM}
	}
	return t.update(name, uid, func(m *inodeMeta) { m.uid = owner })
}

func (t *tree) chtimes(name string, mtime time.Time, uid int) error {
	rel, err := t.resolve(name, true, uid)
	if err != nil {
		return err
	}
	if err := t.root.Chtimes(rel, mtime, mtime); err != nil {
		return guestError("utime", name, err)
	}
	return nil
}
