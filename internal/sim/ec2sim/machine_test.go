// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"encoding/base64"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// reachable tells whether anything answers at a machine's SSH port.
func (k *kit) reachable(address string) bool {
	conn, err := net.DialTimeout("tcp", k.sshAddr(address), time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// open is a machine that the caller can log in to, with a volume that goes
// with it.
func (k *kit) open(change func(*ec2.RunInstancesInput)) (types.Instance, ssh.Signer) {
	k.t.Helper()
	key := k.keyPair("k", types.KeyTypeEd25519)
	group := k.openGroup("g", callerCIDR)
	return k.launched(func(in *ec2.RunInstancesInput) {
		in.KeyName, in.SecurityGroupIds = aws.String("k"), []string{group}
		if change != nil {
			change(in)
		}
	}), key
}

// TestSecurityGroups are what decides about connections.
func TestSecurityGroups(t *testing.T) {
	k := newKit(t, nil)
	key := k.keyPair("k", types.KeyTypeEd25519)
	group := k.openGroup("g", "203.0.113.0/24") // somebody else's
	i := k.launched(func(in *ec2.RunInstancesInput) { in.KeyName, in.SecurityGroupIds = aws.String("k"), []string{group} })
	if k.reachable(*i.PublicIpAddress) {
		t.Error("reachable for a stranger")
	}
	k.admit(group, callerCIDR)
	k.login(*i.PublicIpAddress, key)
	_, err := k.client.AuthorizeSecurityGroupIngress(t.Context(), &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group,
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), CidrIp: aws.String(callerCIDR)})
	wantError(t, err, 400, "InvalidPermission.Duplicate", callerCIDR)
	_, err = k.client.DeleteSecurityGroup(t.Context(), &ec2.DeleteSecurityGroupInput{GroupId: &group})
	wantError(t, err, 400, "DependencyViolation", group)
	must[*ec2.RevokeSecurityGroupIngressOutput](t)(k.client.RevokeSecurityGroupIngress(t.Context(), &ec2.RevokeSecurityGroupIngressInput{GroupId: &group,
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), CidrIp: aws.String(callerCIDR)}))
	if k.reachable(*i.PublicIpAddress) {
		t.Error("reachable after the rule is gone")
	}
	for _, bad := range []ec2.AuthorizeSecurityGroupIngressInput{
		{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), CidrIp: aws.String("anywhere")},
		{IpProtocol: aws.String("smoke"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), CidrIp: aws.String(callerCIDR)},
		{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(23), ToPort: aws.Int32(22), CidrIp: aws.String(callerCIDR)},
	} {
		bad.GroupId = &group
		_, err := k.client.AuthorizeSecurityGroupIngress(t.Context(), &bad)
		wantError(t, err, 400, "InvalidParameterValue", "")
	}
	_, err = k.client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d")})
	wantError(t, err, 400, "InvalidGroup.Duplicate", "'g' already exists")
}

// TestPrivateAddress reaches a machine without a public address from within
// its VPC, and only from there.
func TestPrivateAddress(t *testing.T) {
	for _, inside := range []bool{false, true} {
		k := newKit(t, func(c *ec2sim.Config) { c.CallerInVPC = inside })
		key := k.keyPair("k", types.KeyTypeEd25519)
		group := k.openGroup("g", "127.96.0.0/10")
		subnet := k.cloud.DefaultSubnet(k.build, region, "us-east-1a")
		i := k.launched(func(in *ec2.RunInstancesInput) {
			in.KeyName = aws.String("k")
			in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: &subnet,
				AssociatePublicIpAddress: aws.Bool(false), Groups: []string{group}}}
		})
		if i.PublicIpAddress != nil {
			t.Errorf("public address %s", *i.PublicIpAddress)
		}
		if inside {
			k.login(*i.PrivateIpAddress, key)
		} else if k.reachable(*i.PrivateIpAddress) {
			t.Error("a private address is reachable from outside")
		}
	}
}

// TestKeysInUserData logs in with a key that EC2 knows nothing about.
func TestKeysInUserData(t *testing.T) {
	k := newKit(t, nil)
	out := must[*ec2.CreateKeyPairOutput](t)(k.client.CreateKeyPair(t.Context(), &ec2.CreateKeyPairInput{KeyName: aws.String("x"), KeyType: "rsa"}))
	key, err := ssh.ParsePrivateKey([]byte(*out.KeyMaterial))
	if err != nil || key.PublicKey().Type() != "ssh-rsa" {
		t.Fatal(err)
	}
	group := k.openGroup("g", callerCIDR)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	data := base64.StdEncoding.EncodeToString([]byte("#cloud-config\nssh_authorized_keys:\n  - " + line + "\n"))
	i := k.launched(func(in *ec2.RunInstancesInput) { in.UserData, in.SecurityGroupIds = &data, []string{group} })
	k.login(*i.PublicIpAddress, key)
}

// TestShutdownInside is poweroff in the guest: the instance stops, or ends.
func TestShutdownInside(t *testing.T) {
	for behaviour, want := range map[types.ShutdownBehavior]types.InstanceStateName{"": "stopped", "terminate": "terminated"} {
		k := newKit(t, nil)
		i, key := k.open(func(in *ec2.RunInstancesInput) { in.InstanceInitiatedShutdownBehavior = behaviour })
		session, err := k.login(*i.PublicIpAddress, key).NewSession()
		if err != nil {
			t.Fatal(err)
		}
		_ = session.Run("sudo poweroff") // the connection may end first
		got := k.reaches(k.client, *i.InstanceId, want)
		if *got.StateReason.Code != "Client.InstanceInitiatedShutdown" {
			t.Errorf("reason %s", *got.StateReason.Code)
		}
	}
}

func TestStopAndStart(t *testing.T) {
	k := newKit(t, nil)
	i, key := k.open(nil)
	k.shell(k.login(*i.PublicIpAddress, key), "echo kept > f")
	ids := []string{*i.InstanceId}
	out := must[*ec2.StopInstancesOutput](t)(k.client.StopInstances(t.Context(), &ec2.StopInstancesInput{InstanceIds: ids}))
	if c := out.StoppingInstances[0]; c.CurrentState.Name != "stopping" || c.PreviousState.Name != "running" || *c.PreviousState.Code != 16 {
		t.Errorf("changed %+v", c)
	}
	halted := k.reaches(k.client, *i.InstanceId, "stopped")
	if halted.PublicIpAddress != nil || halted.PrivateIpAddress == nil || *halted.StateReason.Code != "Client.UserInitiatedShutdown" {
		t.Errorf("stopped: %+v", halted)
	}
	console := must[*ec2.GetConsoleOutputOutput](t)(k.client.GetConsoleOutput(t.Context(), &ec2.GetConsoleOutputInput{InstanceId: i.InstanceId}))
	if text, _ := base64.StdEncoding.DecodeString(*console.Output); !strings.Contains(string(text), "power off") {
		t.Errorf("console %q", text)
	}
	must[*ec2.StartInstancesOutput](t)(k.client.StartInstances(t.Context(), &ec2.StartInstancesInput{InstanceIds: ids}))
	i = k.reaches(k.client, *i.InstanceId, "running")
	c := k.login(*i.PublicIpAddress, key)
	if got := k.shell(c, "cat f"); got != "kept\n" {
		t.Errorf("got %q", got)
	}
	must[*ec2.RebootInstancesOutput](t)(k.client.RebootInstances(t.Context(), &ec2.RebootInstancesInput{InstanceIds: ids}))
	if err := c.Wait(); err == nil {
		t.Error("the connection survived a reboot")
	}
	k.login(*i.PublicIpAddress, key)
	must[*ec2.ModifyInstanceAttributeOutput](t)(k.client.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{InstanceId: i.InstanceId,
		DisableApiTermination: &types.AttributeBooleanValue{Value: aws.Bool(true)}}))
	_, err := k.client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids})
	wantError(t, err, 400, "OperationNotPermitted", "disableApiTermination")
	_, err = k.client.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{InstanceId: i.InstanceId, EnaSupport: &types.AttributeBooleanValue{Value: aws.Bool(true)}})
	wantError(t, err, 400, "IncorrectInstanceState", "stopped")
}

// TestMetadata starts a machine that gets its key by IMDSv2 only.
func TestMetadata(t *testing.T) {
	k := newKit(t, nil)
	i, key := k.open(func(in *ec2.RunInstancesInput) {
		in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpTokens: "required"}
	})
	if i.MetadataOptions.HttpTokens != "required" || i.MetadataOptions.State != "applied" {
		t.Errorf("options %+v", i.MetadataOptions)
	}
	k.login(*i.PublicIpAddress, key) // the guest's cloud-init got its key with a token
	must[*ec2.ModifyInstanceMetadataOptionsOutput](t)(k.client.ModifyInstanceMetadataOptions(t.Context(), &ec2.ModifyInstanceMetadataOptionsInput{
		InstanceId: i.InstanceId, HttpPutResponseHopLimit: aws.Int32(2)}))
	if now := k.describe(k.client, *i.InstanceId); *now.MetadataOptions.HttpPutResponseHopLimit != 2 || now.MetadataOptions.HttpTokens != "required" {
		t.Errorf("changed: %+v", now.MetadataOptions)
	}
	attribute := must[*ec2.DescribeInstanceAttributeOutput](t)(k.client.DescribeInstanceAttribute(t.Context(), &ec2.DescribeInstanceAttributeInput{
		InstanceId: i.InstanceId, Attribute: "instanceInitiatedShutdownBehavior"}))
	if *attribute.InstanceInitiatedShutdownBehavior.Value != "stop" {
		t.Errorf("attribute %+v", attribute)
	}
	status := must[*ec2.DescribeInstanceStatusOutput](t)(k.client.DescribeInstanceStatus(t.Context(), &ec2.DescribeInstanceStatusInput{InstanceIds: []string{*i.InstanceId}}))
	if s := status.InstanceStatuses[0]; s.InstanceStatus.Status != "initializing" {
		t.Errorf("status %+v", s)
	}
}

// TestVolumesOutlive shows what DeleteOnTermination false leaves behind.
func TestVolumesOutlive(t *testing.T) {
	k := newKit(t, nil)
	i := k.launched(func(in *ec2.RunInstancesInput) {
		in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(false)}},
			{DeviceName: aws.String("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1), VolumeType: "gp3", DeleteOnTermination: aws.Bool(true)}}}
	})
	if len(i.BlockDeviceMappings) != 2 {
		t.Fatalf("devices %+v", i.BlockDeviceMappings)
	}
	root := *i.BlockDeviceMappings[0].Ebs.VolumeId
	_, err := k.client.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &root})
	wantError(t, err, 400, "VolumeInUse", *i.InstanceId)
	must[*ec2.TerminateInstancesOutput](t)(k.client.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	k.reaches(k.client, *i.InstanceId, "terminated")
	eventually(t, "only the root volume is left", func() bool { return len(k.left()) == 1 && strings.Contains(k.left()[0], root) })
	must[*ec2.DeleteVolumeOutput](t)(k.client.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: &root}))
	eventually(t, "nothing is left", func() bool { return len(k.left()) == 0 })
}

func marshalKey(key ssh.Signer) []byte { return ssh.MarshalAuthorizedKey(key.PublicKey()) }
