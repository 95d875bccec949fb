// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// snapshot holds the bytes of a volume as they were.
type snapshot struct {
	resourceBase
	volumeID    string
	sizeGiB     int
	description string
	state       string // pending, completed, error
	message     string
	begun       time.Time
	needs       time.Duration // until completed
	encrypted   bool
	kmsKey      string
	path        string // "" until its bytes are there
	kept        bool   // the file belongs to somebody else
	used        int64  // bytes of written blocks
	public      bool
	shared      []string // ids of accounts that may make volumes of it
}

// progress is how far it is, in percent.
func (s *snapshot) progress() int {
	if s.state == "completed" {
		return 100
	}
	if s.needs <= 0 {
		return 0
	}
	return min(99, int(100*time.Since(s.begun)/s.needs))
}

func (c *Cloud) snapshotPath(s *snapshot) string {
	return filepath.Join(c.cfg.WorkDir, "snapshots", s.id+".qcow2")
}

// readable tells whether the caller may make volumes of a snapshot.
func (s *snapshot) readable(q *call) bool {
	return s.region == q.region && (s.seenBy(q) || s.public || slices.Contains(s.shared, q.who.Account.ID))
}

func (c *Cloud) findSnapshot(q *call, id string) (*snapshot, error) {
	if err := checkID("snapshot", id); err != nil {
		return nil, err
	}
	s, is := c.resources.byID[id].(*snapshot)
	if !is || !s.readable(q) {
		return nil, errUnknownID("snapshot", id)
	}
	return s, nil
}

// newSnapshot makes a snapshot of the caller's that has no bytes yet.
func (c *Cloud) newSnapshot(q *call, volumeID string, sizeGiB int, encrypted bool, kmsKey, description string, tags tagMap) *snapshot {
	s := &snapshot{resourceBase: c.newBase(q, "snapshot", tags), volumeID: volumeID, sizeGiB: sizeGiB, description: description,
		state: "pending", begun: time.Now(), encrypted: encrypted, kmsKey: kmsKey}
	c.resources.put(s)
	return s
}

// fill gives a snapshot its bytes, which copy makes at a path, and lets it
// reach its end after a while. done is called with the lock held.
func (c *Cloud) fill(ctx context.Context, s *snapshot, op string, least time.Duration, copy func(ctx context.Context, path string) error, then func(err error)) {
	c.mu.Lock()
	t := target{op: op, account: s.account.Name, region: s.region.name, state: "pending"}
	if slow := c.faults.hit(t, FaultSlow); slow != nil {
		least += time.Duration(slow.Delay)
	}
	t.state = ""
	broken := c.faults.hit(t, FaultSnapshotFails)
	s.needs = least
	path := c.snapshotPath(s)
	c.mu.Unlock()
	err := copy(ctx, path)
	used := usedBytes(path)
	c.background(func(ctx context.Context) {
		if err == nil {
			err = schedule.Pause(ctx, least)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		_, exists := c.resources.byID[s.id]
		switch {
		case !exists: // deleted meanwhile
			c.cfg.Disks.Remove(path)
		case err != nil || broken != nil:
			s.state, s.message = "error", "The snapshot could not be made"
			if broken != nil && broken.Message != "" {
				s.message = broken.Message
			}
			c.cfg.Disks.Remove(path)
			if err == nil {
				err = fail(500, "InternalError", "%s", s.message)
			}
		default:
			s.path, s.state, s.used = path, "completed", used
		}
		if then != nil {
			then(err)
		}
	})
}

func (c *Cloud) createSnapshot(q *call, in *struct {
	VolumeID    string `aws:"VolumeId,required"`
	Description string
	Location    string             `aws:"Location,enum=regional|local"`
	Specs       []tagSpecification `aws:"TagSpecification"`
}) (any, error) {
	tags, err := specified(in.Specs, "snapshot")
	if err != nil {
		return nil, err
	}
	v, err := find[*volume](c, q, "volume", in.VolumeID)
	if err != nil {
		return nil, err
	}
	planned := q.planned("snapshot", tags["snapshot"])
	var tagged []AccessResource
	if len(in.Specs) > 0 {
		tagged = append(tagged, planned)
	}
	if err := c.authorize(q, []AccessResource{existing(v), planned}, tagged...); err != nil {
		return nil, err
	}
	if v.path == "" || v.state == "deleting" || v.state == "creating" {
		return nil, refuse("IncorrectState", "The volume '%s' is in the state %s", v.id, v.state)
	}
	s := c.newSnapshot(q, v.id, v.sizeGiB, v.encrypted, v.kmsKey, in.Description, tags["snapshot"])
	c.take(v, s, "CreateSnapshot")
	return s.xml(), nil
}

// take copies the bytes of a volume into a snapshot. The bytes of a volume
// that is attached are taken between the operations of its instance.
func (c *Cloud) take(v *volume, s *snapshot, op string) {
	v.copies.Add(1)
	work := func(ctx context.Context) {
		defer v.copies.Done()
		c.fill(ctx, s, op, c.delays.Snapshot, func(ctx context.Context, path string) error {
			return c.cfg.Disks.Image(ctx, v.path, path)
		}, nil)
	}
	if v.attached != nil {
		c.operate(v.attached.instance, true, work)
	} else {
		c.background(work)
	}
}

type snapshotXML struct {
	ID          string      `xml:"snapshotId"`
	VolumeID    string      `xml:"volumeId"`
	Status      string      `xml:"status"`
	Message     string      `xml:"statusMessage,omitempty"`
	Start       string      `xml:"startTime"`
	Progress    string      `xml:"progress"`
	OwnerID     string      `xml:"ownerId"`
	Size        int         `xml:"volumeSize"`
	FullSize    int64       `xml:"fullSnapshotSizeInBytes,omitempty"`
	Description string      `xml:"description"`
	Encrypted   bool        `xml:"encrypted"`
	KmsKeyID    string      `xml:"kmsKeyId,omitempty"`
	StorageTier string      `xml:"storageTier"`
	Tags        set[tagXML] `xml:"tagSet"`
}

func (s *snapshot) xml() snapshotXML {
	row := snapshotXML{s.id, s.volumeID, s.state, s.message, stamp(s.begun), strconv.Itoa(s.progress()) + "%", s.account.ID, s.sizeGiB, 0,
		s.description, s.encrypted, s.kmsKey, "standard", s.tags.xml()}
	if s.state == "completed" {
		row.FullSize = s.used
	}
	return row
}

func (c *Cloud) describeSnapshots(q *call, in *struct {
	IDs     []string `aws:"SnapshotId"`
	Owners  []string `aws:"Owner"`
	Users   []string `aws:"RestorableBy"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	var list []*snapshot
	for _, s := range all[*snapshot](c) {
		if s.readable(q) {
			list = append(list, s)
		}
	}
	for _, id := range in.IDs {
		if _, err := c.findSnapshot(q, id); err != nil {
			return nil, err
		}
	}
	list = slices.DeleteFunc(list, func(s *snapshot) bool {
		owned := slices.Contains(in.Owners, s.account.ID) || slices.Contains(in.Owners, "self") && s.account == q.who.Account
		return len(in.IDs) > 0 && !slices.Contains(in.IDs, s.id) || len(in.Owners) > 0 && !owned
	})
	list, err := narrow(list, in.Filters, attributes[*snapshot]{
		"snapshot-id": func(s *snapshot) []string { return one(s.id) }, "status": func(s *snapshot) []string { return one(s.state) },
		"volume-id": func(s *snapshot) []string { return one(s.volumeID) }, "owner-id": func(s *snapshot) []string { return one(s.account.ID) },
		"description": func(s *snapshot) []string { return one(s.description) }, "encrypted": func(s *snapshot) []string { return truth(s.encrypted) },
		"volume-size": func(s *snapshot) []string { return one(strconv.Itoa(s.sizeGiB)) },
		"progress":    func(s *snapshot) []string { return one(strconv.Itoa(s.progress()) + "%") },
	})
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []snapshotXML{}
	for _, s := range cut {
		rows = append(rows, s.xml())
	}
	return struct {
		Snapshots set[snapshotXML] `xml:"snapshotSet"`
		Next      string           `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

func (c *Cloud) deleteSnapshot(q *call, in *struct {
	ID string `aws:"SnapshotId,required"`
}) (any, error) {
	s, err := find[*snapshot](c, q, "snapshot", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(s)}); err != nil {
		return nil, err
	}
	if img := c.userOf(s); img != nil {
		return nil, refuse("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", s.id, img.id)
	}
	c.dropSnapshot(s)
	return done(), nil
}

// userOf is an image that needs a snapshot.
func (c *Cloud) userOf(s *snapshot) *image {
	for _, img := range all[*image](c) {
		if slices.ContainsFunc(img.devices, func(d disk) bool { return d.source == s }) {
			return img
		}
	}
	return nil
}

func (c *Cloud) dropSnapshot(s *snapshot) {
	c.resources.remove(s.id)
	if s.path != "" && !s.kept {
		c.cfg.Disks.Remove(s.path)
	}
}

func (c *Cloud) modifySnapshotAttribute(q *call, in *struct {
	ID        string   `aws:"SnapshotId,required"`
	Attribute string   `aws:"Attribute,enum=createVolumePermission|productCodes"`
	Operation string   `aws:"OperationType,enum=add|remove"`
	Users     []string `aws:"UserId"`
	Groups    []string `aws:"UserGroup"`
	Change    struct {
		Add    []permissionParam
		Remove []permissionParam
	} `aws:"CreateVolumePermission"`
}) (any, error) {
	s, err := find[*snapshot](c, q, "snapshot", in.ID)
	if err != nil {
		return nil, err
	}
	change := sharing{add: in.Change.Add, remove: in.Change.Remove}
	if err := change.flat(in.Operation, in.Users, in.Groups); err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(s)}); err != nil {
		return nil, err
	}
	if s.encrypted && len(change.add) > 0 && s.kmsKey == q.kmsARN("alias/aws/ebs") {
		return nil, refuse("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
	}
	s.public, s.shared, err = change.apply(s.public, s.shared)
	if err != nil {
		return nil, err
	}
	return done(), nil
}
