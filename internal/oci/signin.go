// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oracle/oci-go-sdk/v65/common"
	"github.com/oracle/oci-go-sdk/v65/identity"

	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// unanswered says from time to time that OCI does not answer, and what came of the
// last attempt; heard is told that.
func unanswered(ctx context.Context, region string, say func(string, ...any)) (heard func(error), stop func()) {
	var mu sync.Mutex
	var last error
	stop = wait.Tell(ctx, func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if last == nil {
			say("OCI in %s has not answered yet (%s)", region, d)
			return
		}
		say("OCI in %s has not answered yet (%s), it is asked again; the last attempt: %v", region, d, last)
	})
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		last = err
	}, stop
}

// signIn is firstCall for who says nothing meanwhile.
func (c *Client) signIn(ctx context.Context) ([]string, error) {
	return c.firstCall(ctx, func(string, ...any) {})
}

// firstCall makes the cheapest call that proves the credentials, and says what to
// check where they are refused. Where there is no way to OCI it takes three
// minutes, which say is told.
func (c *Client) firstCall(ctx context.Context, say func(string, ...any)) ([]string, error) {
	var r identity.ListAvailabilityDomainsResponse
	const op = "list availability domains"
	heard, stop := unanswered(ctx, c.Region, say)
	err := repeat(ctx, op, "", func(ctx context.Context) (err error) {
		r, err = c.identity.ListAvailabilityDomains(shield(ctx), identity.ListAvailabilityDomainsRequest{CompartmentId: &c.Tenancy, RequestMetadata: once()})
		heard(wrap(op, "", err))
		return err
	})
	stop()
	if status(err) == http.StatusUnauthorized {
		return nil, c.notLetIn(ctx, err)
	}
	var names []string
	for _, d := range r.Items {
		if d.Name != nil {
			names = append(names, *d.Name)
		}
	}
	return names, err
}

// notLetIn says what to check where err says that the credentials are refused. Another
// err is returned as it is.
func (c *Client) notLetIn(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		return err
	}
	return fmt.Errorf("OCI in %s does not let %s of tenancy %s in: %s: %w", c.Region, c.principal.who, c.Tenancy, c.whyNot(ctx, e), err)
}

// skewText finds the two dates in a refusal for a clock that is off.
var skewText = regexp.MustCompile(`Date '([^']+)' is not within allowed clock skew\. Current '([^']+)'`)

// maxSkew is how far a clock may be off before it is what a refusal is about.
// OCI allows five minutes; the reply's own date counts whole seconds.
const maxSkew = 4*time.Minute + 50*time.Second

// skewed says how far this computer's clock is off, or nothing if it is not.
// ahead is how far the service's clock is ahead of it.
func skewed(ahead time.Duration) string {
	switch {
	case ahead > maxSkew:
		return fmt.Sprintf("this computer's clock is %s slow;", ahead.Round(time.Second))
	case ahead < -maxSkew:
		return fmt.Sprintf("this computer's clock is %s fast;", (-ahead).Round(time.Second))
	}
	return ""
}

// whyNot finds out why a signature was refused. OCI says only when it is the
// clock. For the rest it has one text; but who is let in elsewhere has the right
// key, and is in a region that the tenancy does not have.
func (c *Client) whyNot(ctx context.Context, e *Error) string {
	if dates := skewText.FindStringSubmatch(e.Message); dates != nil {
		off := skewed(time.Duration(c.skew.Load()))
		if ours, err := time.Parse(time.RFC1123, dates[1]); err == nil {
			if theirs, err := time.Parse(time.RFC1123, dates[2]); err == nil {
				off = skewed(theirs.Sub(ours))
			}
		}
		return strings.TrimSpace(off + fmt.Sprintf(" its date was %s when OCI's was %s; set it right", dates[1], dates[2]))
	}
	if off := skewed(time.Duration(c.skew.Load())); off != "" {
		return off + " set it right"
	}
	if in, all := c.elsewhere(ctx); in != "" {
		where := "subscribed to " + in
		if len(all) > 0 {
			where = "subscribed to " + strings.Join(all, ", ")
		}
		return fmt.Sprintf("the key is good, but the tenancy is not subscribed to the region %s; it is %s", c.Region, where)
	}
	if c.principal.issue != nil {
		return "its token is refused in every region that was asked; it may have been revoked, or the tenancy is not subscribed to the region"
	}
	return "the key is not registered for this user (or was deleted), user and tenancy do not belong together, or the tenancy is not subscribed to the region and to none of the others that were asked"
}

// elsewhere asks in the largest regions whether they let the principal in, and if
// one does, which regions the tenancy has.
func (c *Client) elsewhere(ctx context.Context) (in string, all []string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	regions := []string{
		string(common.RegionIAD), string(common.RegionPHX), string(common.RegionFRA), string(common.RegionLHR),
		string(common.RegionAPMumbai1), string(common.RegionAPTokyo1), string(common.RegionSASaopaulo1), string(common.RegionAPSydney1),
	}
	if realm, err := common.Region(c.Region).RealmID(); err == nil && realm != "oc1" {
		return "", nil // another cloud, with other regions
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, region := range regions {
		if region == c.Region {
			continue
		}
		wg.Go(func() {
			other, err := c.principal.Client(region)
			if err != nil {
				return
			}
			r, err := other.identity.ListRegionSubscriptions(shield(ctx), identity.ListRegionSubscriptionsRequest{TenancyId: &c.Tenancy, RequestMetadata: once()})
			var se common.ServiceError
			// A user who may not ask is let in all the same.
			if err != nil && (!errors.As(err, &se) || se.GetHTTPStatusCode() != http.StatusNotFound) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			in = region
			for _, s := range r.Items {
				if name := text(s.RegionName); name != "" && !slices.Contains(all, name) {
					all = append(all, name)
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	return in, all
}
