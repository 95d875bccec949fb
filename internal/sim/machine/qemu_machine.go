// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

// quitGrace is how long QEMU may take to close the disk when the power is cut.
const quitGrace = 5 * time.Second

// qemuMachine is one QEMU process and the servers on this host that belong to
// its guest.
type qemuMachine struct {
	id       string
	forwards map[string]string // guest address to host address
	metadata *http.Server
	relays   []*relay

	cmd     *exec.Cmd
	qmp     *qmp
	console tailBuffer
	stderr  tailBuffer
	done    chan struct{}
	waitErr error // set before done is closed
	hostWG  sync.WaitGroup
}

var (
	_ Driver  = (*QEMU)(nil)
	_ Machine = (*qemuMachine)(nil)
	_ Keeper  = (*qemuMachine)(nil)
)

// serve opens what the guest can reach: its metadata service and relays to the
// shared services. The relays exist so that cutting the power also ends the
// guest's connections to them.
func (m *qemuMachine) serve(metadata http.Handler, services map[string]string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	m.metadata = &http.Server{Handler: metadata, ReadHeaderTimeout: time.Minute}
	m.forwards = map[string]string{metadataAddr: l.Addr().String()}
	m.hostWG.Go(func() { m.metadata.Serve(l) })
	for guest, host := range services {
		if err := checkGuestAddr(guest); err != nil {
			return err
		}
		r, err := newRelay(host)
		if err != nil {
			return err
		}
		m.relays = append(m.relays, r)
		m.forwards[guest] = r.addr()
	}
	return nil
}

func checkGuestAddr(guest string) error {
	host, _, err := net.SplitHostPort(guest)
	if err != nil {
		return fmt.Errorf("service address %q: %w", guest, err)
	}
	ip := net.ParseIP(host).To4()
	if ip == nil || ip[0] != 169 || ip[1] != 254 || guest == metadataAddr {
		return fmt.Errorf("service address %q: not a free address in 169.254.0.0/16", guest)
	}
	return nil
}

// closeHost ends everything on this host that served the guest.
func (m *qemuMachine) closeHost() {
	if m.metadata != nil {
		m.metadata.Close()
	}
	for _, r := range m.relays {
		r.close()
	}
	m.hostWG.Wait()
}

// start runs QEMU and waits until it greets.
func (m *qemuMachine) start(ctx context.Context, qemu string, args []string) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	cmd := exec.Command(qemu, args...)
	cmd.Stdout, cmd.Stderr = &m.console, &m.stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.WaitDelay = 2 * time.Second
	cmd.SysProcAttr = childOfThisProcess()
	m.cmd = cmd

	started := make(chan error, 1)
	go func() {
		// The kernel kills the child when the thread that made it ends. This
		// goroutine keeps its thread until the child is gone, so that it goes
		// with this process, however that ends, and not before.
		runtime.LockOSThread()
		err := cmd.Start()
		theirs.Close()
		started <- err
		if err != nil {
			return
		}
		m.waitErr = cmd.Wait()
		ours.Close()
		m.closeHost()
		close(m.done)
	}()
	if err := <-started; err != nil {
		ours.Close()
		return err
	}
	m.qmp = newQMP(ours)
	if err := m.qmp.greet(ctx); err != nil {
		m.signal()
		<-m.done
		if text := strings.TrimSpace(string(m.stderr.bytes())); text != "" {
			return fmt.Errorf("qemu: %s", text)
		}
		return err
	}
	return nil
}

// signal ends QEMU the hard way.
func (m *qemuMachine) signal() {
	killGroup(m.cmd.Process)
}

// Shutdown implements Machine: it presses the power button, again and again as
// long as the guest may not be far enough to notice.
func (m *qemuMachine) Shutdown(ctx context.Context) error {
	press := time.NewTicker(10 * time.Second)
	defer press.Stop()
	for {
		if err := m.qmp.execute(ctx, "system_powerdown"); err != nil && !m.isDone() && ctx.Err() == nil {
			return fmt.Errorf("shut down machine %s: %w", m.id, err)
		}
		select {
		case <-m.done:
			return nil
		case <-press.C:
		case <-ctx.Done():
			return fmt.Errorf("machine %s did not power off: %w", m.id, ctx.Err())
		}
	}
}

func (m *qemuMachine) isDone() bool {
	select {
	case <-m.done:
		return true
	case <-time.After(100 * time.Millisecond): // QEMU closes its socket just before it ends
		select {
		case <-m.done:
			return true
		default:
			return false
		}
	}
}

// Kill implements Machine. QEMU is asked first, so that the disk is a valid
// image even though its guest never knew.
func (m *qemuMachine) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), quitGrace)
	defer cancel()
	select {
	case <-m.done:
		return nil
	default:
	}
	if err := m.qmp.execute(ctx, "quit"); err == nil {
		select {
		case <-m.done:
			return nil
		case <-ctx.Done():
		}
	}
	m.signal()
	<-m.done
	return nil
}

// savedState is the name of what Save keeps, within the disk.
const savedState = "saved"

// Save keeps the machine as it is at this moment, memory and disk, in its disk.
func (m *qemuMachine) Save(ctx context.Context) error {
	return m.qmp.monitor(ctx, "savevm "+savedState)
}

// Restore goes back to what Save kept, as if nothing had happened since. Connections of
// the guest do not come back.
func (m *qemuMachine) Restore(ctx context.Context) error {
	return m.qmp.monitor(ctx, "loadvm "+savedState)
}

// Done implements Machine.
func (m *qemuMachine) Done() <-chan struct{} { return m.done }

// Console implements Machine: the serial console's last 4 MiB.
func (m *qemuMachine) Console() []byte { return m.console.bytes() }

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tailBuffer) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - consoleLimit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tailBuffer) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf)
}

func (r *relay) close() {
	r.l.Close()
	r.mu.Lock()
	r.shut = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
