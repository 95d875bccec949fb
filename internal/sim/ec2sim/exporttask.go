// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// exportTask is an image that is being written to S3.
type exportTask struct {
	resourceBase
	image       *image
	description string
	format      string
	role        string
	bucket      *s3Bucket
	prefix      string
	state       string // active, completed, deleting, deleted
	message     string
	begun       time.Time
	needs       time.Duration
	stop        context.CancelFunc
}

// maxExports is how many images a region exports at the same time.
const maxExports = 20

type s3Location struct {
	Bucket string `xml:"s3Bucket"`
	Prefix string `xml:"s3Prefix,omitempty"`
}

type exportTaskXML struct {
	Description string      `xml:"description,omitempty"`
	Format      string      `xml:"diskImageFormat,omitempty"` // only right after it was asked for
	ID          string      `xml:"exportImageTaskId"`
	ImageID     string      `xml:"imageId"`
	Progress    string      `xml:"progress,omitempty"`
	Role        string      `xml:"roleName,omitempty"` // likewise
	Location    s3Location  `xml:"s3ExportLocation"`
	Status      string      `xml:"status"`
	Message     string      `xml:"statusMessage,omitempty"`
	Tags        set[tagXML] `xml:"tagSet"`
}

func (t *exportTask) xml() exportTaskXML {
	row := exportTaskXML{Description: t.description, ID: t.id, ImageID: t.image.id, Status: t.state, Message: t.message,
		Location: s3Location{t.bucket.name, t.prefix}, Tags: t.tags.xml()}
	if t.state == "active" {
		done := 85
		if t.needs > 0 {
			done = min(85, int(85*time.Since(t.begun)/t.needs))
		}
		row.Progress = strconv.Itoa(done)
		row.Message = "validating"
		if done > 10 {
			row.Message = "converting"
		}
	}
	return row
}

func (c *Cloud) exportImage(q *call, in *struct {
	ImageID  string `aws:"ImageId,required"`
	Format   string `aws:"DiskImageFormat,required,enum=VMDK|RAW|VHD"`
	Location struct {
		Bucket string `aws:"S3Bucket,required"`
		Prefix string `aws:"S3Prefix"`
	} `aws:"S3ExportLocation,required"`
	Role        string `aws:"RoleName"`
	ClientToken string
	Description string
	Specs       []tagSpecification `aws:"TagSpecification"`
}) (any, error) {
	return c.withToken(q, in.ClientToken, func() (func() (any, error), error) {
		tags, err := specified(in.Specs, "export-image-task")
		if err != nil {
			return nil, err
		}
		img, err := c.findImage(q, in.ImageID)
		if err != nil {
			return nil, err
		}
		planned := q.planned("export-image-task", tags["export-image-task"])
		var tagged []AccessResource
		if len(in.Specs) > 0 {
			tagged = append(tagged, planned)
		}
		if err := c.authorize(q, []AccessResource{img.asResource(q), planned}, tagged...); err != nil {
			return nil, err
		}
		switch {
		case len(in.Description) > 255:
			return nil, errValue("The description is longer than 255 characters")
		case in.Format != "VMDK":
			return nil, errNotSimulated("exports as " + in.Format)
		}
		if err := c.exportable(q, img); err != nil {
			return nil, err
		}
		b := c.buckets[in.Location.Bucket]
		role := orText(in.Role, "vmimport")
		if err := c.exportRole(q, role, b, in.Location.Bucket, in.Location.Prefix); err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(c.base)
		t := &exportTask{resourceBase: c.newBase(q, "export-image-task", tags["export-image-task"]), image: img, description: in.Description,
			format: in.Format, role: role, bucket: b, prefix: in.Location.Prefix, state: "active", begun: time.Now(), needs: c.delays.Image, stop: stop}
		c.resources.put(t)
		at := target{op: "ExportImage", account: t.account.Name, region: t.region.name, state: "active"}
		if slow := c.faults.hit(at, FaultSlow); slow != nil {
			t.needs += time.Duration(slow.Delay)
		}
		at.state = ""
		broken := c.faults.hit(at, FaultExportFails)
		c.background(func(context.Context) { c.runExport(ctx, t, broken) })
		return func() (any, error) {
			row := t.xml()
			row.Format, row.Role = t.format, t.role
			return row, nil
		}, nil
	})
}

// exportable refuses what EC2 does not export.
func (c *Cloud) exportable(q *call, img *image) error {
	switch {
	case img.state != "available":
		return refuse("IncorrectState", "The image %s is in the state %s", img.id, img.state)
	case img.productCode != "":
		return refuse("NotExportable", "The image ID (%s) provided contains AWS-licensed software and is not exportable: it is a marketplace AMI", img.id)
	case img.account != q.who.Account:
		return refuse("NotExportable", "The image ID (%s) is not owned by the account and is not exportable", img.id)
	case img.arch == arm64 && c.cfg.Switches.ARM64NotExportable:
		return refuse("NotExportable", "The image ID (%s) has the architecture arm64 and is not exportable", img.id)
	}
	for _, d := range img.devices {
		switch {
		case d.encrypted:
			return refuse("InvalidParameter", "The image ID (%s) has encrypted EBS block devices and is not exportable", img.id)
		case d.sizeGiB > 1024:
			return refuse("InvalidParameter", "The image ID (%s) has a volume of %d GiB; at most 1 TiB is exportable", img.id, d.sizeGiB)
		}
	}
	active := 0
	for _, t := range all[*exportTask](c) {
		if t.home != q.home() || t.state != "active" && t.state != "deleting" {
			continue
		}
		if active++; t.image == img {
			return refuse("ResourceLimitExceeded", "There is an export of the image %s under way: %s", img.id, t.id)
		}
	}
	if active >= maxExports {
		return refuse("ResourceLimitExceeded", "You have reached the limit of %d conversion tasks", maxExports)
	}
	return nil
}

// exportRole refuses a role by which EC2 cannot write to the bucket.
func (c *Cloud) exportRole(q *call, name string, b *s3Bucket, bucket, prefix string) error {
	in := c.iamOf(q)
	r := in.roles[name]
	noRole := refuse("InvalidParameter", "The service role %s provided does not exist or does not have sufficient permissions", name)
	if r == nil {
		return noRole
	}
	keys := keysOf(map[string][]string{"sts:ExternalId": {"vmimport"}})
	if allowed, _ := r.trust.trusts("sts:AssumeRole", policyPrincipal{"Service", "vmie." + domain}, q.who.Account.ID, keys); !allowed {
		return noRole
	}
	if b == nil || b.home != q.home() {
		return refuse("InvalidParameter", "The given S3 bucket %s does not exist, or is not in the region %s and yours", bucket, q.region.name)
	}
	policies := in.documents("role/" + r.name)
	for action, arn := range map[string]string{
		"s3:GetBucketLocation": b.arn(""), "s3:GetBucketAcl": b.arn(""), "s3:PutObject": b.arn(prefix + "export-ami-0.vmdk"),
	} {
		if grants, deny := judge(policies, action, arn, keysOf(q.accessContext())); deny || len(grants) == 0 {
			return noRole
		}
	}
	return nil
}

// rootSource is the file of the image's root volume, and how large that is: others are
// not exported.
func (img *image) rootSource() (path string, size int64) {
	for _, d := range img.devices {
		if d.device == img.root && d.source != nil {
			return d.source.path, int64(d.source.sizeGiB) << 30
		}
	}
	return "", 0
}

// runExport writes the file, after a while.
func (c *Cloud) runExport(ctx context.Context, t *exportTask, broken *Fault) {
	defer t.stop()
	c.mu.Lock()
	source, size := t.image.rootSource()
	needs := t.needs
	c.mu.Unlock()
	path := filepath.Join(c.cfg.WorkDir, "objects", t.id)
	err := schedule.Pause(ctx, needs)
	if err == nil && broken != nil {
		err = errors.New(orText(broken.Message, "ClientError: Unsupported kernel version."))
	}
	if err == nil {
		err = exportDisk(path, source, size)
	}
	c.mu.Lock()
	if err == nil && t.state == "active" {
		err = c.putFile(t.bucket, t.prefix+t.id+".vmdk", path)
	}
	if err == nil && t.state == "active" {
		t.state, t.message = "completed", ""
		c.mu.Unlock()
		return
	}
	t.state = "deleting"
	if err != nil && ctx.Err() == nil {
		t.message = err.Error()
	}
	c.mu.Unlock()
	_ = os.Remove(path)
	_ = schedule.Pause(c.base, c.delays.Volume) // the cloud may be closed meanwhile
	c.mu.Lock()
	defer c.mu.Unlock()
	t.state = "deleted"
}

// exportDisk writes a disk of a size to a file.
func exportDisk(path, source string, size int64) (err error) {
	disk, err := machine.OpenDisk(source)
	if err != nil {
		return err
	}
	defer disk.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return writeVMDK(f, disk, size)
}

func (c *Cloud) describeExportImageTasks(q *call, in *struct {
	IDs     []string `aws:"ExportImageTaskId"`
	Filters []filter `aws:"Filter"` // "Filters" in the documentation, "Filter" on the wire
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	list, err := pick[*exportTask](c, q, "export-image-task", in.IDs)
	if err != nil {
		return nil, err
	}
	for _, f := range in.Filters {
		if f.Name != "task-state" { // the only one that is documented
			return nil, errValue("The filter '%s' is invalid", f.Name)
		}
	}
	if list, err = narrow(list, in.Filters, attributes[*exportTask]{"task-state": func(t *exportTask) []string { return one(t.state) }}); err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 1)
	if err != nil {
		return nil, err
	}
	rows := []exportTaskXML{}
	for _, t := range cut {
		rows = append(rows, t.xml())
	}
	return struct {
		Tasks set[exportTaskXML] `xml:"exportImageTaskSet"`
		Next  string             `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

func (c *Cloud) cancelExportTask(q *call, in *struct {
	ID string `aws:"ExportTaskId,required"`
}) (any, error) {
	if !strings.HasPrefix(in.ID, "export-ami-") {
		return nil, fail(http.StatusBadRequest, "InvalidExportTaskID.NotFound", "The export task ID '%s' does not exist", in.ID)
	}
	t, err := find[*exportTask](c, q, "export-image-task", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(t)}); err != nil {
		return nil, err
	}
	if t.state != "active" {
		return nil, refuse("IncorrectState", "The export task %s is %s and cannot be cancelled", t.id, t.state)
	}
	t.state, t.message = "deleting", "Cancelled"
	t.stop()
	return done(), nil
}

// AddExportRole makes the role by which EC2 writes exported images into a bucket, as
// the documentation of VM Import/Export has it made.
func (c *Cloud) AddExportRole(a *Account, name, bucket string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	in := c.iam.of(a)
	r := in.newRole(name, "/")
	r.given, r.maxSession = true, time.Hour
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"vmie.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:Externalid":"vmimport"}}}]}`
	made, err := parsePolicy("trust", trust, trustPolicy)
	if err != nil {
		return fmt.Errorf("the role's trust: %w", err)
	}
	r.trust = inlinePolicy{trust, made}
	text := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetBucketLocation","s3:GetBucketAcl","s3:ListBucket"],"Resource":"arn:aws:s3:::%[1]s"},{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::%[1]s/*"}]}`, bucket)
	if made, err = parsePolicy(name, text, identityPolicy); err != nil {
		return fmt.Errorf("the role's policy: %w", err)
	}
	r.inline[name] = &inlinePolicy{text, made}
	return nil
}
