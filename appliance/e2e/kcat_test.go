package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/headwater/headwater/appliance/process/processtest"
)

// kcat runs kcat against the process on address and returns what it prints.
func kcat(t *testing.T, address, stdin string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Fatal("kcat is missing; install it (Debian: apt-get install kcat) to run the end-to-end tests")
	}
	cmd := exec.CommandContext(within(t, patience), path, append([]string{"-b", address}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, processtest.LastLines(stderr.String(), 20))
	}
	return stdout.String()
}

// kcatRead reads a topic to its end with kcat. args say where to begin.
func kcatRead(t *testing.T, address, topic string, args ...string) []stored {
	t.Helper()
	out := kcat(t, address, "", append([]string{"-C", "-t", topic, "-e", "-q", "-J", "-X", "fetch.wait.max.ms=20"}, args...)...)
	var all []stored
	for line := range strings.Lines(out) {
		var r struct {
			Partition    int32
			Offset       int64
			TS           int64
			Key, Payload *string
			Headers      []*string
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("kcat printed %q: %v", line, err)
		}
		s := stored{place: place{r.Partition, r.Offset}, timestamp: r.TS, key: text(r.Key), value: text(r.Payload)}
		for i := 0; i+1 < len(r.Headers); i += 2 {
			s.headers = append(s.headers, [2]string{text(r.Headers[i]), text(r.Headers[i+1])})
		}
		all = append(all, s)
	}
	return all
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
