// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/armfree/packer-plugin-armfree/internal/sim/simnet"
)

// wire is an HTTP client whose requests arrive at a handler, through memory.
func wire(t *testing.T, h http.HandlerFunc) *http.Client {
	t.Helper()
	c := simnet.Pipe(h)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// xmlError is a refusal as STS sends it.
func xmlError(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>r-1</RequestId></ErrorResponse>", code, message)
}

func whoAmI(w http.ResponseWriter) {
	fmt.Fprint(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::123456789012:user/packer</Arn><UserId>AIDA</UserId><Account>123456789012</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>`)
}

func TestSignInRefused(t *testing.T) {
	for _, tt := range []struct {
		name          string
		code, message string
		status        int
		token         string
		ahead         time.Duration // AWS's clock
		says          string
	}{
		{"no such key", "InvalidClientTokenId", "The security token included in the request is invalid.", 403, "", 0, "the access key (access_key) does not exist or is inactive"},
		{"another secret", "SignatureDoesNotMatch", "The request signature we calculated does not match", 403, "", 0, "the secret key is not the one of the access key (access_key)"},
		{"session over", "ExpiredToken", "The security token included in the request is expired", 403, "tok", 0, "the session has ended, its token (access_key) has expired"},
		{"session revoked", "InvalidClientTokenId", "invalid", 403, "tok", 0, "the session (access_key) is not valid here"},
		{"clock slow", "SignatureDoesNotMatch", "Signature not yet current", 403, "", 10 * time.Minute, "this computer's clock is 10m0s slow; set it right"},
		{"clock fast", "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier than", 403, "", -7 * time.Minute, "this computer's clock is 7m0s fast; set it right"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := wire(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Date", time.Now().Add(tt.ahead).UTC().Format(http.TimeFormat))
					xmlError(w, tt.status, tt.code, tt.message)
				})
				_, err := SignIn(t.Context(), Credentials{Region: simRegion, AccessKey: "AKIAX", SecretKey: "s", Token: tt.token, From: "access_key", NoIMDS: true}, Options{HTTP: h})
				if err == nil || !strings.HasPrefix(err.Error(), "AWS in eu-central-1 does not let in the access key AKIAX: "+tt.says) || !strings.Contains(err.Error(), "request r-1") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// A wrong clock is met by signing with AWS's.
func TestWrongClock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := 0
		h := wire(t, func(w http.ResponseWriter, r *http.Request) {
			n++
			now := time.Now().Add(time.Hour)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			if err != nil || now.Sub(signed).Abs() > 5*time.Minute {
				xmlError(w, 403, "SignatureDoesNotMatch", "Signature expired")
				return
			}
			whoAmI(w)
		})
		c, err := SignIn(t.Context(), Credentials{Region: simRegion, AccessKey: "AKIAX", SecretKey: "s", NoIMDS: true}, Options{HTTP: h})
		if err != nil || c.Account != "123456789012" || n != 2 {
			t.Errorf("%v after %d requests", err, n)
		}
	})
}

// Keys of a role are renewed before they end, and each is told to the masker. The
// token of the first exchange is read anew.
func TestRenewal(t *testing.T) {
	bubble(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte("jwt-1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		exchanges := []string{}
		h := wire(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			_ = r.ParseForm()
			give := func(op, kind string) {
				exchanges = append(exchanges, op+" "+r.PostForm.Get("WebIdentityToken")+r.PostForm.Get("RoleArn"))
				n := len(exchanges)
				fmt.Fprintf(w, "<%sResponse><%sResult><Credentials><AccessKeyId>ASIA%s%d</AccessKeyId><SecretAccessKey>secret-%d</SecretAccessKey><SessionToken>token-%d</SessionToken><Expiration>%s</Expiration></Credentials></%sResult></%sResponse>",
					op, op, kind, n, n, n, time.Now().Add(time.Hour).UTC().Format(time.RFC3339), op, op)
			}
			switch r.PostForm.Get("Action") {
			case "AssumeRoleWithWebIdentity":
				give("AssumeRoleWithWebIdentity", "W")
			case "AssumeRole":
				give("AssumeRole", "R")
			default:
				if !strings.Contains(r.Header.Get("Authorization"), "ASIAR") {
					xmlError(w, 403, "InvalidClientTokenId", "not the role's keys")
					return
				}
				whoAmI(w)
			}
		})
		var secrets []string
		c, err := SignIn(t.Context(), Credentials{
			Region: simRegion, NoIMDS: true, WebIdentity: &WebIdentity{RoleARN: "arn:aws:iam::1:role/w", TokenFile: file}, Roles: []Role{{ARN: "arn:aws:iam::1:role/r"}},
		}, Options{HTTP: h, Secret: func(s ...string) { secrets = append(secrets, s...) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("jwt-2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(50 * time.Minute)
			if _, err := c.whoAmI(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
		all := strings.Join(exchanges, "\n")
		checkText(t, all, []string{"AssumeRoleWithWebIdentity jwt-1arn:aws:iam::1:role/w\nAssumeRole arn:aws:iam::1:role/r\n", "AssumeRoleWithWebIdentity jwt-2"}, nil)
		checkText(t, strings.Join(secrets, " "), []string{"secret-2 token-2", "jwt-1", "jwt-2"}, nil)
	})
}

// Nobody to sign in as, in one sentence.
func TestNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := wire(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
		_, err := SignIn(t.Context(), Credentials{Region: simRegion, NoIMDS: true}, Options{HTTP: h})
		if err == nil || !strings.Contains(err.Error(), "no credentials were found") {
			t.Error(err)
		}
		if _, err := NewClient(t.Context(), Credentials{NoIMDS: true}, Options{HTTP: h}); err == nil || !strings.Contains(err.Error(), "no region is set") {
			t.Error(err)
		}
		if _, err := NewClient(t.Context(), Credentials{Profile: "nobody", Region: simRegion}, Options{HTTP: h}); err == nil || !strings.Contains(err.Error(), `no profile "nobody"`) {
			t.Error(err)
		}
	})
}

// A cancel ends a request at once, and one that hangs ends by itself.
func TestHangingRequest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := wire(t, func(_ http.ResponseWriter, r *http.Request) {
			_ = action(r) // the server sees the end of a client only when it has read the request
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		start := time.Now()
		_, err := SignIn(ctx, Credentials{Region: simRegion, AccessKey: "AKIAX", SecretKey: "s", NoIMDS: true}, Options{HTTP: h})
		if !errors.Is(err, context.Canceled) || time.Since(start) > 11*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		start = time.Now()
		_, err = SignIn(t.Context(), Credentials{Region: simRegion, AccessKey: "AKIAX", SecretKey: "s", NoIMDS: true}, Options{HTTP: h})
		if err == nil || time.Since(start) > 5*time.Minute || !strings.Contains(err.Error(), "timed out") {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}
