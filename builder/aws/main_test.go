// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package aws

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/stage"
)

// What is on this computer must not decide about tests.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		home, err := os.MkdirTemp("", "home-*")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(home)
		for _, e := range os.Environ() {
			if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "OCI_") || strings.HasPrefix(name, "BUILD_") || strings.HasPrefix(name, "ACTIONS_") {
				_ = os.Unsetenv(name)
			}
		}
		_ = os.Setenv("HOME", home)
		_ = os.Setenv("SSH_AUTH_SOCK", filepath.Join(home, "agent")) // nobody connects to it
		manyAtOnce()
		return m.Run()
	}())
}

// manyAtOnce lets more tests run at the same time than there are processors: most
// of a build is waiting. Whoever wants one after the other says -parallel 1.
func manyAtOnce() {
	flag.Parse()
	const many = 12
	if p := flag.Lookup("test.parallel"); p.Value.String() != "1" {
		_ = p.Value.Set(strconv.Itoa(many))
	}
}

// addFaults makes things go wrong at Amazon's.
func addFaults(t *testing.T, s *stage.Stage, faults ...ec2sim.Fault) {
	t.Helper()
	if err := s.AWS.Cloud.AddFaults(faults...); err != nil {
		t.Fatal(err)
	}
}

// full takes the room from a region.
func full(t *testing.T, s *stage.Stage, region string) {
	t.Helper()
	addFaults(t, s, ec2sim.Fault{Kind: ec2sim.FaultCapacity, Region: region})
}

// refusal lets an operation be refused.
func refusal(op, code, message string) ec2sim.Fault {
	return ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: op, Status: 400, Code: code, Message: message}
}

// denied lets IAM refuse an operation.
func denied(op string) ec2sim.Fault {
	return ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: op, Status: 403, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/packer is not authorized to perform: ec2:" + op + " on resource: arn:aws:ec2:eu-central-1:123456789012:* because no identity-based policy allows the ec2:" + op + " action. Encoded authorization failure message: abcDEF-123_4"}
}

// glob are the keys in the working directory.
func glob(t *testing.T) []string {
	t.Helper()
	return must[[]string](t)(filepath.Glob("*.pem"))
}
