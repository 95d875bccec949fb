// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package scarcity

import (
	"math/rand/v2"
	"time"
)

// Client is a way to look for a machine. Its run ends when it returns: with a
// machine, as a failed build, or with nothing after ten hours. Randomness comes
// from r alone, so that a run can be had again.
type Client struct {
	Name string
	Run  func(w *World, r *rand.Rand)
}

// Baselines are the clients that people have today.
func Baselines() []Client {
	return []Client{
		{"packer-plugin-oracle", OracleOCI},
		{"loop, one domain", LoopOneDomain},
		{"loop, all domains", LoopAllDomains},
	}
}

// launchBaseline asks as all baselines do: for the larger size, without a
// fault domain.
func launchBaseline(w *World, p Place) Answer {
	s := Sizes()[0]
	return w.Launch(Offer{Region: p.Region, AD: p.AD, OCPUs: s.OCPUs, MemoryGB: s.MemoryGB})
}

// oracleAttempts is how often packer-plugin-oracle sends a launch.
const oracleAttempts = 10

// OracleOCI is packer-plugin-oracle v1.1.2. It asks in the one domain that its
// template names. It retries what is answered 429, 500 or 503, and so waits
// for capacity without meaning to. It sleeps after the last attempt as well,
// since that is how the SDK's retry works, and only then says that it failed;
// everything else is an error at once.
func OracleOCI(w *World, r *rand.Rand) {
	for attempt := 1; attempt <= oracleAttempts && !w.Over(); attempt++ {
		if a := launchBaseline(w, w.Places()[0]); a != NoCapacity && a != Throttled {
			return
		}
		w.Sleep(oracleSleep(attempt, r))
	}
}

// oracleSleep is the sleep after an attempt, counted from 1: 2 s, 4 s, 8 s and
// so on, and up to 2 s more, in whole milliseconds.
func oracleSleep(attempt int, r *rand.Rand) time.Duration {
	return time.Duration(1<<attempt)*time.Second + time.Duration(r.Float64()*2000)*time.Millisecond
}

// period is how often scripts ask.
const period = 60 * time.Second

// LoopOneDomain is the script around the command line that asks once a minute
// in one domain. Like most of its kind it takes for fatal what is not "Out of
// host capacity" or "Too many requests".
func LoopOneDomain(w *World, _ *rand.Rand) { loop(w, w.Places()[:1]) }

// LoopAllDomains is the better script: once a minute it asks in each domain of
// the home region, one directly after the other.
func LoopAllDomains(w *World, _ *rand.Rand) { loop(w, w.Home()) }

// loop asks in all places at the beginning of each minute. A pass that takes
// longer than its minute is followed by the next at once.
func loop(w *World, places []Place) {
	for !w.Over() {
		next := w.Now().Truncate(period) + period
		for _, p := range places {
			switch launchBaseline(w, p) {
			case Launched, LimitExceeded, ShapeNotFound, Forbidden, Late, Reported:
				return
			case NoCapacity, Throttled:
			}
		}
		w.Sleep(max(0, next-w.Now()))
	}
}
