// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "strconv"

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
		LifecycleState: "SUCCEEDED", TimeCreated: wireNow(),
	}}
	if i.machine != nil {
		h.text = i.machine.Console()
	}
	h.touch()
	c.consoles.put(h.body.ID, h)
	return withEtag(h.body, h.revision), nil
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

// getConsoleContent returns at most 1 MiB, by default 10 KiB, of plain text.
func (c *Cloud) getConsoleContent(q *call) (*reply, error) {
	h, err := c.findConsole(q)
	if err != nil {
		return nil, err
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
