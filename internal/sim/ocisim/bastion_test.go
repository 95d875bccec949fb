// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oracle/oci-go-sdk/v65/bastion"
	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/core"
	"golang.org/x/crypto/ssh"

	"github.com/armfree/packer-plugin-armfree/internal/sim/machine"
	"github.com/armfree/packer-plugin-armfree/internal/sim/ocisim"
)

// bastions is a client of the Bastion service.
func (k *kit) bastions(t *ocisim.Tenancy, regionName string) bastion.BastionClient {
	k.t.Helper()
	client, err := bastion.NewBastionClientWithConfigurationProvider(provider(t, regionName))
	if err != nil {
		k.t.Fatal(err)
	}
	client.HTTPClient = k.http
	return client
}

// loginKey makes a key pair: the private part, and the line for OpenSSH.
func loginKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// bastionIn makes a bastion in the private subnet and waits until it is ACTIVE.
func (k *kit) bastionIn(c bastion.BastionClient, clients ...string) bastion.Bastion {
	k.t.Helper()
	ctx := context.Background()
	made, err := c.CreateBastion(ctx, bastion.CreateBastionRequest{CreateBastionDetails: bastion.CreateBastionDetails{
		BastionType: common.String("standard"), CompartmentId: &k.build.CompartmentID, TargetSubnetId: common.String(k.build.PrivateSubnetID(homeRegion)),
		Name: common.String("packer-1"), ClientCidrBlockAllowList: clients, FreeformTags: map[string]string{"a": "b"}}})
	if err != nil {
		k.t.Fatal(err)
	}
	if made.LifecycleState != bastion.BastionLifecycleStateCreating || made.RawResponse.StatusCode != 201 || made.OpcWorkRequestId == nil ||
		!strings.HasSuffix(*made.Location, "/bastions/"+*made.Id) {
		k.t.Errorf("made %+v", made)
	}
	var got bastion.GetBastionResponse
	eventually(k.t, "the bastion is ACTIVE", func() bool {
		if got, err = c.GetBastion(ctx, bastion.GetBastionRequest{BastionId: made.Id}); err != nil {
			k.t.Fatal(err)
		}
		return got.LifecycleState == bastion.BastionLifecycleStateActive
	})
	return got.Bastion
}

// sessionTo makes a session that leads to an address, and waits until it is
// ACTIVE.
func (k *kit) sessionTo(c bastion.BastionClient, in bastion.Bastion, key, ip string, port int) bastion.Session {
	k.t.Helper()
	ctx := context.Background()
	made, err := c.CreateSession(ctx, bastion.CreateSessionRequest{CreateSessionDetails: bastion.CreateSessionDetails{
		BastionId: in.Id, KeyDetails: &bastion.PublicKeyDetails{PublicKeyContent: &key}, SessionTtlInSeconds: common.Int(3600),
		TargetResourceDetails: bastion.CreatePortForwardingSessionTargetResourceDetails{TargetResourcePrivateIpAddress: &ip, TargetResourcePort: &port}}})
	if err != nil {
		k.t.Fatal(err)
	}
	if made.LifecycleState != bastion.SessionLifecycleStateCreating || made.RawResponse.StatusCode != 201 || made.OpcWorkRequestId == nil || len(made.SshMetadata) != 0 {
		k.t.Errorf("made %+v", made)
	}
	return k.sessionReaches(c, *made.Id, bastion.SessionLifecycleStateActive)
}

func (k *kit) sessionReaches(c bastion.BastionClient, id string, state bastion.SessionLifecycleStateEnum) (s bastion.Session) {
	k.t.Helper()
	eventually(k.t, "the session is "+string(state), func() bool {
		got, err := c.GetSession(context.Background(), bastion.GetSessionRequest{SessionId: &id})
		if err != nil {
			k.t.Fatal(err)
		}
		s = got.Session
		return s.LifecycleState == state
	})
	return s
}

// jump logs in at the jump host.
func (k *kit) jump(session string, key ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", k.cloud.BastionAddr(), &ssh.ClientConfig{User: session, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(k.cloud.BastionHostKey()), Timeout: 20 * time.Second})
}

// TestBastion reaches a machine without a public address as a client would at
// Oracle's, and goes through the lives of bastions and sessions.
func TestBastion(t *testing.T) {
	k := newKit(t, func(cfg *ocisim.Config) { cfg.Driver = &machine.Fast{} })
	ctx := context.Background()
	own, ownLine := loginKey(t)
	compute := k.compute(k.build, homeRegion)
	i, err := compute.LaunchInstance(ctx, k.launchRequest(func(d *core.LaunchInstanceDetails) {
		d.CreateVnicDetails = &core.CreateVnicDetails{SubnetId: common.String(k.build.PrivateSubnetID(homeRegion))}
		d.Metadata = map[string]string{"ssh_authorized_keys": ownLine}
	}))
	if err != nil {
		t.Fatal(err)
	}
	v := k.vnicOf(*i.Id)
	if v.PublicIp != nil {
		t.Fatalf("the machine has the public address %s", *v.PublicIp)
	}

	c := k.bastions(k.build, homeRegion)
	b := k.bastionIn(c, "127.0.0.0/8")
	if *b.BastionType != "STANDARD" || *b.MaxSessionTtlInSeconds != 10800 || *b.TargetVcnId != k.build.VCNID(homeRegion) || b.FreeformTags["a"] != "b" ||
		*b.PrivateEndpointIpAddress == *v.PrivateIp {
		t.Errorf("the bastion is %+v", b)
	}
	key, line := loginKey(t)
	s := k.sessionTo(c, b, line, *v.PrivateIp, 22)
	want := fmt.Sprintf("ssh -i <privateKey> -N -L <localPort>:%s:22 -p 22 %s@host.bastion.us-ashburn-1.oci.oraclecloud.com", *v.PrivateIp, *s.Id)
	if s.SshMetadata["command"] != want || *s.BastionUserName != *s.Id || *s.SessionTtlInSeconds != 3600 || s.BastionPublicHostKeyInfo != nil {
		t.Errorf("the session is %+v", s)
	}
	if target := s.TargetResourceDetails.(bastion.PortForwardingSessionTargetResourceDetails); *target.TargetResourcePort != 22 || *target.TargetResourcePrivateIpAddress != *v.PrivateIp {
		t.Errorf("the target is %+v", target)
	}
	if left := k.home(); len(left.Bastions) != 1 || left.Bastions[0].Name != "packer-1" || len(left.BastionSessions) != 1 {
		t.Errorf("the inventory has %+v and %+v", left.Bastions, left.BastionSessions)
	}

	outer, err := k.jump(*s.Id, key)
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	if out := through(t, outer, *v.PrivateIp+":22", own); out != "aarch64\n" {
		t.Errorf("uname -m says %q", out)
	}
	// Nothing but the target, and no shell.
	for _, address := range []string{*v.PrivateIp + ":80", "127.80.0.1:22", "127.0.0.1:22"} {
		if _, err := outer.Dial("tcp", address); err == nil || !strings.Contains(err.Error(), "prohibited") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := outer.NewSession(); err == nil {
		t.Error("the jump host has a shell")
	}
	if _, err := outer.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("the jump host forwards backwards")
	}

	// The end of the session is the end of what goes through it.
	ended := make(chan error, 1)
	go func() { ended <- outer.Wait() }()
	gone, err := c.DeleteSession(ctx, bastion.DeleteSessionRequest{SessionId: s.Id})
	if err != nil || gone.RawResponse.StatusCode != 202 || gone.OpcWorkRequestId == nil {
		t.Fatalf("%+v, %v", gone, err)
	}
	<-ended
	if _, err := k.jump(*s.Id, key); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("a session that is being deleted lets in: %v", err)
	}
	k.sessionReaches(c, *s.Id, bastion.SessionLifecycleStateDeleted)
	work, err := c.GetWorkRequest(ctx, bastion.GetWorkRequestRequest{WorkRequestId: gone.OpcWorkRequestId})
	if err != nil || work.Status != bastion.OperationStatusSucceeded || work.OperationType != bastion.OperationTypeDeleteSession ||
		work.Resources[0].ActionType != bastion.ActionTypeDeleted || *work.Resources[0].EntityType != "SessionResource" {
		t.Errorf("the work request is %+v, %v", work.WorkRequest, err)
	}
	if _, err := c.DeleteBastion(ctx, bastion.DeleteBastionRequest{BastionId: b.Id}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is left", func() bool { left := k.home(); return len(left.Bastions)+len(left.BastionSessions) == 0 })
	_, err = c.DeleteBastion(ctx, bastion.DeleteBastionRequest{BastionId: b.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	// The work of one service is not that of another.
	_, err = c.GetWorkRequest(ctx, bastion.GetWorkRequestRequest{WorkRequestId: i.OpcWorkRequestId})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	status, _, _ := k.rawFor(k.build, "GET", iaas+"/workRequests/"+*gone.OpcWorkRequestId, "").send(k)
	if status != 404 {
		t.Errorf("Compute knows the work of the Bastion service: %d", status)
	}
}

// through runs a command on a machine behind a jump host.
func through(t *testing.T, outer *ssh.Client, address string, key ssh.Signer) (out string) {
	t.Helper()
	eventually(t, "the machine answers", func() bool {
		conn, err := outer.Dial("tcp", address)
		if err != nil {
			return false
		}
		inner, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{User: "debian",
			Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
		if err != nil {
			return false
		}
		client := ssh.NewClient(inner, channels, requests)
		defer client.Close()
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		text, err := session.Output("uname -m")
		if err != nil {
			t.Fatal(err)
		}
		out = string(text)
		return true
	})
	return out
}

// TestJumpHostRefuses has who is not let in.
func TestJumpHostRefuses(t *testing.T) {
	k := newKit(t, func(cfg *ocisim.Config) {
		cfg.Switches.BastionSessionsLate, cfg.Switches.BastionSaysHostKey = true, true
	})
	c := k.bastions(k.build, homeRegion)
	right, line := loginKey(t)
	wrong, _ := loginKey(t)
	s := k.sessionTo(c, k.bastionIn(c, "10.0.0.0/8", "127.0.0.1/32"), line, "127.80.200.1", 22)
	if want := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.cloud.BastionHostKey()))); s.BastionPublicHostKeyInfo == nil || *s.BastionPublicHostKeyInfo != want {
		t.Errorf("the session says the host key %v", s.BastionPublicHostKeyInfo)
	}
	for _, tc := range []struct {
		name, session string
		key           ssh.Signer
		in            bool
	}{
		{"another key", *s.Id, wrong, false},
		{"no session", "opc", right, false},
		{"too early", *s.Id, right, false},
		{"the next time", *s.Id, right, true},
		{"another key again", *s.Id, wrong, false},
		{"from a place that is not on the list", *k.sessionTo(c, k.bastionIn(c, "10.0.0.0/8"), line, "127.80.200.1", 22).Id, right, false},
		{"without a list", *k.sessionTo(c, k.bastionIn(c), line, "127.80.200.1", 22).Id, right, false},
	} {
		client, err := k.jump(tc.session, tc.key)
		if (err == nil) != tc.in {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil {
			if _, err := client.Dial("tcp", "127.80.200.1:22"); err == nil || !strings.Contains(err.Error(), "No route to host") {
				t.Errorf("an address of nobody: %v", err)
			}
			client.Close()
		}
	}
}

// TestBastionRefused has what the API does not take.
func TestBastionRefused(t *testing.T) {
	k := newKit(t, nil)
	c := k.bastions(k.build, homeRegion)
	b := k.bastionIn(c, "0.0.0.0/0")
	i := k.launched()
	_, line := loginKey(t)
	const url = "https://bastion.us-ashburn-1.oci.oraclecloud.com/20210331"
	own, subnet := k.build.CompartmentID, k.build.PrivateSubnetID(homeRegion)
	create := func(more string) string {
		return fmt.Sprintf(`{"bastionType":"STANDARD","compartmentId":%q,"targetSubnetId":%q%s}`, own, subnet, more)
	}
	session := func(target, more string) string {
		return fmt.Sprintf(`{"bastionId":%q,"keyDetails":{"publicKeyContent":%q},"targetResourceDetails":%s%s}`, *b.Id, line, target, more)
	}
	const forward = `{"sessionType":"PORT_FORWARDING","targetResourcePrivateIpAddress":"127.80.0.9"}`
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		part                     string
	}{
		{"another type", "POST", "/bastions", strings.Replace(create(""), "STANDARD", "INTERNAL", 1), 400, "bastionType"},
		{"no type", "POST", "/bastions", strings.Replace(create(""), `"bastionType":"STANDARD",`, "", 1), 400, "MissingParameter"},
		{"somebody's subnet", "POST", "/bastions", strings.Replace(create(""), subnet, k.stranger.SubnetID(homeRegion), 1), 404, "NotAuthorizedOrNotFound"},
		{"somebody's compartment", "POST", "/bastions", strings.Replace(create(""), own, k.stranger.ID, 1), 404, "NotAuthorizedOrNotFound"},
		{"a name with a blank", "POST", "/bastions", create(`,"name":"my bastion"`), 400, "name"},
		{"a name that begins with a figure", "POST", "/bastions", create(`,"name":"1-bastion"`), 400, "name"},
		{"a name that ends with a hyphen", "POST", "/bastions", create(`,"name":"bastion-"`), 400, "name"},
		{"a display name", "POST", "/bastions", create(`,"displayName":"x"`), 400, "CannotParseRequest"},
		{"an address for a block", "POST", "/bastions", create(`,"clientCidrBlockAllowList":["10.0.0.1"]`), 400, "CIDR"},
		{"a block of IPv6", "POST", "/bastions", create(`,"clientCidrBlockAllowList":["::/0"]`), 400, "CIDR"},
		{"no block", "POST", "/bastions", create(`,"clientCidrBlockAllowList":[]`), 400, "between 1 and 20"},
		{"too many blocks", "POST", "/bastions", create(`,"clientCidrBlockAllowList":["0.0.0.0/0"` + strings.Repeat(`,"0.0.0.0/0"`, 20) + `]`), 400, "between 1 and 20"},
		{"a short time", "POST", "/bastions", create(`,"maxSessionTtlInSeconds":1799`), 400, "maxSessionTtlInSeconds"},
		{"a long time", "POST", "/bastions", create(`,"maxSessionTtlInSeconds":10801`), 400, "maxSessionTtlInSeconds"},
		{"what standard bastions do not have", "POST", "/bastions", create(`,"phoneBookEntry":"x"`), 400, "not applicable"},
		{"another DNS proxy", "POST", "/bastions", create(`,"dnsProxyStatus":"ON"`), 400, "dnsProxyStatus"},
		{"an unknown tag", "POST", "/bastions", create(`,"definedTags":{"a":{"b":"c"}}`), 400, "TagNamespace a"},
		{"list without a compartment", "GET", "/bastions", "", 400, "MissingParameter"},
		{"list sorted as Compute's", "GET", "/bastions?compartmentId=" + own + "&sortBy=TIMECREATED", "", 400, "sortBy"},
		{"list in a state that is none", "GET", "/bastions?compartmentId=" + own + "&bastionLifecycleState=AVAILABLE", "", 400, "bastionLifecycleState"},
		{"unknown bastion", "GET", "/bastions/ocid1.bastion.oc1.iad.no", "", 404, "NotAuthorizedOrNotFound"},
		{"the version of another service", "GET", "/../20160918/bastions", "", 404, ""},

		{"session of an unknown bastion", "POST", "/sessions", strings.Replace(session(forward, ""), *b.Id, "ocid1.bastion.oc1.iad.no", 1), 404, "NotAuthorizedOrNotFound"},
		{"no key", "POST", "/sessions", fmt.Sprintf(`{"bastionId":%q,"targetResourceDetails":%s}`, *b.Id, forward), 400, "MissingParameter"},
		{"a key that is none", "POST", "/sessions", strings.Replace(session(forward, ""), line, "ssh-ed25519 AAAA", 1), 400, "publicKeyContent"},
		{"a key of another kind", "POST", "/sessions", session(forward, `,"keyType":"PEM"`), 400, "keyType"},
		{"a session for a short time", "POST", "/sessions", session(forward, `,"sessionTtlInSeconds":60`), 400, "sessionTtlInSeconds"},
		{"a session for longer than the bastion allows", "POST", "/sessions", session(forward, `,"sessionTtlInSeconds":10801`), 400, "sessionTtlInSeconds"},
		{"a target of no type", "POST", "/sessions", session(`{"targetResourcePort":22}`, ""), 400, "MissingParameter"},
		{"a target of an unknown type", "POST", "/sessions", session(`{"sessionType":"SSH"}`, ""), 400, "sessionType"},
		{"no target", "POST", "/sessions", session(`{"sessionType":"PORT_FORWARDING","targetResourcePort":22}`, ""), 400, "MissingParameter"},
		{"a name for an address", "POST", "/sessions", session(`{"sessionType":"PORT_FORWARDING","targetResourcePrivateIpAddress":"builder"}`, ""), 400, "IPv4"},
		{"an address and a name", "POST", "/sessions", session(`{"sessionType":"PORT_FORWARDING","targetResourcePrivateIpAddress":"127.80.0.9","targetResourceFqdn":"x.y"}`, ""), 400, "both"},
		{"a port beyond the last", "POST", "/sessions", session(`{"sessionType":"PORT_FORWARDING","targetResourcePrivateIpAddress":"127.80.0.9","targetResourcePort":65536}`, ""), 400, "65535"},
		{"an unknown instance", "POST", "/sessions", session(`{"sessionType":"PORT_FORWARDING","targetResourceId":"ocid1.instance.oc1.iad.no"}`, ""), 404, "NotAuthorizedOrNotFound"},
		{"another address than the instance's", "POST", "/sessions", session(fmt.Sprintf(`{"sessionType":"PORT_FORWARDING","targetResourceId":%q,"targetResourcePrivateIpAddress":"127.80.0.9"}`, *i.Id), ""), 400, "does not have"},
		{"managed without a user", "POST", "/sessions", session(fmt.Sprintf(`{"sessionType":"MANAGED_SSH","targetResourceId":%q}`, *i.Id), ""), 400, "MissingParameter"},
		{"managed without the agent", "POST", "/sessions", session(fmt.Sprintf(`{"sessionType":"MANAGED_SSH","targetResourceId":%q,"targetResourceOperatingSystemUserName":"debian"}`, *i.Id), ""), 400, "the plugin is not running on " + *i.Id},
		{"list of no bastion", "GET", "/sessions", "", 400, "MissingParameter"},
		{"sessions of an unknown bastion", "GET", "/sessions?bastionId=x", "", 404, "NotAuthorizedOrNotFound"},
		{"sessions sorted as bastions", "GET", "/sessions?bastionId=" + *b.Id + "&sortBy=name", "", 400, "sortBy"},
		{"unknown session", "DELETE", "/sessions/ocid1.bastionsession.oc1.iad.no", "", 404, "NotAuthorizedOrNotFound"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, answer, _ := k.rawFor(k.build, tc.method, url+tc.path, tc.body).send(k)
			if status != tc.status || !strings.Contains(answer, tc.part) {
				t.Errorf("got %d %s, want %d %s", status, answer, tc.status, tc.part)
			}
		})
	}
	if left := k.home(); len(left.Bastions) != 1 || len(left.BastionSessions) != 0 {
		t.Errorf("refused requests left %+v and %+v", left.Bastions, left.BastionSessions)
	}
	_, err := k.bastions(k.stranger, homeRegion).GetBastion(context.Background(), bastion.GetBastionRequest{BastionId: b.Id})
	wantServiceError(t, err, 404, "NotAuthorizedOrNotFound", "")
	for range 4 {
		k.bastionIn(c, "0.0.0.0/0")
	}
	status, answer, _ := k.rawFor(k.build, "POST", url+"/bastions", create("")).send(k)
	if status != 400 || !strings.Contains(answer, "LimitExceeded") || !strings.Contains(answer, "bastion-count") {
		t.Errorf("a sixth bastion: %d %s", status, answer)
	}
}

// TestBastionLists pages, since the default page of this service is short.
func TestBastionLists(t *testing.T) {
	k := newKit(t, nil)
	ctx := context.Background()
	c := k.bastions(k.build, homeRegion)
	b := k.bastionIn(c, "0.0.0.0/0")
	_, line := loginKey(t)
	for n := range 12 {
		if _, err := c.CreateSession(ctx, bastion.CreateSessionRequest{CreateSessionDetails: bastion.CreateSessionDetails{BastionId: b.Id,
			DisplayName: common.String(fmt.Sprintf("s%02d", n)), KeyDetails: &bastion.PublicKeyDetails{PublicKeyContent: &line},
			TargetResourceDetails: bastion.CreateDynamicPortForwardingSessionTargetResourceDetails{}}}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := c.ListSessions(ctx, bastion.ListSessionsRequest{BastionId: b.Id, SortBy: bastion.ListSessionsSortByDisplayname})
	if err != nil || len(first.Items) != 10 || first.OpcNextPage == nil || *first.Items[0].DisplayName != "s00" {
		t.Fatalf("the first page: %d, %v", len(first.Items), err)
	}
	second, err := c.ListSessions(ctx, bastion.ListSessionsRequest{BastionId: b.Id, SortBy: bastion.ListSessionsSortByDisplayname, Page: first.OpcNextPage})
	if err != nil || len(second.Items) != 2 || second.OpcNextPage != nil || *second.Items[1].DisplayName != "s11" {
		t.Errorf("the second page: %+v, %v", second.Items, err)
	}
	list, err := c.ListBastions(ctx, bastion.ListBastionsRequest{CompartmentId: &k.build.CompartmentID, Name: b.Name,
		BastionLifecycleState: bastion.ListBastionsBastionLifecycleStateActive})
	if err != nil || len(list.Items) != 1 || *list.Items[0].Id != *b.Id {
		t.Errorf("bastions: %+v, %v", list.Items, err)
	}
	works, err := c.ListWorkRequests(ctx, bastion.ListWorkRequestsRequest{CompartmentId: &k.build.CompartmentID, Limit: common.Int(50)})
	if err != nil || len(works.Items) != 13 || works.Items[0].OperationType != bastion.OperationTypeCreateBastion || len(works.Items[0].Resources) != 1 {
		t.Errorf("work requests: %d, %v", len(works.Items), err)
	}
	if _, err := c.DeleteBastion(ctx, bastion.DeleteBastionRequest{BastionId: b.Id}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its sessions end with it", func() bool { left := k.home(); return len(left.Bastions)+len(left.BastionSessions) == 0 })
}

// TestSessionExpires: a session ends by itself when its time is over.
func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, nil)
		c := k.bastions(k.build, homeRegion)
		b := k.bastionIn(c, "0.0.0.0/0")
		_, line := loginKey(t)
		s := k.sessionTo(c, b, line, "127.80.0.9", 22)
		time.Sleep(59 * time.Minute)
		k.sessionReaches(c, *s.Id, bastion.SessionLifecycleStateActive)
		time.Sleep(2 * time.Minute)
		k.sessionReaches(c, *s.Id, bastion.SessionLifecycleStateDeleted)
		if left := k.home(); len(left.Bastions) != 1 || len(left.BastionSessions) != 0 {
			t.Errorf("left: %+v and %+v", left.Bastions, left.BastionSessions)
		}
	})
}
