// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"encoding/json"
	"fmt"
	"strings"
)

// priceList is the service that shows prices.
func (c *Cloud) priceList() *api {
	return &api{
		name: "pricing", prefix: "pricing", identify: jsonTarget("AWSPriceListService"), failure: jsonFailure, problems: jsonProblems,
		ops: operations(jsonOp("GetProducts", c.getProducts)),
	}
}

type priceFilter struct{ Type, Field, Value string }

// productFields are the attributes of machines that can be asked for.
func productFields(region, name string) map[string]string {
	return map[string]string{
		"instanceType": name, "regionCode": region, "operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
		"licenseModel": "No License required", "operation": "RunInstances", "servicecode": "AmazonEC2",
	}
}

func (c *Cloud) getProducts(q *call, in *struct {
	ServiceCode   string `aws:",required"`
	Filters       []priceFilter
	FormatVersion string
	NextToken     string
	MaxResults    int
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	switch {
	case in.ServiceCode != "AmazonEC2":
		return nil, refuse("NotFoundException", "The service code %s does not exist", in.ServiceCode)
	case in.FormatVersion != "" && in.FormatVersion != "aws_v1", in.MaxResults < 0 || in.MaxResults > 100:
		return nil, refuse("InvalidParameterException", "Input Parameters are invalid. API Reference: https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/Welcome.html")
	}
	list := []string{}
	for _, r := range c.regions {
		for _, t := range c.types {
			fields := productFields(r.name, t.name)
			if !t.soldIn(r) || !productFits(in.Filters, fields) {
				continue
			}
			sku := strings.ToUpper(strings.NewReplacer(".", "", "-", "").Replace(t.name + r.name))
			list = append(list, productJSON(sku, fields, t.price))
		}
	}
	for _, f := range in.Filters {
		if f.Type != "TERM_MATCH" {
			return nil, refuse("InvalidParameterException", "The filter type %s is not simulated", f.Type)
		}
	}
	if len(list) > 100 {
		list = list[:100] // a client asks for one machine, and not for pages
	}
	return struct {
		FormatVersion string
		PriceList     []string
	}{"aws_v1", list}, nil
}

func productFits(filters []priceFilter, fields map[string]string) bool {
	for _, f := range filters {
		if !strings.EqualFold(fields[f.Field], f.Value) {
			return false
		}
	}
	return true
}

// productJSON is a product with its price on demand, as a text of JSON.
func productJSON(sku string, fields map[string]string, price float64) string {
	const term, rate = "JRTCKXETXF", "6YS6EN2CT7"
	body, err := json.Marshal(map[string]any{
		"product":     map[string]any{"productFamily": "Compute Instance", "attributes": fields, "sku": sku},
		"serviceCode": "AmazonEC2",
		"terms": map[string]any{"OnDemand": map[string]any{sku + "." + term: map[string]any{
			"offerTermCode": term, "sku": sku, "effectiveDate": "2026-11-01T00:00:00Z", "termAttributes": map[string]any{},
			"priceDimensions": map[string]any{sku + "." + term + "." + rate: map[string]any{
				"unit": "Hrs", "beginRange": "0", "endRange": "Inf", "description": "per On Demand Linux instance hour", "appliesTo": []string{},
				"rateCode": sku + "." + term + "." + rate, "pricePerUnit": map[string]string{"USD": fmt.Sprintf("%.10f", price)},
			}},
		}}},
	})
	if err != nil {
		panic("a product does not marshal: " + err.Error())
	}
	return string(body)
}
