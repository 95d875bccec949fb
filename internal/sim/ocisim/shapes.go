// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "slices"

// shapeSpec is a kind of machine.
type shapeSpec struct {
	name      string
	processor string
	billing   string // LIMITED_FREE, ALWAYS_FREE or PAID
	flexible  bool
	ocpus     float64 // of a fixed shape; of a flexible one, what it defaults to
	memory    float64 // GB
	maxOCPUs  float64
	maxMemory float64 // GB
	perOCPU   float64 // default GB for each OCPU
	maxPer    float64 // most GB for each OCPU
	// coreLimits and memoryLimits are the service limits that a launch counts
	// against; countLimits count instances.
	coreLimits, memoryLimits, countLimits []string
	preemptible                           bool
}

// shapes lists the machines that the simulated data centres hold.
func shapes() []shapeSpec {
	flex := func(name, processor, billing, family string, maxOCPUs, maxMemory, perOCPU float64, regional bool) shapeSpec {
		s := shapeSpec{name: name, processor: processor, billing: billing, flexible: true, ocpus: 1, memory: perOCPU,
			maxOCPUs: maxOCPUs, maxMemory: maxMemory, perOCPU: perOCPU, maxPer: 64, preemptible: true,
			coreLimits: []string{family + "-core-count"}, memoryLimits: []string{family + "-memory-count"}}
		if regional {
			s.coreLimits = append(s.coreLimits, family+"-core-regional-count")
			s.memoryLimits = append(s.memoryLimits, family+"-memory-regional-count")
		}
		return s
	}
	return []shapeSpec{
		flex("VM.Standard.A1.Flex", "3.0 GHz Ampere® Altra™", "LIMITED_FREE", "standard-a1", 76, 472, 6, true),
		flex("VM.Standard.A2.Flex", "3.0 GHz AmpereOne™", "PAID", "standard-a2", 78, 946, 6, false),
		flex("VM.Standard.A4.Flex", "3.6 GHz AmpereOne™ M", "PAID", "standard-a4", 45, 700, 6, false),
		{name: "BM.Standard.A1.160", processor: "3.0 GHz Ampere® Altra™", billing: "PAID", ocpus: 160, memory: 1024,
			coreLimits: []string{"standard-a1-core-count", "standard-a1-core-regional-count"}},
		flex("VM.Standard.E4.Flex", "2.55 GHz AMD EPYC™ 7J13 (Milan)", "PAID", "standard-e4", 64, 1024, 16, false),
		flex("VM.Standard.E5.Flex", "2.4 GHz AMD EPYC™ 9J14 (Genoa)", "PAID", "standard-e5", 94, 1049, 12, false),
		{name: "VM.Standard.E2.1.Micro", processor: "2.0 GHz AMD EPYC™ 7551 (Naples)", billing: "ALWAYS_FREE", ocpus: 1,
			memory: 1, countLimits: []string{"vm-standard-e2-1-micro-count"}},
	}
}

// armShapes are the shapes with Arm processors.
func armShapes() []string {
	return []string{"VM.Standard.A1.Flex", "VM.Standard.A2.Flex", "VM.Standard.A4.Flex", "BM.Standard.A1.160"}
}

// arm tells whether the processor is an Arm one.
func (s shapeSpec) arm() bool { return slices.Contains(armShapes(), s.name) }

// defaultShapes are the entries that an imported image starts with: Oracle
// assumes x86 and leaves the Arm shapes to the user.
func defaultShapes() []string {
	return []string{"VM.Standard.E4.Flex", "VM.Standard.E5.Flex", "VM.Standard.E2.1.Micro"}
}

func lookUpShape(name string) (shapeSpec, bool) {
	for _, s := range shapes() {
		if s.name == name {
			return s, true
		}
	}
	return shapeSpec{}, false
}

func (c *Cloud) shapeRoutes() []route {
	return []route{
		op("ListShapes", "GET /20160918/shapes", c.listShapes,
			"compartmentId!", "availabilityDomain", "limit", "page", "imageId", "shape"),
		op("CreateComputeCapacityReport", "POST /20160918/computeCapacityReports", c.createCapacityReport),
	}
}

// shapeIn tells whether an availability domain has a shape at all.
func (c *Cloud) shapeIn(q *call, ad, shape string) bool {
	t := q.target()
	t.ad, t.shape = ad, shape
	return c.faults.peek(t, FaultShapeAbsent) == nil
}

func (c *Cloud) listShapes(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	ads := q.region().availabilityDomains(q.tenancy().adPrefix)
	if ad := q.param("availabilityDomain"); ad != "" {
		if !slices.Contains(ads, ad) {
			return nil, errNotFound()
		}
		ads = []string{ad}
	}
	var img *image
	if id := q.param("imageId"); id != "" {
		var err error
		if img, err = c.findImage(q, id); err != nil {
			return nil, err
		}
	}
	found := []map[string]any{}
	for _, ad := range ads {
		for _, s := range shapes() {
			if c.shapeIn(q, ad, s.name) && q.selects("shape", s.name) && (img == nil || img.entry(s.name) != nil) {
				found = append(found, s.body())
			}
		}
	}
	return paginate(q, found)
}

func (s shapeSpec) body() map[string]any {
	body := map[string]any{
		"shape": s.name, "processorDescription": s.processor, "ocpus": s.ocpus, "memoryInGBs": s.memory,
		"isFlexible": s.flexible, "billingType": s.billing, "isSubcore": false, "gpus": 0, "localDisks": 0,
		"networkPorts": 1, "networkingBandwidthInGbps": 1.0, "maxVnicAttachments": 2, "isLiveMigrationSupported": true,
		"isBilledForStoppedInstance": false, "quotaNames": slices.Concat(s.coreLimits, s.memoryLimits, s.countLimits),
		"ocpuOptions": nil, "memoryOptions": nil,
	}
	if s.flexible {
		body["ocpuOptions"] = map[string]any{"min": 1.0, "max": s.maxOCPUs, "maxPerNumaNode": s.maxOCPUs}
		body["memoryOptions"] = map[string]any{"minInGBs": 1.0, "maxInGBs": s.maxMemory, "defaultPerOcpuInGBs": s.perOCPU,
			"minPerOcpuInGBs": 1.0, "maxPerOcpuInGBs": s.maxPer, "maxPerNumaNodeInGBs": s.maxMemory}
	}
	return body
}

// size is what one instance asks for.
type size struct{ ocpus, memory float64 }

// sizeFor works out the size of an instance from its shape and shapeConfig.
func (s shapeSpec) sizeFor(ocpus, memory *float64) (size, error) {
	if !s.flexible {
		if ocpus != nil || memory != nil {
			return size{}, errInvalid("Shape %s is not flexible: shapeConfig cannot set ocpus or memoryInGBs", s.name)
		}
		return size{s.ocpus, s.memory}, nil
	}
	if ocpus == nil {
		return size{}, errInvalid("shapeConfig.ocpus is required for the flexible shape %s", s.name)
	}
	if *ocpus < 1 || *ocpus > s.maxOCPUs || *ocpus != float64(int(*ocpus)) {
		return size{}, errInvalid("Invalid ocpus %v for shape %s: must be a whole number between 1 and %v", *ocpus, s.name, s.maxOCPUs)
	}
	wanted := *ocpus * s.perOCPU
	if memory != nil {
		wanted = *memory
	}
	wanted = min(wanted, max(s.maxMemory, 1))
	if memory != nil && (*memory < *ocpus || *memory > *ocpus*s.maxPer || *memory > s.maxMemory) {
		return size{}, errInvalid("Invalid memoryInGBs %v for shape %s with %v OCPUs: must be between %v and %v", *memory, s.name,
			*ocpus, *ocpus, min(*ocpus*s.maxPer, s.maxMemory))
	}
	return size{*ocpus, wanted}, nil
}
