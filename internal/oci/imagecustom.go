// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
)

// launchOptions are how machines of an image start. CreateImage takes them together with
// the launch mode CUSTOM, which no SDK of Oracle's knows; without them a disk that is
// imported bare starts by BIOS, as no machine on Ampere does, and nothing changes that
// later. That the service takes them is reported by those who import images for Ampere
// like that; it is unverified against the real service here.
type launchOptions struct {
	Firmware               core.LaunchOptionsFirmwareEnum             `json:"firmware"`
	BootVolumeType         core.LaunchOptionsBootVolumeTypeEnum       `json:"bootVolumeType"`
	NetworkType            core.LaunchOptionsNetworkTypeEnum          `json:"networkType"`
	RemoteDataVolumeType   core.LaunchOptionsRemoteDataVolumeTypeEnum `json:"remoteDataVolumeType"`
	PVEncryption           bool                                       `json:"isPvEncryptionInTransitEnabled"`
	ConsistentVolumeNaming bool                                       `json:"isConsistentVolumeNamingEnabled"`
}

// ampereOptions are those of images for Ampere: UEFI and paravirtualized devices, the
// only ones that these machines have.
func ampereOptions() *launchOptions {
	return &launchOptions{
		Firmware: core.LaunchOptionsFirmwareUefi64, BootVolumeType: core.LaunchOptionsBootVolumeTypeParavirtualized,
		NetworkType: core.LaunchOptionsNetworkTypeParavirtualized, RemoteDataVolumeType: core.LaunchOptionsRemoteDataVolumeTypeParavirtualized,
	}
}

// requestImage makes the request for an image; with, if set, are launch options that go
// beyond what the SDK can say.
func (c *Client) requestImage(ctx context.Context, r core.CreateImageRequest, with *launchOptions) (made core.CreateImageResponse, err error) {
	if with == nil {
		return c.compute.CreateImage(shield(ctx), r)
	}
	req, err := r.HTTPRequest(http.MethodPost, "/images", nil, nil)
	if err != nil {
		return made, err
	}
	if req.Body, err = withLaunchOptions(req.Body, with); err != nil {
		return made, err
	}
	resp, err := c.compute.Call(shield(ctx), &req) //nolint:bodyclose // it is, by the SDK's own function
	defer common.CloseBodyIfValid(resp)
	if err != nil {
		return made, err
	}
	err = common.UnmarshalResponse(resp, &made)
	return made, err
}

// withLaunchOptions adds launch options to the body of a request. Its length and its
// hash are computed when it is signed.
func withLaunchOptions(body io.Reader, with *launchOptions) (io.ReadCloser, error) {
	details := map[string]any{}
	if err := json.NewDecoder(body).Decode(&details); err != nil {
		return nil, fmt.Errorf("read the request for an image: %w", err)
	}
	details["launchMode"], details["launchOptions"] = core.CreateImageDetailsLaunchModeCustom, with
	text, err := json.Marshal(details)
	if err != nil {
		return nil, fmt.Errorf("write the request for an image: %w", err)
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}
