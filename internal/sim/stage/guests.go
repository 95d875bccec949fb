// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// poolAddr is where guests find the package pool. It stands for a mirror in
// the cloud's own network; nothing else can be reached from a guest.
const poolAddr = "169.254.10.10:80"

// APTSource is the apt source with which a guest installs packages from the
// pool.
const APTSource = "deb [trusted=yes] http://169.254.10.10 ./"

// Guests are real ARM64 machines and the packages they may install.
type Guests struct {
	Driver *machine.QEMU
	Disks  ocisim.Disks
	Image  string

	server *http.Server
	done   chan error
}

// OpenGuests prepares to start machines from the image that
// internal/sim/guest/build.sh left in dir. Close it when done.
func OpenGuests(dir string) (*Guests, error) {
	g := &Guests{Image: filepath.Join(dir, "debian-12-arm64.qcow2"), done: make(chan error, 1)}
	if _, err := os.Stat(g.Image); err != nil {
		return nil, fmt.Errorf("there is no guest image, run \"make guest\" first: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g.server = &http.Server{Handler: http.FileServer(http.Dir(filepath.Join(dir, "pool")))}
	go func() { g.done <- g.server.Serve(l) }()
	g.Driver = &machine.QEMU{Services: map[string]string{poolAddr: l.Addr().String()}}
	if g.Disks, err = ocisim.NewOverlayDisks(); err == nil {
		err = g.Driver.Check()
	}
	if err != nil {
		return nil, errors.Join(err, g.Close(context.Background()))
	}
	return g, nil
}

// Close stops serving packages.
func (g *Guests) Close(ctx context.Context) error {
	err := g.server.Shutdown(ctx)
	if serr := <-g.done; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}
