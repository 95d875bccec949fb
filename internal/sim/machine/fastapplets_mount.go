// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"context"
	"fmt"
	"path"
	"slices"
)

// mount mounts a tmpfs, and nothing else. What is put there is in the same tree as
// everything else, and is there until it is removed, or the tmpfs unmounted.
func mount(_ context.Context, p *Process) int {
	opts, args, err := options(p, "t:o:", nil)
	if err != nil || opts['t'] != "tmpfs" || len(args) != 2 {
		return usage(p, fmt.Errorf("only mount -t tmpfs SOURCE FOLDER is known here (%v)", err))
	}
	if p.UID != 0 {
		fmt.Fprintln(p.Stderr, "mount: must be superuser to use mount.")
		return 1
	}
	i, err := p.Stat(args[1])
	if err != nil || !i.IsDir() {
		fmt.Fprintf(p.Stderr, "mount: %s: mount point does not exist.\n", args[1])
		return 32
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.mounts = append(p.m.mounts, path.Clean(p.Path(args[1])))
	return 0
}

// umount forgets a tmpfs, and what is in it.
func umount(ctx context.Context, p *Process) int {
	_, args, err := options(p, "l", nil)
	if err != nil || len(args) != 1 {
		return usage(p, fmt.Errorf("only umount [-l] FOLDER is known here (%v)", err))
	}
	folder := path.Clean(p.Path(args[0]))
	p.m.mu.Lock()
	i := slices.Index(p.m.mounts, folder)
	mounted := p.UID == 0 && i >= 0
	if mounted {
		p.m.mounts = slices.Delete(p.m.mounts, i, i+1)
	}
	p.m.mu.Unlock()
	if !mounted {
		fmt.Fprintf(p.Stderr, "umount: %s: not mounted.\n", args[0])
		return 32
	}
	entries, err := p.m.tree.readDir(folder, p.UID)
	if err != nil {
		return p.fail(err)
	}
	for _, e := range entries {
		if code := p.child("rm", "-rf", path.Join(folder, e.Name())).run(ctx); code != 0 {
			return code
		}
	}
	return 0
}
