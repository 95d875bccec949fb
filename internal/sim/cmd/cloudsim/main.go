// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Command cloudsim runs the simulators of OCI and AWS alone.
//
// It starts a build tenancy, a production tenancy and a neighbour who is not
// to be touched at Oracle, and an account that builds and a neighbour at
// Amazon. It prints the environment in which unmodified clients reach them
// under the clouds' own host names, as lines for a shell, and runs until it is
// interrupted. Nothing is left behind then.
//
//	cloudsim -env sim.env &
//	. ./sim.env
//	packer build …          # or any other client
//	curl "$CLOUDSIM_CONTROL"            # everything that exists at Oracle
//	curl "$CLOUDSIM_CONTROL/aws/"       # and at Amazon
//
// Its private keys are made at the start and open nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cloudsim:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	guest, image, envFile, control, delays, faults, awsFaults string
	sshPort                                                   int
	platform                                                  bool
	services                                                  services
	switches                                                  ocisim.Switches
	freePlan                                                  bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("cloudsim", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.guest, "guest", "fast", "what instances are: `fast` (an SSH server in this process) or qemu (an ARM64 machine)")
	flags.StringVar(&o.image, "image", "", "qcow2 `file` of the base image; needed for -guest qemu")
	flags.StringVar(&o.envFile, "env", "", "write the environment to this `file` instead of standard output")
	flags.StringVar(&o.control, "control", "127.0.0.1:0", "loopback `address` of the control interface")
	flags.StringVar(&o.delays, "delays", "realistic", "how long lifecycle states last: quick or `realistic`")
	flags.StringVar(&o.faults, "faults", "", "JSON `file` of faults of OCI that are set from the start")
	flags.StringVar(&o.awsFaults, "aws-faults", "", "JSON `file` of faults of AWS that are set from the start")
	flags.BoolVar(&o.freePlan, "aws-free-plan", false, "make Amazon's account one of the free plan")
	flags.IntVar(&o.sshPort, "ssh-port", 0, "`port` on which instances listen for SSH; 0: one that is free")
	flags.BoolVar(&o.platform, "platform-images", false, "add images like Oracle's own, which every tenancy sees; their disks are the base image's")
	flags.Var(&o.services, "service", "a server on this host that qemu guests may reach, as 169.254.x.y:port=`host:port`; may be repeated")
	flags.Func("switch", "turn a `switch` of docs/simulator.md; may be repeated", o.turn)
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.guest != "fast" && o.guest != "qemu":
		return o, fmt.Errorf("-guest is fast or qemu, not %q", o.guest)
	case o.guest == "qemu" && o.image == "":
		return o, errors.New("-guest qemu needs -image, such as the one that `make guest` builds")
	case o.delays != "quick" && o.delays != "realistic":
		return o, fmt.Errorf("-delays is quick or realistic, not %q", o.delays)
	case len(o.services) > 0 && o.guest != "qemu":
		return o, errors.New("-service is for -guest qemu")
	}
	host, _, err := net.SplitHostPort(o.control)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return o, fmt.Errorf("-control must be a loopback address with a port: it asks nobody who they are")
	}
	return o, nil
}

// run is the whole program; it returns when ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cloudsim-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	s, err := open(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := addFaults(s.Cloud.AddFaultsJSON, o.faults); err != nil {
		return err
	}
	if err := addFaults(s.AWS.Cloud.AddFaultsJSON, o.awsFaults); err != nil {
		return err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.control)
	if err != nil {
		return fmt.Errorf("listen for the control interface: %w", err)
	}
	server := &http.Server{Handler: control(s), ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	defer func() { err = errors.Join(err, server.Close()) }()

	lines, err := environment(s, dir, "http://"+listener.Addr().String())
	if err != nil {
		return err
	}
	if o.envFile != "" {
		if err := writeWhole(o.envFile, lines); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.Remove(o.envFile)) }()
	} else if _, err := stdout.Write(lines); err != nil {
		return fmt.Errorf("print the environment: %w", err)
	}
	fmt.Fprintf(stderr, "cloudsim: ready; http://%s lists what exists; interrupt to stop\n", listener.Addr())
	select {
	case <-ctx.Done():
		fmt.Fprintln(stderr, "cloudsim: stopping")
		return nil
	case err := <-ended:
		return fmt.Errorf("the control interface ended: %w", err)
	}
}

// open builds the stage on which everything plays.
func open(ctx context.Context, o options, dir string) (*stage.Stage, error) {
	set := stage.Options{Dir: dir, Image: o.image, SSHPort: o.sshPort, Delays: ocisim.RealisticDelays(), AWSDelays: ec2sim.RealisticDelays(),
		Switches: o.switches, AdjustAWS: func(build *ec2sim.Account) { build.FreePlan = o.freePlan },
		PlatformImages: o.platform, Adjust: func(build, _ *ocisim.Tenancy) {
			build.TagNamespaces = map[string][]string{"Operations": {"CostCenter"}}
		}}
	if o.delays == "quick" {
		set.Delays, set.AWSDelays = ocisim.QuickDelays(), ec2sim.QuickDelays()
	}
	if o.guest == "qemu" {
		disks, err := ocisim.NewOverlayDisks()
		if err != nil {
			return nil, err
		}
		set.Driver, set.Disks = &machine.QEMU{Services: o.services}, disks
	} else {
		set.Driver = &machine.Fast{}
		if o.image == "" {
			set.Image = filepath.Join(dir, "base.qcow2")
			if err := machine.FastDisk(set.Image, nil); err != nil {
				return nil, err
			}
		}
	}
	return stage.New(ctx, set)
}

// control serves both clouds' control interfaces: Oracle's at the root, and
// Amazon's below /aws.
func control(s *stage.Stage) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.Cloud.Control())
	mux.Handle("/aws/", http.StripPrefix("/aws", s.AWS.Cloud.Control()))
	return mux
}

func addFaults(add func(text []byte) error, path string) error {
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the faults: %w", err)
	}
	if err := add(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeWhole writes a file that nobody ever sees half of: whoever waits for it
// can read it as soon as it is there.
func writeWhole(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write the environment: %w", err)
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is of no use
		return fmt.Errorf("write the environment: %w", err)
	}
	return nil
}
