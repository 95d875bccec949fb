// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
)

// How long tokens are good for.
const (
	blockTokenLife = 7 * 24 * time.Hour
	pageTokenLife  = time.Hour
)

// blockListing is one list of a snapshot's blocks, from whose pages tokens come.
type blockListing struct {
	key     string // that signs the tokens
	expires time.Time
	before  *blockListing
}

// token is a text that only this listing could have made.
func (l *blockListing) token(kind string, snapshot string, numbers ...int64) string {
	var payload []byte
	for _, n := range numbers {
		payload = binary.BigEndian.AppendUint64(payload, uint64(n))
	}
	mac := hmac.New(sha256.New, []byte(l.key))
	mac.Write([]byte(kind + " " + snapshot + " "))
	mac.Write(payload)
	return base64.StdEncoding.EncodeToString(append(payload, mac.Sum(nil)...))
}

// knowsToken tells whether a block token is good. The cloud's lock is held.
func (c *Cloud) knowsToken(s *snapshot, index int64, token string) bool {
	for l := c.listings[s.id]; l != nil; l = l.before {
		if time.Now().Before(l.expires) && l.token("block", s.id, index) == token {
			return true
		}
	}
	return false
}

// newListing begins a list; the tokens of the last one are no good any more.
func (c *Cloud) newListing(s *snapshot) *blockListing {
	if c.listings == nil {
		c.listings = map[string]*blockListing{}
	}
	l := &blockListing{key: randomHex(16), expires: time.Now().Add(blockTokenLife)}
	if c.cfg.Switches.OldBlockTokensWork {
		l.before = c.listings[s.id]
	}
	c.listings[s.id] = l
	return l
}

// readPageToken finds where a page begins.
func (c *Cloud) readPageToken(s *snapshot, token string) (l *blockListing, start int64, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(raw) != 16+sha256.Size {
		return nil, 0, false
	}
	start, made := int64(binary.BigEndian.Uint64(raw)), int64(binary.BigEndian.Uint64(raw[8:]))
	for l = c.listings[s.id]; l != nil; l = l.before {
		if l.token("page", s.id, start, made) == token {
			return l, start, time.Since(time.Unix(made, 0)) < pageTokenLife
		}
	}
	return nil, 0, false
}

// blockPage is what a list of blocks was asked for.
type blockPage struct {
	snapshot *snapshot
	first    *snapshot // of changed blocks
	path     string
	before   string // path of first
	listing  *blockListing
	earlier  *blockListing // of first
	start    int64
	limit    int
	empty    bool
}

// openPage checks everything about a request for a list but the bytes.
func (c *Cloud) openPage(q *call, quota string) (*blockPage, error) {
	values, err := q.query("pageToken", "maxResults", "startingBlockIndex", "firstSnapshotId")
	if err != nil {
		return nil, err
	}
	p := &blockPage{limit: 10000}
	if text, given := values["maxResults"]; given {
		if p.limit, err = strconv.Atoi(text); err != nil || p.limit < 100 || p.limit > 10000 {
			return nil, errBlocks("INVALID_PARAMETER_VALUE", "MaxResults must be between 100 and 10000.")
		}
	}
	if text, given := values["startingBlockIndex"]; given {
		if p.start, err = strconv.ParseInt(text, 10, 64); err != nil || p.start < 0 {
			return nil, errBlocks("INVALID_PARAMETER_VALUE", "StartingBlockIndex must not be negative.")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.snapshot, err = c.blocksOf(q, q.vars["snapshotId"]); err != nil {
		return nil, err
	}
	if id := values["firstSnapshotId"]; id != "" && q.op.name == "ListChangedBlocks" {
		if p.first, err = c.blocksOf(q, id); err != nil {
			return nil, err
		}
		if p.first.volumeID != p.snapshot.volumeID {
			return nil, errBlocks("UNRELATED_SNAPSHOTS", "The snapshots are not of the same volume.")
		}
		p.before = p.first.path
	}
	if !c.takeRate(q, quota, q.who.Account.ID) {
		return nil, ebsProblems(throttled)
	}
	if token := values["pageToken"]; token != "" {
		var ok bool
		if p.listing, p.start, ok = c.readPageToken(p.snapshot, token); !ok {
			return nil, errBlocks("INVALID_PAGE_TOKEN", "The page token is not valid.")
		}
	} else {
		p.listing = c.newListing(p.snapshot)
		if p.first != nil {
			c.newListing(p.first)
		}
	}
	if p.first != nil {
		p.earlier = c.listings[p.first.id]
	}
	p.path, p.empty = p.snapshot.path, c.faults.hit(q.target(), FaultEmptyPage) != nil
	return p, nil
}

// cut takes a page out of the numbers of all blocks.
func (p *blockPage) cut(blocks []int64) (page []int64, next string) {
	at, _ := slices.BinarySearch(blocks, p.start)
	blocks = blocks[at:]
	if p.empty {
		return nil, p.listing.token("page", p.snapshot.id, p.start, time.Now().Unix())
	}
	if len(blocks) > p.limit {
		next = p.listing.token("page", p.snapshot.id, blocks[p.limit], time.Now().Unix())
		blocks = blocks[:p.limit]
	}
	return blocks, next
}

// blocksPage is what lists of both kinds say.
type blocksPage struct {
	ExpiryTime float64
	VolumeSize int
	BlockSize  int
	NextToken  string `json:",omitempty"`
}

func (p *blockPage) frame(next string) blocksPage {
	return blocksPage{epoch(p.listing.expires), p.snapshot.sizeGiB, blockSize, next}
}

func written(path string) ([]int64, error) {
	disk, err := machine.OpenDisk(path)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	return disk.Blocks(blockSize)
}

func (c *Cloud) listSnapshotBlocks(q *call) (*reply, error) {
	p, err := c.openPage(q, QuotaBlocksList)
	if err != nil {
		return nil, err
	}
	blocks, err := written(p.path)
	if err != nil {
		return nil, err
	}
	type row struct {
		BlockIndex int64
		BlockToken string
	}
	page, next := p.cut(blocks)
	rows := []row{}
	for _, n := range page {
		rows = append(rows, row{n, p.listing.token("block", p.snapshot.id, n)})
	}
	return ebsReply(struct {
		Blocks []row
		blocksPage
	}{rows, p.frame(next)}), nil
}

func (c *Cloud) listChangedBlocks(q *call) (*reply, error) {
	p, err := c.openPage(q, QuotaChangedBlockList)
	if err != nil {
		return nil, err
	}
	now, err := written(p.path)
	if err != nil {
		return nil, err
	}
	var then []int64
	if p.before != "" {
		if then, err = written(p.before); err != nil {
			return nil, err
		}
	}
	var changed []int64
	for _, n := range now {
		if slices.Contains(then, n) {
			a, err1 := readBlock(p.path, n)
			b, err2 := readBlock(p.before, n)
			if err1 == nil && err2 == nil && bytes.Equal(a, b) {
				continue
			}
		}
		changed = append(changed, n)
	}
	type row struct {
		BlockIndex       int64
		FirstBlockToken  string `json:",omitempty"`
		SecondBlockToken string
	}
	page, next := p.cut(changed)
	rows := []row{}
	for _, n := range page {
		r := row{BlockIndex: n, SecondBlockToken: p.listing.token("block", p.snapshot.id, n)}
		if slices.Contains(then, n) {
			r.FirstBlockToken = p.earlier.token("block", p.first.id, n)
		}
		rows = append(rows, r)
	}
	return ebsReply(struct {
		ChangedBlocks []row
		blocksPage
	}{rows, p.frame(next)}), nil
}

func ebsReply(body any) *reply {
	out := jsonReply(body)
	out.contentType = "application/json"
	return out
}

// blockReply sends a block, or what a fault makes of it.
func blockReply(data []byte, fault FaultKind) *reply {
	sum := sha256.Sum256(data)
	out := &reply{contentType: "application/octet-stream", body: data, header: http.Header{
		"X-Amz-Data-Length": {strconv.Itoa(len(data))}, "X-Amz-Checksum": {base64.StdEncoding.EncodeToString(sum[:])},
		"X-Amz-Checksum-Algorithm": {"SHA256"},
	}}
	switch fault {
	case FaultBadChecksum:
		out.body = slices.Clone(data)
		out.body[len(data)/2] ^= 1
	case FaultShortBody:
		out.body = data[:len(data)/2]
	case FaultCutBody:
		out.cut = len(data) / 2
	}
	return out
}
