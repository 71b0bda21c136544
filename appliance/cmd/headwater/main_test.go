package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headwater/headwater/broker/disk"
)

// binary is the command as users have it, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "headwater")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "headwater")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v1.2.3", "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// deadline is far more than anything here takes.
const deadline = 30 * time.Second

// call runs the command in an empty directory, and returns what it wrote and its
// exit code.
func call(t *testing.T, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return callWith(t, "", environ, args...)
}

// callWith is call with something on standard input.
func callWith(t *testing.T, stdin string, environ []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = t.TempDir(), environ, strings.NewReader(stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("headwater %s: %v, %v", args, err, ctx.Err())
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
		t.Errorf("headwater %s left %v in its directory (%v)", args, left, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// serveArgs are for an appliance of its own: free ports, and dir.
func serveArgs(dir string, more ...string) []string {
	return append([]string{
		"serve", "--data.dir=" + dir, "--data.allowVolatile", "--kafka.listen=127.0.0.1:0", "--nats.listen=127.0.0.1:0", "--admin.listen=127.0.0.1:0", "--log.format=json",
	}, more...)
}

// What is set up wrongly ends the command with 2 and one sentence each, and
// nothing is written.
func TestSetUpWrongly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "headwater.yaml")
	if err := os.WriteFile(file, []byte("kafka: {lisen: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	inUse := taken.Addr().String() + " is in use by another process; allowed is a free port\n"
	for name, tc := range map[string]struct {
		args    []string
		environ []string
		want    string
	}{
		"unknownKey":      {args: serveArgs(dir, "-c", file), want: "kafka.lisen (file " + file + " line 1): is not a setting; did you mean kafka.listen?\n"},
		"unknownVariable": {args: serveArgs(dir), environ: []string{"HEADWATER_DATA_DRI=x"}, want: "HEADWATER_DATA_DRI (environment): is not a setting's variable; did you mean HEADWATER_DATA_DIR?\n"},
		"unknownFlag":     {args: serveArgs(dir, "--data.dri=x"), want: "--data.dri: is not a flag; did you mean --data.dir?\n"},
		"badUnit":         {args: serveArgs(dir, "--data.syncInterval=10"), want: "data.syncInterval (flag --data.syncInterval): \"10\" is not a duration; allowed is a number with a unit, such as 500ms, 10s, 5m, 168h or 7d\n"},
		"noFile":          {args: serveArgs(dir, "-c", "missing.yaml"), want: "missing.yaml: cannot be read: no such file or directory\n"},
		"kafkaPort":       {args: serveArgs(dir, "--kafka.listen="+taken.Addr().String()), want: "kafka.listen: " + inUse},
		"natsPort":        {args: serveArgs(dir, "--nats.listen="+taken.Addr().String()), want: "nats.listen: " + inUse},
		"adminPort":       {args: serveArgs(dir, "--admin.listen="+taken.Addr().String()), want: "admin.listen: " + inUse},
		"fileForData":     {args: serveArgs(file), want: "data.dir: " + file + " cannot be made; allowed is a directory on a disk that can be written\n"},
		"argument":        {args: serveArgs(dir, "now"), want: "unknown command \"now\" for \"headwater serve\"\n"},
		"command":         {args: []string{"sreve"}, want: "unknown command \"sreve\" for \"headwater\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := call(t, tc.environ, tc.args...)
			if code != 2 || stderr != tc.want || stdout != "" {
				t.Errorf("exit code %d, stderr %q, stdout %q\nwant 2, %q, nothing", code, stderr, stdout, tc.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s was written (%v)", dir, err)
			}
		})
	}
}

// A data directory that another process holds is left as it is.
func TestHeldDataDirectory(t *testing.T) {
	dir := t.TempDir()
	held, err := disk.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	before := listing(t, dir)
	_, stderr, code := call(t, nil, serveArgs(dir)...)
	if want := "data.dir: " + dir + " is held by another process; allowed is one that no other holds\n"; code != 2 || stderr != want {
		t.Errorf("exit code %d, stderr %q; want 2, %q", code, stderr, want)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("left\n%s\nwant\n%s", after, before)
	}
}

// listing is every file below dir with its size.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			fmt.Fprintln(&b, name, info.Size())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// served is a running appliance.
type served struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner // of its log
	dir   string
}

func serve(t *testing.T) *served {
	t.Helper()
	s := &served{dir: filepath.Join(t.TempDir(), "data")}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	s.cmd = exec.CommandContext(ctx, binary, serveArgs(s.dir)...)
	s.cmd.Env = nil
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewScanner(stderr)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		s.cmd.Wait()
	})
	return s
}

// await reads the log up to the line that says message, and returns its values.
func (s *served) await(t *testing.T, message string) map[string]any {
	t.Helper()
	for s.lines.Scan() {
		var line map[string]any
		if err := json.Unmarshal(s.lines.Bytes(), &line); err != nil {
			t.Fatalf("log line %q: %v", s.lines.Text(), err)
		}
		if line["msg"] == message {
			return line
		}
	}
	t.Fatalf("the log ended (%v) without %q", s.lines.Err(), message)
	return nil
}

func (s *served) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (s *served) exit(t *testing.T) int {
	t.Helper()
	for s.lines.Scan() { // to the end, so that it can write on
	}
	if err := s.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return s.cmd.ProcessState.ExitCode()
}

// It says when it is ready and where, answers there, and one SIGTERM ends it
// well; then the data directory is free for the next.
func TestServe(t *testing.T) {
	s := serve(t)
	ready := s.await(t, "ready")
	for _, part := range []string{"kafka", "nats", "admin"} {
		conn, err := net.Dial("tcp", fmt.Sprint(ready[part]))
		if err != nil {
			t.Errorf("%s is not at %v: %v", part, ready[part], err)
			continue
		}
		conn.Close()
	}
	resp, err := http.Get(fmt.Sprintf("http://%v/readyz", ready["admin"]))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || string(body) != "ready\n" {
		t.Errorf("/readyz: %d %q, want 200 ready", resp.StatusCode, body)
	}
	http.DefaultClient.CloseIdleConnections()
	s.signal(t, syscall.SIGTERM)
	s.await(t, "stopped")
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	held, err := disk.Lock(s.dir)
	if err != nil {
		t.Fatalf("the data directory is not free: %v", err)
	}
	held.Close()
}

// A second signal ends it at once, though something is still under way: a request
// that never ends keeps the admin port from closing.
func TestSecondSignal(t *testing.T) {
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		s := serve(t)
		ready := s.await(t, "ready")
		conn, err := net.Dial("tcp", fmt.Sprint(ready["admin"]))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n"); err != nil {
			t.Fatal(err)
		}
		// Connections are taken in order: when a later one is answered, this one is
		// under way.
		if resp, err := http.Get(fmt.Sprintf("http://%v/healthz", ready["admin"])); err == nil {
			resp.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
		s.signal(t, syscall.SIGTERM)
		s.await(t, "stopping")
		s.signal(t, sig)
		if code := s.exit(t); code != want {
			t.Errorf("exit code %d after %v, want %d", code, sig, want)
		}
	}
}

func TestRoute(t *testing.T) {
	rules := `HEADWATER_BRIDGE_RULES=[{subject: "plant.*.>", topic: "plant-{2}", key: "{3}", partition: key}, {subject: log.>, topic: logs},
		{subject: "full.*.>", topic: t, partition: 9, headers: {Device: "{2}", Rest: "<{>}>"}, linger: 1s, compression: lz4, maxMessageBytes: 4KiB}]`
	for name, tc := range map[string]struct {
		subject, stdout, stderr string
		code                    int
	}{
		"byKey": {"plant.7.press3.temp", "subject:     plant.7.press3.temp\ntopic:       plant-7\nkey:         press3\npartition:   3 of 8\nrule:        0, plant.*.>\nlinger:      20ms\ncompression: none\n", "", 0},
		"noKey": {"log.a", "subject:     log.a\ntopic:       logs\nkey:         none\npartition:   0 of 8\nrule:        1, log.>\nlinger:      20ms\ncompression: none\n", "", 0},
		"all": {"full.d1.a.b", "subject:     full.d1.a.b\ntopic:       t\nkey:         none\nheader:      Device: d1\nheader:      Rest: <a.b>\n" +
			"partition:   9, which a topic of 8 does not have\nrule:        2, full.*.>\nlinger:      1s\ncompression: lz4\nlargest:     4KiB\n", "", 0},
		"noRule": {"elsewhere.a", "", "no rule takes elsewhere.a\n", 1},
	} {
		stdout, stderr, code := call(t, []string{rules, "HEADWATER_KAFKA_DEFAULT_PARTITIONS=8"}, "route", tc.subject)
		if stdout != tc.stdout || stderr != tc.stderr || code != tc.code {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q\nwant %d, %q, %q", name, code, stdout, stderr, tc.code, tc.stdout, tc.stderr)
		}
	}
	if _, stderr, code := call(t, nil, "route"); code != 2 || strings.Count(stderr, "\n") != 1 {
		t.Errorf("without a subject: exit code %d, stderr %q; want 2 and one line", code, stderr)
	}
}

// Many subjects, as arguments or on standard input, in text or as a line of JSON
// each; one without a place is told where it stands and makes the exit code 1.
func TestRouteMany(t *testing.T) {
	rules := []string{`HEADWATER_BRIDGE_RULES=[{subject: "a.*.>", topic: t, key: "{2}", headers: {Rest: "{>}"}, linger: 1m}, {subject: "b.*", topic: "b-{2}"}]`}
	first := "subject:     a.1.x\ntopic:       t\nkey:         1\nheader:      Rest: x\npartition:   0 of 1\nrule:        0, a.*.>\nlinger:      1m\ncompression: none\n"
	second := "subject:     b.2\ntopic:       b-2\nkey:         none\npartition:   0 of 1\nrule:        1, b.*\nlinger:      20ms\ncompression: none\n"
	jsonFirst := `{"subject":"a.1.x","rule":0,"pattern":"a.*.>","topic":"t","key":"1","headers":[{"name":"Rest","value":"x"}],"partition":0,"partitions":1,"linger":"1m","compression":"none"}` + "\n"
	jsonNone := `{"subject":"c","rule":-1,"key":null,"partition":0,"partitions":0,"error":"no rule takes c"}` + "\n"
	for name, tc := range map[string]struct {
		args                  []string
		stdin, stdout, stderr string
		code                  int
	}{
		"two":        {[]string{"a.1.x", "b.2"}, "", first + "\n" + second, "", 0},
		"noneFirst":  {[]string{"c", "a.1.x"}, "", first, "no rule takes c\n1 of 2 subjects have no place\n", 1},
		"noneAmid":   {[]string{"a.1.x", "c", "b.2", "c.d"}, "", first + "\n" + second, "no rule takes c\nno rule takes c.d\n2 of 4 subjects have no place\n", 1},
		"stdin":      {[]string{"-"}, "a.1.x\n\nb.2", first + "\n" + second, "", 0},
		"stdinEmpty": {[]string{"-"}, "", "", "", 0},
		"json":       {[]string{"--json", "-"}, "a.1.x\nc\n", jsonFirst + jsonNone, "1 of 2 subjects have no place\n", 1},
		"stdinLong":  {[]string{"-"}, strings.Repeat("x", 100_000), "", "standard input: bufio.Scanner: token too long\n", 1},
	} {
		stdout, stderr, code := callWith(t, tc.stdin, rules, append([]string{"route"}, tc.args...)...)
		if stdout != tc.stdout || stderr != tc.stderr || code != tc.code {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q\nwant %d, %q, %q", name, code, stdout, stderr, tc.code, tc.stdout, tc.stderr)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	documented, err := filepath.Abs(filepath.Join("..", "..", "..", "configs", "headwater.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := call(t, []string{"HEADWATER_LOG_LEVEL=debug"}, "check-config", documented, "--topics.retention=7d")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "\n  level: debug\n") || !strings.Contains(stdout, "\n  retention: 168h\n") ||
		!strings.Contains(stdout, "\n  advertise: \"\"\n") {
		t.Errorf("exit code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
	stdout, stderr, code = call(t, []string{"HEADWATER_LOG_LEVEL=loud", "HEADWATER_NATS_MAX_PAYLOAD=1XB"}, "check-config")
	if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 2 {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 2, nothing, two lines", code, stdout, stderr)
	}
}

func TestVersion(t *testing.T) {
	stdout, _, code := call(t, nil, "version")
	if code != 0 || !strings.HasPrefix(stdout, "headwater v1.2.3 (go") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}
	for want, tc := range map[string]struct {
		linked string
		info   debug.BuildInfo
	}{
		"v1":                    {"v1", debug.BuildInfo{Main: debug.Module{Version: "v2"}}},
		"v2":                    {"", debug.BuildInfo{Main: debug.Module{Version: "v2"}, Settings: vcs}},
		"0123456789ab-modified": {"", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: vcs}},
		"unknown":               {"", debug.BuildInfo{}},
	} {
		if got := versionOf(tc.linked, &tc.info); got != want {
			t.Errorf("version %q, want %q", got, want)
		}
	}
}
