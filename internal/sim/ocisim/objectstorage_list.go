// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// objectSummary is an object in a list. Only the name is always there.
type objectSummary struct {
	Name         string    `json:"name"`
	Size         *int64    `json:"size"`
	MD5          *string   `json:"md5"`
	TimeCreated  *wireTime `json:"timeCreated"`
	ETag         *string   `json:"etag"`
	StorageTier  *string   `json:"storageTier"`
	TimeModified *wireTime `json:"timeModified"`
}

// objectList is one page of ListObjects. Its pages are not numbered: the next
// one starts with an object's name.
type objectList struct {
	Objects       []objectSummary `json:"objects"`
	Prefixes      []string        `json:"prefixes"`
	NextStartWith *string         `json:"nextStartWith"`
}

func (s *objectStore) listObjects(q *call) (*reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketOf(q)
	if err != nil {
		return nil, err
	}
	return b.list(q, "")
}

// list answers a ListObjects; within is a prefix that a PAR is bound to.
func (b *bucket) list(q *call, within string) (*reply, error) {
	fields, err := fieldsOf(q, "name", "size", "etag", "md5", "timeCreated", "timeModified", "storageTier", "archivalState")
	if err != nil {
		return nil, err
	}
	limit := maxPage
	if text := q.param("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPage {
			return nil, errInvalid("limit must be between 1 and %d", maxPage)
		}
	}
	delimiter := q.param("delimiter")
	if delimiter != "" && delimiter != "/" {
		return nil, errInvalid("The delimiter %q is not supported", delimiter)
	}
	if q.param("start") != "" && q.param("startAfter") != "" {
		return nil, errInvalid("start and startAfter exclude each other")
	}
	prefix := q.param("prefix")
	list := objectList{Objects: []objectSummary{}, Prefixes: []string{}}
	for _, name := range slices.Sorted(maps.Keys(b.objects)) {
		rest, matches := strings.CutPrefix(name, prefix)
		if !matches || !strings.HasPrefix(name, within) || name < q.param("start") || (q.param("startAfter") != "" && name <= q.param("startAfter")) ||
			(q.param("end") != "" && name >= q.param("end")) {
			continue
		}
		folder := ""
		if delimiter != "" {
			if dir, _, found := strings.Cut(rest, delimiter); found {
				folder = prefix + dir + delimiter
				if slices.Contains(list.Prefixes, folder) {
					continue
				}
			}
		}
		if len(list.Objects)+len(list.Prefixes) == limit {
			list.NextStartWith = new(name)
			break
		}
		if folder != "" {
			list.Prefixes = append(list.Prefixes, folder)
			continue
		}
		list.Objects = append(list.Objects, b.objects[name].summary(fields))
	}
	return ok(list), nil
}

func (o *object) summary(fields []string) objectSummary {
	sum := objectSummary{Name: o.name}
	for _, f := range fields {
		switch f {
		case "size":
			sum.Size = new(o.blob.size)
		case "etag":
			sum.ETag = new(o.etag)
		case "md5":
			sum.MD5 = new(o.digest())
		case "timeCreated":
			sum.TimeCreated = &wireTime{o.created}
		case "timeModified":
			sum.TimeModified = &wireTime{o.modified}
		case "storageTier":
			sum.StorageTier = new(o.tier)
		}
	}
	return sum
}

func (o *object) digest() string {
	if o.multipartMD5 != "" {
		return o.multipartMD5
	}
	return o.blob.md5Base64()
}
