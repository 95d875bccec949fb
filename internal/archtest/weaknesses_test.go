// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// weakness is something that hurts the users of oracle-oci, and the tests that
// would fail if this plugin did the same.
type weakness struct {
	peer  string   // what oracle-oci does
	tests []string // "folder TestX" or "folder TestX/name of a row"
	// not is why a part of it, or all of it, does not apply, or is not better here.
	not string
}

// weaknesses of packer-plugin-oracle v1.1.2, by the numbers of the study of it.
func weaknesses() map[string]weakness {
	return map[string]weakness{
		"W1": {
			peer: "asks one availability domain for one shape, and nothing else",
			tests: []string{
				"builder/oci TestBadDays/only the smaller size fits, in one fault domain", "builder/oci TestAnotherRegion", "internal/oci TestPlanOrder/everywhere",
				"internal/oci TestReportRequest", "builder/oci TestOptionsOnTheWire", "internal/oci TestLaunchOnTheWire/reserved", "internal/oci TestLaunchOnTheWire/preemptible",
			},
			not: "dedicated hosts are not for free machines",
		},
		"W2": {
			peer: "sends a refused launch again for half an hour, says nothing and obeys no cancel",
			tests: []string{
				"internal/oci TestTheSDKNeverRetries", "builder/oci TestBadDays/the first places are full", "builder/oci TestCancelAnywhere",
				"internal/launch TestCancelOfAHangingLaunch", "internal/launch TestGivingUpSaysWhy", "internal/oci TestPlanRefuses/the service is down for long",
			},
		},
		"W3": {
			peer:  "has one token, from a weak source, for all launches of a build",
			tests: []string{"internal/launch TestEveryAttemptIsSaidAndHasItsOwnToken", "internal/owner TestToken", "internal/oci TestLaunchOnTheWire"},
		},
		"W4": {
			peer: "ends a build at a 409, 502 or 504, or when a connection breaks",
			tests: []string{
				"builder/oci TestBadDays/image conflict", "builder/oci TestBadDays/502 after the launch took effect", "builder/oci TestBadDays/502 after the image took effect",
				"builder/oci TestBadDays/the connection breaks after the image took effect", "builder/oci TestBadDays/connections break while something is waited for",
				"builder/oci TestBadDays/terminating is refused for a while", "internal/oci TestWaitGoesThroughStates/an image without an answer for minutes",
			},
		},
		"W5": {
			peer:  "does not say why a launch that was accepted failed, and ends",
			tests: []string{"builder/oci TestBadDays/accepted, then out of capacity", "internal/oci TestClassifyDeadInstance", "internal/launch TestAMachineThatDiesCountsAsItsCause"},
		},
		"W6": {
			peer:  "looks once for the network interface, and takes the first of the first page",
			tests: []string{"internal/oci TestAddress/public, late", "internal/oci TestEmptyFirstPages"},
		},
		"W7": {
			peer: "looks every five seconds, for ever, says nothing, and ends at a state that it does not expect",
			tests: []string{
				"internal/oci TestWaitGoesThroughStates/a machine that is moved", "internal/oci TestWaitGoesThroughStates/an image that is exported",
				"internal/wait TestUntilTimeoutNamesItsOption", "internal/wait TestUntilStopsAtOnce", "builder/oci TestTimes",
			},
		},
		"W8": {
			peer: "has one text for every fault of a key, and names options that do not matter",
			tests: []string{
				"internal/oci TestKeyTexts/encrypted PKCS #8, wrong passphrase", "internal/oci TestKeyTexts/a path",
				"internal/ocicfg TestPrecedenceMistakes/a profile's passphrase is wrong", "internal/ocicfg TestPrecedenceMistakes/a profile that lacks something", "builder/oci TestMistakes",
			},
		},
		"W9": {
			peer: "signs with the key of one source for the user of another",
			tests: []string{
				"internal/ocicfg TestPrecedenceMistakes/another user than the profile's", "internal/ocicfg TestPrecedenceMistakes/another key than the profile's",
				"internal/ocicfg TestSources/a partial environment beside a whole default profile", "builder/oci TestAccessOnTheWire",
			},
		},
		"W10": {
			peer: "builds in us-phoenix-1 when no region is named, and does not know the environment",
			tests: []string{
				"internal/ocicfg TestPrecedenceMistakes/no region anywhere", "internal/ocicfg TestSources/OCI_CONFIG_FILE",
				"internal/ocicfg TestSources/the command line's variables", "internal/ocicfg TestSources/the environment's region after a profile without one",
			},
		},
		"W11": {
			peer:  "signs in as a user or a machine only, ignores security_token_file, and asks the machine while it validates",
			tests: []string{"internal/oci TestEveryKindSignsIn", "builder/oci TestAccessOnTheWire/security_token_file", "builder/oci TestBuildWithoutAKey", "internal/ocicfg TestPrepareAsksNobody"},
			not:   "delegation tokens are refused with a sentence, not supported",
		},
		"W12": {
			peer:  "leaves its SSH key in every image",
			tests: []string{"builder/oci TestTemporaryKeyIsForgotten/by default", "builder/oci TestTemporaryKeyIsForgotten/asked for"},
		},
		"W13": {
			peer:  "does not mask key and passphrase, and lets Oracle's SDK print signatures and user data",
			tests: []string{"builder/oci TestSecretsAreMasked/pass_phrase", "builder/oci TestTheSDKPrintsNoSecrets", "internal/mask TestEveryFormIsMasked", "internal/e2e TestAccNoSecrets"},
		},
		"W14": {
			peer:  "leaves the key of a build with -debug in a file for ever, at first for everybody to read",
			tests: []string{"builder/oci TestDebugKey"},
		},
		"W15": {
			peer:  "makes an RSA key, whatever temporary_key_pair_type and temporary_key_pair_bits say",
			tests: []string{"internal/sshkey TestTemporaryKey", "internal/sshkey TestTemporaryKeyTypes", "builder/oci TestOptionsOnTheWire"},
		},
		"W16": {
			peer: "writes a capability schema in every build, and fails a finished image where it may not",
			tests: []string{
				"internal/oci TestImageOptions/shapes that it could not start on go", "internal/oci TestImageOptions/a schema that may not be written",
				"internal/oci TestCompleteImage/BIOS",
			},
			not: "other keys of the schema cannot be set: an Ampere image starts by the firmware of its base image",
		},
		"W17": {
			peer: "leaves to an ARM64 image the shapes that OCI gives to every image",
			tests: []string{
				"internal/oci TestCompleteImage/an imported image without the entry", "internal/oci TestCompleteImage/the entry does not stay",
				"internal/oci TestImageOptions/shapes that it could not start on go", "builder/oci TestBadDays/an image without shapes",
			},
		},
		"W18": {
			peer:  "copies no image, encrypts no volume, and checks nothing of what it made",
			tests: []string{"post-processor/oci-cross-tenancy-copy TestCopy", "post-processor/oci-cross-tenancy-copy TestSeveralDestinations", "internal/oci TestLaunchOnTheWire/the boot volume", "internal/oci TestAvailableButFailed"},
		},
		"W19": {
			peer:  "ignores -force, and makes one image of a name after the other",
			tests: []string{"internal/oci TestImageNames", "builder/oci TestOptionsOnTheWire"},
			not:   "images of other names are not removed when they are old",
		},
		"W20": {
			peer: "has a step that its own tests cannot reach",
			not:  "nothing that users see. There are no mocks here that a step could get past: TestArrowsPointDown keeps the phases from knowing a cloud",
		},
		"W21": {
			peer:  "takes user data that happens to be base64 for encoded",
			tests: []string{"builder/oci TestOptionsOnTheWire", "builder/oci TestMachineAndImageOptions"},
		},
		"W22": {
			peer: "starts a machine from an image for another processor to find out",
			tests: []string{
				"internal/oci TestPlanRefuses/image of another shape", "internal/oci TestPlanRefuses/BIOS image", "internal/oci TestPlanShapes/the image is not for one",
				"builder/oci TestBadDays/foreign image",
			},
		},
		"W23": {
			peer:  "documents templates that do not work",
			tests: []string{"internal/e2e TestAccDocumentedTemplates", "builder/oci TestEveryOptionIsDocumented"},
		},
		"W24": {
			peer: "says an error three times in ten lines, and nothing of what to do",
			tests: []string{
				"internal/oci TestRefusalIsOneLine", "internal/oci TestPlanWithAWrongKey", "builder/oci TestBadDays/no such domain", "builder/oci TestBadDays/a limit below every size",
				"builder/oci TestAllMistakesAtOnce",
			},
		},
		"W25": {
			peer:  "knows the regions and realms, and the forms of keys, of 2022",
			tests: []string{"internal/oci TestRegionsOfToday", "internal/oci TestKeyTexts/encrypted PKCS #8", "internal/oci TestReportRequest"},
			not:   "dual-stack endpoints and OCI_DEFAULT_CERTS_PATH are the business of Oracle's SDK, which is a current one",
		},
	}
}

// hasTest says whether a tree has a test, "folder TestX/row", whose row is a text
// in it.
func hasTest(tree *tree, name string) bool {
	folder, name, _ := strings.Cut(name, " ")
	name, row, _ := strings.Cut(name, "/")
	for _, f := range tree.files {
		if f.ast == nil || f.dir() != folder || !f.test() {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil || fn.Name.Name != name {
				continue
			}
			found := row == ""
			ast.Inspect(fn, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, err := strconv.Unquote(lit.Value)
					found = found || err == nil && text == row
				}
				return true
			})
			return found
		}
	}
	return false
}

// Each weakness has its tests, which are there under these names, or the reason
// why it has none.
func TestWeaknesses(t *testing.T) {
	repo, all := repository(t), weaknesses()
	for i := 1; i <= 25; i++ {
		w, ok := all[fmt.Sprintf("W%d", i)]
		if !ok || w.peer == "" || len(w.tests) == 0 && w.not == "" {
			t.Errorf("W%d has neither tests nor a reason", i)
		}
	}
	if len(all) != 25 {
		t.Errorf("%d weaknesses", len(all))
	}
	for number, w := range all {
		for _, name := range w.tests {
			if !hasTest(repo, name) {
				t.Errorf("%s: there is no test %q", number, name)
			}
		}
	}
	for _, gone := range []string{"builder/oci TestNothing", "builder/oci TestBadDays/nothing", "internal TestBadDays", "builder/oci "} {
		if hasTest(repo, gone) {
			t.Errorf("%q is found", gone)
		}
	}
}
