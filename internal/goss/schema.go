// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import "strings"

// What goss v0.4.10 accepts, read from its source: sections are the fields of
// GossConfig in goss_config.go, attributes those of the types in resource/*.go,
// matchers the cases of matcherToGomegaMatcher in resource/gomega.go, template
// functions those of template.go and of Sprig v3.3.0 (functions.go). A test
// compares this file with the goss module of tools/goss.

// kind is what the value of an attribute must be.
type kind int

const (
	free    kind = iota // anything
	text                // a string; numbers are taken too
	truth               // true or false
	millis              // a whole number of milliseconds
	list                // a list of strings that configures and asserts nothing
	matcher             // an expectation
)

// section is a type of resource.
type section struct {
	typ   string // what results call it
	attrs map[string]kind
	// must is the attribute without which every test of the resource fails;
	// each of several, separated by blanks, will do.
	must string
}

// sectionOf describes a section of a gossfile; ok is false if goss has none of
// that name.
func sectionOf(name string) (s section, ok bool) {
	var typ, must, matchers, texts, others string
	switch name {
	case "addr":
		typ, must, matchers, texts, others = "Addr", "reachable", "reachable", "address local-address", "timeout"
	case "command":
		typ, must, matchers, texts, others = "Command", "exit-status", "exit-status stdout stderr", "exec", "timeout"
	case "dns":
		typ, must, matchers, texts, others = "DNS", "resolvable resolveable", "resolvable resolveable addrs", "resolve server", "timeout"
	case "file":
		typ, must, texts = "File", "exists", "path"
		matchers = "exists mode size owner uid group gid linked-to filetype contains contents md5 sha256 sha512"
	case "gossfile":
		typ, texts = "Gossfile", "file"
	case "group":
		typ, must, matchers, texts = "Group", "exists", "exists gid", "groupname"
	case "http":
		typ, must, matchers = "HTTP", "status", "status headers body"
		texts = "url method request-body username password ca-file cert-file key-file proxy"
		others = "timeout allow-insecure no-follow-redirects request-headers"
	case "interface":
		typ, must, matchers, texts = "Interface", "exists", "exists addrs mtu", "name"
	case "kernel-param":
		typ, must, matchers, texts = "KernelParam", "value", "value", "name"
	case "matching":
		typ, must, matchers, others = "Matching", "matches", "matches", "as-reader content"
	case "mount":
		typ, must, matchers = "Mount", "exists", "exists opts vfs-opts source filesystem usage"
		texts, others = "mountpoint", "timeout"
	case "package":
		typ, must, matchers, texts = "Package", "installed", "installed versions", "name"
	case "port":
		typ, must, matchers, texts = "Port", "listening", "listening ip", "port"
	case "process":
		typ, must, matchers, texts = "Process", "running", "running", "comm"
	case "service":
		typ, matchers, texts = "Service", "enabled running runlevels", "name"
	case "user":
		typ, must, matchers, texts = "User", "exists", "exists uid gid groups home shell", "username"
	default:
		return section{}, false
	}
	s = section{typ: typ, must: must, attrs: map[string]kind{"title": text, "meta": free, "skip": truth}}
	for _, name := range strings.Fields(matchers) {
		s.attrs[name] = matcher
	}
	for _, name := range strings.Fields(texts) {
		s.attrs[name] = text
	}
	for _, name := range strings.Fields(others) {
		s.attrs[name] = map[string]kind{"timeout": millis, "content": free, "request-headers": list}[name]
		if name == "as-reader" || name == "allow-insecure" || name == "no-follow-redirects" {
			s.attrs[name] = truth
		}
	}
	return s, true
}

// sections are the names of all sections.
func sections() []string {
	return strings.Fields("addr command dns file gossfile group http interface kernel-param matching mount package port process service user")
}

// matchers are the names of all matchers.
func matchers() []string {
	return strings.Fields(`equal have-prefix have-suffix match-regexp contain-substring have-len have-patterns have-key
		contain-element contain-elements not consist-of and or gt ge lt le semver-constraint gjson`)
}

// vacuous says whether a matcher with an empty list is content with anything.
// consist-of is not: it demands that nothing is there.
func vacuous(name string) bool {
	return name == "have-patterns" || name == "contain-elements" || name == "and"
}

// templateFuncs are the functions that templates may call, by name; nothing
// here ever calls them. Those of Go itself are among them.
func templateFuncs() map[string]any {
	funcs := map[string]any{}
	for _, name := range strings.Fields(`
		and call html index slice js len not or print printf println urlquery eq ge gt le lt ne
		mkSlice readFile getEnv regexMatch toUpper toLower findStringSubmatch
		abbrev abbrevboth add add1 add1f addf adler32sum ago all any append atoi b32dec b32enc b64dec b64enc base
		bcrypt biggest buildCustomCert camelcase cat ceil chunk clean coalesce compact concat contains date
		dateInZone dateModify date_in_zone date_modify decryptAES deepCopy deepEqual default derivePassword dict dig
		dir div divf duration durationRound empty encryptAES env expandenv ext fail first float64 floor fromJson
		genCA genCAWithKey genPrivateKey genSelfSignedCert genSelfSignedCertWithKey genSignedCert
		genSignedCertWithKey get getHostByName has hasKey hasPrefix hasSuffix hello htmlDate htmlDateInZone htpasswd
		indent initial initials int int64 isAbs join kebabcase keys kindIs kindOf last list lower max maxf merge
		mergeOverwrite min minf mod mul mulf mustAppend mustChunk mustCompact mustDateModify mustDeepCopy mustFirst
		mustFromJson mustHas mustInitial mustLast mustMerge mustMergeOverwrite mustPrepend mustRegexFind
		mustRegexFindAll mustRegexMatch mustRegexReplaceAll mustRegexReplaceAllLiteral mustRegexSplit mustRest
		mustReverse mustSlice mustToDate mustToJson mustToPrettyJson mustToRawJson mustUniq mustWithout
		must_date_modify nindent nospace now omit osBase osClean osDir osExt osIsAbs pick pluck plural prepend quote
		randAlpha randAlphaNum randAscii randBytes randInt randNumeric regexFind regexFindAll regexMatch
		regexQuoteMeta regexReplaceAll regexReplaceAllLiteral regexSplit repeat replace rest reverse round semver
		semverCompare seq set sha1sum sha256sum sha512sum shuffle slice snakecase sortAlpha split splitList splitn
		squote sub subf substr swapcase ternary title toDate toDecimal toJson toPrettyJson toRawJson toString
		toStrings trim trimAll trimPrefix trimSuffix trimall trunc tuple typeIs typeIsLike typeOf uniq unixEpoch
		unset until untilStep untitle upper urlJoin urlParse uuidv4 values without wrap wrapWith`) {
		funcs[name] = name
	}
	return funcs
}
