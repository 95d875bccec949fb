// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Proxymux is the service of a Kubernetes cluster of a tenancy that gives pods
// their tokens, for the token of a service account. It is reached by HTTPS at
// port 12250 of the cluster.
func (c *Cloud) Proxymux(t *Tenancy, serviceAccount string, life time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/resourcePrincipalSessionTokens" || r.Method != http.MethodPost:
			http.NotFound(w, r)
			return
		case r.Header.Get("Authorization") != "Bearer "+serviceAccount:
			http.Error(w, "the service account is not known", http.StatusUnauthorized)
			return
		}
		raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		var body struct {
			PodKey string `json:"podKey" oci:"required"`
		}
		if err != nil || decode(raw, &body) != nil {
			http.Error(w, "malformed", http.StatusBadRequest)
			return
		}
		block, _ := pem.Decode([]byte(body.PodKey))
		if block == nil {
			http.Error(w, "no key", http.StatusBadRequest)
			return
		}
		key, err := sessionKey(base64.StdEncoding.EncodeToString(block.Bytes))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		token := c.resourceToken(t, key, life, "pod")
		c.mu.Unlock()
		inner, err := json.Marshal(map[string]string{"token": "ST$" + token})
		if err != nil {
			panic(fmt.Sprintf("a token does not marshal: %v", err))
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "%q", base64.StdEncoding.EncodeToString(inner))
	})
}
