// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

// What is not free is said with its price, if that can be had, and otherwise with
// where to find it; the build goes on either way, and soon.
func TestListPrice(t *testing.T) {
	const where = "t4g.medium in eu-central-1 is not free: EC2 does not flag it as eligible for the free tier here "
	mute := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.Host, "api.pricing.") {
				_, _ = io.Copy(io.Discard, r.Body) // or it is not noticed that the client goes
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	for _, tt := range []struct {
		name   string
		sim    simOptions
		change func(*BuildConfig)
		says   string
		silent string
		asked  int
		within time.Duration
	}{
		{name: "a type that is not free", says: where + "($0.0336 an hour on demand)", asked: 1},
		{name: "the user may not ask", sim: simOptions{faults: []ec2sim.Fault{{Kind: ec2sim.FaultStatus, Op: "GetProducts", Status: 400, Code: "AccessDeniedException", Message: "no"}}}, says: where + "(see https://aws.amazon.com/ec2/pricing/on-demand/)", asked: 1},
		{name: "the list is broken", sim: simOptions{faults: []ec2sim.Fault{{Kind: ec2sim.FaultStatus, Op: "GetProducts", Status: 500, Code: "InternalErrorException", Message: "no"}}}, says: where + "(see https://", asked: 1},
		{name: "nobody answers", sim: simOptions{wrap: mute}, says: where + "(see https://", within: 10 * time.Second},
		{name: "free", change: func(c *BuildConfig) { c.Types = []string{micro} }, silent: "is not free"},
		{name: "nobody wants to know", change: func(c *BuildConfig) { c.FreeTier = FreeIgnore }, silent: "free"},
		{name: "a spot machine", change: func(c *BuildConfig) { c.Markets = []Market{Spot} }, says: "spot machines are not part of the free tier (from $"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSim(t, tt.sim)
				b := s.newBuild(t, func(c *BuildConfig) {
					c.Types, c.TypesNamed, c.FreeTier = []string{"t4g.medium"}, true, FreePrefer
					if tt.change != nil {
						tt.change(c)
					}
				})
				begun := time.Now()
				plan, err := b.Plan(t.Context())
				if err != nil || len(plan.Offers) == 0 {
					t.Fatal(err)
				}
				if took := time.Since(begun); tt.within > 0 && took > tt.within {
					t.Errorf("it took %s", took)
				}
				silent := []string{}
				if tt.silent != "" {
					silent = append(silent, tt.silent)
				}
				checkText(t, strings.Join(plan.Notes, "\n"), []string{tt.says}, silent)
				if n := s.CountRequests("GetProducts"); n != tt.asked {
					t.Errorf("asked %d times for prices", n)
				}
			})
		})
	}
}

func FuzzCheapest(f *testing.F) {
	f.Add(`{"terms":{"OnDemand":{"A.B":{"priceDimensions":{"A.B.C":{"unit":"Hrs","pricePerUnit":{"USD":"0.0336000000"}}}}}}}`)
	f.Add(`{"terms":{"OnDemand":{"A":{"priceDimensions":{"C":{"unit":"Hrs","pricePerUnit":{"CNY":"1"}}}}}}}`)
	f.Add(`{"terms":{"OnDemand":[]}}`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, text string) {
		if p := cheapest([]string{text, ""}); p < 0 {
			t.Errorf("%g", p)
		}
	})
}

func TestCheapest(t *testing.T) {
	product := func(unit, usd string) string {
		return `{"terms":{"OnDemand":{"A":{"priceDimensions":{"C":{"unit":"` + unit + `","pricePerUnit":{"USD":"` + usd + `"}}}}}}}`
	}
	for want, list := range map[float64][]string{
		0.0336: {product("Hrs", "0.0336000000"), product("Hrs", "0.05")}, 0.05: {product("Quantity", "0.01"), product("Hrs", "0.0000000000"), product("Hrs", "0.05"), "x"}, 0: {product("Hrs", "free")},
	} {
		if got := cheapest(list); got != want {
			t.Errorf("%g, want %g", got, want)
		}
	}
}
