// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"net/http"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"github.com/oracle/oci-go-sdk/v65/identity"
	"github.com/oracle/oci-go-sdk/v65/limits"
	"github.com/oracle/oci-go-sdk/v65/objectstorage"
	"github.com/oracle/oci-go-sdk/v65/workrequests"
)

// call is an operation of a service.
type call[Request, Response any] func(context.Context, Request) (Response, error)

// services are the calls that are made, and no others. They are functions, not the
// SDK's clients: a client that a value of ours holds can be reached by reflection, so
// the linker would keep its hundreds of operations, with all of their types.
type services struct {
	compute struct {
		// Call makes a request that has what the SDK's types have no place for.
		Call call[*http.Request, *http.Response]

		AddImageShapeCompatibilityEntry              call[core.AddImageShapeCompatibilityEntryRequest, core.AddImageShapeCompatibilityEntryResponse]
		CreateComputeCapacityReport                  call[core.CreateComputeCapacityReportRequest, core.CreateComputeCapacityReportResponse]
		CreateComputeCapacityReservation             call[core.CreateComputeCapacityReservationRequest, core.CreateComputeCapacityReservationResponse]
		CreateComputeImageCapabilitySchema           call[core.CreateComputeImageCapabilitySchemaRequest, core.CreateComputeImageCapabilitySchemaResponse]
		CreateImage                                  call[core.CreateImageRequest, core.CreateImageResponse]
		DeleteComputeImageCapabilitySchema           call[core.DeleteComputeImageCapabilitySchemaRequest, core.DeleteComputeImageCapabilitySchemaResponse]
		DeleteImage                                  call[core.DeleteImageRequest, core.DeleteImageResponse]
		ExportImage                                  call[core.ExportImageRequest, core.ExportImageResponse]
		GetComputeCapacityReservation                call[core.GetComputeCapacityReservationRequest, core.GetComputeCapacityReservationResponse]
		GetComputeGlobalImageCapabilitySchemaVersion call[core.GetComputeGlobalImageCapabilitySchemaVersionRequest, core.GetComputeGlobalImageCapabilitySchemaVersionResponse]
		GetComputeImageCapabilitySchema              call[core.GetComputeImageCapabilitySchemaRequest, core.GetComputeImageCapabilitySchemaResponse]
		GetImage                                     call[core.GetImageRequest, core.GetImageResponse]
		GetInstance                                  call[core.GetInstanceRequest, core.GetInstanceResponse]
		LaunchInstance                               call[core.LaunchInstanceRequest, core.LaunchInstanceResponse]
		ListBootVolumeAttachments                    call[core.ListBootVolumeAttachmentsRequest, core.ListBootVolumeAttachmentsResponse]
		ListComputeGlobalImageCapabilitySchemas      call[core.ListComputeGlobalImageCapabilitySchemasRequest, core.ListComputeGlobalImageCapabilitySchemasResponse]
		ListComputeImageCapabilitySchemas            call[core.ListComputeImageCapabilitySchemasRequest, core.ListComputeImageCapabilitySchemasResponse]
		ListImageShapeCompatibilityEntries           call[core.ListImageShapeCompatibilityEntriesRequest, core.ListImageShapeCompatibilityEntriesResponse]
		ListImages                                   call[core.ListImagesRequest, core.ListImagesResponse]
		ListInstances                                call[core.ListInstancesRequest, core.ListInstancesResponse]
		ListShapes                                   call[core.ListShapesRequest, core.ListShapesResponse]
		ListVnicAttachments                          call[core.ListVnicAttachmentsRequest, core.ListVnicAttachmentsResponse]
		RemoveImageShapeCompatibilityEntry           call[core.RemoveImageShapeCompatibilityEntryRequest, core.RemoveImageShapeCompatibilityEntryResponse]
		TerminateInstance                            call[core.TerminateInstanceRequest, core.TerminateInstanceResponse]
		UpdateComputeImageCapabilitySchema           call[core.UpdateComputeImageCapabilitySchemaRequest, core.UpdateComputeImageCapabilitySchemaResponse]
		UpdateImage                                  call[core.UpdateImageRequest, core.UpdateImageResponse]
		UpdateInstance                               call[core.UpdateInstanceRequest, core.UpdateInstanceResponse]
	}
	network struct {
		GetNetworkSecurityGroup call[core.GetNetworkSecurityGroupRequest, core.GetNetworkSecurityGroupResponse]
		GetSubnet               call[core.GetSubnetRequest, core.GetSubnetResponse]
		GetVnic                 call[core.GetVnicRequest, core.GetVnicResponse]
	}
	volumes struct {
		DeleteBootVolume call[core.DeleteBootVolumeRequest, core.DeleteBootVolumeResponse]
		GetBootVolume    call[core.GetBootVolumeRequest, core.GetBootVolumeResponse]
	}
	identity struct {
		ListAvailabilityDomains call[identity.ListAvailabilityDomainsRequest, identity.ListAvailabilityDomainsResponse]
		ListCompartments        call[identity.ListCompartmentsRequest, identity.ListCompartmentsResponse]
		ListFaultDomains        call[identity.ListFaultDomainsRequest, identity.ListFaultDomainsResponse]
		ListRegionSubscriptions call[identity.ListRegionSubscriptionsRequest, identity.ListRegionSubscriptionsResponse]
		ListTagNamespaces       call[identity.ListTagNamespacesRequest, identity.ListTagNamespacesResponse]
		ListTags                call[identity.ListTagsRequest, identity.ListTagsResponse]
	}
	limits struct {
		GetResourceAvailability call[limits.GetResourceAvailabilityRequest, limits.GetResourceAvailabilityResponse]
		ListLimitValues         call[limits.ListLimitValuesRequest, limits.ListLimitValuesResponse]
	}
	objects struct {
		AbortMultipartUpload          call[objectstorage.AbortMultipartUploadRequest, objectstorage.AbortMultipartUploadResponse]
		CancelWorkRequest             call[objectstorage.CancelWorkRequestRequest, objectstorage.CancelWorkRequestResponse]
		CopyObject                    call[objectstorage.CopyObjectRequest, objectstorage.CopyObjectResponse]
		CreateBucket                  call[objectstorage.CreateBucketRequest, objectstorage.CreateBucketResponse]
		CreateMultipartUpload         call[objectstorage.CreateMultipartUploadRequest, objectstorage.CreateMultipartUploadResponse]
		CreatePreauthenticatedRequest call[objectstorage.CreatePreauthenticatedRequestRequest, objectstorage.CreatePreauthenticatedRequestResponse]
		DeleteObject                  call[objectstorage.DeleteObjectRequest, objectstorage.DeleteObjectResponse]
		DeletePreauthenticatedRequest call[objectstorage.DeletePreauthenticatedRequestRequest, objectstorage.DeletePreauthenticatedRequestResponse]
		GetNamespace                  call[objectstorage.GetNamespaceRequest, objectstorage.GetNamespaceResponse]
		GetObject                     call[objectstorage.GetObjectRequest, objectstorage.GetObjectResponse]
		GetPreauthenticatedRequest    call[objectstorage.GetPreauthenticatedRequestRequest, objectstorage.GetPreauthenticatedRequestResponse]
		GetWorkRequest                call[objectstorage.GetWorkRequestRequest, objectstorage.GetWorkRequestResponse]
		HeadBucket                    call[objectstorage.HeadBucketRequest, objectstorage.HeadBucketResponse]
		HeadObject                    call[objectstorage.HeadObjectRequest, objectstorage.HeadObjectResponse]
		ListBuckets                   call[objectstorage.ListBucketsRequest, objectstorage.ListBucketsResponse]
		ListMultipartUploadParts      call[objectstorage.ListMultipartUploadPartsRequest, objectstorage.ListMultipartUploadPartsResponse]
		ListMultipartUploads          call[objectstorage.ListMultipartUploadsRequest, objectstorage.ListMultipartUploadsResponse]
		ListObjects                   call[objectstorage.ListObjectsRequest, objectstorage.ListObjectsResponse]
		ListPreauthenticatedRequests  call[objectstorage.ListPreauthenticatedRequestsRequest, objectstorage.ListPreauthenticatedRequestsResponse]
		ListWorkRequestErrors         call[objectstorage.ListWorkRequestErrorsRequest, objectstorage.ListWorkRequestErrorsResponse]
		PutObject                     call[objectstorage.PutObjectRequest, objectstorage.PutObjectResponse]
	}
	parts struct { // of an upload, which take as long as the line needs
		CommitMultipartUpload call[objectstorage.CommitMultipartUploadRequest, objectstorage.CommitMultipartUploadResponse]
		UploadPart            call[objectstorage.UploadPartRequest, objectstorage.UploadPartResponse]
	}
	work struct {
		GetWorkRequest        call[workrequests.GetWorkRequestRequest, workrequests.GetWorkRequestResponse]
		ListWorkRequestErrors call[workrequests.ListWorkRequestErrorsRequest, workrequests.ListWorkRequestErrorsResponse]
		ListWorkRequests      call[workrequests.ListWorkRequestsRequest, workrequests.ListWorkRequestsResponse]
	}
	bastion struct {
		CreateBastion call[bastion.CreateBastionRequest, bastion.CreateBastionResponse]
		CreateSession call[bastion.CreateSessionRequest, bastion.CreateSessionResponse]
		DeleteBastion call[bastion.DeleteBastionRequest, bastion.DeleteBastionResponse]
		DeleteSession call[bastion.DeleteSessionRequest, bastion.DeleteSessionResponse]
		GetBastion    call[bastion.GetBastionRequest, bastion.GetBastionResponse]
		GetSession    call[bastion.GetSessionRequest, bastion.GetSessionResponse]
		ListBastions  call[bastion.ListBastionsRequest, bastion.ListBastionsResponse]
		ListSessions  call[bastion.ListSessionsRequest, bastion.ListSessionsResponse]
	}
}

// newServices makes the clients of all services, each prepared before it is used; parts
// says that it is the one for the parts of an upload. None makes a request.
func newServices(p common.ConfigurationProvider, prepare func(b *common.BaseClient, parts bool)) (services, error) {
	var s services
	compute, err := core.NewComputeClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&compute.BaseClient, false)
	base := compute.BaseClient
	common.UpdateEndpointTemplateForOptions(&base) // as each operation does it for itself
	common.SetMissingTemplateParams(&base)
	s.compute.Call = base.Call
	s.compute.AddImageShapeCompatibilityEntry = compute.AddImageShapeCompatibilityEntry
	s.compute.CreateComputeCapacityReport = compute.CreateComputeCapacityReport
	s.compute.CreateComputeCapacityReservation = compute.CreateComputeCapacityReservation
	s.compute.CreateComputeImageCapabilitySchema = compute.CreateComputeImageCapabilitySchema
	s.compute.CreateImage = compute.CreateImage
	s.compute.DeleteComputeImageCapabilitySchema = compute.DeleteComputeImageCapabilitySchema
	s.compute.DeleteImage = compute.DeleteImage
	s.compute.ExportImage = compute.ExportImage
	s.compute.GetComputeCapacityReservation = compute.GetComputeCapacityReservation
	s.compute.GetComputeGlobalImageCapabilitySchemaVersion = compute.GetComputeGlobalImageCapabilitySchemaVersion
	s.compute.GetComputeImageCapabilitySchema = compute.GetComputeImageCapabilitySchema
	s.compute.GetImage = compute.GetImage
	s.compute.GetInstance = compute.GetInstance
	s.compute.LaunchInstance = compute.LaunchInstance
	s.compute.ListBootVolumeAttachments = compute.ListBootVolumeAttachments
	s.compute.ListComputeGlobalImageCapabilitySchemas = compute.ListComputeGlobalImageCapabilitySchemas
	s.compute.ListComputeImageCapabilitySchemas = compute.ListComputeImageCapabilitySchemas
	s.compute.ListImageShapeCompatibilityEntries = compute.ListImageShapeCompatibilityEntries
	s.compute.ListImages = compute.ListImages
	s.compute.ListInstances = compute.ListInstances
	s.compute.ListShapes = compute.ListShapes
	s.compute.ListVnicAttachments = compute.ListVnicAttachments
	s.compute.RemoveImageShapeCompatibilityEntry = compute.RemoveImageShapeCompatibilityEntry
	s.compute.TerminateInstance = compute.TerminateInstance
	s.compute.UpdateComputeImageCapabilitySchema = compute.UpdateComputeImageCapabilitySchema
	s.compute.UpdateImage = compute.UpdateImage
	s.compute.UpdateInstance = compute.UpdateInstance

	network, err := core.NewVirtualNetworkClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&network.BaseClient, false)
	s.network.GetNetworkSecurityGroup = network.GetNetworkSecurityGroup
	s.network.GetSubnet = network.GetSubnet
	s.network.GetVnic = network.GetVnic

	volumes, err := core.NewBlockstorageClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&volumes.BaseClient, false)
	s.volumes.DeleteBootVolume = volumes.DeleteBootVolume
	s.volumes.GetBootVolume = volumes.GetBootVolume

	identityClient, err := identity.NewIdentityClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&identityClient.BaseClient, false)
	s.identity.ListAvailabilityDomains = identityClient.ListAvailabilityDomains
	s.identity.ListCompartments = identityClient.ListCompartments
	s.identity.ListFaultDomains = identityClient.ListFaultDomains
	s.identity.ListRegionSubscriptions = identityClient.ListRegionSubscriptions
	s.identity.ListTagNamespaces = identityClient.ListTagNamespaces
	s.identity.ListTags = identityClient.ListTags

	limitsClient, err := limits.NewLimitsClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&limitsClient.BaseClient, false)
	s.limits.GetResourceAvailability = limitsClient.GetResourceAvailability
	s.limits.ListLimitValues = limitsClient.ListLimitValues

	objects, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&objects.BaseClient, false)
	s.objects.AbortMultipartUpload = objects.AbortMultipartUpload
	s.objects.CancelWorkRequest = objects.CancelWorkRequest
	s.objects.CopyObject = objects.CopyObject
	s.objects.CreateBucket = objects.CreateBucket
	s.objects.CreateMultipartUpload = objects.CreateMultipartUpload
	s.objects.CreatePreauthenticatedRequest = objects.CreatePreauthenticatedRequest
	s.objects.DeleteObject = objects.DeleteObject
	s.objects.DeletePreauthenticatedRequest = objects.DeletePreauthenticatedRequest
	s.objects.GetNamespace = objects.GetNamespace
	s.objects.GetObject = objects.GetObject
	s.objects.GetPreauthenticatedRequest = objects.GetPreauthenticatedRequest
	s.objects.GetWorkRequest = objects.GetWorkRequest
	s.objects.HeadBucket = objects.HeadBucket
	s.objects.HeadObject = objects.HeadObject
	s.objects.ListBuckets = objects.ListBuckets
	s.objects.ListMultipartUploadParts = objects.ListMultipartUploadParts
	s.objects.ListMultipartUploads = objects.ListMultipartUploads
	s.objects.ListObjects = objects.ListObjects
	s.objects.ListPreauthenticatedRequests = objects.ListPreauthenticatedRequests
	s.objects.ListWorkRequestErrors = objects.ListWorkRequestErrors
	s.objects.PutObject = objects.PutObject

	parts, err := objectstorage.NewObjectStorageClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&parts.BaseClient, true)
	s.parts.CommitMultipartUpload = parts.CommitMultipartUpload
	s.parts.UploadPart = parts.UploadPart

	work, err := workrequests.NewWorkRequestClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&work.BaseClient, false)
	s.work.GetWorkRequest = work.GetWorkRequest
	s.work.ListWorkRequestErrors = work.ListWorkRequestErrors
	s.work.ListWorkRequests = work.ListWorkRequests

	bastionClient, err := bastion.NewBastionClientWithConfigurationProvider(p)
	if err != nil {
		return services{}, err
	}
	prepare(&bastionClient.BaseClient, false)
	s.bastion.CreateBastion = bastionClient.CreateBastion
	s.bastion.CreateSession = bastionClient.CreateSession
	s.bastion.DeleteBastion = bastionClient.DeleteBastion
	s.bastion.DeleteSession = bastionClient.DeleteSession
	s.bastion.GetBastion = bastionClient.GetBastion
	s.bastion.GetSession = bastionClient.GetSession
	s.bastion.ListBastions = bastionClient.ListBastions
	s.bastion.ListSessions = bastionClient.ListSessions
	return s, nil
}
