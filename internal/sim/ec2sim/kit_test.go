// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

const (
	region     = "us-east-1"
	debian     = "debian-13-arm64-20261112-2658"
	d1         = 20 * time.Millisecond // long enough for every state to be seen by a client that polls
	callerCIDR = "198.51.100.7/32"
)

// kit is a cloud with two accounts and the real SDK pointed at it, over TLS on
// loopback and under the real host names.
type kit struct {
	t       *testing.T
	cloud   *ec2sim.Cloud
	net     *simnet.Net
	build   *ec2sim.Account
	other   *ec2sim.Account
	client  *ec2.Client // of the build account in region
	ami     string      // Debian 13 for arm64 in region
	disk    string
	workDir string
}

// newKit starts a cloud. change may adjust its configuration.
func newKit(t *testing.T, change func(*ec2sim.Config)) *kit {
	t.Helper()
	k := &kit{t: t, build: ec2sim.NewAccount("build"), other: ec2sim.NewAccount("other"), workDir: t.TempDir()}
	k.disk = filepath.Join(t.TempDir(), "base.qcow2")
	if err := machine.FastDisk(k.disk, nil); err != nil {
		t.Fatal(err)
	}
	cfg := ec2sim.Config{
		Accounts: []*ec2sim.Account{k.build, k.other}, Driver: &machine.Fast{}, WorkDir: k.workDir, Images: ec2sim.DebianImages(k.disk),
		Delays: &ec2sim.Delays{Pending: d1, Stop: d1, Terminate: d1, Snapshot: d1, Image: d1, Copy: d1, Volume: d1,
			Visible: time.Hour, SpotNotice: d1, Reply: time.Millisecond, ShutdownLimit: time.Minute},
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if k.cloud, err = ec2sim.New(cfg); err != nil {
		t.Fatal(err)
	}
	if k.net, err = simnet.Start(k.cloud, simnet.Options{Domains: []string{simnet.AmazonAWS}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(k.net.Close(), k.cloud.Close()); err != nil {
			t.Error(err)
		}
		for _, r := range k.net.Refused() {
			t.Errorf("asked for something outside the cloud: %s", r)
		}
	})
	k.client = k.clientOf(k.build, region)
	k.ami = k.cloud.ImageID(region, debian)
	return k
}

// clientOf is a client of an account's user that does not retry.
func (k *kit) clientOf(a *ec2sim.Account, region string, options ...func(*ec2.Options)) *ec2.Client {
	return k.clientWith(ec2sim.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey}, region, options...)
}

func (k *kit) clientWith(c ec2sim.Credentials, region string, options ...func(*ec2.Options)) *ec2.Client {
	return ec2.New(ec2.Options{
		Region: region, HTTPClient: simnet.Whole{Client: k.net.Client()}, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	}, options...)
}

// wantError checks the status and code of an answer, and a part of its
// message.
func wantError(t *testing.T, err error, status int, code, part string) {
	t.Helper()
	var api smithy.APIError
	var response *awshttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &response) {
		t.Fatalf("got %v, want %d %s", err, status, code)
	}
	if response.HTTPStatusCode() != status || api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), part) {
		t.Fatalf("got %d %s %q, want %d %s %q", response.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), status, code, part)
	}
	if response.ServiceRequestID() == "" {
		t.Error("the answer has no request id")
	}
}

// must is for calls that have to succeed.
func must[T any](t *testing.T) func(out T, err error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(3 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// launch is a request for one t4g.micro.
func (k *kit) launch(change func(*ec2.RunInstancesInput)) *ec2.RunInstancesInput {
	in := &ec2.RunInstancesInput{ImageId: &k.ami, InstanceType: types.InstanceTypeT4gMicro, MinCount: aws.Int32(1), MaxCount: aws.Int32(1)}
	if change != nil {
		change(in)
	}
	return in
}

// launched launches an instance and waits until it runs.
func (k *kit) launched(change func(*ec2.RunInstancesInput)) types.Instance {
	k.t.Helper()
	out := must[*ec2.RunInstancesOutput](k.t)(k.client.RunInstances(k.t.Context(), k.launch(change)))
	return k.reaches(k.client, *out.Instances[0].InstanceId, types.InstanceStateNameRunning)
}

func (k *kit) describe(c *ec2.Client, id string) types.Instance {
	k.t.Helper()
	out := must[*ec2.DescribeInstancesOutput](k.t)(c.DescribeInstances(context.Background(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))
	return out.Reservations[0].Instances[0]
}

// reaches waits until an instance is in a state.
func (k *kit) reaches(c *ec2.Client, id string, state types.InstanceStateName) (i types.Instance) {
	k.t.Helper()
	eventually(k.t, id+" is "+string(state), func() bool {
		i = k.describe(c, id)
		return i.State.Name == state
	})
	return i
}

// imageReaches waits until an image is in a state.
func (k *kit) imageReaches(c *ec2.Client, id string, state types.ImageState) (img types.Image) {
	k.t.Helper()
	eventually(k.t, id+" is "+string(state), func() bool {
		out := must[*ec2.DescribeImagesOutput](k.t)(c.DescribeImages(context.Background(), &ec2.DescribeImagesInput{ImageIds: []string{id}}))
		img = out.Images[0]
		return img.State == state
	})
	return img
}

// snapshotReaches waits until a snapshot is in a state.
func (k *kit) snapshotReaches(c *ec2.Client, id string, state types.SnapshotState) (s types.Snapshot) {
	k.t.Helper()
	eventually(k.t, id+" is "+string(state), func() bool {
		out := must[*ec2.DescribeSnapshotsOutput](k.t)(c.DescribeSnapshots(context.Background(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}}))
		s = out.Snapshots[0]
		return s.State == state
	})
	return s
}

// keyPair makes a key pair and returns its private half.
func (k *kit) keyPair(name string, kind types.KeyType) ssh.Signer {
	k.t.Helper()
	out := must[*ec2.CreateKeyPairOutput](k.t)(k.client.CreateKeyPair(k.t.Context(), &ec2.CreateKeyPairInput{KeyName: &name, KeyType: kind}))
	signer, err := ssh.ParsePrivateKey([]byte(*out.KeyMaterial))
	if err != nil {
		k.t.Fatal(err)
	}
	return signer
}

// openGroup makes a security group that admits the caller to port 22.
func (k *kit) openGroup(name, cidr string) string {
	k.t.Helper()
	out := must[*ec2.CreateSecurityGroupOutput](k.t)(k.client.CreateSecurityGroup(k.t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: &name, Description: aws.String("for a test")}))
	k.admit(*out.GroupId, cidr)
	return *out.GroupId
}

func (k *kit) admit(group, cidr string) {
	k.t.Helper()
	must[*ec2.AuthorizeSecurityGroupIngressOutput](k.t)(k.client.AuthorizeSecurityGroupIngress(k.t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{
		GroupId: &group, IpPermissions: []types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22),
			IpRanges: []types.IpRange{{CidrIp: &cidr}}}}}))
}

// login opens SSH as soon as the machine answers.
func (k *kit) login(address string, key ssh.Signer) *ssh.Client {
	k.t.Helper()
	var client *ssh.Client
	eventually(k.t, "SSH at "+address, func() bool {
		var err error
		client, err = ssh.Dial("tcp", k.sshAddr(address), &ssh.ClientConfig{User: "admin", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
			HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 5 * time.Second})
		return err == nil
	})
	k.t.Cleanup(func() { client.Close() })
	return client
}

// shell runs a command in a machine.
func (k *kit) shell(c *ssh.Client, command string) string {
	k.t.Helper()
	session, err := c.NewSession()
	if err != nil {
		k.t.Fatal(err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(command)
	if err != nil {
		k.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func (k *kit) left() []string { return k.cloud.Left() }

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// stillDriver starts machines that do nothing but exist.
type stillDriver struct{}

type stillMachine struct {
	once sync.Once
	done chan struct{}
}

func (stillDriver) Start(context.Context, machine.Spec) (machine.Machine, error) {
	return &stillMachine{done: make(chan struct{})}, nil
}

func (m *stillMachine) Shutdown(context.Context) error { return m.Kill() }
func (m *stillMachine) Kill() error                    { m.once.Do(func() { close(m.done) }); return nil }
func (m *stillMachine) Done() <-chan struct{}          { return m.done }
func (m *stillMachine) Console() []byte                { return []byte("booting\n") }

func writeDisk(path string) error { return machine.FastDisk(path, nil) }
