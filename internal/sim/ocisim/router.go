// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one operation of a service.
type route struct {
	op      string // Oracle's name, such as LaunchInstance
	method  string
	pattern []string // path segments; "{x}" matches one, "{x...}" the rest
	// query lists the parameters that the operation defines. A name that ends
	// in "!" is mandatory.
	query []string
	// enums are the values that a query parameter may have, by name.
	enums  map[string][]string
	handle func(*call) (*reply, error)

	open     bool // needs no signature (pre-authenticated requests)
	streamed bool // the body is not read, not hashed and not signed
	unlocked bool // runs without the cloud's lock
}

// op makes a route out of "METHOD /path" and the query parameters it takes.
func op(name, methodAndPath string, handle func(*call) (*reply, error), query ...string) route {
	method, path, _ := strings.Cut(methodAndPath, " ")
	return route{op: name, method: method, pattern: strings.Split(strings.TrimPrefix(path, "/"), "/"),
		query: query, handle: handle}
}

// enum says which values a query parameter may have. Oracle's service refuses
// all others.
func (r route) enum(param string, values ...string) route {
	r.enums = maps.Clone(r.enums)
	if r.enums == nil {
		r.enums = map[string][]string{}
	}
	r.enums[param] = values
	return r
}

// allows are the values of a query parameter, nil for any. Most lists can be
// sorted alike.
func (r route) allows(param string) []string {
	switch {
	case r.enums[param] != nil:
		return r.enums[param]
	case param == "sortBy":
		return []string{"TIMECREATED", "DISPLAYNAME"}
	case param == "sortOrder":
		return []string{"ASC", "DESC"}
	}
	return nil
}

// streaming marks an operation whose body is bytes.
func (r route) streaming() route { r.streamed, r.unlocked = true, true; return r }

// withoutLock marks an operation that locks by itself.
func (r route) withoutLock() route { r.unlocked = true; return r }

// unsigned marks an operation that a URL alone entitles to.
func (r route) unsigned() route { r.open = true; return r }

// allRoutes gathers the operations of all services.
func (c *Cloud) allRoutes() map[service][]route {
	return map[service][]route{
		compute: slices.Concat(c.shapeRoutes(), c.instanceRoutes(), c.imageRoutes(), c.schemaRoutes(),
			c.networkRoutes(), c.nsgRoutes(), c.volumeRoutes(), c.workRequestRoutes(), c.consoleRoutes(), c.reservationRoutes()),
		identity:      slices.Concat(c.identityRoutes(), c.tagRoutes()),
		authService:   c.authRoutes(),
		domainService: c.domainRoutes(),
		limitsService: c.limitRoutes(),
		objectStorage: c.objects.routes(),
		bastions:      c.bastionRoutes(),
	}
}

// match finds the operation for a request. Patterns match the escaped path, so
// that an escaped slash within a name stays within it; a name may also hold
// plain slashes where the pattern ends in "{x...}", because that is how Oracle's
// SDKs send object names and pre-authenticated request ids.
func match(routes []route, r *http.Request) (route, map[string]string, error) {
	path := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	pathExists := false
	var best *route
	var bestVars map[string]string
	for i := range routes {
		vars, fits := matchPath(routes[i].pattern, path)
		if !fits {
			continue
		}
		pathExists = true
		if routes[i].method == r.Method && (best == nil || moreExact(routes[i].pattern, best.pattern)) {
			best, bestVars = &routes[i], vars
		}
	}
	switch {
	case best != nil:
		return *best, bestVars, nil
	case pathExists:
		return route{}, nil, fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "Method %s is not allowed.", r.Method)
	default:
		return route{}, nil, fail(http.StatusNotFound, "NotFound", "No operation at %s.", r.URL.Path)
	}
}

func matchPath(pattern, path []string) (map[string]string, bool) {
	vars := map[string]string{}
	for i, want := range pattern {
		if name, isRest := strings.CutSuffix(want, "...}"); isRest {
			if i >= len(path) {
				return nil, false
			}
			rest, err := url.PathUnescape(strings.Join(path[i:], "/"))
			if err != nil || rest == "" {
				return nil, false
			}
			vars[strings.TrimPrefix(name, "{")] = rest
			return vars, true
		}
		if i >= len(path) {
			return nil, false
		}
		got, err := url.PathUnescape(path[i])
		if err != nil {
			return nil, false
		}
		if strings.HasPrefix(want, "{") {
			if got == "" {
				return nil, false
			}
			vars[strings.Trim(want, "{}")] = got
		} else if got != want {
			return nil, false
		}
	}
	return vars, len(pattern) == len(path)
}

// moreExact prefers literal segments over variables, at the first difference.
func moreExact(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		aVar, bVar := strings.HasPrefix(a[i], "{"), strings.HasPrefix(b[i], "{")
		if aVar != bVar {
			return bVar
		}
	}
	return len(a) > len(b)
}

// check refuses query parameters that the operation does not define and asks
// for those that it must have.
func (r route) check(req *http.Request) error {
	values, err := url.ParseQuery(req.URL.RawQuery)
	if err != nil {
		return errInvalid("The query string cannot be parsed.")
	}
	for name, given := range values {
		if !slices.Contains(r.query, name) && !slices.Contains(r.query, name+"!") {
			return errInvalid("Unknown query parameter %s", name)
		}
		if len(given) > 1 {
			return errInvalid("Query parameter %s is given more than once", name)
		}
		if allowed := r.allows(name); allowed != nil && given[0] != "" && !slices.Contains(allowed, given[0]) {
			return errInvalid("Unknown %s %s", name, given[0])
		}
	}
	for _, name := range r.query {
		if required, isRequired := strings.CutSuffix(name, "!"); isRequired && values.Get(required) == "" {
			return errMissing(required)
		}
	}
	return nil
}
