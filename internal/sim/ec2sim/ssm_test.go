// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/armfree/packer-plugin-armfree/internal/sim/ec2sim"
)

func TestParameters(t *testing.T) {
	k := newKit(t, nil)
	ctx := t.Context()
	c := ssm.NewFromConfig(k.owner())
	const public = "/aws/service/debian/release/trixie/latest/arm64"
	got := must[*ssm.GetParameterOutput](t)(c.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(public)})).Parameter
	if *got.Value != k.ami || *got.ARN != "arn:aws:ssm:us-east-1::parameter"+public || got.Version != 1 || *got.DataType != "aws:ec2:image" {
		t.Errorf("the public parameter is %+v", got)
	}
	_, err := c.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/aws/service/debian/release/14/latest/arm64")})
	wantError(t, err, 400, "ParameterNotFound", "")
	path := &ssm.GetParametersByPathInput{Path: aws.String("/aws/service/debian"), Recursive: aws.Bool(true)}
	count := 0
	for p := ssm.NewGetParametersByPathPaginator(c, path); p.HasMorePages(); {
		count += len(must[*ssm.GetParametersByPathOutput](t)(p.NextPage(ctx)).Parameters)
	}
	if count != 2*2*4*2 { // releases by number and name, builds and the latest, architectures
		t.Errorf("%d public parameters", count)
	}
	put := &ssm.PutParameterInput{Name: aws.String("/images/newest"), Value: &k.ami, Type: ssmtypes.ParameterTypeString, DataType: aws.String("aws:ec2:image")}
	must[*ssm.PutParameterOutput](t)(c.PutParameter(ctx, put))
	_, err = c.PutParameter(ctx, put)
	wantError(t, err, 400, "ParameterAlreadyExists", "")
	put.Overwrite = aws.Bool(true)
	if out := must[*ssm.PutParameterOutput](t)(c.PutParameter(ctx, put)); out.Version != 2 {
		t.Errorf("the version is %d", out.Version)
	}
	put.Value = aws.String("ami-0123456789abcdef0")
	_, err = c.PutParameter(ctx, put)
	wantError(t, err, 400, "ValidationException", "does not exist")
	_, err = c.PutParameter(ctx, &ssm.PutParameterInput{Name: aws.String("/aws/mine"), Value: aws.String("x"), Type: ssmtypes.ParameterTypeString})
	wantError(t, err, 400, "ValidationException", "can't be prefixed")
	many := must[*ssm.GetParametersOutput](t)(c.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{public, "/images/newest:2", "/images/newest:1", "nothing"}}))
	if len(many.Parameters) != 2 || len(many.InvalidParameters) != 2 {
		t.Errorf("parameters: %+v, invalid: %q", many.Parameters, many.InvalidParameters)
	}
	must[*ssm.DeleteParameterOutput](t)(c.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: put.Name}))

	_, keys, err := k.cloud.AddUserWithPolicy(k.build, "ci", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"arn:aws:ssm:*::parameter/aws/service/debian/*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	ci := ssm.NewFromConfig(k.config(keys, region))
	must[*ssm.GetParameterOutput](t)(ci.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(public)}))
	_, err = ci.GetParameter(ctx, &ssm.GetParameterInput{Name: put.Name})
	wantError(t, err, 400, "AccessDeniedException", "ssm:GetParameter on resource: arn:aws:ssm:us-east-1:"+k.build.ID+":parameter/images/newest")
}

func TestServiceQuotas(t *testing.T) {
	k := newKit(t, func(c *ec2sim.Config) { c.Accounts[0].Quotas[ec2sim.QuotaSpot] = 5 })
	ctx := t.Context()
	c := servicequotas.NewFromConfig(k.owner())
	get := func(code string) (*servicequotas.GetServiceQuotaOutput, error) {
		return c.GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("ec2"), QuotaCode: &code})
	}
	if out := must[*servicequotas.GetServiceQuotaOutput](t)(get(ec2sim.QuotaSpot)); *out.Quota.Value != 5 || !out.Quota.Adjustable {
		t.Errorf("quota %+v", out.Quota)
	}
	if err := k.cloud.AddFaults(ec2sim.Fault{Kind: ec2sim.FaultQuota, Quota: ec2sim.QuotaOnDemand, Value: 0}); err != nil {
		t.Fatal(err)
	}
	if out := must[*servicequotas.GetServiceQuotaOutput](t)(get(ec2sim.QuotaOnDemand)); *out.Quota.Value != 0 {
		t.Errorf("quota %+v", out.Quota)
	}
	_, err := get("L-00000000")
	wantError(t, err, 400, "NoSuchResourceException", "")
	if out := must[*servicequotas.ListServiceQuotasOutput](t)(c.ListServiceQuotas(ctx, &servicequotas.ListServiceQuotasInput{ServiceCode: aws.String("ec2")})); len(out.Quotas) != 2 {
		t.Errorf("quotas %+v", out.Quotas)
	}
}
