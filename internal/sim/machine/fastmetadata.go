// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// instanceMetadata is what a guest learns from its cloud at boot.
type instanceMetadata struct {
	id, hostname, keys, userData string
}

// fetchMetadata asks the cloud's metadata service in the cloud's own way.
func fetchMetadata(ctx context.Context, spec Spec) (instanceMetadata, error) {
	if spec.Metadata == nil {
		return instanceMetadata{}, errors.New("this machine has no metadata service")
	}
	if spec.Cloud == EC2 {
		return fetchEC2(ctx, spec.Metadata)
	}
	return fetchOCI(ctx, spec.Metadata)
}

func fetchOCI(ctx context.Context, h http.Handler) (instanceMetadata, error) {
	body, err := ask(ctx, h, http.MethodGet, "/opc/v2/instance/", "Authorization", "Bearer Oracle")
	if err != nil {
		if body, err = ask(ctx, h, http.MethodGet, "/opc/v1/instance/"); err != nil {
			return instanceMetadata{}, err
		}
	}
	var doc struct {
		ID, Hostname, DisplayName string
		Metadata                  map[string]string
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return instanceMetadata{}, fmt.Errorf("read the instance's metadata: %w", err)
	}
	md := instanceMetadata{id: doc.ID, hostname: doc.Hostname, keys: doc.Metadata["ssh_authorized_keys"]}
	if md.hostname == "" {
		md.hostname = doc.DisplayName
	}
	data, err := base64.StdEncoding.DecodeString(doc.Metadata["user_data"])
	if err != nil {
		return md, fmt.Errorf("read user_data: %w", err)
	}
	md.userData = string(data)
	return md, nil
}

func fetchEC2(ctx context.Context, h http.Handler) (instanceMetadata, error) {
	token, err := ask(ctx, h, http.MethodPut, "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if err != nil {
		return instanceMetadata{}, err
	}
	get := func(path string) string {
		body, err := ask(ctx, h, http.MethodGet, path, "X-aws-ec2-metadata-token", string(token))
		if err != nil {
			return ""
		}
		return string(body)
	}
	return instanceMetadata{
		id:       get("/latest/meta-data/instance-id"),
		hostname: strings.SplitN(get("/latest/meta-data/local-hostname"), ".", 2)[0],
		keys:     get("/latest/meta-data/public-keys/0/openssh-key"),
		userData: get("/latest/user-data"),
	}, nil
}

// ask sends one request to the metadata service without a network.
func ask(ctx context.Context, h http.Handler, method, path string, header ...string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://169.254.169.254"+path, nil)
	if err != nil {
		return nil, err
	}
	req.RequestURI, req.RemoteAddr = path, "169.254.0.15:40000"
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := &reply{header: make(http.Header), status: http.StatusOK}
	h.ServeHTTP(w, req)
	if w.status != http.StatusOK {
		return nil, fmt.Errorf("metadata service: %s %s: %d", method, path, w.status)
	}
	return w.body.Bytes(), nil
}

// reply is a http.ResponseWriter that keeps what it is given.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *reply) Header() http.Header         { return r.header }
func (r *reply) WriteHeader(status int)      { r.status = status }
func (r *reply) Write(b []byte) (int, error) { return r.body.Write(b) }
