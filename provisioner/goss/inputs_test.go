// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package goss

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// gzipped packs data without making it smaller: that takes a while under the
// race detector, and nothing here is about it.
func gzipped(data []byte) []byte {
	var b bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	zw.Write(data)
	zw.Close()
	return b.Bytes()
}

// tree writes files, given by path and content, into a new folder.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestInputs(t *testing.T) {
	dir := tree(t, map[string]string{
		"goss.yaml": "", "base.goss.yaml": "", "notes.txt": "", "vars.yaml": "",
		"suite/goss.yaml": "", "suite/sub/a.yaml": "", "plain/x.yaml": "", "other/goss.yaml": "", "large": "",
	})
	t.Chdir(dir)
	if err := os.Truncate(filepath.Join(dir, "large"), 65<<20); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		c        Config
		gossfile string
		files    string
		says     string // the error
	}{
		{name: "one file", c: Config{Tests: []string{"base.goss.yaml"}}, gossfile: "base.goss.yaml", files: "base.goss.yaml"},
		{name: "one file, absolute", c: Config{Tests: []string{filepath.Join(dir, "base.goss.yaml")}}, gossfile: "base.goss.yaml", files: "base.goss.yaml"},
		{name: "goss.yaml among files", c: Config{Tests: []string{"base.goss.yaml", "goss.yaml"}}, gossfile: "goss.yaml", files: "base.goss.yaml goss.yaml"},
		{name: "a folder with a goss.yaml", c: Config{Tests: []string{"suite"}}, gossfile: "suite/goss.yaml", files: "suite/goss.yaml suite/sub/a.yaml"},
		{name: "a folder with a slash", c: Config{Tests: []string{"suite/"}}, gossfile: "suite/goss.yaml", files: "suite/goss.yaml suite/sub/a.yaml"},
		{name: "a file of a folder", c: Config{Tests: []string{"suite"}, GossFile: "suite/sub/a.yaml"}, gossfile: "suite/sub/a.yaml", files: "suite/goss.yaml suite/sub/a.yaml"},
		{name: "a file of a folder, said in a roundabout way", c: Config{Tests: []string{"suite"}, GossFile: "./suite/../suite/goss.yaml"}, gossfile: "suite/goss.yaml", files: "suite/goss.yaml suite/sub/a.yaml"},
		{name: "goss_file alone", c: Config{GossFile: "suite/sub/a.yaml"}, gossfile: "a.yaml", files: "a.yaml"},
		{name: "variables beside the tests", c: Config{Tests: []string{"goss.yaml"}, VarsFile: "vars.yaml"}, gossfile: "goss.yaml", files: "goss.yaml"},

		{name: "nothing chosen", c: Config{Tests: []string{"plain", "base.goss.yaml"}}, says: "goss_file must say which of the files of tests to run, which are plain/x.yaml, base.goss.yaml"},
		{name: "chosen outside of tests", c: Config{Tests: []string{"suite"}, GossFile: "base.goss.yaml"}, says: `"base.goss.yaml" is not among the files of tests`},
		{name: "chosen by a path of this host", c: Config{Tests: []string{"suite"}, GossFile: filepath.Join(dir, "suite", "goss.yaml")}, says: "is not among the files"},
		{name: "not a gossfile", c: Config{Tests: []string{"notes.txt"}}, says: "must end in .yaml, .yml or .json"},
		{name: "missing", c: Config{Tests: []string{"none.yaml"}}, says: "none.yaml: no such file"},
		{name: "missing goss_file", c: Config{GossFile: "none.yaml"}, says: "goss_file: stat none.yaml"},
		{name: "missing vars_file", c: Config{Tests: []string{"goss.yaml"}, VarsFile: "none"}, says: "vars_file: stat none"},
		{name: "a folder as vars_file", c: Config{Tests: []string{"goss.yaml"}, VarsFile: "suite"}, says: "vars_file: suite is not a file"},
		{name: "two of one name", c: Config{Tests: []string{"goss.yaml", "other/goss.yaml"}}, says: `goss.yaml and other/goss.yaml would both arrive as "goss.yaml"`},
		{name: "the root folder", c: Config{Tests: []string{"/"}}, says: "no name of its own"},
		{name: "an empty name", c: Config{Tests: []string{""}}, says: "no name of its own"},
		{name: "a device", c: Config{Tests: []string{"/dev/null"}}, says: "neither a file nor a folder"},
		{name: "more than a machine is sent", c: Config{Tests: []string{"goss.yaml", "large"}}, says: "tests: the files hold 65 MB and may hold 64"},
		{name: "all mistakes at once", c: Config{Tests: []string{"none.yaml", "/dev/null"}}, says: "/dev/null is neither"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, err := tt.c.inputs()
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("got error %v\nwant the words %q", err, tt.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var files []string
			for _, f := range in.files {
				files = append(files, f.remote)
			}
			if got := strings.Join(files, " "); strings.Join(in.gossfiles, " ") != tt.gossfile || got != tt.files {
				t.Errorf("runs %q with %q, want %q with %q", in.gossfiles, got, tt.gossfile, tt.files)
			}
		})
	}
}

func TestInputsStopAtALoop(t *testing.T) {
	dir := tree(t, map[string]string{"suite/goss.yaml": ""})
	if err := os.Symlink(".", filepath.Join(dir, "suite", "again")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	c := Config{Tests: []string{filepath.Join(dir, "suite")}}
	if _, err := c.inputs(); err == nil {
		t.Error("a folder that contains itself was accepted")
	}
}

// What is packed here must come out there byte for byte, whatever the files are
// called.
func TestArchiveArrives(t *testing.T) {
	files := map[string]string{
		"suite/goss.yaml":                   "file: {}\n",
		"suite/empty":                       "",
		"suite/with space/it's \"here\"":    "quoted",
		"suite/$(id)/`id`;exit 1":           "not run",
		"suite/-rf":                         "{an: option}",
		"suite/line\nbreak":                 "two",
		"suite/binary":                      string([]byte{0, 1, 2, 255, '\n', 0}),
		"suite/large":                       strings.Repeat("0123456789abcdef\n", 40_000),
		"suite/deep/er/and/deep/er/ümläut€": "unicode",
		"suite/no newline at the end":       "x\n\n\ny",
	}
	dir := tree(t, files)
	if err := os.Chmod(filepath.Join(dir, "suite", "binary"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := Config{Tests: []string{filepath.Join(dir, "suite")}, VarsFile: filepath.Join(dir, "suite", "-rf")}
	in, err := c.inputs()
	if err != nil {
		t.Fatal(err)
	}
	v, err := c.variables(in)
	if err != nil {
		t.Fatal(err)
	}
	r := run{c: &c, in: in, vars: v, w: &workspace{}}
	load, err := r.cargo()
	if err != nil {
		t.Fatal(err)
	}
	load[0].data = []byte("the script\n")
	packed, layout, err := archive(load)
	if err != nil {
		t.Fatal(err)
	}

	there := t.TempDir()
	script := unpackScript(there, digestOf(gzipped([]byte("goss"))), digestOf(packed), layout, "")
	if err := os.WriteFile(filepath.Join(there, "inputs.gz"), packed, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(there, "goss.gz"), gzipped([]byte("goss")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}

	want := map[string]string{"goss": "goss", "run.sh": "the script\n", "leave.sh": "#!/bin/sh\n", "vars/vars": "{an: option}"}
	for name, content := range files {
		want["tests/"+name] = content
	}
	got := map[string]string{}
	err = fs.WalkDir(os.DirFS(there), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(there, name))
		got[name] = string(b)
		info, err2 := d.Info()
		if err2 != nil {
			return err2
		}
		wantMode := fs.FileMode(0o600)
		if name == "goss" || name == "leave.sh" || name == "tests/suite/binary" {
			wantMode = 0o700
		}
		if info.Mode().Perm() != wantMode {
			t.Errorf("%q has the mode %v, want %v", name, info.Mode().Perm(), wantMode)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("arrived: %q\nwant: %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "plain", "it's", "''", `\`, `"$(id)"`, "`id`", "a\nb", "-n", "*", "é", "\x80\xff", "!x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) || len(s) > 10_000 {
			t.Skip("cannot be an argument")
		}
		out, err := exec.Command("sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("the shell made %q of %q (%v)", out, s, err)
		}
		// Scripts are quoted as a whole once more, and under sudo twice.
		out, err = exec.Command("sh", "-c", "sh -c "+quote("printf %s "+quote(s))).Output()
		if err != nil || string(out) != s {
			t.Errorf("two shells made %q of %q (%v)", out, s, err)
		}
	})
}

// Whatever a value is and whatever its variable is called, the script that
// starts goss hands it over unchanged and touches no file but its own.
func FuzzValues(f *testing.F) {
	dir, theirs := f.TempDir(), f.TempDir()
	names := []string{"A", "PATH", "HOME", "armfree_dir", "armfree_name", "armfree_setsid", "armfree_pid", "armfree_code", "dir", "name", "pid", "code", "n", "want"}
	for _, s := range []string{"", "it's", "$(id)", "`id`", "a\nb\n", `\`, "\x80", "';exit 1;'", "{{ .x }}", "\r"} {
		f.Add(s, s, byte(0))
	}
	for i := range names {
		f.Add(theirs, "{}", byte(i))
	}
	show := filepath.Join(dir, "show me's")
	if err := os.WriteFile(show, []byte("#!/bin/sh\neval \"printf '%s|%s|%s' \\\"\\$$2\\\" \\\"\\$GOSS_VARS_INLINE\\\" \\\"\\$1\\\"\"\n"), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(theirs, "pid"), []byte("theirs"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, env, inline string, which byte) {
		if strings.ContainsRune(env+inline, 0) || len(env)+len(inline) > 10_000 || inline == "" {
			return
		}
		name := names[int(which)%len(names)]
		p := program{dir: dir, work: dir, goss: show, inline: inline, env: map[string]string{name: env}}
		script := filepath.Join(dir, "run.sh")
		if err := os.WriteFile(script, []byte(p.script()), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sh", "-c", "sh "+quote(script)+" "+quote(env)+" "+name).Output()
		if want := env + "|" + inline + "|" + env; err != nil || string(out) != want {
			t.Errorf("%s: handed over %q, want %q (%v)", name, out, want, err)
		}
		if b, err := os.ReadFile(filepath.Join(theirs, "pid")); err != nil || string(b) != "theirs" {
			t.Errorf("%s: a file of theirs was touched: %q, %v", name, b, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil {
			t.Errorf("%s: the number of the process is left", name)
		}
	})
}
