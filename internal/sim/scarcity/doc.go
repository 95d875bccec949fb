// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

// Package scarcity judges searches for capacity. It has the weather, the place
// where a search is played, the clients to compare it with, and the best that
// anybody could have done.
//
// A [Trace] is ten hours of one account's life: when there is room, where and
// for what size; which limits are phantoms; how many requests the cloud takes;
// whether its capacity report tells the truth. Traces come in families, each
// of them one kind of bad day, and from a seed: the same family and seed
// always give the same trace. A [World] answers one client according to a
// trace, in virtual time, so that ten hours take a millisecond. [Bound] is the
// earliest moment at which any launch would have worked, known only to who can
// see the whole trace. Baselines are what people run today.
//
// This package was written before the search that it judges was tuned, and it
// knows nothing of it: it imports none of the product's code. Whoever wants to
// change a number here changes the judge, and has to say why.
//
// # What is assumed
//
// Nobody outside Oracle has such traces. Single facts are measured by others:
// asking every second is throttled for good and asking every ten seconds is
// not; LimitExceeded has been seen for an hour and more with nothing in use; a
// report names one row for all fault domains where none is asked for; some
// domains do not have the shape. The rest is chosen, is the same for all
// clients, and is written down where it is chosen:
//
//   - Windows of room begin at random, one in two hours on average, and last
//     from 20 seconds to 10 minutes. Short ones are as frequent as long ones
//     are, by the logarithm of their length.
//   - A host belongs to a fault domain, so half of the windows are in one of
//     the three only. OCI finds it when the launch names no fault domain,
//     except in the family that says that it does not.
//   - An answer is decided when the request arrives. A report takes 400 ms and
//     a launch 1.5 s, whatever the answer.
//   - Throttling is a bucket of tokens per user, over launches and reports. A
//     request that finds none is answered 429, does nothing and takes none.
package scarcity
