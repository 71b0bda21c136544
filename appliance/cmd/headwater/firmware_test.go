package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// bundleIn makes a key and a bundle in dir, and returns the bundle's path.
func bundleIn(t *testing.T, dir string) string {
	t.Helper()
	key, out := filepath.Join(dir, "update.key"), filepath.Join(dir, "update.hwu")
	if _, stderr, code := call(t, nil, "firmware", "keygen", key); code != 0 {
		t.Fatalf("keygen: %d %s", code, stderr)
	}
	for name, text := range map[string]string{"kernel": strings.Repeat("kernel", 1000), "root": strings.Repeat("root", 1000)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, code := call(t, []string{"SOURCE_DATE_EPOCH=1800000000"}, bundleArgs(dir, out)...)
	if code != 0 || !strings.HasPrefix(stdout, out+": 1.4.0 for headwater-arm64-efi; kernel 6000 bytes (") {
		t.Fatalf("bundle: %d %q %s", code, stdout, stderr)
	}
	return out
}

func bundleArgs(dir, out string) []string {
	return []string{
		"firmware", "bundle", "--key", filepath.Join(dir, "update.key"), "--kernel", filepath.Join(dir, "kernel"), "--root", filepath.Join(dir, "root"),
		"--version", "1.4.0", "--compatible", "headwater-arm64-efi", "-o", out,
	}
}

// A key is for its owner's eyes, and is never written over.
func TestKeygen(t *testing.T) {
	key := filepath.Join(t.TempDir(), "update.key")
	stdout, stderr, code := call(t, nil, "firmware", "keygen", key)
	if code != 0 || len(strings.TrimSpace(stdout)) != 44 || stderr != "" {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	_, stderr, code = call(t, nil, "firmware", "keygen", key)
	if after, err := os.ReadFile(key); code != 2 || !strings.Contains(stderr, "is there already") || err != nil || !bytes.Equal(before, after) {
		t.Errorf("again: %d %q", code, stderr)
	}
}

// The same contents make the same bundle, and nothing else is left beside it.
func TestBundleCommand(t *testing.T) {
	dir := t.TempDir()
	first := bundleIn(t, dir)
	second := filepath.Join(dir, "again.hwu")
	if _, stderr, code := call(t, []string{"SOURCE_DATE_EPOCH=1800000000"}, bundleArgs(dir, second)...); code != 0 {
		t.Fatal(stderr)
	}
	one, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(second)
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("another bundle, %v", err)
	}
	if found, err := os.ReadDir(dir); err != nil || len(found) != 5 {
		t.Errorf("the directory has %v, %v", found, err)
	}
	stdout, _, code := call(t, nil, "firmware", "inspect", first)
	if code != 0 || !strings.Contains(stdout, `"version": "1.4.0"`) || !strings.Contains(stdout, `"created": "2027-01-15T08:00:00Z"`) {
		t.Errorf("inspect: %d %s", code, stdout)
	}
	one[len(one)-1] ^= 1
	if err := os.WriteFile(second, one, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := call(t, nil, "firmware", "inspect", second); code != 1 || !strings.HasPrefix(stderr, "the bundle is damaged") {
		t.Errorf("inspect a damaged one: %d %s", code, stderr)
	}
}

// What is called wrongly is said, and leaves nothing.
func TestBundleRefuses(t *testing.T) {
	dir := t.TempDir()
	bundleIn(t, dir)
	for name, tc := range map[string]struct {
		environ  []string
		from, to string
		code     int
		text     string
	}{
		"version":    {from: "1.4.0", to: "latest", code: 1, text: "is not a version"},
		"compatible": {from: "headwater-arm64-efi", to: "x y", code: 1, text: "is no kind of box"},
		"key":        {from: filepath.Join(dir, "update.key"), to: filepath.Join(dir, "root"), code: 2, text: "this is no private key"},
		"kernel":     {from: filepath.Join(dir, "kernel"), to: filepath.Join(dir, "none"), code: 2, text: "no such file"},
		"epoch":      {environ: []string{"SOURCE_DATE_EPOCH=now"}, code: 2, text: "SOURCE_DATE_EPOCH"},
	} {
		out := filepath.Join(dir, "out.hwu")
		args := bundleArgs(dir, out)
		for i := range args {
			if args[i] == tc.from {
				args[i] = tc.to
			}
		}
		_, stderr, code := call(t, tc.environ, args...)
		if code != tc.code || !strings.Contains(stderr, tc.text) {
			t.Errorf("%s: %d %q; want %d, %q", name, code, stderr, tc.code, tc.text)
		}
		if found, err := os.ReadDir(dir); err != nil || len(found) != 4 {
			t.Errorf("%s: the directory has %v, %v", name, found, err)
		}
	}
}

// A machine that was not started from an image says so.
func TestNoFirmwareHere(t *testing.T) {
	bundle := bundleIn(t, t.TempDir())
	for _, args := range [][]string{{"status"}, {"rollback"}, {"install", bundle}} {
		if _, stderr, code := call(t, nil, append([]string{"firmware"}, args...)...); code != 1 || !strings.HasPrefix(stderr, "this machine was not started from a firmware image") {
			t.Errorf("%v: %d %q", args, code, stderr)
		}
	}
}

// The broker here is asked where the settings say that it listens; one that cannot be
// asked has not caught up.
func TestCaughtUpHere(t *testing.T) {
	answer := ""
	broker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/readyz?caught-up=true" {
			answer = "asked for " + r.URL.String()
		}
		if answer != "" {
			http.Error(w, answer, http.StatusServiceUnavailable)
		}
	}))
	address := broker.Listener.Addr().String()
	settings := filepath.Join(t.TempDir(), "headwater.yaml")
	if err := os.WriteFile(settings, []byte("admin.listen: "+address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(environ []string, file, want string) {
		t.Helper()
		err := caughtUpHere(t.Context(), file, environ)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	check(nil, settings, "")
	check([]string{"HEADWATER_ADMIN_LISTEN=" + address}, "", "")
	answer = "broker: not registered"
	check(nil, settings, "not ready: broker: not registered")
	broker.Close()
	check(nil, settings, "does not answer")
	check([]string{"HEADWATER_ADMIN_LISTEN=nowhere"}, "", "admin.listen")
	check(nil, settings+".gone", "no such file")
}

// Over the admin port a box gets the bundle as it is, and the password.
func TestInstallAtBox(t *testing.T) {
	bundle := bundleIn(t, t.TempDir())
	want, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	asked, last := "", `"outcome":"rolled back","why":"the broker was not ready"`
	box := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String()
		_, password, _ := r.BasicAuth()
		switch {
		case r.Method == "GET":
			io.WriteString(w, `{"running":"b","slots":[{"slot":"a","version":"1.3.0","state":"good"},{"slot":"b","version":"1.4.0","state":"on trial","triesLeft":1,"tries":1}],
				"last":{"slot":"b","version":"1.4.0",`+last+`,"at":"2026-11-26T09:00:00Z"}}`)
		case password != "secret":
			http.Error(w, "this needs the box's password", http.StatusUnauthorized)
		default:
			if got, err := io.ReadAll(r.Body); err != nil || strings.HasSuffix(r.URL.Path, "firmware") && !bytes.Equal(got, want) {
				http.Error(w, "another bundle", http.StatusInternalServerError)
				return
			}
			io.WriteString(w, "done\n")
		}
	}))
	defer box.Close()
	for name, tc := range map[string]struct {
		args     []string
		password string
		code     int
		out      string // on either
		asked    string
	}{
		"install":  {[]string{"install", bundle}, "secret", 0, "done\n", "POST /firmware"},
		"older":    {[]string{"install", "--allow-downgrade", "--no-restart", bundle}, "secret\n", 0, "done\n", "POST /firmware?allow-downgrade=true&restart=no"},
		"password": {[]string{"install", bundle}, "guess", 1, "this needs the box's password\n", "POST /firmware"},
		"rollback": {[]string{"rollback"}, "secret", 0, "done\n", "POST /firmware/rollback"},
		"status": {[]string{"status"}, "", 0, "  slot a  1.3.0            good\n* slot b  1.4.0            on trial, tried 1 times, 1 tries left\n" +
			"last update: 1.4.0 in slot b, rolled back (2026-11-26 09:00:00Z)\n  the broker was not ready\n", "GET /firmware"},
	} {
		stdout, stderr, code := callWith(t, tc.password, nil, append([]string{"firmware", tc.args[0], "--box", box.URL}, tc.args[1:]...)...)
		if code != tc.code || stdout+stderr != tc.out || asked != tc.asked {
			t.Errorf("%s: %d %q %q, asked %q; want %d %q, asked %q", name, code, stdout, stderr, asked, tc.code, tc.out, tc.asked)
		}
	}
	for told, want := range map[string]string{
		`"outcome":"on trial"`:                  "\nlast update: 1.4.0 in slot b, on trial (2026-11-26 09:00:00Z)\n",
		`"outcome":"on trial","caughtUp":true`:  "(2026-11-26 09:00:00Z)\n  it must be ready and have caught up, as what ran before had\n",
		`"outcome":"good","caughtUp":true`:      "\nlast update: 1.4.0 in slot b, good (2026-11-26 09:00:00Z)\n",
		`"outcome":"on trial","caughtUp":false`: "\nlast update: 1.4.0 in slot b, on trial (2026-11-26 09:00:00Z)\n",
	} {
		last = told
		if stdout, stderr, code := call(t, nil, "firmware", "status", "--box", box.URL); code != 0 || !strings.HasSuffix(stdout, want) {
			t.Errorf("%s: %d %q %q, want …%q", told, code, stdout, stderr, want)
		}
	}
	if _, stderr, code := call(t, nil, "firmware", "status", "--box", "gateway:8080"); code != 2 || !strings.Contains(stderr, "is not the URL") {
		t.Errorf("%d %q", code, stderr)
	}
}

// The log goes to standard output, to its end or with a complaint.
func TestLogOfBox(t *testing.T) {
	long := strings.Repeat("level=INFO msg=ready\n", 100_000)
	box := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/old/log":
			http.NotFound(w, r)
		case password != "secret":
			http.Error(w, "this needs the box's password", http.StatusUnauthorized)
		case r.URL.Path == "/half/log":
			io.WriteString(w, long)
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, long)
		}
	}))
	defer box.Close()
	for name, tc := range map[string]struct {
		url, password string
		code          int
		out, err      string
	}{
		"all":   {box.URL, "secret", 0, long, ""},
		"guess": {box.URL, "guess", 1, "", "this needs the box's password\n"},
		"half":  {box.URL + "/half", "secret", 1, long, "ends early"},
		"old":   {box.URL + "/old", "secret", 1, "", "keeps no log"},
	} {
		stdout, stderr, code := callWith(t, tc.password, nil, "firmware", "log", "--box", tc.url)
		if code != tc.code || !strings.HasPrefix(tc.out, stdout) || tc.err == "" && stdout != tc.out || !strings.Contains(stderr, tc.err) {
			t.Errorf("%s: %d, %d bytes, %q; want %d, %d bytes, %q", name, code, len(stdout), stderr, tc.code, len(tc.out), tc.err)
		}
	}
	if _, stderr, code := call(t, nil, "firmware", "log"); code != 2 || !strings.Contains(stderr, "box") {
		t.Errorf("of no box: %d %q", code, stderr)
	}
}
