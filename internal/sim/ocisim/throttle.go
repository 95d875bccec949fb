// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

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
		if !f.buckets.Has(user, f.Every, f.Burst) {
			return &f.Fault
		}
	}
	for _, f := range concerned {
		f.buckets.Take(user, f.Every)
	}
	return nil
}
