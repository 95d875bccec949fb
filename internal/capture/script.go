// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capture

import (
	"strings"

	"github.com/armfree/packer-plugin-armfree/internal/capture/wire"
)

// asRoot begins commands that root has to run.
const asRoot = `r=; [ "$(id -u)" = 0 ] || r="sudo -n"; `

// quote makes one word of a text, for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// InstallCommand puts the helper, which is on standard input, into a folder in memory of
// its own. Nothing of it is on a disk: not even the folder, as /run is in memory, too.
func InstallCommand(dir string, b *Binary) string {
	inner := `umask 077; umount -l "$0" 2>/dev/null; rmdir "$0" 2>/dev/null; ` +
		`mkdir "$0" && mount -t tmpfs -o mode=0700,size=64m armfree "$0" && gzip -dc >"$0/helper" && chmod 700 "$0/helper" && ` +
		`[ "$(sha256sum <"$0/helper" | cut -c 1-64)" = ` + b.SHA256 + ` ]`
	return "sh -c " + quote(asRoot+"$r sh -c "+quote(inner)+" "+quote(dir))
}

// RunCommand runs the helper. What it prints is for [Attach].
func RunCommand(dir string) string {
	return "sh -c " + quote(asRoot+"$r "+dir+"/helper "+dir+"; "+wire.EndCommand)
}
