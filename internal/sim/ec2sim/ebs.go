// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/schedule"
)

// ebsDirect is the service that hands out the bytes of snapshots.
func (c *Cloud) ebsDirect() *api {
	return &api{
		name: "ebs", prefix: "ebs", identify: restPath, failure: ebsFailure, problems: ebsProblems,
		ops: operations(
			restOp("ListSnapshotBlocks", "GET /snapshots/{snapshotId}/blocks", c.listSnapshotBlocks).withoutLock(),
			restOp("GetSnapshotBlock", "GET /snapshots/{snapshotId}/blocks/{blockIndex}", c.getSnapshotBlock).withoutLock(),
			restOp("ListChangedBlocks", "GET /snapshots/{snapshotId}/changedblocks", c.listChangedBlocks).withoutLock(),
		),
	}
}

// ebsFailure writes an error with its reason.
func ebsFailure(_ *call, e *apiError) *reply {
	body := map[string]any{"Message": e.message}
	for k, v := range e.fields {
		body[k] = v
	}
	out := jsonReply(body)
	out.contentType = "application/json"
	out.header = http.Header{"X-Amzn-Errortype": {e.code}}
	return out
}

func ebsError(status int, code, reason, format string, args ...any) *apiError {
	e := fail(status, code, format, args...)
	e.fields = map[string]any{"Reason": reason}
	return e
}

// errBlocks refuses a request for the reason.
func errBlocks(reason, format string, args ...any) *apiError {
	return ebsError(http.StatusBadRequest, "ValidationException", reason, format, args...)
}

// ebsProblems are the words of EBS direct.
func ebsProblems(p problem, args ...any) *apiError {
	switch p {
	case notAllowed:
		return ebsError(http.StatusForbidden, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT", "%s", notAllowedText(args...))
	case throttled:
		return ebsError(http.StatusBadRequest, "RequestThrottledException", "ACCOUNT_THROTTLED", "The number of API requests has exceeded the maximum allowed per account.")
	case unknownAction:
		return fail(http.StatusNotFound, "UnknownOperationException", "%v", args)
	case unavailable:
		return fail(http.StatusServiceUnavailable, "ServiceUnavailable", "The service is unavailable.")
	case unsigned, malformed, wrongScope:
		e := jsonProblems(p, args...)
		e.status = http.StatusForbidden
		return e
	case unknownKey, wrongSecret, outdated, expired:
		e := jsonProblems(p, args...)
		e.status = http.StatusForbidden
		return e
	}
	return fail(http.StatusInternalServerError, "InternalServerException", "An internal error has occurred.")
}

// The quotas of EBS direct: requests a second, by their codes in Service Quotas.
const (
	QuotaBlocksRead       = "L-C125AE42" // GetSnapshotBlock requests per account
	QuotaSnapshotRead     = "L-028ACFB9" // GetSnapshotBlock requests per snapshot
	QuotaBlocksList       = "L-18E976AB" // ListSnapshotBlocks requests per account
	QuotaChangedBlockList = "L-6BD59BDF" // ListChangedBlocks requests per account
)

// ebsRates are the buckets of requests.
type ebsRates map[string]schedule.Buckets

// take counts a request against a quota. The cloud's lock is held.
func (c *Cloud) takeRate(q *call, code, owner string) bool {
	perSecond, set := q.who.Account.Quotas[code]
	if !set {
		perSecond = map[string]float64{QuotaBlocksRead: 1000, QuotaSnapshotRead: 1000, QuotaBlocksList: 50, QuotaChangedBlockList: 50}[code]
	}
	if c.ebsRates == nil {
		c.ebsRates = ebsRates{}
	}
	if c.ebsRates[code] == nil {
		c.ebsRates[code] = schedule.Buckets{}
	}
	every, burst := Duration(float64(time.Second)/perSecond), max(1, int(perSecond))
	owner = q.region.name + " " + owner
	if !c.ebsRates[code].Has(owner, every, burst) {
		return false
	}
	c.ebsRates[code].Take(owner, every)
	return true
}

// blocksOf finds a completed snapshot whose bytes the caller may have. The
// cloud's lock is held.
func (c *Cloud) blocksOf(q *call, id string) (*snapshot, error) {
	s, is := c.resources.byID[id].(*snapshot)
	x := AccessResource{ARN: ec2ARN(q.region.name, "", "snapshot", id)}
	if is = is && s.readable(q); is {
		x = existing(s)
	}
	if err := c.authorize(q, []AccessResource{x}); err != nil {
		return nil, err
	}
	foreign := is && s.account != q.who.Account
	switch {
	case checkID("snapshot", id) != nil:
		return nil, errBlocks("INVALID_SNAPSHOT_ID", "The snapshot ID %s is not valid.", id)
	case !is:
		return nil, ebsError(http.StatusNotFound, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", "The snapshot '%s' does not exist.", id)
	case foreign && s.public:
		return nil, errBlocks("INVALID_SNAPSHOT_ID", "Public snapshots are not supported: %s", id)
	case s.state != "completed":
		return nil, errBlocks("INVALID_SNAPSHOT_ID", "The snapshot %s is not in the completed state.", id)
	}
	if s.encrypted {
		key := AccessResource{ARN: s.kmsKey, Context: map[string][]string{"kms:ViaService": {"ebs." + q.region.name + "." + domain}}}
		if err := c.allows(q, Access{q.who, "kms:Decrypt", []AccessResource{key}, q.accessContext()}); err != nil {
			var no *apiError
			if errors.As(err, &no) {
				return nil, ebsError(http.StatusForbidden, "AccessDeniedException", "DEPENDENCY_ACCESS_DENIED", "%s", no.message)
			}
			return nil, err
		}
	}
	return s, nil
}

func (c *Cloud) getSnapshotBlock(q *call) (*reply, error) {
	index, err := strconv.ParseInt(q.vars["blockIndex"], 10, 64)
	if err != nil || index < 0 {
		return nil, errBlocks("INVALID_BLOCK", "The block index %s is not valid.", q.vars["blockIndex"])
	}
	values, err := q.query("blockToken")
	if err != nil {
		return nil, err
	}
	if values["blockToken"] == "" {
		return nil, errBlocks("INVALID_PARAMETER_VALUE", "A block token is needed.")
	}
	path, fault, err := c.openBlock(q, index, values["blockToken"])
	if err != nil {
		return nil, err
	}
	data, err := readBlock(path, index)
	if err != nil {
		return nil, err
	}
	return blockReply(data, fault), nil
}

// openBlock checks everything about a request for a block but the bytes.
func (c *Cloud) openBlock(q *call, index int64, token string) (path string, fault FaultKind, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.blocksOf(q, q.vars["snapshotId"])
	if err != nil {
		return "", "", err
	}
	if !c.takeRate(q, QuotaBlocksRead, q.who.Account.ID) {
		return "", "", ebsProblems(throttled)
	}
	if !c.takeRate(q, QuotaSnapshotRead, s.id) {
		return "", "", ebsError(http.StatusBadRequest, "RequestThrottledException", "RESOURCE_LEVEL_THROTTLE", "The number of API requests has exceeded the maximum allowed for the snapshot.")
	}
	if c.faults.hit(q.target(), FaultBlockToken) != nil || !c.knowsToken(s, index, token) {
		return "", "", errBlocks("INVALID_BLOCK_TOKEN", "The block token is not valid.")
	}
	if hit := c.faults.hit(q.target(), FaultBadChecksum, FaultShortBody, FaultCutBody); hit != nil {
		fault = hit.Kind
	}
	return s.path, fault, nil
}

// readBlock reads a block, with zeros behind the end of the disk.
func readBlock(path string, index int64) ([]byte, error) {
	disk, err := machine.OpenDisk(path)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	data := make([]byte, blockSize)
	if _, err := disk.ReadAt(data, index*blockSize); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// query reads the parameters of a path, which must be known and there once.
func (q *call) query(names ...string) (map[string]string, error) {
	values := map[string]string{}
	known := map[string]bool{}
	for _, name := range names {
		known[name] = true
	}
	for name, given := range q.URL.Query() {
		if !known[name] || len(given) != 1 {
			return nil, errBlocks("INVALID_PARAMETER_VALUE", "The parameter %s is not known, or there twice.", name)
		}
		values[name] = given[0]
	}
	return values, nil
}
