// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"context"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// ownImage is one of the caller's images, which IAM lets it change.
func (c *Cloud) ownImage(q *call, id string) (*image, error) {
	img, err := c.findImage(q, id)
	if err != nil {
		return nil, err
	}
	if img.account != q.who.Account {
		q.asked = true
		return nil, refuse("AuthFailure", "Not authorized for image %s", id)
	}
	return img, c.authorize(q, []AccessResource{img.asResource(q)})
}

func (c *Cloud) deregisterImage(q *call, in *struct {
	ID        string `aws:"ImageId,required"`
	Snapshots bool   `aws:"DeleteAssociatedSnapshots"`
}) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	if img.protection != "disabled" {
		return nil, refuse("OperationNotPermitted", "The image '%s' is protected from deregistration. Disable its deregistration protection and try again.", img.id)
	}
	c.resources.remove(img.id)
	type result struct {
		ID   string `xml:"snapshotId"`
		Code string `xml:"returnCode"`
	}
	var results []result
	for _, d := range img.devices {
		if !in.Snapshots || d.source == nil {
			continue
		}
		if c.userOf(d.source) != nil {
			results = append(results, result{d.source.id, "skipped"})
			continue
		}
		c.dropSnapshot(d.source)
		results = append(results, result{d.source.id, "success"})
	}
	return struct {
		Return  bool        `xml:"return"`
		Results set[result] `xml:"deleteSnapshotResultSet"`
	}{true, setOf(results)}, nil
}

type textValue struct{ Value string }

func (c *Cloud) modifyImageAttribute(q *call, in *struct {
	ID          string `aws:"ImageId,required"`
	Attribute   string `aws:"Attribute,enum=description|launchPermission|imdsSupport|productCodes"`
	Value       string
	Operation   string     `aws:"OperationType,enum=add|remove"`
	Users       []string   `aws:"UserId"`
	Groups      []string   `aws:"UserGroup"`
	Orgs        []string   `aws:"OrganizationArn"`
	Units       []string   `aws:"OrganizationalUnitArn"`
	Products    []string   `aws:"ProductCode"`
	Description *textValue `aws:"Description"`
	IMDS        *textValue `aws:"ImdsSupport"`
	Change      *struct {
		Add    []permissionParam
		Remove []permissionParam
	} `aws:"LaunchPermission"`
}) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	if len(in.Products) > 0 {
		return nil, errNotSimulated("product codes")
	}
	if in.Attribute == "description" && in.Description == nil {
		in.Description = &textValue{in.Value}
	}
	if in.Attribute == "imdsSupport" && in.IMDS == nil {
		in.IMDS = &textValue{in.Value}
	}
	switch {
	case in.Description != nil:
		img.description = in.Description.Value
	case in.IMDS != nil:
		if in.IMDS.Value != "v2.0" {
			return nil, errValue("Value (%s) for parameter imdsSupport is invalid. Valid values: v2.0", in.IMDS.Value)
		}
		img.imds = "v2.0"
	case in.Change != nil || len(in.Users)+len(in.Groups)+len(in.Orgs)+len(in.Units) > 0:
		change := sharing{}
		if in.Change != nil {
			change.add, change.remove = in.Change.Add, in.Change.Remove
		}
		for _, arn := range append(in.Orgs, in.Units...) {
			change.add = append(change.add, permissionParam{OrgARN: arn})
		}
		if err := change.flat(in.Operation, in.Users, in.Groups); err != nil {
			return nil, err
		}
		for _, d := range img.devices {
			if d.encrypted && d.kmsKey == q.kmsARN("alias/aws/ebs") && len(change.add) > 0 {
				return nil, errValue("Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.")
			}
		}
		public, users, err := change.apply(img.public, img.shared.users)
		if err != nil {
			return nil, err
		}
		img.public, img.shared.users = public, users
		for _, p := range change.add {
			if arn := orText(p.OrgARN, p.UnitARN); arn != "" {
				img.shared.orgs = append(img.shared.orgs, arn)
			}
		}
	default:
		return nil, errCombination("No attributes specified.")
	}
	return done(), nil
}

type launchPermissionXML struct {
	Group string `xml:"group,omitempty"`
	User  string `xml:"userId,omitempty"`
	Org   string `xml:"organizationArn,omitempty"`
}

type valueXML struct {
	Value string `xml:"value"`
}

func (c *Cloud) describeImageAttribute(q *call, in *struct {
	ID        string `aws:"ImageId,required"`
	Attribute string `aws:"Attribute,required,enum=description|kernel|ramdisk|launchPermission|productCodes|blockDeviceMapping|sriovNetSupport|bootMode|tpmSupport|uefiData|lastLaunchedTime|imdsSupport|deregistrationProtection"`
}) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	out := struct {
		ID          string                    `xml:"imageId"`
		Description *valueXML                 `xml:"description"`
		IMDS        *valueXML                 `xml:"imdsSupport"`
		BootMode    *valueXML                 `xml:"bootMode"`
		TPM         *valueXML                 `xml:"tpmSupport"`
		Protection  *valueXML                 `xml:"deregistrationProtection"`
		Launch      *set[launchPermissionXML] `xml:"launchPermission"`
		Devices     *set[deviceXML]           `xml:"blockDeviceMapping"`
	}{ID: img.id}
	switch in.Attribute {
	case "description":
		out.Description = &valueXML{img.description}
	case "imdsSupport":
		out.IMDS = &valueXML{img.imds}
	case "bootMode":
		out.BootMode = &valueXML{img.bootMode}
	case "tpmSupport":
		out.TPM = &valueXML{img.tpm}
	case "deregistrationProtection":
		out.Protection = &valueXML{img.protection}
	case "blockDeviceMapping":
		devices := img.devicesXML()
		out.Devices = &devices
	case "launchPermission":
		rows := []launchPermissionXML{}
		if img.public {
			rows = append(rows, launchPermissionXML{Group: "all"})
		}
		for _, u := range img.shared.users {
			rows = append(rows, launchPermissionXML{User: u})
		}
		for _, arn := range img.shared.orgs {
			rows = append(rows, launchPermissionXML{Org: arn})
		}
		list := setOf(rows)
		out.Launch = &list
	default:
		return nil, errNotSimulated("the attribute " + in.Attribute)
	}
	return out, nil
}

func (c *Cloud) describeSnapshotAttribute(q *call, in *struct {
	ID        string `aws:"SnapshotId,required"`
	Attribute string `aws:"Attribute,required,enum=createVolumePermission|productCodes"`
}) (any, error) {
	s, err := find[*snapshot](c, q, "snapshot", in.ID)
	if err != nil {
		return nil, err
	}
	if err := c.authorize(q, []AccessResource{existing(s)}); err != nil {
		return nil, err
	}
	rows := []launchPermissionXML{}
	if s.public {
		rows = append(rows, launchPermissionXML{Group: "all"})
	}
	for _, u := range s.shared {
		rows = append(rows, launchPermissionXML{User: u})
	}
	return struct {
		ID    string                   `xml:"snapshotId"`
		Users set[launchPermissionXML] `xml:"createVolumePermission"`
	}{s.id, setOf(rows)}, nil
}

type imageOnly struct {
	ID string `aws:"ImageId,required"`
}

// maxDeprecation is how far in the future an image can be deprecated.
const maxDeprecation = 10 * 365 * 24 * time.Hour

func (c *Cloud) enableImageDeprecation(q *call, in *struct {
	imageOnly
	At string `aws:"DeprecateAt,required"`
}) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	at, err := time.Parse(time.RFC3339, in.At)
	if err != nil {
		return nil, errValue("Value (%s) for parameter DeprecateAt is invalid.", in.At)
	}
	if !at.After(time.Now()) {
		return nil, errValue("The deprecation date and time must be in the future")
	}
	if time.Until(at) > maxDeprecation+72*time.Hour {
		return nil, errValue("The deprecation date and time must be at most 10 years from now")
	}
	img.deprecated = at.Round(time.Minute) // EC2 rounds the seconds
	return done(), nil
}

func (c *Cloud) disableImageDeprecation(q *call, in *imageOnly) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	img.deprecated = time.Time{}
	return done(), nil
}

func (c *Cloud) enableImageProtection(q *call, in *struct {
	imageOnly
	WithCooldown bool
}) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	img.protection = "enabled-without-cooldown"
	if in.WithCooldown {
		img.protection = "enabled-with-cooldown"
	}
	return struct {
		Return string `xml:"return"`
	}{img.protection}, nil
}

func (c *Cloud) disableImageProtection(q *call, in *imageOnly) (any, error) {
	img, err := c.ownImage(q, in.ID)
	if err != nil {
		return nil, err
	}
	if img.protection == "enabled-with-cooldown" {
		img.protection = "disabled-cooldown" // for a day nobody can deregister it
		c.background(func(ctx context.Context) {
			if schedule.Pause(ctx, 24*time.Hour) == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				if img.protection == "disabled-cooldown" {
					img.protection = "disabled"
				}
			}
		})
	} else if img.protection != "disabled-cooldown" {
		img.protection = "disabled"
	}
	return struct {
		Return string `xml:"return"`
	}{img.protection}, nil
}
