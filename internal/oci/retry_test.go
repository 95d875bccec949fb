// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package oci

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/oracle/oci-go-sdk/v65/objectstorage"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
)

// Neither the environment nor a bad reply makes the SDK send a launch twice.
func TestTheSDKNeverRetries(t *testing.T) {
	t.Setenv("OCI_SDK_DEFAULT_RETRY_ENABLED", "true")
	for _, status := range []int{429, 500, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			var got seen
			b := buildOver(wire(t, func(w http.ResponseWriter, r *http.Request) {
				got.add(r)
				if r.Header.Get("Opc-Retry-Token") != "token-1" || !strings.Contains(r.UserAgent(), "packer-plugin-armfree/test") {
					t.Errorf("header %v", r.Header)
				}
				refuse(w, status, "Busy", "busy")
			}), nil)
			if _, err := b.Launch(t.Context(), capacity.Offer{Zone: "x:AD-1", Shape: a1}, "token-1"); err == nil {
				t.Error("launched")
			}
			if n := got.count("POST"); n != 1 {
				t.Errorf("%d: sent %d times", status, n)
			}
		})
	}
}

// Every request pins its own policy, which nothing in the environment or the
// client can override.
func TestEveryRequestIsSentOnce(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset, n := token.NewFileSet(), 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(node ast.Node) bool {
			lit, ok := node.(*ast.CompositeLit)
			if !ok {
				return true
			}
			sel, ok := lit.Type.(*ast.SelectorExpr)
			if !ok || !strings.HasSuffix(sel.Sel.Name, "Request") || sel.X.(*ast.Ident).Name == "http" {
				return true
			}
			n++
			for _, e := range lit.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == "RequestMetadata" {
					if call, ok := kv.Value.(*ast.CallExpr); ok && call.Fun.(*ast.Ident).Name == "once" {
						return true
					}
				}
			}
			t.Errorf("%s: a %s without once()", fset.Position(lit.Pos()), sel.Sel.Name)
			return true
		})
	}
	if n < 30 {
		t.Errorf("only %d requests found", n)
	}
}

// A flapping service is asked again at once: no circuit breaker opens, also
// where the environment turns them on.
func TestNoCircuitBreaker(t *testing.T) {
	t.Setenv("OCI_SDK_DEFAULT_CIRCUITBREAKER_ENABLED", "true")
	synctest.Test(t, func(t *testing.T) {
		var got seen
		c := wire(t, func(w http.ResponseWriter, r *http.Request) {
			got.add(r)
			refuse(w, 503, "ServiceUnavailable", "down")
		})
		for range 40 {
			_, err := c.objects.GetNamespace(shield(t.Context()), objectstorage.GetNamespaceRequest{RequestMetadata: once()})
			var e *Error
			if !errors.As(wrap("get namespace", "", err), &e) || e.Status != 503 {
				t.Fatalf("%v", err)
			}
		}
		if n := got.count("GET"); n != 40 {
			t.Errorf("%d of 40 requests were sent", n)
		}
	})
}
