// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// maxPage is the largest page and the default one.
const maxPage = 1000

// paginate cuts the page that a request's limit and page parameters ask for,
// and sets opc-next-page when there is more. The body is a JSON array, empty
// rather than null.
func paginate[T any](q *call, items []T) (*reply, error) { return paginateBy(q, items, maxPage) }

// paginateBy is paginate with another default size of a page.
func paginateBy[T any](q *call, items []T, size int) (*reply, error) {
	part, next, err := pageOf(q, items, "page", size)
	if err != nil {
		return nil, err
	}
	result := ok(part)
	if next != "" {
		result.with("Opc-Next-Page", next)
	}
	return result, nil
}

// pageOf returns one page of items, of a size if the request does not say
// another, and the token of the next one, "" at the end.
func pageOf[T any](q *call, items []T, pageParam string, size int) ([]T, string, error) {
	if text := q.param("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return nil, "", errInvalid("limit must be between 1 and %d", maxPage)
		}
		size = n
	}
	start := 0
	if token := q.param(pageParam); token != "" {
		n, err := parsePageToken(token)
		if err != nil || n > len(items) {
			return nil, "", errInvalid("Invalid page token")
		}
		start = n
	}
	end := min(start+size, len(items))
	part := append([]T{}, items[start:end]...)
	if end < len(items) {
		return part, pageToken(end), nil
	}
	return part, "", nil
}

// Page tokens are opaque to clients, so that none computes them.
func pageToken(offset int) string {
	return base64.RawURLEncoding.EncodeToString([]byte("offset:" + strconv.Itoa(offset)))
}

func parsePageToken(token string) (int, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimPrefix(string(raw), "offset:"))
}
