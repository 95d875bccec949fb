// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// volume is a disk.
type volume struct {
	resourceBase
	az         zone
	sizeGiB    int
	kind       string // gp3 and so on
	iops       int
	throughput int
	encrypted  bool
	kmsKey     string
	snapshotID string
	state      string // creating, available, in-use, deleting
	attached   *attachment
	path       string         // "" until its bytes are there
	copies     sync.WaitGroup // snapshots that are being made of it
}

// attachment joins a volume and an instance.
type attachment struct {
	volume   *volume
	instance *instance
	device   string
	deletes  bool // DeleteOnTermination
	at       time.Time
}

// ebsParams say what a volume is to be like.
type ebsParams struct {
	DeleteOnTermination *bool
	Encrypted           *bool
	Iops                *int
	KmsKeyID            string `aws:"KmsKeyId"`
	SnapshotID          string `aws:"SnapshotId"`
	Throughput          *int
	VolumeSize          *int
	VolumeType          string `aws:",enum=standard|io1|io2|gp2|gp3|sc1|st1"`
}

// deviceParams are a BlockDeviceMapping.
type deviceParams struct {
	DeviceName  string
	VirtualName string
	NoDevice    *string
	Ebs         *ebsParams
}

// disk is a volume that is planned.
type disk struct {
	device           string
	source           *snapshot // nil for an empty one
	sizeGiB          int
	kind             string
	iops, throughput int
	encrypted        bool
	kmsKey           string
	deletes          bool
}

// apply lays what a request says over a planned volume, and checks the whole.
func (c *Cloud) apply(q *call, d disk, p *ebsParams) (disk, error) {
	if p != nil {
		if p.SnapshotID != "" && (d.source == nil || p.SnapshotID != d.source.id) {
			if d.source != nil {
				return d, refuse("InvalidBlockDeviceMapping", "snapshotId can only be modified on EBS devices that are not the root device")
			}
			s, err := c.findSnapshot(q, p.SnapshotID)
			if err != nil {
				return d, err
			}
			d.source = s
		}
		if p.VolumeSize != nil {
			d.sizeGiB = *p.VolumeSize
		}
		if p.VolumeType != "" && p.VolumeType != d.kind {
			d.kind, d.iops, d.throughput = p.VolumeType, 0, 0
		}
		if p.Iops != nil {
			d.iops = *p.Iops
		}
		if p.Throughput != nil {
			d.throughput = *p.Throughput
		}
		if p.DeleteOnTermination != nil {
			d.deletes = *p.DeleteOnTermination
		}
		if err := d.encrypt(q, p); err != nil {
			return d, err
		}
	}
	if d.source != nil {
		d.encrypted = d.encrypted || d.source.encrypted
		if d.sizeGiB == 0 {
			d.sizeGiB = d.source.sizeGiB
		}
	}
	return d, d.check(p)
}

// encrypt settles encryption and its key.
func (d *disk) encrypt(q *call, p *ebsParams) error {
	if p.Encrypted != nil {
		if !*p.Encrypted && d.source != nil && d.source.encrypted {
			return refuse("InvalidBlockDeviceMapping", "the encrypted flag cannot be turned off for a device from an encrypted snapshot")
		}
		d.encrypted = *p.Encrypted
	}
	if p.KmsKeyID == "" {
		if d.encrypted && d.kmsKey == "" {
			d.kmsKey = q.kmsARN("alias/aws/ebs")
		}
		return nil
	}
	if !d.encrypted {
		return refuse("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	arn, err := q.kmsKey(p.KmsKeyID)
	d.kmsKey = arn
	return err
}

// check applies EBS's bounds.
func (d *disk) check(p *ebsParams) error {
	if d.kind == "" {
		d.kind = "gp2"
	}
	if d.source != nil && d.sizeGiB < d.source.sizeGiB {
		return refuse("InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", d.sizeGiB, d.source.id, d.source.sizeGiB)
	}
	if d.sizeGiB < 1 || d.sizeGiB > 16384 {
		return errValue("Volume of %dGiB is out of bounds; %s volumes must be between 1 and 16384 GiB", d.sizeGiB, d.kind)
	}
	asked := func(v *int) bool { return p != nil && v != nil }
	switch d.kind {
	case "gp3":
		if d.iops == 0 {
			d.iops = 3000
		}
		if d.throughput == 0 {
			d.throughput = 125
		}
		if d.iops < 3000 || d.iops > 16000 || d.iops > max(3000, 500*d.sizeGiB) {
			return errValue("Iops must be between 3000 and %d for a gp3 volume of %d GiB", min(16000, max(3000, 500*d.sizeGiB)), d.sizeGiB)
		}
		if d.throughput < 125 || d.throughput > 1000 || float64(d.throughput) > 0.25*float64(d.iops) && d.throughput > 125 {
			return errValue("Throughput must be between 125 and 1000 MiB/s, and at most 0.25 MiB/s per IOPS")
		}
	case "io1", "io2":
		if d.iops < 100 || d.iops > 64000 {
			return refuse("MissingParameter", "The parameter iops must be specified for %s volumes.", d.kind)
		}
	default:
		if p != nil && (asked(p.Iops) || asked(p.Throughput)) {
			return errCombination("The parameter iops is not supported for %s volumes.", d.kind)
		}
		if d.kind == "gp2" {
			d.iops = max(100, 3*d.sizeGiB)
		}
	}
	if d.kind != "gp3" && p != nil && asked(p.Throughput) {
		return errCombination("The parameter throughput is not supported for %s volumes.", d.kind)
	}
	return nil
}

func (q *call) kmsARN(id string) string {
	if strings.HasPrefix(id, "alias/") {
		return "arn:aws:kms:" + q.region.name + ":" + q.who.Account.ID + ":" + id
	}
	return "arn:aws:kms:" + q.region.name + ":" + q.who.Account.ID + ":key/" + id
}

// kmsKey reads a key id, alias or ARN of either.
func (q *call) kmsKey(id string) (string, error) {
	name := id
	if strings.HasPrefix(id, "arn:") {
		own := strings.TrimSuffix(q.kmsARN(""), "key/")
		rest, ok := strings.CutPrefix(id, own)
		if !ok {
			return "", refuse("InvalidParameterValue", "Invalid KMS key %s: it is not in this region and account", id)
		}
		name = strings.TrimPrefix(rest, "key/")
	}
	if name == "alias/aws/ebs" {
		return q.kmsARN(name), nil
	}
	for _, key := range q.who.Account.KMSKeys {
		if key == name {
			return q.kmsARN(name), nil
		}
	}
	return "", refuse("InvalidParameterValue", "Invalid KMS key %s: it does not exist, is disabled, or you may not use it", id)
}

// newVolume makes a volume of the caller's without bytes.
func (c *Cloud) newVolume(q *call, d disk, az zone, tags tagMap) *volume {
	v := &volume{resourceBase: c.newBase(q, "volume", tags), az: az, sizeGiB: d.sizeGiB, kind: d.kind, iops: d.iops,
		throughput: d.throughput, encrypted: d.encrypted, kmsKey: d.kmsKey, state: "creating"}
	if d.source != nil {
		v.snapshotID = d.source.id
	}
	c.resources.put(v)
	return v
}

func (c *Cloud) volumePath(v *volume) string {
	return filepath.Join(c.cfg.WorkDir, "volumes", v.id+".qcow2")
}

// dropVolume deletes a volume and its bytes. The cloud's lock is held.
func (c *Cloud) dropVolume(v *volume) {
	if v.state == "deleting" {
		return
	}
	v.state, v.attached = "deleting", nil
	c.background(func(ctx context.Context) {
		_ = schedule.Pause(ctx, c.delays.Volume) // it goes either way
		v.copies.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.resources.remove(v.id)
		if v.path != "" {
			c.cfg.Disks.Remove(v.path)
		}
	})
}

func (c *Cloud) deleteVolume(q *call, in *struct {
	ID string `aws:"VolumeId,required"`
}) (any, error) {
	v, err := find[*volume](c, q, "volume", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(v)}); err != nil {
		return nil, err
	}
	switch v.state {
	case "in-use":
		return nil, refuse("VolumeInUse", "Volume %s is currently attached to %s", v.id, v.attached.instance.id)
	case "creating":
		return nil, refuse("IncorrectState", "The volume '%s' is in the state %s", v.id, v.state)
	}
	c.dropVolume(v)
	return done(), nil
}

type volumeXML struct {
	ID          string             `xml:"volumeId"`
	Size        int                `xml:"size"`
	SnapshotID  string             `xml:"snapshotId"`
	AZ          string             `xml:"availabilityZone"`
	AZID        string             `xml:"availabilityZoneId"`
	Status      string             `xml:"status"`
	Created     string             `xml:"createTime"`
	Attachments set[attachmentXML] `xml:"attachmentSet"`
	Tags        set[tagXML]        `xml:"tagSet"`
	Type        string             `xml:"volumeType"`
	Iops        int                `xml:"iops,omitempty"`
	Throughput  int                `xml:"throughput,omitempty"`
	Encrypted   bool               `xml:"encrypted"`
	KmsKeyID    string             `xml:"kmsKeyId,omitempty"`
	MultiAttach bool               `xml:"multiAttachEnabled"`
}

type attachmentXML struct {
	VolumeID   string `xml:"volumeId"`
	InstanceID string `xml:"instanceId"`
	Device     string `xml:"device"`
	Status     string `xml:"status"`
	At         string `xml:"attachTime"`
	Deletes    bool   `xml:"deleteOnTermination"`
}

func (v *volume) xml() volumeXML {
	row := volumeXML{v.id, v.sizeGiB, v.snapshotID, v.az.name, v.az.id, v.state, stamp(v.created), set[attachmentXML]{}, v.tags.xml(),
		v.kind, v.iops, v.throughput, v.encrypted, v.kmsKey, false}
	if a := v.attached; a != nil {
		row.Attachments = setOf([]attachmentXML{{v.id, a.instance.id, a.device, "attached", stamp(a.at), a.deletes}})
	}
	return row
}

func (c *Cloud) describeVolumes(q *call, in *struct {
	IDs     []string `aws:"VolumeId"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*volume](c, q, "volume", in.IDs)
	if err == nil {
		list, err = narrow(list, in.Filters, attributes[*volume]{
			"volume-id": func(v *volume) []string { return one(v.id) }, "status": func(v *volume) []string { return one(v.state) },
			"availability-zone": func(v *volume) []string { return one(v.az.name) }, "snapshot-id": func(v *volume) []string { return one(v.snapshotID) },
			"volume-type": func(v *volume) []string { return one(v.kind) }, "encrypted": func(v *volume) []string { return truth(v.encrypted) },
			"size": func(v *volume) []string { return one(strconv.Itoa(v.sizeGiB)) },
			"attachment.instance-id": func(v *volume) []string {
				if v.attached == nil {
					return nil
				}
				return one(v.attached.instance.id)
			},
		})
	}
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []volumeXML{}
	for _, v := range cut {
		rows = append(rows, v.xml())
	}
	return struct {
		Volumes set[volumeXML] `xml:"volumeSet"`
		Next    string         `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}
