// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"
)

// jsonTarget is the api.identify of services that speak JSON: the header
// X-Amz-Target names the operation, such as AmazonSSM.GetParameter.
func jsonTarget(service string) func(q *call) error {
	return func(q *call) error {
		if q.Method != http.MethodPost {
			return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %s is not allowed", q.Method)
		}
		target := q.Header.Get("X-Amz-Target")
		action, ok := strings.CutPrefix(target, service+".")
		if q.op = q.api.ops[action]; !ok || q.op == nil {
			q.op = nil
			return q.api.problem(unknownAction, target)
		}
		return nil
	}
}

// restPath is the api.identify of services with paths, such as
// "GET /snapshots/{id}/blocks". Operations are made by restOp.
func restPath(q *call) error {
	path := strings.Split(strings.Trim(q.URL.Path, "/"), "/")
	for _, op := range q.api.ops {
		if op.path[0] != q.Method || len(op.path) != len(path)+1 {
			continue
		}
		vars, fits := map[string]string{}, true
		for i, part := range op.path[1:] {
			if strings.HasPrefix(part, "{") {
				vars[strings.Trim(part, "{}")] = path[i]
			} else if part != path[i] {
				fits = false
			}
		}
		if fits {
			q.op, q.vars = op, vars
			return nil
		}
	}
	return q.api.problem(unknownAction, q.Method+" "+q.URL.Path)
}

// restOp is an operation of a service with paths.
func restOp(name, methodAndPath string, run func(q *call) (*reply, error)) *operation {
	method, path, _ := strings.Cut(methodAndPath, " ")
	return &operation{name: name, path: append([]string{method}, strings.Split(strings.Trim(path, "/"), "/")...), run: run}
}

// jsonOp is an operation whose body is a JSON object, which is read strictly:
// names must be known, and fields tagged `aws:",required"` must be there.
func jsonOp[T any](name string, run func(q *call, in *T) (any, error)) *operation {
	return &operation{name: name, run: func(q *call) (*reply, error) {
		in := new(T)
		if err := decodeJSON(q.body, in); err != nil {
			return nil, err
		}
		body, err := run(q, in)
		if err != nil {
			return nil, err
		}
		return jsonReply(body), nil
	}}
}

func decodeJSON(body []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return refuse("SerializationException", "%v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return refuse("SerializationException", "there is something behind the object")
	}
	v := reflect.ValueOf(into).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if _, options, _ := strings.Cut(field.Tag.Get("aws"), ","); strings.Contains(options, "required") && v.Field(i).IsZero() {
			return refuse("ValidationException", "1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", field.Name)
		}
	}
	return nil
}

func jsonReply(body any) *reply {
	raw, err := json.Marshal(body)
	if err != nil {
		panic("a reply does not marshal: " + err.Error())
	}
	return &reply{contentType: "application/x-amz-json-1.1", body: raw}
}

// jsonFailure writes an error as services with JSON do.
func jsonFailure(_ *call, e *apiError) *reply {
	body := map[string]any{"__type": e.code, "message": e.message}
	maps.Copy(body, e.fields)
	out := jsonReply(body)
	out.header = http.Header{"X-Amzn-Errortype": {e.code}}
	return out
}
