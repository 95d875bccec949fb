// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

// ec2 is the service that this package is named after.
func (c *Cloud) ec2() *api {
	return &api{
		name: "ec2", prefix: "ec2", identify: queryAction(ec2Version), failure: ec2Failure, problems: ec2Problems,
		ops: operations(
			queryOp("RunInstances", c.runInstances),
			queryOp("DescribeInstances", c.describeInstances),
			queryOp("DescribeInstanceStatus", c.describeInstanceStatus),
			queryOp("StartInstances", c.startInstances),
			queryOp("StopInstances", c.stopInstances),
			queryOp("RebootInstances", c.rebootInstances),
			queryOp("TerminateInstances", c.terminateInstances),
			queryOp("GetConsoleOutput", c.getConsoleOutput),

			queryOp("DescribeVpcs", c.describeVpcs),
			queryOp("DescribeSubnets", c.describeSubnets),
			queryOp("CreateSecurityGroup", c.createSecurityGroup),
			queryOp("DescribeSecurityGroups", c.describeSecurityGroups),
			queryOp("AuthorizeSecurityGroupIngress", c.authorizeIngress),
			queryOp("RevokeSecurityGroupIngress", c.revokeIngress),
			queryOp("DeleteSecurityGroup", c.deleteSecurityGroup),
			queryOp("CreateKeyPair", c.createKeyPair),
			queryOp("ImportKeyPair", c.importKeyPair),
			queryOp("DescribeKeyPairs", c.describeKeyPairs),
			queryOp("DeleteKeyPair", c.deleteKeyPair),

			queryOp("DescribeVolumes", c.describeVolumes),
			queryOp("DeleteVolume", c.deleteVolume),
			queryOp("CreateSnapshot", c.createSnapshot),
			queryOp("DescribeSnapshots", c.describeSnapshots),
			queryOp("DeleteSnapshot", c.deleteSnapshot),
			queryOp("ModifySnapshotAttribute", c.modifySnapshotAttribute),
			queryOp("CreateImage", c.createImage),
			queryOp("DescribeImages", c.describeImages),

			queryOp("CreateTags", c.createTags),
			queryOp("DeleteTags", c.deleteTags),
			queryOp("DescribeTags", c.describeTags),
			queryOp("DescribeSpotPriceHistory", c.describeSpotPriceHistory),
			queryOp("DescribeSpotInstanceRequests", c.describeSpotInstanceRequests),
			queryOp("CancelSpotInstanceRequests", c.cancelSpotInstanceRequests),
		),
	}
}
