// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"encoding/json"
	"log"
	"slices"
	"strconv"
	"strings"
	"time"
)

// priceList is where people find what machines cost on demand.
const priceList = "https://aws.amazon.com/ec2/pricing/on-demand/"

// priceLimit is how long the price list may take for all that is asked of it. What
// a machine costs is good to know, and nothing to wait for.
const priceLimit = 5 * time.Second

// prices is AWS's price list. It is in a few regions only and knows all of them.
func prices() service {
	return service{name: "pricing", target: "AWSPriceListService.GetProducts", variable: "AWS_ENDPOINT_URL_PRICING", region: "us-east-1", host: "api.pricing"}
}

// findListPrices reads what the machines that are not free cost on demand, where the
// build says so. A user who may not ask, or a network that does not lead there, only
// means that the price is not said.
func (s *survey) findListPrices(ctx context.Context) {
	b := s.b
	if b.cfg.FreeTier != FreePrefer || !slices.Contains(b.cfg.Markets, OnDemand) || strings.HasPrefix(b.Region, "cn-") || strings.HasPrefix(b.Region, "us-gov-") {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, priceLimit)
	defer cancel()
	free, named := s.account().free, b.cfg.TypesNamed
	s.listed = map[string]float64{}
	for _, t := range b.cfg.Types {
		if _, is := s.sizes[t]; !is || free[t] || !named {
			continue
		}
		price, err := b.listPrice(ctx, t)
		if err != nil {
			log.Printf("[WARN] what machines cost on demand is not known: %v", err)
			return
		}
		s.listed[t] = price
	}
}

type priceFilter struct{ Type, Field, Value string }

// listPrice is what a machine with Linux costs on demand, in dollars an hour; 0 if
// the list does not say.
func (c *Client) listPrice(ctx context.Context, shape string) (float64, error) {
	in := struct {
		ServiceCode   string
		Filters       []priceFilter
		FormatVersion string
		MaxResults    int
	}{ServiceCode: "AmazonEC2", FormatVersion: "aws_v1", MaxResults: 10}
	for _, f := range [][2]string{
		{"instanceType", shape}, {"regionCode", c.Region}, {"operatingSystem", "Linux"}, {"tenancy", "Shared"}, {"preInstalledSw", "NA"}, {"capacitystatus", "Used"},
	} {
		in.Filters = append(in.Filters, priceFilter{"TERM_MATCH", f[0], f[1]})
	}
	var out struct{ PriceList []string }
	err := once(ctx, "get products of", "AmazonEC2", func(ctx context.Context) error { return c.jsonCall(ctx, prices(), in, &out) })
	return cheapest(out.PriceList), err
}

// cheapest is the least hourly price of products, each a text of JSON; 0 if there is
// none.
func cheapest(products []string) (least float64) {
	for _, text := range products {
		var p struct {
			Terms struct {
				OnDemand map[string]struct {
					Dimensions map[string]struct {
						Unit  string            `json:"unit"`
						Price map[string]string `json:"pricePerUnit"`
					} `json:"priceDimensions"`
				}
			} `json:"terms"`
		}
		if json.Unmarshal([]byte(text), &p) != nil {
			continue
		}
		for _, term := range p.Terms.OnDemand {
			for _, d := range term.Dimensions {
				price, err := strconv.ParseFloat(d.Price["USD"], 64)
				if d.Unit == "Hrs" && err == nil && price > 0 && (least == 0 || price < least) {
					least = price
				}
			}
		}
	}
	return least
}
