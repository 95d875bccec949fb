// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package sshkey

import (
	"bytes"
	"errors"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"
	"time"
)

// Part is one part of user data: text that begins as cloud-init wants it, with
// #cloud-config, #cloud-boothook or #!.
type Part string

// Authorize is the part that lets a public key in, as authorized_keys has it, for
// the user that the image has by default. It adds to keys that the user data has
// already.
func Authorize(public string) Part {
	return Part("#cloud-config\nmerge_how: list(append)+dict(no_replace,recurse_list)+str()\nssh_authorized_keys:\n  - " + strings.TrimSpace(public) + "\n")
}

// The lives of a machine that PowerOff ends.
const (
	DefaultLifetime = 24 * time.Hour
	minLifetime     = 30 * time.Minute
)

// CheckLifetime says what is wrong with the options machine_lifetime, zero if it is not
// set, and skip_machine_lifetime.
func CheckLifetime(asked time.Duration, skip bool) error {
	switch {
	case skip && asked != 0:
		return errors.New("machine_lifetime and skip_machine_lifetime exclude each other")
	case !skip && asked != 0 && asked < minLifetime:
		return fmt.Errorf("machine_lifetime must be at least %s, it is %s", minLifetime, asked)
	}
	return nil
}

// PowerOff is the part that powers the machine off when it has run for a time. It is
// run at every start, since the timer does not outlive one, and by the machine that
// it was made for only: an image of that machine keeps the text, in what cloud-init
// remembers, and no timer.
//
// systemd starts no timer before the system is up, which it is not before cloud-init has
// run this: so nothing here waits for that.
func PowerOff(after time.Duration) Part {
	seconds, minutes := int64(after.Seconds()), int64((after + time.Minute - 1).Minutes())
	return Part(fmt.Sprintf("#cloud-boothook\n#!/bin/sh\n"+
		"# packer-plugin-armfree: this machine is not needed for longer\n"+
		"(systemd-run --on-active=%d systemctl poweroff || shutdown -P +%d) >/dev/null 2>&1 &\n", seconds, minutes))
}

// Mixes says whether parts can be added to user data.
func Mixes(user []byte) bool { return len(user) == 0 || partKind(user) != "" }

// Mix adds parts to the user's own user data, which may be empty.
func Mix(user []byte, parts ...Part) ([]byte, error) {
	switch {
	case len(parts) == 0:
		return user, nil
	case len(user) == 0 && len(parts) == 1:
		return []byte(parts[0]), nil
	}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	add := func(kind string, text []byte) error {
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {kind + `; charset="utf-8"`}, "MIME-Version": {"1.0"}})
		if err == nil {
			_, err = part.Write(text)
		}
		return err
	}
	var errs []error
	switch kind := partKind(user); {
	case len(user) == 0:
	case kind == "":
		return nil, errors.New("the user data is of a kind that nothing can be added to; that needs a script (#!), #cloud-config, #include or MIME")
	case kind == "MIME":
		// It brings its own headers: cloud-init reads parts within parts.
		fmt.Fprintf(&body, "--%s\r\n%s\r\n", w.Boundary(), bytes.TrimSpace(user))
	default:
		errs = append(errs, add(kind, user))
	}
	for _, p := range parts {
		errs = append(errs, add(partKind([]byte(p)), []byte(p)))
	}
	if err := errors.Join(append(errs, w.Close())...); err != nil {
		return nil, err
	}
	head := fmt.Sprintf("Content-Type: multipart/mixed; boundary=\"%s\"\nMIME-Version: 1.0\n\n", w.Boundary())
	return append([]byte(head), body.Bytes()...), nil
}

// partKind is how cloud-init calls user data that begins like that. A kind is the
// whole first word: "#cloud-config-archive" is no "#cloud-config".
func partKind(user []byte) string {
	line, _, _ := bytes.Cut(user, []byte("\n"))
	word := string(line)
	if i := bytes.IndexAny(line, " \t\r"); i >= 0 {
		word = word[:i]
	}
	switch {
	case strings.HasPrefix(word, "#!"):
		return "text/x-shellscript"
	case strings.HasPrefix(word, "Content-Type:"), strings.HasPrefix(word, "MIME-Version:"):
		return "MIME"
	}
	return map[string]string{
		"#cloud-config": "text/cloud-config", "#cloud-config-archive": "text/cloud-config-archive", "#cloud-config-jsonp": "text/cloud-config-jsonp",
		"#include": "text/x-include-url", "#include-once": "text/x-include-once-url", "#cloud-boothook": "text/cloud-boothook",
	}[word]
}
