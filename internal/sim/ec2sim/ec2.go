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
			queryOp("ModifyInstanceAttribute", c.modifyInstanceAttribute),
			queryOp("ModifyInstanceMetadataOptions", c.modifyInstanceMetadataOptions),
			queryOp("DescribeInstanceAttribute", c.describeInstanceAttribute),
			queryOp("DescribeInstanceCreditSpecifications", c.describeInstanceCreditSpecifications),
			queryOp("CreateLaunchTemplate", c.createLaunchTemplate),
			queryOp("DescribeLaunchTemplates", c.describeLaunchTemplates),
			queryOp("DeleteLaunchTemplate", c.deleteLaunchTemplate),
			queryOp("CreateFleet", c.createFleet),

			queryOp("DescribeRegions", c.describeRegions),
			queryOp("DescribeAvailabilityZones", c.describeAvailabilityZones),
			queryOp("DescribeAccountAttributes", c.describeAccountAttributes),
			queryOp("DescribeInstanceTypes", c.describeInstanceTypes),
			queryOp("DescribeInstanceTypeOfferings", c.describeInstanceTypeOfferings),

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
			queryOp("DescribeNetworkInterfaces", c.describeNetworkInterfaces),
			queryOp("DeleteNetworkInterface", c.deleteNetworkInterface),
			queryOp("DescribeAddresses", c.describeAddresses),

			queryOp("DescribeVolumes", c.describeVolumes),
			queryOp("DeleteVolume", c.deleteVolume),
			queryOp("CreateSnapshot", c.createSnapshot),
			queryOp("DescribeSnapshots", c.describeSnapshots),
			queryOp("DeleteSnapshot", c.deleteSnapshot),
			queryOp("ModifySnapshotAttribute", c.modifySnapshotAttribute),
			queryOp("DescribeSnapshotAttribute", c.describeSnapshotAttribute),
			queryOp("CreateImage", c.createImage),
			queryOp("RegisterImage", c.registerImage),
			queryOp("CopyImage", c.copyImage),
			queryOp("DescribeImages", c.describeImages),
			queryOp("ExportImage", c.exportImage),
			queryOp("DescribeExportImageTasks", c.describeExportImageTasks),
			queryOp("CancelExportTask", c.cancelExportTask),
			queryOp("DeregisterImage", c.deregisterImage),
			queryOp("ModifyImageAttribute", c.modifyImageAttribute),
			queryOp("DescribeImageAttribute", c.describeImageAttribute),
			queryOp("EnableImageDeprecation", c.enableImageDeprecation),
			queryOp("DisableImageDeprecation", c.disableImageDeprecation),
			queryOp("EnableImageDeregistrationProtection", c.enableImageProtection),
			queryOp("DisableImageDeregistrationProtection", c.disableImageProtection),

			queryOp("CreateTags", c.createTags),
			queryOp("DeleteTags", c.deleteTags),
			queryOp("DescribeTags", c.describeTags),
			queryOp("DescribeSpotPriceHistory", c.describeSpotPriceHistory),
			queryOp("DescribeSpotInstanceRequests", c.describeSpotInstanceRequests),
			queryOp("CancelSpotInstanceRequests", c.cancelSpotInstanceRequests),
		),
	}
}
