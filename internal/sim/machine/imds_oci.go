// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"
)

// InstanceInfo is what an OCI instance can learn about itself. Empty fields
// are left out of the answers, as the service does.
type InstanceInfo struct {
	ID                 string
	DisplayName        string
	Hostname           string // the label of its first VNIC; DisplayName when empty
	TenantID           string
	CompartmentID      string
	ImageID            string
	Shape              string
	OCPUs              float64
	MemoryGB           float64
	Region             string // "eu-frankfurt-1"
	AvailabilityDomain string
	FaultDomain        string
	State              string // default "Running"
	TimeCreated        time.Time
	Metadata           map[string]string // ssh_authorized_keys, user_data (base64) and the caller's own
	ExtendedMetadata   map[string]any
	FreeformTags       map[string]string
	DefinedTags        map[string]map[string]any
	VNICs              []VNICInfo

	// What the instance's agent is told.
	AllPluginsDisabled, ManagementDisabled, MonitoringDisabled bool

	// LegacyDisabled is areLegacyImdsEndpointsDisabled: /opc/v1 and the
	// OpenStack paths answer 404.
	LegacyDisabled bool
}

// VNICInfo is one network card as its instance sees it.
type VNICInfo struct {
	ID            string
	PrivateIP     string
	MAC           string
	SubnetCIDR    string
	VirtualRouter string
	VLANTag       int
}

// OCIMetadata answers what 169.254.169.254 answers inside an OCI instance:
// /opc/v2 for requests that carry "Authorization: Bearer Oracle" and were not
// forwarded, /opc/v1 for all unless it is disabled. A folder is answered with
// its JSON document, a leaf with its bare text.
func OCIMetadata(info InstanceInfo) http.Handler {
	doc := map[string]any{"instance": info.instance(), "vnics": info.vnics()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, v2 := strings.CutPrefix(r.URL.Path, "/opc/v2/")
		if !v2 {
			var v1 bool
			if path, v1 = strings.CutPrefix(r.URL.Path, "/opc/v1/"); !v1 || info.LegacyDisabled {
				notFound(w)
				return
			}
		}
		switch {
		case v2 && !strings.EqualFold(r.Header.Get("Authorization"), "Bearer Oracle"):
			http.Error(w, "Forbidden", http.StatusForbidden)
		case v2 && forwarded(r.Header):
			http.Error(w, "Forbidden", http.StatusForbidden)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		case path == "":
			fmt.Fprint(w, "instance/\nvnics/\n")
		default:
			answer(w, doc, strings.Trim(path, "/"))
		}
	})
}

func forwarded(h http.Header) bool {
	return h.Get("Forwarded") != "" || h.Get("X-Forwarded-For") != "" || h.Get("X-Forwarded-Host") != ""
}

func notFound(w http.ResponseWriter) { http.Error(w, "Not Found", http.StatusNotFound) }

// answer walks down the document.
func answer(w http.ResponseWriter, at any, path string) {
	for _, name := range strings.Split(path, "/") {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[name]
			if !ok {
				notFound(w)
				return
			}
			at = next
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				notFound(w)
				return
			}
			at = v[i]
		default:
			notFound(w)
			return
		}
	}
	switch v := at.(type) {
	case map[string]any, []any:
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		enc.Encode(v) // the client is gone when this fails
	default:
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, v)
	}
}

func (i InstanceInfo) instance() map[string]any {
	hostname, state := i.Hostname, i.State
	if hostname == "" {
		hostname = i.DisplayName
	}
	if state == "" {
		state = "Running"
	}
	doc := map[string]any{"state": state, "agentConfig": map[string]any{
		"allPluginsDisabled": i.AllPluginsDisabled, "managementDisabled": i.ManagementDisabled, "monitoringDisabled": i.MonitoringDisabled}}
	for name, value := range map[string]string{
		"id": i.ID, "displayName": i.DisplayName, "hostname": hostname, "tenantId": i.TenantID, "compartmentId": i.CompartmentID,
		"image": i.ImageID, "shape": i.Shape, "region": i.Region, "canonicalRegionName": i.Region,
		"availabilityDomain": i.AvailabilityDomain, "faultDomain": i.FaultDomain,
	} {
		if value != "" {
			doc[name] = value
		}
	}
	if i.AvailabilityDomain != "" {
		// Without the tenancy's prefix; cloud-init does not start without it.
		ad := i.AvailabilityDomain[strings.IndexByte(i.AvailabilityDomain, ':')+1:]
		doc["ociAdName"] = strings.ToLower(ad)
	}
	if i.Region != "" {
		doc["regionInfo"] = map[string]any{"realmKey": "oc1", "realmDomainComponent": "oraclecloud.com", "regionIdentifier": i.Region}
	}
	if !i.TimeCreated.IsZero() {
		doc["timeCreated"] = i.TimeCreated.UnixMilli()
	}
	if i.OCPUs > 0 {
		doc["shapeConfig"] = map[string]any{"ocpus": i.OCPUs, "memoryInGBs": i.MemoryGB}
	}
	if len(i.Metadata) > 0 || len(i.ExtendedMetadata) > 0 {
		// The service shows both maps as one.
		md := make(map[string]any)
		for k, v := range i.ExtendedMetadata {
			md[k] = v
		}
		for k, v := range i.Metadata {
			md[k] = v
		}
		doc["metadata"] = md
	}
	if len(i.FreeformTags) > 0 {
		tags := make(map[string]any)
		for k, v := range i.FreeformTags {
			tags[k] = v
		}
		doc["freeformTags"] = tags
	}
	if len(i.DefinedTags) > 0 {
		spaces := make(map[string]any)
		for space, tags := range i.DefinedTags {
			spaces[space] = tags
		}
		doc["definedTags"] = spaces
	}
	return doc
}

func (i InstanceInfo) vnics() []any {
	vnics := append([]VNICInfo(nil), i.VNICs...)
	sort.SliceStable(vnics, func(a, b int) bool { return vnics[a].VLANTag < vnics[b].VLANTag })
	out := []any{}
	for _, v := range vnics {
		out = append(out, map[string]any{"vnicId": v.ID, "privateIp": v.PrivateIP, "macAddr": v.MAC,
			"subnetCidrBlock": v.SubnetCIDR, "virtualRouterIp": v.VirtualRouter, "vlanTag": v.VLANTag})
	}
	return out
}
