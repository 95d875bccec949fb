// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package quiesce

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// connected notes which processes must stay: those over whose connection this was asked
// for. One that has a file of the disk open for writing would be in the way to the end, so
// that it is refused now, while nothing has been stopped.
func (m *Machine) connected(ctx context.Context, d Disk) error {
	m.stay = m.at.stay(os.Getpid())
	on, err := m.at.on(d)
	if err != nil {
		return nil //nolint:nilerr // Prepare asks again, once services cannot have a hand in it
	}
	devs := map[string]bool{}
	for _, f := range on {
		if !f.ro {
			f.addDevs(devs)
		}
	}
	var writers []string
	for end := time.Now().Add(askedGrace); ; { // a login is written down in passing
		writers = nil
		for _, h := range m.at.holders(devs, os.Getpid()) {
			if slices.Contains(m.stay, h.pid) && len(h.writes) > 0 {
				writers = append(writers, h.String())
			}
		}
		if len(writers) == 0 {
			return nil
		}
		if !time.Now().Before(end) {
			break
		}
		if err := wait.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the connection to the machine depends on a program that writes to its disk, so that the disk cannot be captured over it: %s; nothing was stopped in this attempt; connect in another way, such as to the SSH server of the machine itself by an address that no program on it serves", strings.Join(writers, "; "))
}

// stay are a process, those that started it, and those through which their connections of
// SSH come, with what started these.
func (r roots) stay(pid int) (list []int) {
	for todo := []int{pid}; len(todo) > 0; todo = todo[1:] {
		if slices.Contains(list, todo[0]) {
			continue
		}
		more := r.ancestors(todo[0])
		list = append(list, more...)
		todo = append(todo, r.carriers(more)...)
	}
	return list
}

// carriers are the processes of this machine through which the connection comes to which
// the first of others belongs: what serves the network device that it comes in by, as some
// VPNs do, and what has its other end, as those have that pass on what they are sent.
func (r roots) carriers(pids []int) (list []int) {
	client, server, ok := r.connection(pids)
	if !ok {
		return nil
	}
	device := deviceOf(server.Addr())
	socket := r.socket(client, server)
	links, _ := filepath.Glob(filepath.Join(r.proc, "[0-9]*/fd/*"))
	for _, link := range links {
		to, _ := os.Readlink(link)
		switch {
		case to == "/dev/net/tun" && device != "":
			info, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "fdinfo", filepath.Base(link)))
			if err != nil || fieldOf(info, "iff") != device {
				continue
			}
		case socket != "" && to == "socket:["+socket+"]":
		default:
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link)))); err == nil && !slices.Contains(list, pid) {
			list = append(list, pid)
		}
	}
	return list
}

// connection are both ends of a connection of SSH, as its server tells them to what it
// starts.
func (r roots) connection(pids []int) (client, server netip.AddrPort, ok bool) {
	end := func(address, port string) (netip.AddrPort, error) {
		a, err := netip.ParseAddr(address)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err == nil {
			err = perr
		}
		return netip.AddrPortFrom(a.Unmap().WithZone(""), uint16(n)), err
	}
	for _, pid := range pids {
		env, _ := os.ReadFile(filepath.Join(r.proc, strconv.Itoa(pid), "environ")) // it may be gone
		for _, v := range strings.Split(string(env), "\x00") {
			text, is := strings.CutPrefix(v, "SSH_CONNECTION=")
			f := strings.Fields(text)
			if !is || len(f) != 4 {
				continue
			}
			client, err := end(f[0], f[1])
			server, serr := end(f[2], f[3])
			if err == nil && serr == nil {
				return client, server, true
			}
		}
	}
	return client, server, false
}

// deviceOf is the network device that has an address; empty if none has it.
func deviceOf(a netip.Addr) string {
	devices, _ := net.Interfaces()
	for _, d := range devices {
		addrs, _ := d.Addrs()
		for _, has := range addrs {
			if p, err := netip.ParsePrefix(has.String()); err == nil && p.Addr().Unmap().WithZone("") == a {
				return d.Name
			}
		}
	}
	return ""
}

// socket is the number of the socket that has a connection's end on this machine; empty if
// that end is elsewhere.
func (r roots) socket(local, remote netip.AddrPort) string {
	for _, name := range []string{"tcp", "tcp6"} {
		b, _ := os.ReadFile(filepath.Join(r.proc, "self/net", name)) // a kernel without
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[1] == endOf(local, name) && f[2] == endOf(remote, name) {
				return f[9]
			}
		}
	}
	return ""
}

// endOf is the end of a connection as the kernel's tables have it: words of 32 bits, as
// they are in memory.
func endOf(a netip.AddrPort, table string) (text string) {
	b := a.Addr().AsSlice()
	if table == "tcp6" {
		long := a.Addr().As16()
		b = long[:]
	}
	for ; len(b) >= 4; b = b[4:] {
		text += fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b))
	}
	return fmt.Sprintf("%s:%04X", text, a.Port())
}
