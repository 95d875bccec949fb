// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The scripts of this file run on the machine. They are written for any POSIX
// shell and need nothing but coreutils, grep and gzip. Each thing that they
// have to tell is a line "armfree:key=value", so that the chatter of a login
// shell is not taken for an answer.

// quote makes one word of s for a POSIX shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// probeScript asks what kind of machine this is and who we are on it.
func probeScript(askSudo bool) string {
	script := `
printf 'armfree:system=%s\n' "$(uname -s)"
printf 'armfree:machine=%s\n' "$(uname -m)"
uid=$(id -u)
printf 'armfree:uid=%s\n' "$uid"
printf 'armfree:home=%s\n' "${HOME:-}"
`
	if askSudo {
		script += `
if [ "$uid" != 0 ]; then
	answer=$(sudo -n id -u 2>&1 </dev/null)
	printf 'armfree:sudo=%s\n' "$(printf '%s\n' "$answer" | head -n 1)"
fi
`
	}
	return script
}

// openScript makes the private folder, under the first of the given names that
// can be made and from which a program can be started.
func openScript(dirs []string) string {
	return `
umask 077
for dir in ` + quoteAll(dirs) + `; do
	if ! mkdir -m 0700 "$dir" 2>/dev/null; then
		printf 'armfree:unfit=%s cannot be written to\n' "${dir%/*}"
		continue
	fi
	printf '#!/bin/sh\nexit 0\n' >"$dir/probe"
	chmod 0700 "$dir/probe"
	if "$dir/probe" 2>/dev/null; then
		rm -f "$dir/probe"
		printf 'armfree:dir=%s\n' "$dir"
		break
	fi
	rm -rf "$dir"
	printf 'armfree:unfit=%s does not let programs run (it is mounted noexec)\n' "${dir%/*}"
done
`
}

// unpackScript turns the two uploads into goss, its inputs and the script that
// runs it. What arrived is compared with its digest before anything is made of
// it: a transfer that was cut short does not always report an error.
func unpackScript(dir, gossSum, inputsSum string, layout int) string {
	return `
umask 077
cd ` + quote(dir) + ` || exit 1
sum() { set -- $(sha256sum <"$1"); printf '%s' "$1"; }
if ! gzip -dc goss.gz >goss; then
	printf 'armfree:bad=the goss binary could not be unpacked\n'
elif [ "$(sum goss)" != ` + quote(gossSum) + ` ]; then
	printf 'armfree:bad=the goss binary arrived with the SHA-256 %s\n' "$(sum goss)"
elif [ "$(sum inputs.gz)" != ` + quote(inputsSum) + ` ]; then
	printf 'armfree:bad=the test files arrived with the SHA-256 %s\n' "$(sum inputs.gz)"
elif ! gzip -dc inputs.gz >inputs || ! head -c ` + strconv.Itoa(layout) + ` inputs >layout.sh || ! sh layout.sh ` + strconv.Itoa(layout) + `; then
	printf 'armfree:bad=the test files could not be unpacked\n'
else
	rm -f goss.gz inputs.gz inputs layout.sh
	chmod 0700 goss
fi
`
}

// runScript is the script that starts goss. It travels as a file, since it
// holds the variables: a command line can be read by everybody on the machine.
//
// goss gets a process group of its own, whose number is left in the file
// "pid", so that cancelling ends it together with what its tests started. Even
// when goss ends by itself a command that ran into its time limit may still be
// going; it is ended too. The file "stop" closes the gap in which goss runs
// and its number is not yet known.
func runScript(dir, gossfile, varsfile, inline string, env map[string]string) string {
	var b strings.Builder
	b.WriteString("cd " + quote(path.Join(dir, "tests")) + " || exit 125\n")
	// goss takes every one of its flags from the environment as well.
	b.WriteString(`
for name in $(env | grep '^GOSS_[A-Za-z0-9_]*=' | cut -d= -f1); do
	unset "$name"
done
`)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(env[name]))
	}
	if inline != "" {
		fmt.Fprintf(&b, "export GOSS_VARS_INLINE=%s\n", quote(inline))
	}
	args := []string{"--log-level", "WARN", "--gossfile", "./" + gossfile}
	if varsfile != "" {
		args = append(args, "--vars", varsfile)
	}
	args = append(args, "validate", "--format", "json", "--format-options", "sort", "--no-color")
	fmt.Fprintf(&b, `
[ -e ../stop ] && exit 143
if command -v setsid >/dev/null 2>&1; then
	setsid ../goss %[1]s </dev/null &
else
	../goss %[1]s </dev/null &
fi
pid=$!
if ! echo "$pid" >../pid || [ -e ../stop ]; then
	kill -s KILL -- "-$pid" || kill -s KILL "$pid"
	exit 143
fi
wait "$pid"
code=$?
rm -f ../pid
kill -s KILL -- "-$pid" 2>/dev/null
exit "$code"
`, quoteAll(args))
	return b.String()
}

// attemptScript runs goss once. Each run has files of its own, so that the
// result of an earlier one is never taken for its own. They are opened by this
// shell and not by root's, so that they can be fetched.
func attemptScript(dir string, n int, sudo bool) string {
	become := ""
	if sudo {
		become = "sudo -n "
	}
	return fmt.Sprintf(`
umask 077
cd %[1]s || exit 1
%[2]ssh %[3]s >result.%[4]d 2>warnings.%[4]d </dev/null
printf 'armfree:code=%%s\n' "$?"
set -- $(sha256sum <result.%[4]d)
printf 'armfree:sum=%%s\n' "$1"
[ -s warnings.%[4]d ] && printf 'armfree:warned=yes\n'
`, quote(dir), become, quote(path.Join(dir, "run.sh")), n)
}

// removeScript ends what still runs and removes every one of the given folders
// that exists. It names those that it could not remove.
func removeScript(dirs []string, sudo bool) string {
	script := `
for dir in ` + quoteAll(dirs) + `; do
	[ -d "$dir" ] || continue
	: >"$dir/stop"
	pid=
	[ -s "$dir/pid" ] && read -r pid <"$dir/pid"
	case $pid in
	"" | *[!0-9]*) ;;
	*)
		kill -s TERM -- "-$pid" 2>/dev/null || kill -s TERM "$pid" 2>/dev/null
		n=0
		while [ "$n" -lt 10 ] && kill -s 0 -- "-$pid" 2>/dev/null; do
			sleep 0.1
			n=$((n + 1))
		done
		kill -s KILL -- "-$pid" 2>/dev/null
		;;
	esac
	rm -rf "$dir"
done
`
	if sudo {
		// A test may have made files as root. Where sudo stopped working, the
		// user still removes what is theirs.
		script = "\nsudo -n sh -c " + quote(script) + " 2>/dev/null || {" + script + "}\n"
	}
	return script + `
for dir in ` + quoteAll(dirs) + `; do
	[ -e "$dir" ] && printf 'armfree:left=%s\n' "$dir"
done
`
}
