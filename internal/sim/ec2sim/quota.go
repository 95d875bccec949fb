// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "net/http"

// The quotas that EC2 enforces here, by their codes in Service Quotas: vCPUs of
// the standard families (A, C, D, H, I, M, R, T, Z) that run at a time.
const (
	QuotaOnDemand = "L-1216C47A" // Running On-Demand Standard instances
	QuotaSpot     = "L-34B43A08" // All Standard Spot Instance Requests

	defaultVCPUs = 32
)

// Quota is the value of a quota of an account in a region, for the service
// that shows quotas. The cloud's lock is held.
func (c *Cloud) Quota(h home, code string) float64 {
	for _, f := range c.faults {
		if f.Kind == FaultQuota && f.Quota == code && f.matches(target{account: h.account.Name, region: h.region.name}) && f.inTime() {
			return f.Value
		}
	}
	for _, name := range []string{h.region.name + "/" + code, code} {
		if v, set := h.account.Quotas[name]; set {
			return v
		}
	}
	return defaultVCPUs
}

// inUse is how many vCPUs of a market an account has in a region.
func (c *Cloud) inUse(h home, market string) int {
	n := 0
	for _, i := range all[*instance](c) {
		if i.home == h && i.market == market && !i.is(stopped, terminated) {
			n += i.spec.vcpus
		}
	}
	return n
}

// checkQuota refuses a launch beyond the quota.
func (c *Cloud) checkQuota(h home, market string, vcpus int) error {
	code := QuotaOnDemand
	if market == spot {
		code = QuotaSpot
	}
	limit := c.Quota(h, code)
	if float64(c.inUse(h, market)+vcpus) <= limit {
		return nil
	}
	if market == spot {
		return refuse("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
	}
	return fail(http.StatusBadRequest, "VcpuLimitExceeded", "You have requested more vCPU capacity than your current vCPU limit of %d allows "+
		"for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request "+
		"to request an adjustment to this limit.", int(limit))
}
