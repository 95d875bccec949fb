// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import "time"

// serviceQuotas is the service that shows quotas.
func (c *Cloud) serviceQuotas() *api {
	return &api{
		name: "servicequotas", prefix: "servicequotas", identify: jsonTarget("ServiceQuotasV20190624"), failure: jsonFailure, problems: jsonProblems,
		ops: operations(jsonOp("GetServiceQuota", c.getServiceQuota), jsonOp("ListServiceQuotas", c.listServiceQuotas),
			jsonOp("GetAWSDefaultServiceQuota", c.getDefaultQuota)),
	}
}

type quotaJSON struct {
	Adjustable          bool
	GlobalQuota         bool
	QuotaAppliedAtLevel string
	QuotaArn            string
	QuotaCode           string
	QuotaName           string
	ServiceCode         string
	ServiceName         string
	Unit                string
	Value               float64
}

// shownQuotas are the quotas that can be asked for, of the service ec2.
func shownQuotas() map[string]string {
	return map[string]string{
		QuotaOnDemand: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
		QuotaSpot:     "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests",
	}
}

func (c *Cloud) quotaJSON(q *call, code string, value float64) quotaJSON {
	return quotaJSON{true, false, "ACCOUNT", q.arn("ec2/" + code), code, shownQuotas()[code], "ec2", "Amazon Elastic Compute Cloud (Amazon EC2)", "None", value}
}

type quotaIn struct {
	ServiceCode string `aws:",required"`
	QuotaCode   string `aws:",required"`
	ContextID   string `json:"ContextId"`
}

// quota asks IAM and refuses what there is not.
func (c *Cloud) quota(q *call, in *quotaIn) error {
	if err := c.authorize(q, []AccessResource{{ARN: q.arn(in.ServiceCode + "/" + in.QuotaCode)}}); err != nil {
		return err
	}
	if in.ServiceCode != "ec2" || shownQuotas()[in.QuotaCode] == "" {
		return refuse("NoSuchResourceException", "The request failed because the specified service quota %s does not exist.", in.QuotaCode)
	}
	return nil
}

func (c *Cloud) getServiceQuota(q *call, in *quotaIn) (any, error) {
	if err := c.quota(q, in); err != nil {
		return nil, err
	}
	return struct{ Quota quotaJSON }{c.quotaJSON(q, in.QuotaCode, c.Quota(q.home(), in.QuotaCode))}, nil
}

func (c *Cloud) getDefaultQuota(q *call, in *quotaIn) (any, error) {
	if err := c.quota(q, in); err != nil {
		return nil, err
	}
	return struct{ Quota quotaJSON }{c.quotaJSON(q, in.QuotaCode, defaultVCPUs)}, nil
}

func (c *Cloud) listServiceQuotas(q *call, in *struct {
	ServiceCode         string `aws:",required"`
	QuotaCode           string
	QuotaAppliedAtLevel string
	MaxResults          int
	NextToken           string
}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	if in.ServiceCode != "ec2" {
		return nil, refuse("NoSuchResourceException", "The request failed because the specified service %s does not exist.", in.ServiceCode)
	}
	rows := []quotaJSON{}
	for _, code := range []string{QuotaOnDemand, QuotaSpot} {
		if in.QuotaCode == "" || in.QuotaCode == code {
			rows = append(rows, c.quotaJSON(q, code, c.Quota(q.home(), code)))
		}
	}
	return struct{ Quotas []quotaJSON }{rows}, nil
}

// freeTier is the service that says which plan an account has.
func (c *Cloud) freeTier() *api {
	return &api{
		name: "freetier", prefix: "freetier", global: true, identify: jsonTarget("AWSFreeTierService"), failure: jsonFailure, problems: jsonProblems,
		ops: operations(jsonOp("GetAccountPlanState", c.getAccountPlanState)),
	}
}

func (c *Cloud) getAccountPlanState(q *call, _ *struct{}) (any, error) {
	if err := c.authorize(q, everything()); err != nil {
		return nil, err
	}
	type money struct {
		Amount float64 `json:"amount"`
		Unit   string  `json:"unit"`
	}
	out := struct {
		AccountID string   `json:"accountId"`
		Type      string   `json:"accountPlanType"`
		Status    string   `json:"accountPlanStatus"`
		Credits   *money   `json:"accountPlanRemainingCredits,omitempty"`
		Expires   *float64 `json:"accountPlanExpirationDate,omitempty"`
	}{AccountID: q.who.Account.ID, Type: "PAID", Status: "ACTIVE"}
	if q.who.Account.FreePlan {
		ends := epoch(time.Now().AddDate(0, 5, 0))
		out.Type, out.Credits, out.Expires = "FREE", &money{100, "USD"}, &ends
	}
	return out, nil
}
