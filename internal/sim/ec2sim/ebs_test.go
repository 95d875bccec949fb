// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// direct is a client of EBS direct. The SDK says whose bytes it reads only
// when they are read, so it needs a client that does not read ahead.
func (k *kit) direct(a *ec2sim.Account) *ebs.Client {
	cfg := k.config(ec2sim.Credentials{AccessKeyID: a.AccessKeyID, SecretAccessKey: a.SecretAccessKey}, region)
	cfg.HTTPClient = k.net.Client()
	return ebs.NewFromConfig(cfg)
}

// snapped makes an instance and a snapshot of its disk.
func (k *kit) snapped() (instance types.Instance, snapshot string) {
	k.t.Helper()
	i := k.launched(nil)
	made := must[*ec2.CreateSnapshotOutput](k.t)(k.client.CreateSnapshot(k.t.Context(), &ec2.CreateSnapshotInput{VolumeId: i.BlockDeviceMappings[0].Ebs.VolumeId}))
	k.snapshotReaches(k.client, *made.SnapshotId, types.SnapshotStateCompleted)
	return i, *made.SnapshotId
}

func wantReason[E error](t *testing.T, err error, reason func(E) string, want string) {
	t.Helper()
	var e E
	if !errors.As(err, &e) || reason(e) != want {
		t.Fatalf("got %v, want the reason %s", err, want)
	}
}

func invalid(e *ebstypes.ValidationException) string { return string(e.Reason) }

// Every block of a snapshot is what the disk has there.
func TestSnapshotBlocks(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	_, id := k.snapped()
	c := k.direct(k.build)
	list := must[*ebs.ListSnapshotBlocksOutput](t)(c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id}))
	if *list.BlockSize != 512<<10 || *list.VolumeSize != 8 || len(list.Blocks) == 0 || list.NextToken != nil || time.Until(*list.ExpiryTime) < 6*24*time.Hour {
		t.Fatalf("list: %+v", list)
	}
	disk, err := machine.OpenDisk(k.disk)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	want := make([]byte, 512<<10)
	for _, b := range list.Blocks {
		got := k.block(c, id, b)
		clear(want)
		if _, err := disk.ReadAt(want, int64(*b.BlockIndex)*512<<10); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("block %d differs", *b.BlockIndex)
		}
	}
	first := list.Blocks[0]
	get := func(index int32, token string) error {
		_, err := c.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: &index, BlockToken: &token})
		return err
	}
	err = get(*first.BlockIndex, "AAAA")
	wantError(t, err, 400, "ValidationException", "")
	wantReason(t, err, invalid, "INVALID_BLOCK_TOKEN")
	// Another list, other tokens.
	again := must[*ebs.ListSnapshotBlocksOutput](t)(c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id}))
	if *again.Blocks[0].BlockToken == *first.BlockToken {
		t.Error("the tokens stay the same")
	}
	wantReason(t, get(*first.BlockIndex, *first.BlockToken), invalid, "INVALID_BLOCK_TOKEN")
	k.block(c, id, again.Blocks[0])

	for reason, change := range map[string]func(*ebs.ListSnapshotBlocksInput){
		"INVALID_PARAMETER_VALUE": func(in *ebs.ListSnapshotBlocksInput) { in.MaxResults = aws.Int32(99) },
		"INVALID_PAGE_TOKEN":      func(in *ebs.ListSnapshotBlocksInput) { in.NextToken = aws.String("AAAA") },
		"INVALID_SNAPSHOT_ID":     func(in *ebs.ListSnapshotBlocksInput) { in.SnapshotId = aws.String("snap-1") },
	} {
		in := &ebs.ListSnapshotBlocksInput{SnapshotId: &id}
		change(in)
		_, err := c.ListSnapshotBlocks(ctx, in)
		wantReason(t, err, invalid, reason)
	}
	_, err = k.direct(k.other).ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id})
	wantError(t, err, 404, "ResourceNotFoundException", "")
	images := must[*ec2.DescribeImagesOutput](t)(k.client.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{k.ami}}))
	_, err = c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: images.Images[0].BlockDeviceMappings[0].Ebs.SnapshotId})
	wantError(t, err, 404, "ResourceNotFoundException", "")
}

// block reads one block and checks it against what its header says.
func (k *kit) block(c *ebs.Client, id string, b ebstypes.Block) []byte {
	k.t.Helper()
	out := must[*ebs.GetSnapshotBlockOutput](k.t)(c.GetSnapshotBlock(context.Background(), &ebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: b.BlockIndex, BlockToken: b.BlockToken}))
	data := must[[]byte](k.t)(io.ReadAll(out.BlockData))
	out.BlockData.Close()
	sum := sha256.Sum256(data)
	if *out.DataLength != int32(len(data)) || out.ChecksumAlgorithm != "SHA256" || *out.Checksum != base64.StdEncoding.EncodeToString(sum[:]) {
		k.t.Errorf("block %d: %d bytes, said to be %d", *b.BlockIndex, len(data), *out.DataLength)
	}
	return data
}

// What changed between two snapshots of a volume.
func TestChangedBlocks(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	i, first := k.snapped()
	must[*ec2.StopInstancesOutput](t)(k.client.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	k.reaches(k.client, *i.InstanceId, types.InstanceStateNameStopped)
	made := must[*ec2.CreateSnapshotOutput](t)(k.client.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: i.BlockDeviceMappings[0].Ebs.VolumeId}))
	k.snapshotReaches(k.client, *made.SnapshotId, types.SnapshotStateCompleted)
	c := k.direct(k.build)
	out := must[*ebs.ListChangedBlocksOutput](t)(c.ListChangedBlocks(ctx, &ebs.ListChangedBlocksInput{FirstSnapshotId: &first, SecondSnapshotId: made.SnapshotId}))
	if len(out.ChangedBlocks) == 0 { // what a machine leaves when it boots and stops
		t.Fatal("nothing changed")
	}
	b := out.ChangedBlocks[0]
	k.block(c, *made.SnapshotId, ebstypes.Block{BlockIndex: b.BlockIndex, BlockToken: b.SecondBlockToken})
	_, other := k.snapped()
	_, err := c.ListChangedBlocks(ctx, &ebs.ListChangedBlocksInput{FirstSnapshotId: &other, SecondSnapshotId: made.SnapshotId})
	wantReason(t, err, invalid, "UNRELATED_SNAPSHOTS")
}

// How reading blocks goes wrong.
func TestBlockFaults(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	_, id := k.snapped()
	c := k.direct(k.build)
	add := func(f ec2sim.Fault) {
		t.Helper()
		f.Times = 1
		if err := k.cloud.AddFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	list := must[*ebs.ListSnapshotBlocksOutput](t)(c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id}))
	get := func() (*ebs.GetSnapshotBlockOutput, []byte, error) {
		out, err := c.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: list.Blocks[0].BlockIndex, BlockToken: list.Blocks[0].BlockToken})
		if err != nil {
			return nil, nil, err
		}
		defer out.BlockData.Close()
		data, err := io.ReadAll(out.BlockData)
		return out, data, err
	}
	add(ec2sim.Fault{Kind: ec2sim.FaultBadChecksum})
	out, data, err := get()
	if sum := sha256.Sum256(data); err != nil || *out.Checksum == base64.StdEncoding.EncodeToString(sum[:]) {
		t.Errorf("the checksum is right, %v", err)
	}
	add(ec2sim.Fault{Kind: ec2sim.FaultShortBody})
	if out, data, err = get(); err != nil || len(data) != 256<<10 || *out.DataLength != 512<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	add(ec2sim.Fault{Kind: ec2sim.FaultCutBody})
	if _, data, err = get(); err == nil || len(data) > 256<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	add(ec2sim.Fault{Kind: ec2sim.FaultBlockToken})
	_, _, err = get()
	wantReason(t, err, invalid, "INVALID_BLOCK_TOKEN")
	add(ec2sim.Fault{Kind: ec2sim.FaultStatus, Op: "GetSnapshotBlock", Status: 500, Code: "InternalServerException"})
	_, _, err = get()
	wantError(t, err, 500, "InternalServerException", "")
	add(ec2sim.Fault{Kind: ec2sim.FaultEmptyPage})
	empty := must[*ebs.ListSnapshotBlocksOutput](t)(c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id}))
	if len(empty.Blocks) != 0 || empty.NextToken == nil {
		t.Fatalf("the page has %d blocks", len(empty.Blocks))
	}
	next := must[*ebs.ListSnapshotBlocksOutput](t)(c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id, NextToken: empty.NextToken}))
	if len(next.Blocks) != len(list.Blocks) {
		t.Errorf("the next page has %d blocks", len(next.Blocks))
	}
}

// A snapshot's blocks can be read so many times a second, and no more.
func TestBlockQuota(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[0].Quotas[ec2sim.QuotaSnapshotRead] = 0.01 })
	ctx := t.Context()
	_, id := k.snapped()
	c := k.direct(k.build)
	list := must[*ebs.ListSnapshotBlocksOutput](t)(c.ListSnapshotBlocks(ctx, &ebs.ListSnapshotBlocksInput{SnapshotId: &id}))
	k.block(c, id, list.Blocks[0])
	_, err := c.GetSnapshotBlock(ctx, &ebs.GetSnapshotBlockInput{SnapshotId: &id, BlockIndex: list.Blocks[0].BlockIndex, BlockToken: list.Blocks[0].BlockToken})
	wantError(t, err, 400, "RequestThrottledException", "")
	wantReason(t, err, func(e *ebstypes.RequestThrottledException) string { return string(e.Reason) }, "RESOURCE_LEVEL_THROTTLE")
}
