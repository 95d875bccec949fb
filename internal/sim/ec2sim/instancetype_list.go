// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"slices"
	"strconv"
	"strings"
)

type typeXML struct {
	Name            string      `xml:"instanceType"`
	Current         bool        `xml:"currentGeneration"`
	FreeTier        bool        `xml:"freeTierEligible"`
	Usage           set[string] `xml:"supportedUsageClasses"`
	RootTypes       set[string] `xml:"supportedRootDeviceTypes"`
	Virtualizations set[string] `xml:"supportedVirtualizationTypes"`
	Metal           bool        `xml:"bareMetal"`
	Hypervisor      string      `xml:"hypervisor,omitempty"`
	Processor       struct {
		Archs        set[string] `xml:"supportedArchitectures"`
		Clock        float64     `xml:"sustainedClockSpeedInGhz"`
		Manufacturer string      `xml:"manufacturer"`
	} `xml:"processorInfo"`
	VCPU struct {
		VCPUs   int `xml:"defaultVCpus"`
		Cores   int `xml:"defaultCores"`
		Threads int `xml:"defaultThreadsPerCore"`
	} `xml:"vCpuInfo"`
	Memory struct {
		MiB int `xml:"sizeInMiB"`
	} `xml:"memoryInfo"`
	Storage bool `xml:"instanceStorageSupported"`
	EBS     struct {
		Optimized  string `xml:"ebsOptimizedSupport"`
		Encryption string `xml:"encryptionSupport"`
		NVMe       string `xml:"nvmeSupport"`
	} `xml:"ebsInfo"`
	Network struct {
		Performance string `xml:"networkPerformance"`
		MaxCards    int    `xml:"maximumNetworkInterfaces"`
		ENA         string `xml:"enaSupport"`
	} `xml:"networkInfo"`
	Hibernation bool        `xml:"hibernationSupported"`
	Burstable   bool        `xml:"burstablePerformanceSupported"`
	Hosts       bool        `xml:"dedicatedHostsSupported"`
	Recovery    bool        `xml:"autoRecoverySupported"`
	BootModes   set[string] `xml:"supportedBootModes"`
	TPM         string      `xml:"nitroTpmSupport"`
}

func (t instanceType) usage() []string { return []string{onDemand, spot} }

func (t instanceType) bootModes() []string {
	if t.x86Boot {
		return []string{"legacy-bios", "uefi"}
	}
	return []string{"uefi"}
}

func (t instanceType) hypervisor() string {
	if t.metal {
		return ""
	}
	return "nitro"
}

func (t instanceType) xml() typeXML {
	row := typeXML{Name: t.name, Current: !t.old, FreeTier: t.freeTier, Usage: setOf(t.usage()), RootTypes: setOf([]string{"ebs"}),
		Virtualizations: setOf([]string{"hvm"}), Metal: t.metal, Hypervisor: t.hypervisor(), Burstable: t.burstable, Recovery: true,
		Hosts: !t.burstable, BootModes: setOf(t.bootModes()), TPM: "unsupported"}
	row.Processor.Archs, row.Processor.Clock, row.Processor.Manufacturer = setOf([]string{t.arch}), t.clock, t.processor
	row.VCPU.VCPUs, row.VCPU.Cores, row.VCPU.Threads = t.vcpus, max(1, t.vcpus/t.threads), t.threads
	row.Memory.MiB = t.memoryMiB
	row.EBS.Optimized, row.EBS.Encryption, row.EBS.NVMe = "default", "supported", "required"
	row.Network.Performance, row.Network.MaxCards, row.Network.ENA = t.network, 2, "required"
	return row
}

func typeFilters() attributes[instanceType] {
	return attributes[instanceType]{
		"instance-type":                         func(t instanceType) []string { return one(t.name) },
		"processor-info.supported-architecture": func(t instanceType) []string { return one(t.arch) },
		"free-tier-eligible":                    func(t instanceType) []string { return truth(t.freeTier) },
		"current-generation":                    func(t instanceType) []string { return truth(!t.old) },
		"supported-usage-class":                 func(t instanceType) []string { return t.usage() },
		"supported-boot-mode":                   func(t instanceType) []string { return t.bootModes() },
		"supported-root-device-type":            func(instanceType) []string { return one("ebs") },
		"supported-virtualization-type":         func(instanceType) []string { return one("hvm") },
		"bare-metal":                            func(t instanceType) []string { return truth(t.metal) },
		"burstable-performance-supported":       func(t instanceType) []string { return truth(t.burstable) },
		"hypervisor":                            func(t instanceType) []string { return one(t.hypervisor()) },
		"instance-storage-supported":            func(instanceType) []string { return truth(false) },
		"vcpu-info.default-vcpus":               func(t instanceType) []string { return one(strconv.Itoa(t.vcpus)) },
		"memory-info.size-in-mib":               func(t instanceType) []string { return one(strconv.Itoa(t.memoryMiB)) },
		"processor-info.manufacturer":           func(t instanceType) []string { return one(t.processor) },
	}
}

func (c *Cloud) describeInstanceTypes(q *call, in *struct {
	Names   []string `aws:"InstanceType"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	if in.MaxResults != nil && *in.MaxResults > 100 {
		return nil, errValue("Value ( %d ) for parameter maxResults is invalid. Expecting a value between 5 and 100.", *in.MaxResults)
	}
	var unknown []string
	for _, name := range in.Names {
		if t, known := c.lookUpType(name); !known || !t.soldIn(q.region) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, refuse("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(unknown, ", "))
	}
	sold := slices.DeleteFunc(slices.Clone(c.types), func(t instanceType) bool {
		return !t.soldIn(q.region) || len(in.Names) > 0 && !slices.Contains(in.Names, t.name)
	})
	found, err := narrow(sold, in.Filters, typeFilters())
	if err != nil {
		return nil, err
	}
	if len(in.Names) == 0 && in.MaxResults == nil {
		in.MaxResults = new(100) // EC2 never sends more
	}
	cut, next, err := page(found, in.paging, 5)
	if err != nil {
		return nil, err
	}
	rows := []typeXML{}
	for _, t := range cut {
		rows = append(rows, t.xml())
	}
	return struct {
		Types set[typeXML] `xml:"instanceTypeSet"`
		Next  string       `xml:"nextToken,omitempty"`
	}{setOf(rows), next}, nil
}

type offeringXML struct {
	Type     string `xml:"instanceType"`
	Kind     string `xml:"locationType"`
	Location string `xml:"location"`
}

func (c *Cloud) describeInstanceTypeOfferings(q *call, in *struct {
	Kind    string   `aws:"LocationType,enum=region|availability-zone|availability-zone-id|outpost"`
	Filters []filter `aws:"Filter"`
	paging
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	kind := orText(in.Kind, "region")
	var found []offeringXML
	for _, t := range c.types {
		anywhere := false
		for _, z := range q.region.zones {
			if !c.offeredIn(q.who.Account, t, q.region, z) {
				continue
			}
			anywhere = true
			switch kind {
			case "availability-zone":
				found = append(found, offeringXML{t.name, kind, z.name})
			case "availability-zone-id":
				found = append(found, offeringXML{t.name, kind, z.id})
			}
		}
		if kind == "region" && anywhere {
			found = append(found, offeringXML{t.name, kind, q.region.name})
		}
	}
	found, err := narrow(found, in.Filters, attributes[offeringXML]{
		"location":      func(o offeringXML) []string { return one(o.Location) },
		"instance-type": func(o offeringXML) []string { return one(o.Type) },
	})
	if err != nil {
		return nil, err
	}
	if in.MaxResults == nil {
		in.MaxResults = new(1000)
	}
	cut, next, err := page(found, in.paging, 5)
	if err != nil {
		return nil, err
	}
	return struct {
		Offerings set[offeringXML] `xml:"instanceTypeOfferingSet"`
		Next      string           `xml:"nextToken,omitempty"`
	}{setOf(cut), next}, nil
}
