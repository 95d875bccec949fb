// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package ocisim is a small Oracle Cloud Infrastructure that runs in one
// process.
//
// It speaks the wire protocol: unmodified clients sign their requests, reach
// it under the real host names (package simnet arranges that) and get the real
// status codes, bodies and headers back. Its word is as strict as the real
// service's, or stricter: signatures are verified against the key of the
// tenancy that claims to call, another tenancy's resources do not exist, JSON
// fields and query parameters that the API does not define are refused, and
// mandatory ones must be there. A client that gets away with something here
// should get away with it at Oracle.
//
// # Things are real
//
// An instance is a machine (package machine) with a disk of its own. An image
// holds the bytes of such a disk. An export writes these bytes to the object
// store, and an import fetches them from a pre-authenticated request's URL
// over HTTP. Nothing is copied behind the API's back.
//
// # Things take time
//
// Resources go through their lifecycle states. [Delays] says how long each
// one lasts. The clock is package time, so the whole simulator works inside a
// testing/synctest bubble, provided that the machine driver does.
//
// # Things fail
//
// A [Fault] makes the cloud behave as it does on a bad day: no capacity here
// or there, limits, throttling, lost replies, work that is accepted and then
// fails. What is left over after a run is told by [Cloud.Inventory], so that
// a leak is a failing test.
//
// # Where the truth is unknown
//
// Nobody can see inside Oracle. Behaviour that is documented nowhere, or
// where reports differ, is a field of [Switches] with the better attested
// variant as its zero value.
package ocisim
