// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package awsstage_test

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/armfree/packer-plugin-armfree/internal/sim/awsstage"
)

func TestStage(t *testing.T) {
	s := awsstage.ForTest(t, awsstage.Options{})
	client := ec2.NewFromConfig(s.Config(awsstage.Region))
	out, err := client.RunInstances(t.Context(), &ec2.RunInstancesInput{ImageId: &s.BaseImage, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Left(*out.Instances[0].InstanceId); len(left) != 2 { // its volume and interface
		t.Errorf("left: %q", left)
	}
	if !slices.Contains(s.Env(), "AWS_SOURCE_AMI="+s.BaseImage) || s.BaseImage == "" {
		t.Errorf("environment %q", s.Env())
	}
}
