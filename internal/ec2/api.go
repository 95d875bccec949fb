// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// call is one operation of EC2.
type call[In, Out any] func(context.Context, *In, ...func(*ec2.Options)) (*Out, error)

// api is every operation of EC2 that this package uses, and nothing else of its
// client. A client that is part of a value which meets an interface takes all of
// its 700 operations into the binary, 30 MB of them, since the linker cannot know
// which of them a template calls by name. Functions keep it out of sight.
type api struct {
	describeRegions          call[ec2.DescribeRegionsInput, ec2.DescribeRegionsOutput]
	describeInstanceTypes    call[ec2.DescribeInstanceTypesInput, ec2.DescribeInstanceTypesOutput]
	describeOfferings        call[ec2.DescribeInstanceTypeOfferingsInput, ec2.DescribeInstanceTypeOfferingsOutput]
	describeVpcs             call[ec2.DescribeVpcsInput, ec2.DescribeVpcsOutput]
	describeSubnets          call[ec2.DescribeSubnetsInput, ec2.DescribeSubnetsOutput]
	describeSpotPriceHistory call[ec2.DescribeSpotPriceHistoryInput, ec2.DescribeSpotPriceHistoryOutput]
	runInstances             call[ec2.RunInstancesInput, ec2.RunInstancesOutput]
	describeInstances        call[ec2.DescribeInstancesInput, ec2.DescribeInstancesOutput]
	stopInstances            call[ec2.StopInstancesInput, ec2.StopInstancesOutput]
	terminateInstances       call[ec2.TerminateInstancesInput, ec2.TerminateInstancesOutput]
	describeVolumes          call[ec2.DescribeVolumesInput, ec2.DescribeVolumesOutput]
	deleteVolume             call[ec2.DeleteVolumeInput, ec2.DeleteVolumeOutput]
	describeSecurityGroups   call[ec2.DescribeSecurityGroupsInput, ec2.DescribeSecurityGroupsOutput]
	createSecurityGroup      call[ec2.CreateSecurityGroupInput, ec2.CreateSecurityGroupOutput]
	authorizeIngress         call[ec2.AuthorizeSecurityGroupIngressInput, ec2.AuthorizeSecurityGroupIngressOutput]
	deleteSecurityGroup      call[ec2.DeleteSecurityGroupInput, ec2.DeleteSecurityGroupOutput]
	describeKeyPairs         call[ec2.DescribeKeyPairsInput, ec2.DescribeKeyPairsOutput]
	importKeyPair            call[ec2.ImportKeyPairInput, ec2.ImportKeyPairOutput]
	deleteKeyPair            call[ec2.DeleteKeyPairInput, ec2.DeleteKeyPairOutput]
	describeInterfaces       call[ec2.DescribeNetworkInterfacesInput, ec2.DescribeNetworkInterfacesOutput]
	deleteInterface          call[ec2.DeleteNetworkInterfaceInput, ec2.DeleteNetworkInterfaceOutput]
	describeSpotRequests     call[ec2.DescribeSpotInstanceRequestsInput, ec2.DescribeSpotInstanceRequestsOutput]
	cancelSpotRequests       call[ec2.CancelSpotInstanceRequestsInput, ec2.CancelSpotInstanceRequestsOutput]
	createTags               call[ec2.CreateTagsInput, ec2.CreateTagsOutput]
	createSnapshot           call[ec2.CreateSnapshotInput, ec2.CreateSnapshotOutput]
	describeSnapshots        call[ec2.DescribeSnapshotsInput, ec2.DescribeSnapshotsOutput]
	deleteSnapshot           call[ec2.DeleteSnapshotInput, ec2.DeleteSnapshotOutput]
	modifySnapshotAttribute  call[ec2.ModifySnapshotAttributeInput, ec2.ModifySnapshotAttributeOutput]
	createImage              call[ec2.CreateImageInput, ec2.CreateImageOutput]
	registerImage            call[ec2.RegisterImageInput, ec2.RegisterImageOutput]
	copyImage                call[ec2.CopyImageInput, ec2.CopyImageOutput]
	describeImages           call[ec2.DescribeImagesInput, ec2.DescribeImagesOutput]
	deregisterImage          call[ec2.DeregisterImageInput, ec2.DeregisterImageOutput]
	modifyImageAttribute     call[ec2.ModifyImageAttributeInput, ec2.ModifyImageAttributeOutput]
	exportImage              call[ec2.ExportImageInput, ec2.ExportImageOutput]
	describeExports          call[ec2.DescribeExportImageTasksInput, ec2.DescribeExportImageTasksOutput]
	cancelExport             call[ec2.CancelExportTaskInput, ec2.CancelExportTaskOutput]
	enableDeprecation        call[ec2.EnableImageDeprecationInput, ec2.EnableImageDeprecationOutput]
	enableProtection         call[ec2.EnableImageDeregistrationProtectionInput, ec2.EnableImageDeregistrationProtectionOutput]
	disableProtection        call[ec2.DisableImageDeregistrationProtectionInput, ec2.DisableImageDeregistrationProtectionOutput]
	whoAmI                   func(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
	decode                   func(context.Context, *sts.DecodeAuthorizationMessageInput, ...func(*sts.Options)) (*sts.DecodeAuthorizationMessageOutput, error)
	getInstanceProfile       func(context.Context, *iam.GetInstanceProfileInput, ...func(*iam.Options)) (*iam.GetInstanceProfileOutput, error)
	listRoles                func(context.Context, *iam.ListRolesInput, ...func(*iam.Options)) (*iam.ListRolesOutput, error)
	listInstanceProfiles     func(context.Context, *iam.ListInstanceProfilesInput, ...func(*iam.Options)) (*iam.ListInstanceProfilesOutput, error)
	createRole               func(context.Context, *iam.CreateRoleInput, ...func(*iam.Options)) (*iam.CreateRoleOutput, error)
	putRolePolicy            func(context.Context, *iam.PutRolePolicyInput, ...func(*iam.Options)) (*iam.PutRolePolicyOutput, error)
	createInstanceProfile    func(context.Context, *iam.CreateInstanceProfileInput, ...func(*iam.Options)) (*iam.CreateInstanceProfileOutput, error)
	addRoleToInstanceProfile func(context.Context, *iam.AddRoleToInstanceProfileInput, ...func(*iam.Options)) (*iam.AddRoleToInstanceProfileOutput, error)
	removeRoleFromProfile    func(context.Context, *iam.RemoveRoleFromInstanceProfileInput, ...func(*iam.Options)) (*iam.RemoveRoleFromInstanceProfileOutput, error)
	deleteInstanceProfile    func(context.Context, *iam.DeleteInstanceProfileInput, ...func(*iam.Options)) (*iam.DeleteInstanceProfileOutput, error)
	deleteRolePolicy         func(context.Context, *iam.DeleteRolePolicyInput, ...func(*iam.Options)) (*iam.DeleteRolePolicyOutput, error)
	deleteRole               func(context.Context, *iam.DeleteRoleInput, ...func(*iam.Options)) (*iam.DeleteRoleOutput, error)
}

// newAPI picks the operations from the clients of the services.
func newAPI(e *ec2.Client, s *sts.Client, i *iam.Client) api {
	return api{
		describeRegions: e.DescribeRegions, describeInstanceTypes: e.DescribeInstanceTypes, describeOfferings: e.DescribeInstanceTypeOfferings,
		describeVpcs: e.DescribeVpcs, describeSubnets: e.DescribeSubnets, describeSpotPriceHistory: e.DescribeSpotPriceHistory,
		runInstances: e.RunInstances, describeInstances: e.DescribeInstances, stopInstances: e.StopInstances, terminateInstances: e.TerminateInstances,
		describeVolumes: e.DescribeVolumes, deleteVolume: e.DeleteVolume,
		describeSecurityGroups: e.DescribeSecurityGroups, createSecurityGroup: e.CreateSecurityGroup,
		authorizeIngress: e.AuthorizeSecurityGroupIngress, deleteSecurityGroup: e.DeleteSecurityGroup,
		describeKeyPairs: e.DescribeKeyPairs, importKeyPair: e.ImportKeyPair, deleteKeyPair: e.DeleteKeyPair, createTags: e.CreateTags,
		describeInterfaces: e.DescribeNetworkInterfaces, deleteInterface: e.DeleteNetworkInterface,
		describeSpotRequests: e.DescribeSpotInstanceRequests, cancelSpotRequests: e.CancelSpotInstanceRequests,
		createSnapshot: e.CreateSnapshot, describeSnapshots: e.DescribeSnapshots, deleteSnapshot: e.DeleteSnapshot, modifySnapshotAttribute: e.ModifySnapshotAttribute,
		createImage: e.CreateImage, registerImage: e.RegisterImage, copyImage: e.CopyImage, describeImages: e.DescribeImages, deregisterImage: e.DeregisterImage,
		exportImage: e.ExportImage, describeExports: e.DescribeExportImageTasks, cancelExport: e.CancelExportTask,
		modifyImageAttribute: e.ModifyImageAttribute, enableDeprecation: e.EnableImageDeprecation,
		enableProtection: e.EnableImageDeregistrationProtection, disableProtection: e.DisableImageDeregistrationProtection,
		whoAmI: s.GetCallerIdentity, decode: s.DecodeAuthorizationMessage,
		getInstanceProfile: i.GetInstanceProfile, listRoles: i.ListRoles, listInstanceProfiles: i.ListInstanceProfiles,
		createRole: i.CreateRole, putRolePolicy: i.PutRolePolicy, createInstanceProfile: i.CreateInstanceProfile,
		addRoleToInstanceProfile: i.AddRoleToInstanceProfile, removeRoleFromProfile: i.RemoveRoleFromInstanceProfile,
		deleteInstanceProfile: i.DeleteInstanceProfile, deleteRolePolicy: i.DeleteRolePolicy, deleteRole: i.DeleteRole,
	}
}
