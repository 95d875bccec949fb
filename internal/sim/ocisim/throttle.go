// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import "time"

// throttled takes a token for a request from every bucket that concerns it. If
// one of them is empty it takes none, and returns that fault.
func (l faultList) throttled(q *call, t target) *Fault {
	if q.tenancy() == nil {
		return nil
	}
	var concerned []*activeFault
	for _, f := range l {
		if f.Kind == FaultThrottle && (f.Op != "" || q.service == compute) && f.matches(t) && f.inTime() {
			f.matched++
			concerned = append(concerned, f)
		}
	}
	user := q.region().name + " " + q.tenancy().UserID
	for _, f := range concerned {
		if !f.has(user) {
			return &f.Fault
		}
	}
	for _, f := range concerned {
		f.take(user)
	}
	return nil
}

// A bucket is kept as the time at which it will be full again: each token that
// is taken moves that time away by what it takes to make one.

// has tells whether there is a token for a user.
func (f *activeFault) has(user string) bool {
	return time.Until(f.buckets[user]) <= time.Duration(f.Burst-1)*time.Duration(f.Every)
}

// take removes a token.
func (f *activeFault) take(user string) {
	full := time.Now()
	if later := f.buckets[user]; later.After(full) {
		full = later
	}
	if f.buckets == nil {
		f.buckets = map[string]time.Time{}
	}
	f.buckets[user] = full.Add(time.Duration(f.Every))
}
