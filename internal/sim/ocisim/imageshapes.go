// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "slices"

// shapeEntry says that an image runs on a shape, within bounds.
type shapeEntry struct {
	ImageID           string             `json:"imageId"`
	Shape             string             `json:"shape"`
	MemoryConstraints *MemoryConstraints `json:"memoryConstraints"`
	OCPUConstraints   *OcpuConstraints   `json:"ocpuConstraints"`
}

// allows tells whether a size is within the entry's bounds.
func (e *shapeEntry) allows(s size) bool {
	within := func(v float64, low, high *int) bool {
		return (low == nil || v >= float64(*low)) && (high == nil || v <= float64(*high))
	}
	return (e.OCPUConstraints == nil || within(s.ocpus, e.OCPUConstraints.Min, e.OCPUConstraints.Max)) &&
		(e.MemoryConstraints == nil || within(s.memory, e.MemoryConstraints.MinInGBs, e.MemoryConstraints.MaxInGBs))
}

// entry is the image's entry for a shape, or nil.
func (img *image) entry(shape string) *shapeEntry {
	for n := range img.shapes {
		if img.shapes[n].Shape == shape {
			return &img.shapes[n]
		}
	}
	return nil
}

func (img *image) setShapes(names []string) {
	img.shapes = nil
	for _, name := range names {
		img.shapes = append(img.shapes, shapeEntry{ImageID: img.body.ID, Shape: name})
	}
}

// inheritShapes gives an image the entries of another one.
func (img *image) inheritShapes(from *image) {
	img.shapes = slices.Clone(from.shapes)
	for n := range img.shapes {
		img.shapes[n].ImageID = img.body.ID
	}
}

// addShapeEntry may be called in any state but DELETED, also while IMPORTING.
// Adding an entry again replaces its constraints.
func (c *Cloud) addShapeEntry(q *call) (*reply, error) {
	var details struct {
		MemoryConstraints *MemoryConstraints `json:"memoryConstraints"`
		OCPUConstraints   *OcpuConstraints   `json:"ocpuConstraints"`
	}
	if len(q.body) > 0 {
		if err := q.decode(&details); err != nil {
			return nil, err
		}
	}
	img, err := c.findOwnImage(q)
	if err != nil {
		return nil, err
	}
	shape := q.vars["shape"]
	if _, known := lookUpShape(shape); !known {
		return nil, errInvalid("Unknown shape %s", shape)
	}
	e := img.entry(shape)
	if e == nil {
		img.shapes = append(img.shapes, shapeEntry{ImageID: img.body.ID, Shape: shape})
		e = img.entry(shape)
	}
	e.MemoryConstraints, e.OCPUConstraints = details.MemoryConstraints, details.OCPUConstraints
	return ok(*e), nil
}

func (c *Cloud) getShapeEntry(q *call) (*reply, error) {
	img, err := c.findImage(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	e := img.entry(q.vars["shape"])
	if e == nil {
		return nil, errNotFound()
	}
	return ok(*e), nil
}

func (c *Cloud) removeShapeEntry(q *call) (*reply, error) {
	img, err := c.findOwnImage(q)
	if err != nil {
		return nil, err
	}
	if img.entry(q.vars["shape"]) == nil {
		return nil, errNotFound()
	}
	img.shapes = slices.DeleteFunc(img.shapes, func(e shapeEntry) bool { return e.Shape == q.vars["shape"] })
	return noContent(), nil
}

func (c *Cloud) listShapeEntries(q *call) (*reply, error) {
	img, err := c.findImage(q, q.vars["id"])
	if err != nil {
		return nil, err
	}
	return paginate(q, append([]shapeEntry{}, img.shapes...))
}
