// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/pkg/sftp"
)

// sftpFiles serves a machine's files over SFTP with the rights of one user.
type sftpFiles struct {
	t   *tree
	uid int
}

func serveSFTP(p *Process, ch io.ReadWriteCloser) error {
	f := &sftpFiles{t: p.m.tree, uid: p.UID}
	s := sftp.NewRequestServer(ch, sftp.Handlers{FileGet: f, FilePut: f, FileCmd: f, FileList: f},
		sftp.WithStartDirectory(p.Dir))
	err := s.Serve()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (f *sftpFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	return f.t.open(r.Filepath, os.O_RDONLY, 0, f.uid)
}

func (f *sftpFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	flag := os.O_WRONLY
	want := r.Pflags()
	if want.Creat {
		flag |= os.O_CREATE
	}
	if want.Trunc {
		flag |= os.O_TRUNC
	}
	if want.Excl {
		flag |= os.O_EXCL
	}
	return f.t.open(r.Filepath, flag, 0o644, f.uid)
}

func (f *sftpFiles) Filecmd(r *sftp.Request) error {
	switch r.Method {
	case "Setstat":
		return f.setstat(r)
	case "Rename", "PosixRename":
		return f.t.rename(r.Filepath, r.Target, f.uid)
	case "Rmdir", "Remove":
		return f.t.remove(r.Filepath, f.uid)
	case "Mkdir":
		return f.t.mkdir(r.Filepath, 0o755, f.uid)
	case "Symlink":
		// The protocol's order of arguments is OpenSSH's: the link's target is
		// Filepath as sent, the link's own name is Target.
		return f.t.symlink(r.Filepath, r.Target, f.uid)
	}
	return sftp.ErrSSHFxOpUnsupported
}

func (f *sftpFiles) setstat(r *sftp.Request) error {
	flags, attrs := r.AttrFlags(), r.Attributes()
	if flags.Permissions {
		if err := f.t.chmod(r.Filepath, fromOctal(attrs.Mode&0o7777), f.uid); err != nil {
			return err
		}
	}
	if flags.Acmodtime {
		if err := f.t.chtimes(r.Filepath, time.Unix(int64(attrs.Mtime), 0), f.uid); err != nil {
			return err
		}
	}
	if flags.Size {
		file, err := f.t.open(r.Filepath, os.O_WRONLY, 0, f.uid)
		if err != nil {
			return err
		}
		return errors.Join(file.Truncate(int64(attrs.Size)), file.Close())
	}
	return nil
}

func (f *sftpFiles) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	switch r.Method {
	case "List":
		entries, err := f.t.readDir(r.Filepath, f.uid)
		if err != nil {
			return nil, err
		}
		var out listing
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			out = append(out, sftpInfo{info})
		}
		return out, nil
	case "Stat":
		info, err := f.t.stat(r.Filepath, true, f.uid)
		if err != nil {
			return nil, err
		}
		return listing{sftpInfo{info}}, nil
	}
	return nil, sftp.ErrSSHFxOpUnsupported
}

// Lstat describes a link itself.
func (f *sftpFiles) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	info, err := f.t.stat(r.Filepath, false, f.uid)
	if err != nil {
		return nil, err
	}
	return listing{sftpInfo{info}}, nil
}

// Readlink returns where a link points.
func (f *sftpFiles) Readlink(name string) (string, error) { return f.t.readlink(name, f.uid) }

// RealPath resolves links as realpath(3) does.
func (f *sftpFiles) RealPath(name string) (string, error) {
	if !path.IsAbs(name) {
		name = path.Join(accountByUID(f.uid).home, name)
	}
	rel, err := f.t.resolve(name, true, f.uid)
	if err != nil {
		return "", err
	}
	return path.Join("/", rel), nil
}

// sftpInfo keeps the host's owner out of replies.
type sftpInfo struct{ fs.FileInfo }

func (sftpInfo) Sys() any { return nil }

type listing []fs.FileInfo

func (l listing) ListAt(out []fs.FileInfo, at int64) (int, error) {
	if at >= int64(len(l)) {
		return 0, io.EOF
	}
	n := copy(out, l[at:])
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}
