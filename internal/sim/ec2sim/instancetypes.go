// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"slices"
	"strings"
)

// instanceType is what EC2 has to sell.
type instanceType struct {
	name      string
	arch      string // arm64 or x86_64
	vcpus     int
	memoryMiB int
	burstable bool
	freeTier  bool
	old       bool    // not of the current generation
	metal     bool    // bare metal
	processor string  // manufacturer
	clock     float64 // GHz
	threads   int     // per core
	price     float64 // on demand in us-east-1, US dollars an hour
	regions   []string
	x86Boot   bool // legacy-bios as well
	network   string
}

// The two values of an architecture.
const (
	arm64 = "arm64"
	x86   = "x86_64"
)

// size is one size of a family.
type size struct {
	name  string
	vcpus int
	scale float64 // of memory and price, counted in .large
}

func sizes() []size {
	return []size{
		{"nano", 2, 1. / 16}, {"micro", 2, 1. / 8}, {"small", 2, 1. / 4}, {"medium", 2, 1. / 2}, {"large", 2, 1},
		{"xlarge", 4, 2}, {"2xlarge", 8, 4}, {"4xlarge", 16, 8}, {"8xlarge", 32, 16}, {"12xlarge", 48, 24}, {"16xlarge", 64, 32},
		{"metal", 64, 32},
	}
}

// instanceTypes lists the types that the simulator knows: the families with
// Graviton processors, and some for x86.
func instanceTypes() []instanceType {
	var types []instanceType
	// A large of each family has two vCPUs and this much memory and price.
	add := func(family string, large instanceType, memoryGiB int, names ...string) {
		for _, s := range sizes() {
			if !slices.Contains(names, s.name) {
				continue
			}
			t := large
			t.name, t.vcpus, t.metal = family+"."+s.name, s.vcpus, s.name == "metal"
			if s.name == "medium" && !t.burstable {
				t.vcpus = 1
			}
			t.memoryMiB, t.price = int(float64(memoryGiB)*1024*s.scale), large.price*s.scale
			t.freeTier = slices.Contains(freeTierTypes(), t.name)
			types = append(types, t)
		}
	}
	graviton := func(clock, price float64) instanceType {
		return instanceType{arch: arm64, processor: "AWS", clock: clock, threads: 1, price: price, network: "Up to 10 Gigabit"}
	}
	general := []string{"medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "metal"}

	t4g := graviton(2.5, 0.0672)
	t4g.burstable, t4g.network = true, "Up to 5 Gigabit"
	add("t4g", t4g, 8, "nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")
	a1 := graviton(2.3, 0.051)
	a1.regions = []string{"us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1", "ap-southeast-1",
		"ap-southeast-2", "ap-northeast-1"}
	add("a1", a1, 4, "medium", "large", "xlarge", "2xlarge", "4xlarge")
	newest := []string{"us-east-1", "us-east-2", "us-west-2", "eu-central-1", "eu-west-1", "eu-north-1", "ap-northeast-1", "ap-south-1",
		"ap-southeast-1", "ap-southeast-2"}
	for _, family := range []struct {
		letter string
		memory int
		prices [3]float64 // of the generations 6, 7 and 8
	}{{"c", 4, [3]float64{0.068, 0.0725, 0.07976}}, {"m", 8, [3]float64{0.077, 0.0816, 0.08976}}, {"r", 16, [3]float64{0.1008, 0.1071, 0.11782}}} {
		for i, clock := range []float64{2.5, 2.6, 2.8} {
			t := graviton(clock, family.prices[i])
			if i == 2 {
				t.regions = newest
			}
			add(family.letter+string(rune('6'+i))+"g", t, family.memory, general...)
		}
	}
	intel := func(price float64) instanceType {
		return instanceType{arch: x86, processor: "Intel", clock: 3.1, threads: 2, price: price, network: "Up to 10 Gigabit", x86Boot: true}
	}
	t3 := intel(0.0832)
	t3.burstable = true
	add("t3", t3, 8, "nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")
	add("m5", intel(0.096), 8, "large", "xlarge", "2xlarge", "4xlarge")
	add("c5", intel(0.085), 4, "large", "xlarge", "2xlarge", "4xlarge")
	add("c7i-flex", intel(0.0848), 4, "large", "xlarge")
	add("m7i-flex", intel(0.0958), 8, "large", "xlarge")
	return types
}

// freeTierTypes are those that accounts of the free plan may use.
func freeTierTypes() []string {
	return []string{"t3.micro", "t3.small", "t4g.micro", "t4g.small", "c7i-flex.large", "m7i-flex.large"}
}

func (c *Cloud) lookUpType(name string) (instanceType, bool) {
	for _, t := range c.types {
		if t.name == name {
			return t, true
		}
	}
	return instanceType{}, false
}

func (t instanceType) family() string {
	family, _, _ := strings.Cut(t.name, ".")
	return family
}

// soldIn tells whether a region has the type at all.
func (t instanceType) soldIn(r *region) bool {
	return len(t.regions) == 0 || slices.Contains(t.regions, r.name)
}

// offeredIn tells whether a zone has the type: not every zone has what its
// region has. The zone use1-az3 is an old one, without Nitro.
func (c *Cloud) offeredIn(a *Account, t instanceType, r *region, z zone) bool {
	if !t.soldIn(r) || z.name == "us-east-1e" && !t.old || t.family() == "a1" && len(r.zones) > 2 && z == r.zones[len(r.zones)-1] {
		return false
	}
	return c.faults.peek(target{op: "RunInstances", account: a.Name, region: r.name, az: z, instanceType: t.name, market: onDemand},
		FaultUnsupported) == nil
}

// spotPrice is what a spot instance costs at the moment.
func (t instanceType) spotPrice(z zone) float64 {
	return t.price * (0.3 + 0.02*float64(z.name[len(z.name)-1]-'a'))
}
