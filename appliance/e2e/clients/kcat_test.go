//go:build interop

package clients

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// kcat runs kcat and returns what it prints.
func kcat(t *testing.T, brokers, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, patience), "kcat", append([]string{"-b", brokers}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// kcat has no driver: it is driven by its own flags. It writes in each compression,
// reads from each place, and reads in a group that resumes.
func TestKcat(t *testing.T) {
	p := start(t)
	version, err := exec.Command("kcat", "-V").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", version)
	topic := newTopic(t, p.Kafka, 1)
	var all []string
	for _, codec := range allCodecs {
		lines := []string{codec + "-0", codec + "-1"}
		all = append(all, lines...)
		kcat(t, p.Kafka, strings.Join(lines, "\n")+"\n", "-P", "-t", topic, "-p", "0", "-z", codec, "-X", "enable.idempotence=true")
	}
	read := func(from string, want []string) {
		t.Helper()
		got := kcat(t, p.Kafka, "", "-C", "-q", "-e", "-t", topic, "-p", "0", "-o", from, "-f", "%s\n")
		if got != joined(want) {
			t.Errorf("from %s: read %q, want %q", from, got, joined(want))
		}
	}
	read("beginning", all)
	read("3", all[3:])
	read("-2", all[len(all)-2:])
	read("end", nil)
	times := strings.Fields(kcat(t, p.Kafka, "", "-C", "-q", "-e", "-t", topic, "-o", "beginning", "-f", "%T\n"))
	first := 4
	for first > 0 && times[first-1] == times[4] { // records of one millisecond
		first--
	}
	read("s@"+times[4], all[first:])

	group := func(want []string) {
		t.Helper()
		got := kcat(t, p.Kafka, "", "-q", "-e", "-f", "%s\n", "-X", "auto.offset.reset=earliest", "-G", "kcat-group", topic)
		if got != joined(want) {
			t.Errorf("the group read %q, want %q", got, joined(want))
		}
	}
	group(all)
	late := []string{"late-0", "late-1"}
	kcat(t, p.Kafka, joined(late), "-P", "-t", topic, "-p", "0")
	group(late)
	if got := kcat(t, p.Kafka, "", "-Q", "-t", topic+":0:-1"); !strings.Contains(got, fmt.Sprintf("offset %d", len(all)+len(late))) {
		t.Errorf("the end is told as %q, want offset %d", got, len(all)+len(late))
	}
}

func joined(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
