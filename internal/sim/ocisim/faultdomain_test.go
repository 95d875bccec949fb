// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"testing"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// TestPickedFaultDomain: who leaves the choice to the service can be out of
// luck although there is room. The report does not say so.
func TestPickedFaultDomain(t *testing.T) {
	for _, picks := range []bool{false, true} {
		k := newKit(t, func(c *ocisim.Config) { c.Switches.PicksOneFaultDomain = picks })
		ctx := context.Background()
		c := k.compute(k.build, homeRegion)
		ads := k.build.AvailabilityDomains(homeRegion)
		launch := func(ad int, fd *string) (string, error) {
			resp, err := c.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
				d.AvailabilityDomain, d.FaultDomain, d.ShapeConfig = &ads[ad], fd, &core.LaunchInstanceShapeConfigDetails{Ocpus: common.Float32(1)}
			}))
			if err != nil {
				wantServiceError(t, err, 500, "InternalError", "Out of host capacity.")
				return "out", nil
			}
			return *resp.FaultDomain, nil
		}
		k.faults(
			ocisim.Fault{Kind: ocisim.FaultCapacity, FaultDomain: "FAULT-DOMAIN-1"},
			ocisim.Fault{Kind: ocisim.FaultCapacity, FaultDomain: "FAULT-DOMAIN-3"},
		)
		want := []string{"FAULT-DOMAIN-2", "FAULT-DOMAIN-2", "FAULT-DOMAIN-2", "FAULT-DOMAIN-2", "FAULT-DOMAIN-2"}
		if picks {
			want = []string{"out", "FAULT-DOMAIN-2", "out", "out", "FAULT-DOMAIN-2"}
		}
		for n, w := range want {
			if got, err := launch(0, nil); got != w || err != nil {
				t.Errorf("picks %v, launch %d: %s, %v", picks, n+1, got, err)
			}
		}
		// Another availability domain begins anew; whoever names one is not
		// counted, and is not at the service's mercy.
		if got, _ := launch(1, common.String("FAULT-DOMAIN-2")); got != "FAULT-DOMAIN-2" {
			t.Errorf("a named one: %s", got)
		}
		if got, _ := launch(1, nil); got != want[0] {
			t.Errorf("picks %v, elsewhere: %s", picks, got)
		}
		report, err := c.CreateComputeCapacityReport(ctx, core.CreateComputeCapacityReportRequest{RequestMetadata: once(),
			CreateComputeCapacityReportDetails: core.CreateComputeCapacityReportDetails{CompartmentId: &k.build.ID, AvailabilityDomain: &ads[0],
				ShapeAvailabilities: []core.CreateCapacityReportShapeAvailabilityDetails{{InstanceShape: common.String(a1)}}}})
		if err != nil || report.ShapeAvailabilities[0].AvailabilityStatus != "AVAILABLE" {
			t.Errorf("the report: %+v, %v", report.ShapeAvailabilities, err)
		}
	}
}
