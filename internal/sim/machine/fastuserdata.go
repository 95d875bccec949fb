// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package machine

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/mail"
	"strconv"
	"strings"
)

// userData is what cloud-init makes of an instance's user data, as far as a
// Fast machine goes: scripts to run, and the configuration.
type userData struct {
	scripts []string
	config  map[string]any
}

// readUserData understands a script, a #cloud-config, and a MIME message of
// several of them, each also compressed by gzip.
func readUserData(text string) (userData, error) {
	data := userData{config: map[string]any{}}
	return data, data.add(text, "")
}

// add takes one part. kind is the content type that it is said to have.
func (d *userData) add(text, kind string) error {
	if strings.HasPrefix(text, "\x1f\x8b") {
		r, err := gzip.NewReader(strings.NewReader(text))
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		text = string(plain)
	}
	start := strings.ToLower(text[:min(len(text), 20)])
	switch {
	case kind == "" && (strings.HasPrefix(start, "content-type:") || strings.HasPrefix(start, "mime-version:")):
		return d.addMessage(text)
	case kind == "text/cloud-config" || strings.HasPrefix(text, "#cloud-config"):
		config, err := parseCloudConfig(text)
		if err != nil {
			return fmt.Errorf("#cloud-config: %w", err)
		}
		maps.Copy(d.config, config) // of two parts the later counts
	case strings.HasPrefix(text, "#!"):
		d.scripts = append(d.scripts, text)
	}
	return nil
}

func (d *userData) addMessage(text string) error {
	message, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	if !strings.HasPrefix(kind, "multipart/") {
		body, err := decodePart(message.Body, message.Header.Get("Content-Transfer-Encoding"))
		if err != nil {
			return err
		}
		return d.add(body, kind)
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the message: %w", err)
		}
		body, err := decodePart(part, part.Header.Get("Content-Transfer-Encoding"))
		if err != nil {
			return err
		}
		kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil {
			kind = "text/plain" // then its first line tells
		}
		if err := d.add(body, kind); err != nil {
			return err
		}
	}
}

func decodePart(r io.Reader, encoding string) (string, error) {
	if strings.EqualFold(encoding, "base64") {
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return "", fmt.Errorf("read the message: %w", err)
	}
	return string(body), nil
}

// parseCloudConfig reads the part of YAML that configurations are written in:
// maps by indentation, texts plain, quoted or as "|" blocks, truth values,
// lists of texts, and JSON for the whole or for a value.
func parseCloudConfig(text string) (map[string]any, error) {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
	rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(text), "#cloud-config"))
	if strings.HasPrefix(rest, "{") {
		config := map[string]any{}
		err := json.Unmarshal([]byte(rest), &config)
		return config, err
	}
	p := &yamlLines{lines: lines}
	return p.object(0)
}

// yamlLines is a cursor on a text.
type yamlLines struct {
	lines []string
	at    int
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// peek skips what says nothing.
func (y *yamlLines) peek() (string, bool) {
	for ; y.at < len(y.lines); y.at++ {
		line := y.lines[y.at]
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' && trimmed != "---" {
			return line, true
		}
	}
	return "", false
}

// object reads the entries that are indented by so many blanks.
func (y *yamlLines) object(indent int) (map[string]any, error) {
	found := map[string]any{}
	for {
		line, more := y.peek()
		if !more || indentOf(line) < indent {
			return found, nil
		}
		key, value, isEntry := strings.Cut(strings.TrimSpace(line), ":")
		if indentOf(line) > indent || !isEntry || strings.HasPrefix(line, "\t") || (value != "" && value[0] != ' ') {
			return nil, fmt.Errorf("line %d is not understood", y.at+1)
		}
		y.at++
		var err error
		if found[strings.Trim(key, `"'`)], err = y.value(strings.TrimSpace(value), indent); err != nil {
			return nil, err
		}
	}
}

// value reads what an entry at an indentation says.
func (y *yamlLines) value(text string, indent int) (any, error) {
	switch {
	case text == "" || text[0] == '#':
		line, more := y.peek()
		switch {
		case more && strings.HasPrefix(strings.TrimSpace(line), "- ") && indentOf(line) >= indent:
			return y.list(indentOf(line))
		case more && indentOf(line) > indent:
			return y.object(indentOf(line))
		}
		return nil, nil
	case text[0] == '|':
		return y.block(indent, strings.HasPrefix(text, "|-")), nil
	case text[0] == '>':
		return strings.ReplaceAll(y.block(indent, true), "\n", " "), nil
	}
	return scalar(text)
}

// list reads items; one that is not a text alone is skipped with all of it.
func (y *yamlLines) list(indent int) ([]any, error) {
	items := []any{}
	for {
		line, more := y.peek()
		if !more || indentOf(line) < indent || (indentOf(line) == indent && !strings.HasPrefix(line[indent:], "- ")) {
			return items, nil
		}
		y.at++
		if indentOf(line) > indent {
			continue
		}
		item, err := scalar(strings.TrimSpace(line[indent+2:]))
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
}

// block reads a text of lines that are indented more.
func (y *yamlLines) block(indent int, strip bool) string {
	var text bytes.Buffer
	inner := -1
	for ; y.at < len(y.lines); y.at++ {
		line := y.lines[y.at]
		blank := strings.TrimSpace(line) == ""
		if !blank && indentOf(line) <= indent {
			break
		}
		if inner < 0 && !blank {
			inner = indentOf(line)
		}
		text.WriteString(line[min(max(inner, 0), len(line)):] + "\n")
	}
	whole := strings.TrimRight(text.String(), "\n")
	if strip {
		return whole
	}
	return whole + "\n"
}

// scalar reads a value on one line. Lists and maps on one line are understood
// if they are JSON, and else taken for texts.
func scalar(text string) (any, error) {
	if text == "" {
		return nil, nil
	}
	switch text[0] {
	case '"':
		return strconv.Unquote(text)
	case '\'':
		return strings.ReplaceAll(strings.Trim(text, "'"), "''", "'"), nil
	case '{', '[':
		var value any
		if json.Unmarshal([]byte(text), &value) == nil {
			return value, nil
		}
		return text, nil
	}
	if before, _, commented := strings.Cut(text, " #"); commented {
		text = strings.TrimSpace(before)
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off":
		return false, nil
	case "null", "~":
		return nil, nil
	}
	return text, nil
}
