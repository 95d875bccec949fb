// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ec2sim is a small Amazon Web Services that runs in one process: EC2,
// and the services that a builder of images needs beside it.
//
// It speaks the wire protocol: unmodified clients sign their requests with
// SigV4, reach it under the real host names (package simnet arranges that) or
// at a plain URL as AWS_ENDPOINT_URL gives one, and get the real codes,
// statuses and bodies back. Its word is as strict as the real service's, or
// stricter: signatures are verified, parameters that an action does not define
// are refused, and so are values that an enumeration lacks.
//
// # Things are real
//
// An instance is a machine (package machine) with a disk of its own. A
// snapshot holds the bytes of such a disk, an image refers to snapshots, and a
// copy to another region copies the bytes.
//
// # Things take time, and fail
//
// Resources go through their states; [Delays] says how long each one lasts.
// The clock is package time, so that the simulator works inside a
// testing/synctest bubble with [Config.Offline]. A [Fault] makes the cloud
// behave as it does on a bad day. What is left over after a run is told by
// [Cloud.Inventory], so that a leak is a failing test.
//
// # The way of a request
//
// [Cloud.ServeHTTP] finds the service by host name or by the credential's
// scope (region.go, api.go), the operation as the service's protocol names it
// (api.identify), the caller by its signature (auth.go), and asks the scripted
// faults (faults.go). Then the operation runs, by default with the cloud's
// lock held, and must ask IAM before it has an effect: [Cloud.authorize]. An
// operation that succeeds without having asked is a bug of the simulator and
// answers 500.
//
// # Adding a service
//
// A service is a file with a method that returns an *api, and a line in
// [Cloud.allAPIs]:
//
//	func (c *Cloud) parameterStore() *api {
//		return &api{
//			name: "ssm", prefix: "ssm",
//			identify: jsonTarget("AmazonSSM"), // which operation, by X-Amz-Target
//			failure: jsonFailure, problems: jsonProblems,
//			ops: operations(jsonOp("GetParameter", c.getParameter)),
//		}
//	}
//
//	func (c *Cloud) getParameter(q *call, in *struct {
//		Name           string `aws:",required"`
//		WithDecryption *bool
//	}) (any, error) {
//		arn := q.arn("parameter" + in.Name)
//		if err := c.authorize(q, []AccessResource{{ARN: arn}}); err != nil {
//			return nil, err
//		}
//		…
//	}
//
// query.go has the form-and-XML protocol of EC2, STS and IAM ([queryOp],
// [queryAction]), json.go the JSON protocol of SSM and Service Quotas and the
// paths of REST services such as EBS direct ([restPath], [restOp]). A service
// whose bytes should not be read under the lock marks its operation with
// withoutLock. Values that belong to the services of others are found here:
// [Cloud.Quota] for Service Quotas, [Cloud.publicImages] for the SSM parameters
// of images, [Cloud.issue] for STS.
//
// # IAM
//
// Each action is decided by the policies of whoever calls, a [Principal]: see
// iam_decide.go. [Access] says what is asked, with the resources and the keys
// that conditions can look at. [Config.Authorize] decides instead of them where
// a test wants it. What was asked is remembered: [Cloud.IAMUses],
// [Cloud.IAMRefusals], [Cloud.UnusedGrants].
package ec2sim
