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

func preemptible(d *core.LaunchInstanceDetails) {
	d.PreemptibleInstanceConfig = &core.PreemptibleInstanceConfigDetails{PreemptionAction: core.TerminatePreemptionAction{}}
}

// TestPreemptible: nobody stops, starts or reboots a preemptible instance;
// whether an image can be made of it, which stops it too, is a switch.
func TestPreemptible(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		k := newKit(t, func(c *ocisim.Config) { c.Switches.RefusesPreemptibleImages = refuses })
		ctx := context.Background()
		c := k.compute(k.build, homeRegion)
		r, err := c.LaunchInstance(ctx, k.launchRequest(preemptible))
		if err != nil {
			t.Fatal(err)
		}
		if i := k.reaches(c, *r.Id, core.InstanceLifecycleStateRunning); i.PreemptibleInstanceConfig == nil {
			t.Error("the instance does not say what it is")
		}
		for _, action := range core.GetInstanceActionActionEnumValues() {
			switch action {
			case core.InstanceActionActionStop, core.InstanceActionActionSoftstop, core.InstanceActionActionStart,
				core.InstanceActionActionReset, core.InstanceActionActionSoftreset:
				_, err = c.InstanceAction(ctx, core.InstanceActionRequest{InstanceId: r.Id, Action: action})
				wantServiceError(t, err, 409, "IncorrectState", "preemptible")
			}
		}
		made, err := c.CreateImage(ctx, core.CreateImageRequest{RequestMetadata: once(), CreateImageDetails: core.CreateImageDetails{
			CompartmentId: &k.build.CompartmentID, InstanceId: r.Id}})
		if refuses {
			wantServiceError(t, err, 409, "IncorrectState", "preemptible")
			if n := len(k.home().Images); n != 1 {
				t.Errorf("there are %d images", n)
			}
		} else if err != nil {
			t.Error(err)
		} else {
			k.imageReaches(c, *made.Id, core.ImageLifecycleStateAvailable)
			k.reaches(c, *r.Id, core.InstanceLifecycleStateRunning)
		}
		k.terminate(c, r.Id)
	}
}

// TestPreemptibleRefused has the launches that cannot be preemptible.
func TestPreemptibleRefused(t *testing.T) {
	k := newKit(t, nil)
	c := k.compute(k.build, homeRegion)
	for name, change := range map[string]func(*core.LaunchInstanceDetails){
		"bare metal": func(d *core.LaunchInstanceDetails) { d.Shape, d.ShapeConfig = common.String("BM.Standard.A1.160"), nil },
		"with reservation": func(d *core.LaunchInstanceDetails) {
			d.CapacityReservationId = common.String("ocid1.capacityreservation.x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.LaunchInstance(context.Background(), k.launchRequest(func(d *core.LaunchInstanceDetails) {
				preemptible(d)
				change(d)
			}))
			wantServiceError(t, err, 400, "InvalidParameter", "preemptible")
		})
	}
	if n := len(k.home().Instances); n != 0 {
		t.Errorf("refused launches left %d instances", n)
	}
}
