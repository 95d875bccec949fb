// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"context"
	"strconv"
)

// consoleHistory is what an instance had printed when it was captured.
type consoleHistory struct {
	place
	revision
	body consoleHistoryBody
	text []byte
}

type consoleHistoryBody struct {
	tags
	ID                 string   `json:"id"`
	AvailabilityDomain string   `json:"availabilityDomain"`
	CompartmentID      string   `json:"compartmentId"`
	DisplayName        string   `json:"displayName"`
	InstanceID         string   `json:"instanceId"`
	LifecycleState     string   `json:"lifecycleState"`
	TimeCreated        wireTime `json:"timeCreated"`
}

func (c *Cloud) consoleRoutes() []route {
	return []route{
		op("CaptureConsoleHistory", "POST /20160918/instanceConsoleHistories", c.captureConsole),
		op("ListConsoleHistories", "GET /20160918/instanceConsoleHistories", c.listConsoles, "compartmentId!", "availabilityDomain",
			"limit", "page", "instanceId", "sortBy", "sortOrder", "lifecycleState").
			enum("lifecycleState", "REQUESTED", "GETTING-HISTORY", "SUCCEEDED", "FAILED"),
		op("GetConsoleHistory", "GET /20160918/instanceConsoleHistories/{id}", c.getConsole),
		op("GetConsoleHistoryContent", "GET /20160918/instanceConsoleHistories/{id}/data", c.getConsoleContent,
			"offset", "length"),
		op("DeleteConsoleHistory", "DELETE /20160918/instanceConsoleHistories/{id}", c.deleteConsole),
	}
}

func (c *Cloud) captureConsole(q *call) (*reply, error) {
	var details struct {
		tags
		InstanceID  string  `json:"instanceId" oci:"required"`
		DisplayName *string `json:"displayName"`
	}
	if err := q.decode(&details); err != nil {
		return nil, err
	}
	i, err := c.findInstance(q, details.InstanceID)
	if err != nil {
		return nil, err
	}
	if err := details.tags.check(q.tenancy()); err != nil {
		return nil, err
	}
	h := &consoleHistory{place: q.here(), body: consoleHistoryBody{
		tags: details.tags.normal(), ID: newOCID("consolehistory", q.region().ocid),
		AvailabilityDomain: i.body.AvailabilityDomain, CompartmentID: i.body.CompartmentID,
		DisplayName: nameOr(details.DisplayName, "consolehistory"), InstanceID: i.body.ID,
		LifecycleState: "REQUESTED", TimeCreated: wireNow(),
	}}
	h.touch()
	c.consoles.put(h.body.ID, h)
	c.background(func(ctx context.Context) { c.readConsole(ctx, h, i) })
	return withEtag(h.body, h.revision), nil
}

// readConsole takes what the machine has printed by the end of the capture.
func (c *Cloud) readConsole(ctx context.Context, h *consoleHistory, i *instance) {
	c.mu.Lock()
	if h.body.LifecycleState == "REQUESTED" {
		h.body.LifecycleState = "GETTING-HISTORY"
	}
	c.mu.Unlock()
	if c.spend(ctx, h.place, "CaptureConsoleHistory", "GETTING-HISTORY", c.delays.History) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.body.LifecycleState == "GETTING-HISTORY" { // it may be deleted by now
		h.body.LifecycleState = "SUCCEEDED"
		if i.machine != nil {
			h.text = i.machine.Console()
		}
	}
}

func (c *Cloud) listConsoles(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []consoleHistoryBody{}
	for _, h := range c.consoles.all() {
		b := h.body
		if h.ownedBy(q) && b.LifecycleState != "DELETED" && q.selects("compartmentId", b.CompartmentID) &&
			q.selects("availabilityDomain", b.AvailabilityDomain) && q.selects("instanceId", b.InstanceID) &&
			q.selects("lifecycleState", b.LifecycleState) {
			found = append(found, b)
		}
	}
	sortResources(q, found, func(b consoleHistoryBody) (string, wireTime) { return b.DisplayName, b.TimeCreated })
	return paginate(q, found)
}

func (c *Cloud) findConsole(q *call) (*consoleHistory, error) {
	h, exists := c.consoles.get(q.vars["id"])
	if !exists || !h.ownedBy(q) || h.body.LifecycleState == "DELETED" {
		return nil, errNotFound()
	}
	return h, nil
}

func (c *Cloud) getConsole(q *call) (*reply, error) {
	h, err := c.findConsole(q)
	if err != nil {
		return nil, err
	}
	return withEtag(h.body, h.revision), nil
}

// getConsoleContent needs a capture that has ended. It returns at most 1 MiB, by default 10 KiB, of plain text.
func (c *Cloud) getConsoleContent(q *call) (*reply, error) {
	h, err := c.findConsole(q)
	if err != nil {
		return nil, err
	}
	if h.body.LifecycleState != "SUCCEEDED" {
		return nil, errState("Console history %s is %s", h.body.ID, h.body.LifecycleState)
	}
	offset, length := 0, 10240
	for name, into := range map[string]*int{"offset": &offset, "length": &length} {
		if text := q.param(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > 1<<20 {
				return nil, errInvalid("%s is out of range", name)
			}
			*into = n
		}
	}
	start := min(offset, len(h.text))
	end := min(start+length, len(h.text))
	return plainText(h.text[start:end]).with("Opc-Bytes-Remaining", strconv.Itoa(len(h.text)-end)), nil
}

func (c *Cloud) deleteConsole(q *call) (*reply, error) {
	h, err := c.findConsole(q)
	if err != nil {
		return nil, err
	}
	if err := h.ifMatch(q); err != nil {
		return nil, err
	}
	h.body.LifecycleState, h.text = "DELETED", nil
	return noContent(), nil
}
