// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"fmt"
	"net"
	"strings"
)

// region is one of Oracle's commercial regions (realm oc1).
type region struct {
	name string // identifier, such as us-ashburn-1
	key  string // three-letter airport key, such as IAD
	ads  int    // how many availability domains it has
	// ocid is the region's part of an OCID: the four oldest regions use their
	// key there, all younger ones their identifier.
	ocid string
}

// regions lists the regions that the simulator knows. A region that is not
// here is refused when a tenancy is made, not guessed.
func regions() []region {
	one := func(name, key string) region { return region{name, key, 1, name} }
	three := func(name, key string) region { return region{name, key, 3, strings.ToLower(key)} }
	return []region{
		three("us-ashburn-1", "IAD"), three("us-phoenix-1", "PHX"),
		three("eu-frankfurt-1", "FRA"), three("uk-london-1", "LHR"),
		one("us-sanjose-1", "SJC"), one("us-chicago-1", "ORD"),
		one("ca-toronto-1", "YYZ"), one("ca-montreal-1", "YUL"),
		one("sa-saopaulo-1", "GRU"), one("sa-vinhedo-1", "VCP"), one("sa-santiago-1", "SCL"),
		one("mx-queretaro-1", "QRO"), one("mx-monterrey-1", "MTY"), one("sa-bogota-1", "BOG"), one("sa-valparaiso-1", "VAP"),
		one("uk-cardiff-1", "CWL"), one("eu-amsterdam-1", "AMS"), one("eu-zurich-1", "ZRH"),
		one("eu-milan-1", "LIN"), one("eu-marseille-1", "MRS"), one("eu-paris-1", "CDG"),
		one("eu-madrid-1", "MAD"), one("eu-stockholm-1", "ARN"),
		one("me-jeddah-1", "JED"), one("me-dubai-1", "DXB"), one("me-abudhabi-1", "AUH"),
		one("il-jerusalem-1", "MTZ"), one("af-johannesburg-1", "JNB"),
		one("ap-mumbai-1", "BOM"), one("ap-hyderabad-1", "HYD"), one("ap-singapore-1", "SIN"),
		one("ap-sydney-1", "SYD"), one("ap-melbourne-1", "MEL"), one("ap-tokyo-1", "NRT"),
		one("ap-osaka-1", "KIX"), one("ap-seoul-1", "ICN"), one("ap-chuncheon-1", "YNY"),
	}
}

func lookUpRegion(name string) (region, error) {
	for _, r := range regions() {
		if r.name == name {
			return r, nil
		}
	}
	return region{}, fmt.Errorf("region %q is not one that the simulator knows", name)
}

// availabilityDomains names the region's availability domains as a tenancy
// with the given prefix sees them, such as "Uocm:PHX-AD-1".
func (r region) availabilityDomains(prefix string) []string {
	stem := strings.ToUpper(r.name)
	switch r.name {
	case "us-phoenix-1":
		stem = "PHX"
	case "us-ashburn-1":
		stem = "US-ASHBURN"
	}
	var names []string
	for i := 1; i <= r.ads; i++ {
		names = append(names, fmt.Sprintf("%s:%s-AD-%d", prefix, stem, i))
	}
	return names
}

// faultDomains are the same three in every availability domain.
func faultDomains() []string {
	return []string{"FAULT-DOMAIN-1", "FAULT-DOMAIN-2", "FAULT-DOMAIN-3"}
}

// service is one of Oracle's endpoints, told apart by host name.
type service string

const (
	compute       service = "iaas" // also network, block volumes and work requests
	identity      service = "identity"
	limitsService service = "limits"
	objectStorage service = "objectstorage"
	bastions      service = "bastion"
	authService   service = "auth" // tokens for machines
	domainService service = "idcs" // identity domains, which are in no region
)

// parseHost splits the host name of a request into service and region. The
// namespace is set only for Object Storage's realm-specific host names,
// <namespace>.objectstorage.<region>.oci.customer-oci.com.
func parseHost(host string) (svc service, r region, namespace string, err error) {
	name := host
	if h, _, splitErr := net.SplitHostPort(host); splitErr == nil {
		name = h
	}
	name = strings.ToLower(name)
	unknown := fmt.Errorf("no such host: %s", host)

	if stem, ok := strings.CutSuffix(name, ".oci.customer-oci.com"); ok {
		parts := strings.Split(stem, ".")
		if len(parts) != 3 || service(parts[1]) != objectStorage {
			return "", region{}, "", unknown
		}
		r, err := lookUpRegion(parts[2])
		if err != nil {
			return "", region{}, "", unknown
		}
		return objectStorage, r, parts[0], nil
	}

	if isDomain(name) {
		return domainService, region{}, "", nil
	}
	stem, ok := strings.CutSuffix(name, ".oraclecloud.com")
	if !ok {
		return "", region{}, "", unknown
	}
	parts := strings.Split(stem, ".")
	if len(parts) < 2 || len(parts) > 3 || (len(parts) == 3 && parts[2] != "oci") {
		return "", region{}, "", unknown
	}
	svc = service(parts[0])
	newStyle := len(parts) == 3
	switch svc {
	case compute, objectStorage, authService:
		ok = !newStyle
	case limitsService, bastions:
		ok = newStyle
	case identity:
		ok = true
	default:
		ok = false
	}
	r, err = lookUpRegion(parts[1])
	if !ok || err != nil {
		return "", region{}, "", unknown
	}
	return svc, r, "", nil
}
