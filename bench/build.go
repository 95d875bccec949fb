// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/inpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/runpacker"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// states are how long what the clouds do takes.
type states struct {
	name string
	oci  ocisim.Delays
	aws  ec2sim.Delays
	boot time.Duration // from RUNNING until the machine lets somebody in
}

// pace gives the states of a name. Those that are realistic are what people report of
// the clouds; they pass in real time, for a peer's pauses cannot be scaled, and are not
// multiples of five seconds, at which packer-plugin-oracle looks.
func pace(name string) (states, error) {
	oci, aws := *ocisim.QuickDelays(), *ec2sim.QuickDelays()
	set := func(provision, boot, capture, terminate, stop, snapshot time.Duration) states {
		oci.Provision, oci.Capture, oci.Terminate = provision, capture, terminate
		aws.Pending, aws.Stop, aws.Snapshot, aws.Terminate = provision, stop, snapshot, terminate
		return states{name, oci, aws, boot}
	}
	const s, m = time.Second, time.Minute
	switch name {
	case "short":
		return set(s, s, 3*s, 2*s, 2*s, 3*s), nil
	case "realistic":
		return set(36*s, 22*s, 4*m+3*s, 41*s, 27*s, 153*s), nil
	case "slow":
		return set(92*s, 61*s, 12*m+4*s, 2*m+3*s, 63*s, 7*m+2*s), nil
	}
	return states{}, fmt.Errorf("there are no states %q: they are short, realistic or slow", name)
}

// client is a plugin with which a template is built.
type client struct {
	name, plugin, source string
	folder, template     string
	entry                *regexp.Regexp // in required_plugins, to be changed for this client; nil for a peer
}

// result is what one build took.
type result struct {
	wall     time.Duration
	phases   string // what ours says of its phases
	requests int
}

// overhead is what a build took beyond what the cloud needed.
func (r result) overhead(own time.Duration) time.Duration { return r.wall - own }

// home installs the client in a Packer of its own.
func (c client) home(ctx context.Context, binary, dir string) (*runpacker.Packer, string, error) {
	p, err := runpacker.Install(ctx, binary, c.plugin, c.source, dir)
	if err != nil {
		return nil, "", err
	}
	text, err := os.ReadFile(filepath.Join(c.folder, c.template))
	if err != nil {
		return nil, "", err
	}
	if c.entry != nil {
		if n := len(c.entry.FindAll(text, -1)); n != 1 {
			return nil, "", fmt.Errorf("%s has %d entries for the plugin", c.template, n)
		}
		text = c.entry.ReplaceAll(text, []byte(`$1 = { source = "`+runpacker.Source+`", version = ">= 0.1.0" }`))
		text = bytes.Replace(text, []byte("  ssh_username "), []byte("  trace_file = \"trace.json\"\n  ssh_username "), 1)
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, "", err
	}
	return p, work, os.WriteFile(filepath.Join(work, c.template), text, 0o600) //nolint:gosec // both names are constants of this program
}

// once builds once, in clouds of its own.
func (c client) once(ctx context.Context, binary, traces string, st states) (r result, err error) {
	dir, err := os.MkdirTemp("", "bench-*")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, work, err := c.home(ctx, binary, dir)
	if err != nil {
		return r, err
	}
	s, err := clouds(ctx, dir, st, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	env, port := append(s.Env(), "OCI_AVAILABILITY_DOMAIN="+s.Build.AvailabilityDomains(stage.BuildRegion)[0], "AWS_SUBNET_ID="), s.Cloud.SSHPort()
	if c.template == awsTemplate {
		port = s.AWS.Cloud.SSHPort()
	}
	var out inpacker.Output
	start := time.Now()
	err = p.Run(ctx, work, env, &out, "build", "-var", fmt.Sprintf("ssh_port=%d", port), c.template)
	r.wall = time.Since(start)
	if err != nil {
		return r, fmt.Errorf("%s, %s states: %w\n%s", c.name, st.name, err, out.String())
	}
	if found := times.FindStringSubmatch(out.String()); found != nil {
		r.phases = found[1]
	}
	if traces != "" && c.entry != nil {
		text, err := os.ReadFile(filepath.Join(work, "trace.json"))
		if err != nil {
			return r, err
		}
		if err := os.WriteFile(filepath.Join(traces, fmt.Sprintf("%s-%s-%d.json", strings.TrimSuffix(c.template, ".pkr.hcl"), st.name, time.Now().UnixNano())), text, 0o600); err != nil { //nolint:gosec // the folder is what whoever measures says
			return r, err
		}
	}
	if c.template == awsTemplate {
		r.requests = len(s.AWS.Cloud.Requests())
	} else {
		r.requests = len(s.Cloud.Requests())
	}
	return r, nil
}

// roundTrip is how long a request and its answer are on their way to a cloud.
const roundTrip = 60 * time.Millisecond

// far is a cloud that far away.
func far(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(roundTrip)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		next.ServeHTTP(w, r)
	})
}

// clouds are simulated in dir, with machines that boot at once but for the time of st.
func clouds(ctx context.Context, dir string, st states, adjust func(build, production *ocisim.Tenancy)) (*stage.Stage, error) {
	base := filepath.Join(dir, "base.qcow2")
	if err := machine.FastDisk(base, nil); err != nil {
		return nil, err
	}
	return stage.New(ctx, stage.Options{
		Dir: dir, Image: base, Delays: &st.oci, AWSDelays: &st.aws, Driver: &machine.Fast{BootDelay: st.boot}, Adjust: adjust, Wrap: far, WrapAWS: far,
	})
}

// several builds with every client, several times: in turns where states are short, so
// that what else the computer does meets all alike, and all at once where nearly all of
// the time is spent waiting.
func (b *bench) several(ctx context.Context, clients []client, st states) (map[string][]result, error) {
	all := map[string][]result{}
	if st.oci.Capture < time.Minute {
		for range b.runs {
			for _, c := range clients {
				r, err := c.once(ctx, b.packer, b.traces, st)
				if err != nil {
					return nil, err
				}
				all[c.name] = append(all[c.name], r)
			}
		}
		return all, nil
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	tick := time.NewTicker(3 * time.Second) // they do not all start at the same moment
	defer tick.Stop()
	for range b.runs {
		for _, c := range clients {
			wg.Go(func() {
				r, err := c.once(ctx, b.packer, b.traces, st)
				mu.Lock()
				defer mu.Unlock()
				all[c.name], errs = append(all[c.name], r), append(errs, err)
			})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

// compared prints what came of several runs, the first client being ours.
func (b *bench) compared(clients []client, all map[string][]result, own time.Duration) {
	rows := [][]string{{"plugin", "whole", "beyond the cloud's own", "ours to it", "requests", "requests a minute"}}
	of := func(c client, value func(result) time.Duration) spread[time.Duration] {
		var list []time.Duration
		for _, r := range all[c.name] {
			list = append(list, value(r))
		}
		return spreadOf(list)
	}
	over := func(r result) time.Duration { return r.overhead(own) }
	ours := of(clients[0], over).median.Seconds()
	for i, c := range clients {
		wall, extra := of(c, func(r result) time.Duration { return r.wall }), of(c, over)
		var requests []int
		for _, r := range all[c.name] {
			requests = append(requests, r.requests)
		}
		n := spreadOf(requests).median
		to := "-"
		if i > 0 {
			to = ratio(ours, extra.median.Seconds())
		}
		rows = append(rows, []string{c.name, seconds(wall), seconds(extra), to, fmt.Sprint(n), fmt.Sprintf("%.0f", float64(n)/wall.median.Minutes())})
	}
	table(b.out, rows)
	for _, r := range all[clients[0].name] {
		if r.wall == of(clients[0], func(r result) time.Duration { return r.wall }).median {
			fmt.Fprintf(b.out, "\n%s, that run: %s.\n", clients[0].name, r.phases)
			return
		}
	}
}

// times finds what a build of ours says when it writes a trace.
var times = regexp.MustCompile(`Times: (.*)\. They are in `)

const (
	ociTemplate = "oracle-oci.pkr.hcl"
	awsTemplate = "amazon-ebs.pkr.hcl"

	// Folders are those of this repository, at whose root make runs the bench. The template
	// for OCI is the one of the acceptance tests; theirs for AWS copies to another region.
	ociFolder = "internal/e2e/testdata"
	awsFolder = "bench/testdata"
)

// onOCI compares with packer-plugin-oracle.
func (b *bench) onOCI(ctx context.Context) error {
	clients := []client{{name: "armfree", plugin: b.plugin, source: runpacker.Source, folder: ociFolder, template: ociTemplate, entry: regexp.MustCompile(`(?s)\b(oracle) *= *\{.*?\}`)}}
	if b.oracle == "" {
		b.missing("PEER_ORACLE_PLUGIN", "packer-plugin-oracle")
	} else {
		clients = append(clients, client{name: "packer-plugin-oracle", plugin: b.oracle, source: "github.com/hashicorp/oracle", folder: ociFolder, template: ociTemplate})
	}
	return b.onCloud(ctx, "OCI", clients, func(st states) (time.Duration, string) {
		return st.oci.Provision + st.boot + st.oci.Capture + st.oci.Terminate, fmt.Sprintf("PROVISIONING %s, %s until SSH answers, image %s, TERMINATING %s", st.oci.Provision, st.boot, st.oci.Capture, st.oci.Terminate)
	})
}

// onAWS compares with packer-plugin-amazon.
func (b *bench) onAWS(ctx context.Context) error {
	clients := []client{{name: "armfree", plugin: b.plugin, source: runpacker.Source, folder: awsFolder, template: awsTemplate, entry: regexp.MustCompile(`(?s)\b(amazon) *= *\{.*?\}`)}}
	if b.amazon == "" {
		b.missing("PEER_AMAZON_PLUGIN", "packer-plugin-amazon")
	} else {
		clients = append(clients, client{name: "packer-plugin-amazon", plugin: b.amazon, source: "github.com/hashicorp/amazon", folder: awsFolder, template: awsTemplate})
	}
	return b.onCloud(ctx, "AWS", clients, func(st states) (time.Duration, string) {
		return st.aws.Pending + st.boot + st.aws.Stop + st.aws.Snapshot + st.aws.Image + st.aws.Terminate, fmt.Sprintf("pending %s, %s until SSH answers, stopping %s, snapshot %s, shutting-down %s", st.aws.Pending, st.boot, st.aws.Stop, st.aws.Snapshot, st.aws.Terminate)
	})
}

func (b *bench) onCloud(ctx context.Context, name string, clients []client, own func(states) (time.Duration, string)) error {
	for _, of := range b.states {
		st, err := pace(of)
		if err != nil {
			return err
		}
		all, err := b.several(ctx, clients, st)
		if err != nil {
			return err
		}
		d, text := own(st)
		fmt.Fprintf(b.out, "\n%s, %s states (%s; together %s):\n", name, of, text, d)
		b.compared(clients, all, d)
	}
	return nil
}

// known says whether all of the named states exist, before anything is run.
func (b *bench) known() error {
	i := slices.IndexFunc(b.states, func(s string) bool { _, err := pace(s); return err != nil })
	if i < 0 {
		return nil
	}
	_, err := pace(b.states[i])
	return err
}
