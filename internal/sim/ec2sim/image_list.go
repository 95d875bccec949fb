// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"slices"
	"strconv"
	"time"
)

type imageXML struct {
	ID              string         `xml:"imageId"`
	Location        string         `xml:"imageLocation"`
	State           string         `xml:"imageState"`
	OwnerID         string         `xml:"imageOwnerId"`
	OwnerAlias      string         `xml:"imageOwnerAlias,omitempty"`
	Created         string         `xml:"creationDate"`
	Public          bool           `xml:"isPublic"`
	Arch            string         `xml:"architecture"`
	Type            string         `xml:"imageType"`
	Name            string         `xml:"name"`
	Description     string         `xml:"description,omitempty"`
	Reason          *reasonXML     `xml:"stateReason"`
	RootType        string         `xml:"rootDeviceType"`
	RootName        string         `xml:"rootDeviceName"`
	Devices         set[deviceXML] `xml:"blockDeviceMapping"`
	Virtualization  string         `xml:"virtualizationType"`
	Tags            *set[tagXML]   `xml:"tagSet"`
	Hypervisor      string         `xml:"hypervisor"`
	ENA             bool           `xml:"enaSupport"`
	Sriov           string         `xml:"sriovNetSupport,omitempty"`
	BootMode        string         `xml:"bootMode,omitempty"`
	TPM             string         `xml:"tpmSupport,omitempty"`
	IMDS            string         `xml:"imdsSupport,omitempty"`
	Deprecation     string         `xml:"deprecationTime,omitempty"`
	Protection      string         `xml:"deregistrationProtection"`
	FreeTier        bool           `xml:"freeTierEligible"`
	PlatformDetails string         `xml:"platformDetails"`
	UsageOperation  string         `xml:"usageOperation"`
	SourceInstance  string         `xml:"sourceInstanceId,omitempty"`
	SourceImage     string         `xml:"sourceImageId,omitempty"`
	SourceRegion    string         `xml:"sourceImageRegion,omitempty"`

	ProductCodes *set[productCodeXML] `xml:"productCodes,omitempty"`
}

type productCodeXML struct {
	Code string `xml:"productCode"`
	Type string `xml:"type"`
}

type reasonXML struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

type deviceXML struct {
	Device string `xml:"deviceName"`
	EBS    struct {
		SnapshotID string `xml:"snapshotId,omitempty"`
		Size       int    `xml:"volumeSize"`
		Deletes    bool   `xml:"deleteOnTermination"`
		Type       string `xml:"volumeType"`
		Iops       int    `xml:"iops,omitempty"`
		Throughput int    `xml:"throughput,omitempty"`
		Encrypted  bool   `xml:"encrypted"`
	} `xml:"ebs"`
}

func (img *image) devicesXML() set[deviceXML] {
	var rows []deviceXML
	for _, d := range img.devices {
		row := deviceXML{Device: d.device}
		row.EBS.Size, row.EBS.Deletes, row.EBS.Type, row.EBS.Encrypted = d.sizeGiB, d.deletes, d.kind, d.encrypted
		if d.source != nil {
			row.EBS.SnapshotID = d.source.id
		}
		if d.kind == "gp3" || d.kind == "io1" || d.kind == "io2" {
			row.EBS.Iops, row.EBS.Throughput = d.iops, d.throughput
		}
		rows = append(rows, row)
	}
	return setOf(rows)
}

func (img *image) xml(q *call) imageXML {
	row := imageXML{ID: img.id, Location: img.account.ID + "/" + img.name, State: img.state, OwnerID: img.account.ID, OwnerAlias: img.alias,
		Created: stamp(img.created), Public: img.public, Arch: img.arch, Type: "machine", Name: img.name, Description: img.description,
		RootType: "ebs", RootName: img.root, Devices: img.devicesXML(), Virtualization: "hvm", Hypervisor: "xen", ENA: img.ena, Sriov: "simple",
		BootMode: img.bootMode, TPM: img.tpm, IMDS: img.imds, Protection: img.protection, FreeTier: img.freeTier,
		PlatformDetails: "Linux/UNIX", UsageOperation: "RunInstances",
		SourceInstance: img.sourceInstance, SourceImage: img.sourceImage, SourceRegion: img.sourceRegion}
	if img.home == q.home() { // tags are not shared
		tags := img.tags.xml()
		row.Tags = &tags
	}
	if img.productCode != "" {
		codes := setOf([]productCodeXML{{img.productCode, "marketplace"}})
		row.ProductCodes = &codes
	}
	if img.reason != nil {
		row.Reason = &reasonXML{img.reason.Code, img.reason.Message}
	}
	if !img.deprecated.IsZero() {
		row.Deprecation = stamp(img.deprecated)
	}
	return row
}

func imageFilters() attributes[*image] {
	fixed := func(value string) func(*image) []string { return func(*image) []string { return one(value) } }
	return attributes[*image]{
		"architecture": func(img *image) []string { return one(img.arch) }, "name": func(img *image) []string { return one(img.name) },
		"description": func(img *image) []string { return one(img.description) }, "state": func(img *image) []string { return one(img.state) },
		"image-id": func(img *image) []string { return one(img.id) }, "is-public": func(img *image) []string { return truth(img.public) },
		"owner-id": func(img *image) []string { return one(img.account.ID) }, "owner-alias": func(img *image) []string { return one(img.alias) },
		"virtualization-type": fixed("hvm"), "root-device-type": fixed("ebs"), "image-type": fixed("machine"), "hypervisor": fixed("xen"),
		"platform": fixed(""), "platform-details": fixed("Linux/UNIX"), "sriov-net-support": fixed("simple"),
		"root-device-name":   func(img *image) []string { return one(img.root) },
		"ena-support":        func(img *image) []string { return truth(img.ena) },
		"boot-mode":          func(img *image) []string { return one(img.bootMode) },
		"creation-date":      func(img *image) []string { return one(stamp(img.created)) },
		"free-tier-eligible": func(img *image) []string { return truth(img.freeTier) },
		"source-instance-id": func(img *image) []string { return one(img.sourceInstance) },
		"source-image-id":    func(img *image) []string { return one(img.sourceImage) },
		"block-device-mapping.device-name": func(img *image) (names []string) {
			for _, d := range img.devices {
				names = append(names, d.device)
			}
			return names
		},
		"block-device-mapping.snapshot-id": func(img *image) (ids []string) {
			for _, d := range img.devices {
				if d.source != nil {
					ids = append(ids, d.source.id)
				}
			}
			return ids
		},
		"block-device-mapping.volume-type": func(img *image) (types []string) {
			for _, d := range img.devices {
				types = append(types, d.kind)
			}
			return types
		},
		"block-device-mapping.volume-size": func(img *image) (sizes []string) {
			for _, d := range img.devices {
				sizes = append(sizes, strconv.Itoa(d.sizeGiB))
			}
			return sizes
		},
	}
}

func (c *Cloud) describeImages(q *call, in *struct {
	IDs               []string `aws:"ImageId"`
	Owners            []string `aws:"Owner"`
	Users             []string `aws:"ExecutableBy"`
	Filters           []filter `aws:"Filter"`
	IncludeDeprecated bool
	IncludeDisabled   bool
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	for _, id := range in.IDs {
		if _, err := c.findImage(q, id); err != nil {
			return nil, err
		}
	}
	for _, o := range in.Owners {
		if !slices.Contains([]string{"self", "amazon", "aws-marketplace", "aws-backup-vault"}, o) && len(o) != 12 {
			return nil, refuse("InvalidUserID.Malformed", "Invalid user id: \"%s\"", o)
		}
	}
	list := slices.DeleteFunc(all[*image](c), func(img *image) bool {
		owned := slices.Contains(in.Owners, img.account.ID) || slices.Contains(in.Owners, "self") && img.account == q.who.Account ||
			img.alias != "" && slices.Contains(in.Owners, img.alias)
		// Deprecated images are seen by their owners only, unless they are
		// asked for.
		hidden := !img.deprecated.IsZero() && time.Now().After(img.deprecated) && img.account != q.who.Account &&
			!in.IncludeDeprecated && !slices.Contains(in.IDs, img.id)
		executable := len(in.Users) == 0 || slices.Contains(in.Users, "self") && img.shared.with(q.who.Account) ||
			slices.Contains(in.Users, "all") && img.public
		return !img.usable(q) || hidden || len(in.IDs) > 0 && !slices.Contains(in.IDs, img.id) || len(in.Owners) > 0 && !owned || !executable
	})
	list, err := narrow(list, in.Filters, imageFilters())
	if err != nil {
		return nil, err
	}
	cut, next, err := page(list, in.paging, 1)
	if err != nil {
		return nil, err
	}
	rows := []imageXML{}
	for _, img := range cut {
		rows = append(rows, img.xml(q))
	}
	return struct {
		Images set[imageXML] `xml:"imagesSet"`
		Next   string        `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}
