// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"fmt"
	"maps"
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

// probeScript asks what kind of machine this is and who we are on it; with a
// command for sudo, also whether that makes us root.
func probeScript(sudo string) string {
	script := `
printf 'armfree:system=%s\n' "$(uname -s)"
printf 'armfree:machine=%s\n' "$(uname -m)"
printf 'armfree:kernel=%s\n' "$(uname -r)"
[ -r /etc/os-release ] && sed 's/^/armfree:release=/' /etc/os-release
uid=$(id -u)
printf 'armfree:uid=%s\n' "$uid"
printf 'armfree:home=%s\n' "${HOME:-}"
`
	if sudo != "" {
		script += `
if [ "$uid" != 0 ]; then
	answer=$(` + sudo + ` id -u 2>&1)
	printf 'armfree:sudo=%s\n' "$(printf '%s\n' "$answer" | tail -n 1)"
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

// unpackScript turns the uploads into goss, its inputs and the scripts that
// run it. What arrived is compared with its digest before anything is made of
// it: a transfer that was cut short does not always report an error. The digest
// is that of the compressed binary, which is a third of it and knows by itself
// whether it was unpacked whole. Without one there is no goss to unpack.
func unpackScript(dir, gossSum, inputsSum string, layout int, last string) string {
	script := `
umask 077
cd ` + quote(dir) + ` || exit 1
sum() { set -- $(sha256sum <"$1"); printf '%s' "$1"; }
`
	if gossSum != "" {
		script += `if [ "$(sum goss.gz)" != ` + quote(gossSum) + ` ]; then
	printf 'armfree:bad=the goss binary arrived with the SHA-256 %s\n' "$(sum goss.gz)"
elif ! gzip -dc goss.gz >goss; then
	printf 'armfree:bad=the goss binary could not be unpacked\n'
el`
	}
	return script + `if [ "$(sum inputs.gz)" != ` + quote(inputsSum) + ` ]; then
	printf 'armfree:bad=the test files arrived with the SHA-256 %s\n' "$(sum inputs.gz)"
elif ! gzip -dc inputs.gz >inputs || ! head -c ` + strconv.Itoa(layout) + ` inputs >layout.sh || ! sh layout.sh ` + strconv.Itoa(layout) + `; then
	printf 'armfree:bad=the test files could not be unpacked\n'
else
	rm -f goss.gz inputs.gz inputs layout.sh
	[ ! -e goss ] || chmod 0700 goss
` + last + `
fi
`
}

// program is everything about goss that is the same for each of its runs.
type program struct {
	dir    string // the private folder
	work   string // goss's working directory
	goss   string // goss itself
	inline string
	env    map[string]string
}

// script starts goss with the arguments that it is given. It travels as a
// file, since it holds the variables: a command line can be read by everybody
// on the machine.
//
// goss gets a process group of its own, whose number is left in the file
// "pid", so that cancelling ends it together with what its tests started. Even
// when goss ends by itself a command that ran into its time limit may still be
// going; it is ended too. The file "stop" closes the gap in which goss runs
// and its number is not yet known.
//
// The variables of the template exist only in the shell that becomes goss. All
// that this shell still reads are its positional parameters, so that no name
// of a variable steers it: the script around it writes and deletes as root. Its
// own variables have a prefix, since one that the machine exports by the same
// name would be changed for goss as well.
func (p program) script() string {
	var b strings.Builder
	b.WriteString("umask 022\narmfree_dir=" + quote(p.dir) + "\ncd " + quote(p.work) + " || exit 125\n")
	// goss takes every one of its flags from the environment as well.
	fmt.Fprintf(&b, `
for armfree_name in $(env | grep '^GOSS_[A-Za-z0-9_]*=' | cut -d= -f1); do
	unset "$armfree_name"
done
[ -e "$armfree_dir/stop" ] && exit 143
set -- %s "$@"
armfree_setsid=$(command -v setsid) && set -- "$armfree_setsid" "$@"
{
`, quote(p.goss))
	for _, name := range slices.Sorted(maps.Keys(p.env)) {
		if !strings.HasPrefix(name, "GOSS_") {
			fmt.Fprintf(&b, "\texport %s=%s\n", name, quote(p.env[name]))
		}
	}
	if p.inline != "" {
		fmt.Fprintf(&b, "\texport GOSS_VARS_INLINE=%s\n", quote(p.inline))
	}
	b.WriteString(`	exec "$@"
} </dev/null &
armfree_pid=$!
if ! echo "$armfree_pid" >"$armfree_dir/pid" || [ -e "$armfree_dir/stop" ]; then
	kill -s KILL -- "-$armfree_pid" || kill -s KILL "$armfree_pid"
	exit 143
fi
wait "$armfree_pid"
armfree_code=$?
rm -f "$armfree_dir/pid"
kill -s KILL -- "-$armfree_pid" 2>/dev/null
exit "$armfree_code"
`)
	return b.String()
}

// jobScript runs a script once, as whoever it is to run. Each run has files of
// its own, so that the result of an earlier one is never taken for its own.
// They are opened by this shell and not by root's, so that they can be fetched.
func jobScript(dir, name, script, become string) string {
	return fmt.Sprintf(`
umask 077
cd %[1]s || exit 1
printf '%%s\n' %[2]s >job.%[3]s
chmod 0700 job.%[3]s
%[4]s >result.%[3]s 2>warnings.%[3]s
printf 'armfree:code=%%s\n' "$?"
set -- $(sha256sum <result.%[3]s)
printf 'armfree:sum=%%s\n' "$1"
set -- $(sha256sum <warnings.%[3]s)
[ -s warnings.%[3]s ] && printf 'armfree:warned=%%s\n' "$1"
# Short ones come back by themselves, which saves a transfer.
if [ "$(wc -c <result.%[3]s)" -le %[5]d ]; then
	printf 'armfree:result='
	base64 <result.%[3]s | tr -d '\n'
	printf '\n'
fi
`, quote(dir), quote("#!/bin/sh\n"+script), name, become, maxInlineResult)
}

// maxInlineResult is the size up to which a result is printed in base64. It
// must fit into maxAnswer.
const maxInlineResult = 150_000

// leaveScript ends what still runs in the folder. Unless that is to be kept, it
// takes back what was put outside of it, and removes it. The folder may be gone
// by then.
func leaveScript(dir, away string, keep bool) string {
	script := `
dir=` + quote(dir) + `
if [ -d "$dir" ]; then
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
fi
`
	if !keep {
		script += away + "rm -rf \"$dir\"\n"
	}
	return script
}

// removeScript leaves, at first as root where a command for that is given: a
// test may have made files as root. Where root can no longer be had, the user
// still removes what is theirs. Of the given names it says which are still there.
func removeScript(leave, asRoot string, names []string) string {
	script := "\n"
	if asRoot != "" {
		script += asRoot + " >/dev/null 2>&1\n"
	}
	script += leave
	if len(names) > 0 {
		script += `
for name in ` + quoteAll(names) + `; do
	if [ -e "$name" ] || [ -L "$name" ]; then
		printf 'armfree:left=%s\n' "$name"
	fi
done
`
	}
	return script
}
