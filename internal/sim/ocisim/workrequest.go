// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

// workRequest follows one asynchronous operation.
type workRequest struct {
	place
	of     service
	body   workRequestBody
	errors []workRequestErrorBody
	logs   []workRequestLogBody
	looks  int // how often it was asked for
}

type workRequestBody struct {
	ID              string                    `json:"id"`
	OperationType   string                    `json:"operationType"`
	Status          string                    `json:"status"`
	CompartmentID   string                    `json:"compartmentId"`
	PercentComplete float32                   `json:"percentComplete"`
	Resources       []workRequestResourceBody `json:"resources,omitempty"`
	TimeAccepted    wireTime                  `json:"timeAccepted"`
	TimeStarted     *wireTime                 `json:"timeStarted"`
	TimeFinished    *wireTime                 `json:"timeFinished"`
}

type workRequestResourceBody struct {
	ActionType string  `json:"actionType"`
	EntityType string  `json:"entityType"`
	Identifier string  `json:"identifier"`
	EntityURI  *string `json:"entityUri"`
}

type workRequestErrorBody struct {
	Code      string   `json:"code"`
	Message   string   `json:"message"`
	Timestamp wireTime `json:"timestamp"`
}

type workRequestLogBody struct {
	Message   string   `json:"message"`
	Timestamp wireTime `json:"timestamp"`
}

// newWork accepts an asynchronous operation on a resource. done is the action
// that the resource will have undergone: CREATED, UPDATED or DELETED.
func (c *Cloud) newWork(at place, operation, compartment, entityType, id, done string) *workRequest {
	uri := "/20160918/" + entityType + "s/" + id
	work := &workRequest{place: at, of: compute, body: workRequestBody{
		ID: newOCID("coreservicesworkrequest", at.region.ocid), OperationType: operation, Status: "ACCEPTED",
		CompartmentID: compartment, TimeAccepted: wireNow(),
		Resources: []workRequestResourceBody{{ActionType: done, EntityType: entityType, Identifier: id, EntityURI: &uri}},
	}}
	work.note("Work request accepted")
	c.workRequests.put(work.body.ID, work)
	return work
}

func (w *workRequest) note(message string) {
	w.logs = append(w.logs, workRequestLogBody{message, wireNow()})
}

func (w *workRequest) begin() {
	now := wireNow()
	w.body.Status, w.body.TimeStarted = "IN_PROGRESS", &now
	w.note("Work request started")
}

func (w *workRequest) end(status string) {
	now := wireNow()
	w.body.Status, w.body.TimeFinished, w.body.PercentComplete = status, &now, 100
	w.note("Work request finished: " + status)
}

// fail ends the work with a reason that only ListWorkRequestErrors tells.
func (w *workRequest) fail(code, message string) {
	w.errors = append(w.errors, workRequestErrorBody{code, message, wireNow()})
	w.end("FAILED")
}

func (c *Cloud) workRequestRoutes() []route {
	return []route{
		op("ListWorkRequests", "GET /20160918/workRequests", c.listWorkRequests,
			"compartmentId!", "resourceId", "limit", "page"),
		op("GetWorkRequest", "GET /20160918/workRequests/{id}", c.getWorkRequest),
		op("ListWorkRequestErrors", "GET /20160918/workRequests/{id}/errors", c.listWorkRequestErrors,
			"limit", "page", "sortOrder"),
		op("ListWorkRequestLogs", "GET /20160918/workRequests/{id}/logs", c.listWorkRequestLogs,
			"limit", "page", "sortOrder"),
	}
}

func (c *Cloud) findWork(q *call) (*workRequest, error) {
	work, exists := c.workRequests.get(q.vars["id"])
	if !exists || !work.ownedBy(q) || work.of != q.service {
		return nil, errNotFound()
	}
	work.looks++
	if c.cfg.Switches.WorkRequestsLate && work.looks == 1 {
		return nil, errNotFound()
	}
	return work, nil
}

func (c *Cloud) getWorkRequest(q *call) (*reply, error) {
	work, err := c.findWork(q)
	if err != nil {
		return nil, err
	}
	return ok(work.body), nil
}

func (c *Cloud) listWorkRequests(q *call) (*reply, error) {
	if err := q.compartment(q.param("compartmentId")); err != nil {
		return nil, err
	}
	found := []workRequestBody{}
	for _, work := range c.workRequests.all() {
		if !work.ownedBy(q) || work.of != q.service || !q.selects("compartmentId", work.body.CompartmentID) ||
			!q.selects("resourceId", work.body.Resources[0].Identifier) {
			continue
		}
		summary := work.body
		if work.of == compute {
			summary.Resources = nil
		}
		found = append(found, summary)
	}
	return paginate(q, found)
}

func (c *Cloud) listWorkRequestErrors(q *call) (*reply, error) {
	work, err := c.findWork(q)
	if err != nil {
		return nil, err
	}
	return paginate(q, work.errors)
}

func (c *Cloud) listWorkRequestLogs(q *call) (*reply, error) {
	work, err := c.findWork(q)
	if err != nil {
		return nil, err
	}
	return paginate(q, work.logs)
}
