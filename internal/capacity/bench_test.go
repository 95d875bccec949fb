// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package capacity

import (
	"fmt"
	"testing"
	"time"
)

// manyOffers are n: regions of three domains, each with three fault domains and as many
// sizes as it takes.
func manyOffers(n int) []Offer {
	var offers []Offer
	for i := 0; len(offers) < n; i++ {
		region := fmt.Sprintf("region-%d", i/50)
		for ad := range 3 {
			for fd := range 3 {
				offers = append(offers, Offer{
					Cloud: "oci", Region: region, Zone: fmt.Sprintf("%s-AD-%d", region, ad+1), FaultDomain: fmt.Sprintf("FAULT-DOMAIN-%d", fd+1),
					Shape: "VM.Standard.A1.Flex", OCPUs: float32(1 + i%50), MemoryGB: 6,
				})
			}
		}
	}
	return offers[:n]
}

// What a move of the search costs: the next one and what comes of it, with many offers
// of which none ever has room.
func BenchmarkNext(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			now := time.Unix(0, 0)
			s := New(Policy{Interval: 10 * time.Second}, now, manyOffers(n))
			b.ReportAllocs()
			for b.Loop() {
				switch m := s.Next(now); {
				case m.Try != nil:
					s.Observe(*m.Try, now, Result{Outcome: NoCapacity})
				case m.Ask != nil:
					s.Answer(*m.Ask, now, Reply{})
				case m.GiveUp != "":
					b.Fatal(m.GiveUp)
				default:
					now = m.Until
				}
			}
		})
	}
}
