// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// forgetLimit is how long it may take to remove the temporary key.
const forgetLimit = 30 * time.Second

// forgetScript removes the lines that end with a name from the authorized keys of
// everybody: a provisioner may have made users and given them the keys of the one
// it works as. It prints the home directories that it could not look into or
// change, which are other people's where sudo asks for a password.
const forgetScript = `exec 2>/dev/null
s= r=; [ "$(id -u)" = 0 ] && r=1 || { sudo -n sh -c : && s='sudo -n' r=1; }
seen= left=
for h in "$HOME" /root /home/* $({ getent passwd || cat /etc/passwd; } | cut -d: -f6); do
case "$seen" in *":$h:"*) continue ;; esac
seen="$seen:$h:"
if [ -z "$r" ]; then
[ -d "$h" ] || continue
if [ ! -x "$h" ] || { [ -d "$h/.ssh" ] && [ ! -x "$h/.ssh" ]; }; then left="$left $h"; continue; fi
fi
f="$h/.ssh/authorized_keys"
$s sh -c '[ -e "$0" ]' "$f" || continue
$s grep -q ' %[1]s$' "$f"
case $? in 0) ;; 1) continue ;; *) left="$left $h"; continue ;; esac
$s sh -c 'grep -v " %[1]s$" "$0" > "$0.new"; [ $? -le 1 ] && cat "$0.new" > "$0" && rm -f "$0.new"' "$f" || left="$left $h"
done
echo $left`

// forgetKey removes the build's own key from the machine, if it made one. A
// provisioner may have closed the door behind itself, so that this can no
// longer be done: it is tried, over the connection that is open, and not needed
// for a good build.
func (p *Provision) forgetKey(ctx context.Context) {
	name := p.Config.SSHTemporaryKeyPairName
	if name == "" || p.Config.Type != "ssh" || p.Connect.Comm == nil {
		return
	}
	p.UI.Say("Removing the temporary SSH key from the machine")
	ctx, cancel := context.WithTimeout(ctx, forgetLimit)
	defer cancel()
	type outcome struct {
		left string
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		var out bytes.Buffer
		// In sh, whatever the user's own shell is.
		script := "sh -c '" + strings.ReplaceAll(fmt.Sprintf(forgetScript, name), "'", `'\''`) + "'"
		cmd := &packersdk.RemoteCmd{Command: script, Stdout: &out}
		err := p.Connect.Comm.Start(ctx, cmd)
		if err == nil && cmd.Wait() != 0 {
			err = fmt.Errorf("exit status %d", cmd.ExitStatus())
		}
		done <- outcome{strings.TrimSpace(out.String()), err}
	}()
	var o outcome
	select {
	case <-ctx.Done():
		o.err = ctx.Err() // a closed firewall may keep a command for ever
	case o = <-done:
	}
	switch {
	case o.err != nil:
		p.UI.Sayf("The temporary SSH key could not be removed, so its public half stays in the image: %v", o.err)
	case o.left != "":
		p.UI.Sayf("Whether the public half of the temporary SSH key is still in these home directories could not be found out, or changed, without sudo: %s", o.left)
	}
}
