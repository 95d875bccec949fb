// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Fast is a Driver whose machines are SSH servers inside this process. Each
// has a file system of its own, unpacked from its disk at start and packed
// again when it goes off, and a shell with the usual small programs; no
// program of the host is run and no file of the host is seen. A disk comes
// from FastDisk, or is a copy of what such a machine left behind.
type Fast struct {
	// BootDelay is how long a machine takes until it listens. Default 0.
	BootDelay time.Duration
	// Behave, when set, says how the machine of a spec is to misbehave.
	Behave func(Spec) Behaviour
	// ELF, when set, stands in for the processor: it is called when a machine
	// executes a file in ELF format, and returns the exit status. Without it
	// such a file cannot be executed (status 126).
	ELF func(ctx context.Context, p *Process) int
	// NoExec are folders from which nothing can be executed, as if they were
	// mounted noexec.
	NoExec []string
	// Watch, when set, is told what comes to pass. It is called from many
	// goroutines.
	Watch func(Event)
}

// Event is something that came to pass in a machine.
type Event struct {
	Time    time.Time
	Machine string // Spec.ID
	What    EventKind
	From    net.Addr // of whoever logs in or is turned away; nil with EventListens
}

// EventKind says what came to pass.
type EventKind string

// What can come to pass.
const (
	EventListens EventKind = "listens" // sshd is there
	EventLogin   EventKind = "login"   // somebody has logged in
	EventBegin   EventKind = "begin"   // a program begins in a session
	EventEnd     EventKind = "end"     // it has ended
	EventRefused EventKind = "refused" // a connection came from elsewhere than Behaviour.OnlyFrom
)

// Behaviour is what is wrong with one machine. The zero value: nothing.
type Behaviour struct {
	BootDelay         time.Duration // added to the driver's
	Dead              bool          // never listens: connections are refused
	Hang              bool          // accepts connections and never says a word
	RefuseKeys        bool          // refuses each key
	OtherHostKey      bool          // shows a host key that is not its own, as somebody in between would
	IgnorePowerButton bool          // Shutdown has no effect
	OnlyFrom          string        // the one IP address from which connections are accepted; others are closed at once
	NoSudo            bool          // sudo asks for a password, which nobody has
	Password          string        // lets in whoever has it, beside the keys; empty: nobody
}

type fastMachine struct {
	driver    *Fast
	spec      Spec
	behaviour Behaviour
	applets   map[string]applet
	tree      *tree
	name      string

	ctx    context.Context // the time the machine has power
	cancel context.CancelFunc
	button chan struct{} // asks for a regular end
	done   chan struct{}
	once   sync.Once
	err    error // set before done is closed

	mu      sync.Mutex
	console bytes.Buffer
	mounts  []string // folders that something is mounted on, by mount
}

var (
	_ Driver  = (*Fast)(nil)
	_ Machine = (*fastMachine)(nil)
)

// Start implements Driver. A disk that is not a Fast machine's is an error: it
// is the test that is wrong, not the cloud.
func (d *Fast) Start(ctx context.Context, spec Spec) (Machine, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := &fastMachine{driver: d, spec: spec, applets: applets(), name: "localhost",
		button: make(chan struct{}), done: make(chan struct{})}
	if d.Behave != nil {
		m.behaviour = d.Behave(spec)
	}
	if err := m.load(); err != nil {
		return nil, fmt.Errorf("start machine %s: %w", spec.ID, err)
	}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go m.live()
	return m, nil
}

// load unpacks the disk.
func (m *fastMachine) load() error {
	disk, err := openQCOW2(m.spec.Disk)
	if err != nil {
		return err
	}
	defer disk.close()
	dir, err := os.MkdirTemp(filepath.Dir(m.spec.Disk), ".machine-*")
	if err != nil {
		return err
	}
	if m.tree, err = newTree(dir); err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = m.tree.unpack(bufio.NewReaderSize(io.NewSectionReader(disk, 0, disk.size), clusterSize))
	if err == nil {
		err = layout(m.tree)
	}
	if err != nil {
		return errors.Join(err, m.tree.close())
	}
	return nil
}

// live is the machine's life from power on to power off.
func (m *fastMachine) live() {
	defer close(m.done)
	m.boot()
	m.cancel()
	err := replaceDisk(m.spec.Disk, diskSize, m.tree.pack)
	m.err = errors.Join(err, m.tree.close())
	m.logf("power off")
}

// boot brings the machine up and returns when it is to go off.
func (m *fastMachine) boot() {
	if m.spec.Firmware == BIOS || m.behaviour.Dead {
		// An ARM64 machine finds nothing to start without UEFI.
		select {
		case <-m.ctx.Done():
		case <-m.button: // the firmware itself powers off at once
		}
		return
	}
	delay := time.NewTimer(m.driver.BootDelay + m.behaviour.BootDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-m.ctx.Done():
		return
	case <-m.button:
		return
	}
	keys, identity := m.cloudInit()
	server, err := newSSHServer(m, keys, identity)
	if err != nil {
		m.logf("sshd: %v", err)
		select { // it is on, and nobody gets in
		case <-m.ctx.Done():
		case <-m.button:
		}
		return
	}
	l, err := net.Listen("tcp", m.spec.SSH)
	if err != nil {
		m.logf("sshd: %v", err)
		return
	}
	m.logf("sshd: server listening on 0.0.0.0 port 22")
	m.tell(EventListens, nil)
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.serve(m.ctx, l)
	}()
	select {
	case <-m.ctx.Done():
	case <-m.button:
	}
	m.cancel()
	l.Close()
	<-served
	server.close()
}

// Shutdown implements Machine.
func (m *fastMachine) Shutdown(ctx context.Context) error {
	if !m.behaviour.IgnorePowerButton {
		m.powerOff()
	}
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("machine %s did not power off: %w", m.spec.ID, ctx.Err())
	}
}

// powerOff presses the button.
func (m *fastMachine) powerOff() { m.once.Do(func() { close(m.button) }) }

// Kill implements Machine. What was written stays on the disk.
func (m *fastMachine) Kill() error {
	m.cancel()
	<-m.done
	return m.err
}

// Done implements Machine.
func (m *fastMachine) Done() <-chan struct{} { return m.done }

// Console implements Machine.
func (m *fastMachine) Console() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.console.Bytes())
}

func (m *fastMachine) logf(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fmt.Fprintf(&m.console, format+"\n", args...)
}

// tell tells the driver's watcher.
func (m *fastMachine) tell(what EventKind, from net.Addr) {
	if m.driver.Watch != nil {
		m.driver.Watch(Event{Time: time.Now(), Machine: m.spec.ID, What: what, From: from})
	}
}

func (m *fastMachine) hostname() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.name
}

func (m *fastMachine) noExec(file string) bool {
	for _, dir := range m.driver.NoExec {
		if strings.HasPrefix(file, strings.TrimSuffix(dir, "/")+"/") {
			return true
		}
	}
	return false
}
