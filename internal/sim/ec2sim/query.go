// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ec2sim

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	ec2Version   = "2016-11-15"
	ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
)

// queryAction is the api.identify of services that take forms: the parameter
// Action names the operation.
func queryAction(version string) func(q *call) error {
	return func(q *call) error {
		form := q.URL.Query()
		if q.Method == http.MethodPost {
			kind, _, _ := strings.Cut(q.Header.Get("Content-Type"), ";")
			if kind != "application/x-www-form-urlencoded" {
				return refuse("MalformedQueryString", "The content type %q is not that of a form", kind)
			}
			var err error
			if form, err = url.ParseQuery(string(q.body)); err != nil {
				return refuse("MalformedQueryString", "The query string contains a syntax error")
			}
		} else if q.Method != http.MethodGet {
			return fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %s is not allowed", q.Method)
		}
		if q.URL.Path != "/" && q.URL.Path != "" {
			return fail(http.StatusNotFound, "UnknownEndpoint", "There is nothing at %s", q.URL.Path)
		}
		var err error
		if q.params, err = parseParams(form); err != nil {
			return err
		}
		action := q.params.take("Action")
		if action == "" {
			return refuse("MissingAction", "The request must contain the parameter Action")
		}
		if got := q.params.take("Version"); got != version {
			return refuse("NoSuchVersion", "The requested version (%s) of service %s does not exist", got, q.api.name)
		}
		if q.op = q.api.ops[action]; q.op == nil {
			return q.api.problem(unknownAction, action)
		}
		return nil
	}
}

// queryOp is an operation of EC2: it reads its parameters into a T and
// answers with the members of a struct.
func queryOp[T any](name string, run func(q *call, in *T) (any, error)) *operation {
	return &operation{name: name, run: func(q *call) (*reply, error) {
		switch flag := q.params.take("DryRun"); strings.ToLower(flag) {
		case "true":
			q.dryRun = true
		case "", "false":
		default:
			return nil, errValue("Value (%s) for parameter DryRun is invalid. Expected a boolean", flag)
		}
		in := new(T)
		if err := q.params.decode(in); err != nil {
			return nil, err
		}
		body, err := run(q, in)
		if err != nil {
			return nil, err
		}
		return xmlReply(name, ec2Namespace, q.requestID, body), nil
	}}
}

// success is the answer of operations that have nothing to say.
type success struct {
	Return bool `xml:"return"`
}

func done() any { return success{true} }

// set is a list in XML: it is there even if it is empty.
type set[T any] struct {
	Items []T `xml:"item"`
}

func setOf[T any](items []T) set[T] { return set[T]{items} }

// stamp is a time as EC2 writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// members writes the members of a struct without an element around them.
func members(body any) []byte {
	if body == nil {
		return nil
	}
	var b bytes.Buffer
	if err := xml.NewEncoder(&b).EncodeElement(body, xml.StartElement{Name: xml.Name{Local: "x"}}); err != nil {
		panic("a reply does not marshal: " + err.Error())
	}
	return bytes.TrimSuffix(bytes.TrimPrefix(b.Bytes(), []byte("<x>")), []byte("</x>"))
}

func xmlReply(action, namespace, requestID string, body any) *reply {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<" + action + "Response xmlns=\"" + namespace + "\"><requestId>" + requestID + "</requestId>")
	b.Write(members(body))
	b.WriteString("</" + action + "Response>")
	return &reply{contentType: "text/xml;charset=UTF-8", body: b.Bytes()}
}

// ec2Failure writes an error as EC2 does.
func ec2Failure(q *call, e *apiError) *reply {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<Response><Errors><Error>")
	b.Write(members(struct {
		Code    string
		Message string
	}{e.code, e.message}))
	b.WriteString("</Error></Errors><RequestID>" + q.requestID + "</RequestID></Response>")
	return &reply{contentType: "text/xml;charset=UTF-8", body: b.Bytes()}
}

// queryFailure writes an error as STS and IAM do.
func queryFailure(q *call, e *apiError) *reply {
	kind := "Sender"
	if e.status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	var b bytes.Buffer
	b.WriteString("<ErrorResponse><Error>")
	b.Write(members(struct{ Type, Code, Message string }{kind, e.code, e.message}))
	b.WriteString("</Error><RequestId>" + q.requestID + "</RequestId></ErrorResponse>")
	return &reply{contentType: "text/xml", body: b.Bytes()}
}
