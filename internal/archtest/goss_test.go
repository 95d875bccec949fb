// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package archtest

import "testing"

// claim is something that the check of a machine has to do, and the tests that
// fail where it does not.
type claim struct {
	what  string
	tests []string // "folder TestX" or "folder TestX/name of a row"
	not   string   // what of it does not apply, or is not better here
}

// gossWeaknesses are what hurts the users of packer-plugin-goss v3.2.14, by the
// numbers of the study of it.
func gossWeaknesses() []claim {
	return []claim{
		{what: "W1: nobody asks how the download and the installation ended", tests: []string{"provisioner/goss TestProvisionOnABadLine/the upload of goss fails", "provisioner/goss TestProvisionWhenTheConnectionBreaks"}},
		{what: "W2: a page that says 404 becomes the binary", tests: []string{"internal/goss TestFetch/not there", "internal/goss TestFetch/a page in place of it", "provisioner/goss TestWeaknessDownload"}},
		{what: "W3: with inspect and without goss the build succeeds", tests: []string{"provisioner/goss TestWeaknessDownload", "provisioner/goss TestSeveralGossfiles/report_only where goss cannot run"}},
		{what: "W4: releases since 0.4.10 are not found", tests: []string{"internal/goss TestAssetURL", "internal/goss TestFetch/an archive", "provisioner/goss TestFetchedBinary/a new release"}},
		{what: "W5: no checksum, and redirections to anywhere", tests: []string{"internal/goss TestFetch/another digest", "internal/goss TestFetch/no digest", "internal/goss TestFetchStaysOnTLS"}},
		{what: "W6: the order of commands is chance", tests: []string{"provisioner/goss TestWeaknessArtefactsOnFailure"}},
		{what: "W7: no artefacts when tests fail", tests: []string{"provisioner/goss TestWeaknessArtefactsOnFailure", "provisioner/goss TestOutputs"}},
		{what: "W8: builds side by side write to the same names", tests: []string{"provisioner/goss TestWeaknessParallelBuilds"}, not: "the provisioner goss keeps goss-spec.yaml as the default name, for templates that expect it; spec_file changes it"},
		{what: "W9: values break the shell, or are run by it", tests: []string{"provisioner/goss TestWeaknessQuoting", "provisioner/goss TestArchiveArrives", "provisioner/goss FuzzQuote", "provisioner/goss FuzzValues"}},
		{what: "W10: variables and command lines are printed", tests: []string{"provisioner/goss TestWeaknessSecretsArePrinted", "provisioner/goss TestProvisionBringsVariables"}},
		{what: "W11: timeout and Ctrl-C stop nothing", tests: []string{"provisioner/goss TestProvisionIsCancelled/while goss runs", "provisioner/goss TestProvisionTimesOut", "provisioner/goss TestProvisionOverSSHIsCancelled"}},
		{what: "W12: one error text for everything", tests: []string{"provisioner/goss TestWeaknessOneErrorForAll", "internal/goss TestReasonsHaveTheirOwnSentence"}},
		{what: "W13: output is passed on and not understood", tests: []string{"provisioner/goss TestProvision/fail", "provisioner/goss TestOutputs"}},
		{what: "W14: files of one base name replace each other, and old ones stay", tests: []string{"provisioner/goss TestWeaknessSameNames", "provisioner/goss TestDropInLayout", "provisioner/goss TestDropInRunsAgain"}},
		{what: "W15: only validate runs as root, and never with a password", tests: []string{"provisioner/goss TestWeaknessRenderIsUnprivileged", "provisioner/goss TestOtherWaysToRoot"}},
		{what: "W16: errors of variables are dropped, and quotes replaced", tests: []string{"provisioner/goss TestWeaknessQuoting", "provisioner/goss TestVarsThatCannotBeSent"}},
		{what: "W17: Prepare panics, checks late and knows no unknown values", tests: []string{"provisioner/goss TestWeaknessPrepare", "provisioner/goss TestPrepare/unknown values of packer validate"}},
		{what: "W18: noexec is met without explanation", tests: []string{"provisioner/goss TestWeaknessNoExec", "provisioner/goss TestProvisionOverSSH/pass without a folder in memory"}},
	}
}

// falsePasses are the ways in which goss v0.4.10 ends with 0 and has checked
// nothing, by the numbers of the study of it. An unknown section, a key that is
// taken over and an empty list are failures under strict, and named without.
func falsePasses() []claim {
	return []claim{
		{what: "1: formats that never fail", tests: []string{"internal/goss TestFalsePasses/1: a format that never fails", "internal/goss TestFalsePasses/1b: another one", "provisioner/goss TestProvision/goss is not misled by the machine's environment"}},
		{what: "2: no workers", tests: []string{"internal/goss TestFalsePasses/2: no workers", "provisioner/goss TestProvision/no workers", "provisioner/goss TestWeaknessPrepare"}},
		{what: "3: a section that goss does not know", tests: []string{"internal/goss TestFalsePasses/3: a misspelt section", "internal/goss TestFalsePasses/3b: an unknown section"}},
		{what: "4: a key that another file takes over", tests: []string{"internal/goss TestFalsePasses/4: a key that another file takes over", "internal/goss TestTakenOverOnTheMachine"}},
		{what: "5: everything skipped", tests: []string{"internal/goss TestFalsePasses/5: everything skipped", "provisioner/goss TestProvision/all skipped"}},
		{what: "6: empty lists", tests: []string{"internal/goss TestFalsePasses/6: an empty list", "internal/goss TestVacuousMatchers"}},
		{what: "7: templates that come to fewer tests", tests: []string{"internal/goss TestFalsePasses/7: a template that comes to fewer tests", "provisioner/goss TestProvision/too few"}},
	}
}

// gossFeatures are what the provisioner is to be able to do, one a row of the
// table in the study.
func gossFeatures() []claim {
	return []claim{
		{what: "fail closed", tests: []string{"internal/goss TestJudge", "provisioner/goss TestProvision/failures hidden by exit code 0", "provisioner/goss TestProvision/exit code 1 without failures", "provisioner/goss TestProvision/nothing printed"}},
		{what: "min_tests", tests: []string{"provisioner/goss TestProvision/too few", "provisioner/goss TestProvision/all skipped", "provisioner/goss TestPrepare/all mistakes at once"}},
		{what: "max_failed, fail_on, severities", tests: []string{"internal/goss TestSeverities", "internal/goss TestRules", "provisioner/goss TestSeveralGossfiles/fail_on", "provisioner/goss TestSeveralGossfiles/fail_on is reached", "provisioner/goss TestSeveralGossfiles/max_failed"}},
		{what: "report_only that fails where goss could not run", tests: []string{"provisioner/goss TestSeveralGossfiles/report_only", "provisioner/goss TestSeveralGossfiles/report_only where goss cannot run"}},
		{what: "strict", tests: []string{"internal/goss TestFalsePasses", "provisioner/goss TestSelectWithRealGoss/and strict"}},
		{what: "several gossfiles with a verdict each", tests: []string{"provisioner/goss TestSeveralGossfiles/one fails and the other is run all the same", "provisioner/goss TestSeveralGossfiles/one has no tests"}},
		{what: "variables from files, of any type, and none on a command line", tests: []string{"provisioner/goss TestVars", "internal/goss TestMergeVars", "internal/goss TestVarsWithRealGoss", "provisioner/goss TestProvisionBringsVariables"}},
		{what: "secrets masked by the plugin", tests: []string{"provisioner/goss TestWeaknessSecretsArePrinted", "internal/goss TestMasked", "provisioner/goss TestSecretsAreMaskedBeforeTheyAreCut"}},
		{what: "a verified binary is brought", tests: []string{"provisioner/goss TestProvisionOnABadLine/another goss arrives", "internal/goss TestBinary", "internal/goss TestBinaryFromFile", "provisioner/goss TestFetchedBinary/goss_url"}},
		{what: "both layouts of releases, a mirror, this host's proxy", tests: []string{"provisioner/goss TestFetchedBinary/an old release", "provisioner/goss TestFetchedBinary/a new release", "provisioner/goss TestFetchThroughProxy"}},
		{what: "the architecture is found out", tests: []string{"provisioner/goss TestProvisionChoosesTheBinary", "provisioner/goss TestDropInSaysWhatRuns"}},
		{what: "the machine needs no network and no download tool", tests: []string{"provisioner/goss TestTheMachineDownloadsNothing"}},
		{what: "a private folder in memory from which programs run", tests: []string{"provisioner/goss TestThePrivateFolderIsPrivate", "provisioner/goss TestProvisionOverSSH/pass", "provisioner/goss TestProvisionOverSSH/nowhere to run"}},
		{what: "nothing stays, and keep_remote", tests: []string{"provisioner/goss TestNothingStays", "provisioner/goss TestProvisionSaysWhatTheMachineLacks/our folder cannot be removed", "provisioner/goss TestSeveralGossfiles/kept"}},
		{what: "a cancel ends what runs on the machine", tests: []string{"provisioner/goss TestProvisionIsCancelled/while goss runs", "provisioner/goss TestProvisionTimesOut", "provisioner/goss TestProvisionEndsOrphans"}},
		{what: "root by sudo, with a password, by another command", tests: []string{"provisioner/goss TestOtherWaysToRoot", "provisioner/goss TestProvisionRunsAsRoot", "provisioner/goss TestProvisionSaysWhatTheMachineLacks/no sudo"}},
		{what: "retries of what failed, from the host", tests: []string{"provisioner/goss TestProvision/retried until it passes", "provisioner/goss TestSeveralGossfiles/only what failed is run again", "internal/goss TestRetries"}},
		{what: "wait", tests: []string{"provisioner/goss TestSeveralGossfiles/waited for", "provisioner/goss TestSeveralGossfiles/waited for in vain", "provisioner/goss TestSeveralGossfiles/what cannot heal is not waited for"}},
		{what: "a line for each failure, a table, counts; everything on request", tests: []string{"internal/goss TestSummary", "internal/goss TestLine", "provisioner/goss TestProvision/fail", "provisioner/goss TestFormats"}},
		{what: "what was found is shown for lists of patterns", tests: []string{"internal/goss TestShowOutput", "internal/goss TestShowOutputWithRealGoss"}},
		{what: "reports in one run, on success and on failure", tests: []string{"provisioner/goss TestOutputs", "internal/goss TestJSONReport", "internal/goss TestJUnit", "internal/goss TestSARIFSchema", "internal/goss TestTAP", "internal/goss TestMarkdown"}, not: "Markdown, and no HTML"},
		{what: "the rendered gossfiles and a receipt", tests: []string{"internal/goss TestReceipt", "provisioner/goss TestOutputs", "provisioner/goss TestWeaknessArtefactsOnFailure"}},
		{what: "annotations and summary for GitHub", tests: []string{"internal/goss TestAnnotations", "provisioner/goss TestOutputs"}},
		{what: "lint at packer validate", tests: []string{"internal/goss TestLint", "internal/goss TestLintErrors", "internal/goss TestSchemaIsThatOfGoss", "provisioner/goss TestWeaknessPrepare", "provisioner/goss TestWhatIsDocumentedIsTaken"}},
		{what: "a baseline", tests: []string{"internal/goss TestBaseline", "provisioner/goss TestBaselineOption"}},
		{what: "record", tests: []string{"provisioner/goss TestRecordWithRealGoss"}},
		{what: "package, log level, max_concurrent, format options", tests: []string{"provisioner/goss TestSeveralGossfiles/options of goss", "provisioner/goss TestFormats", "provisioner/goss TestWeaknessPrepare"}},
		{what: "selection by type, name, title, meta", tests: []string{"internal/goss TestSelection", "internal/goss TestSelectionWithRealGoss", "provisioner/goss TestSelectWithRealGoss/by meta", "provisioner/goss TestSelectWithRealGoss/nothing is left"}},
		{what: "exit codes in words", tests: []string{"provisioner/goss TestWeaknessOneErrorForAll", "internal/goss TestJudge"}},
		{what: "the result reaches the builder", tests: []string{"provisioner/goss TestNoteForTheBuilder", "internal/proof TestNotesAreTakenOnce", "internal/phase TestWatch"}},
		{what: "linux/arm64 first", tests: []string{"internal/goss TestShippedBinary", "provisioner/goss TestProvisionOverSSH"}},
		{what: "Windows", not: "only Linux is checked; target_os = \"Windows\" is refused"},
	}
}

// Each claim about the check has its tests, which are there under these names, or
// the reason why it has none.
func TestGossClaims(t *testing.T) {
	repo := repository(t)
	for name, list := range map[string][]claim{"weakness": gossWeaknesses(), "false pass": falsePasses(), "feature": gossFeatures()} {
		for _, c := range list {
			if len(c.tests) == 0 && c.not == "" {
				t.Errorf("%s %q has neither tests nor a reason", name, c.what)
			}
			for _, test := range c.tests {
				if !hasTest(repo, test) {
					t.Errorf("%s %q: there is no test %q", name, c.what, test)
				}
			}
		}
	}
	if w, f, n := len(gossWeaknesses()), len(falsePasses()), len(gossFeatures()); w != 18 || f != 7 || n != 32 {
		t.Errorf("%d weaknesses, %d false passes, %d features", w, f, n)
	}
}
