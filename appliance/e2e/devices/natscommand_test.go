//go:build interop

package devices

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// The nats command publishes, asks and subscribes.
func TestNatsCommandPublish(t *testing.T) {
	p := start(t)
	heard := subscribe(t, p, "*.cli.>")
	runNATS(t, p, "pub", "telemetry.cli.temp", "20.5")
	if got := heard(); got != "20.5" {
		t.Errorf("the subscriber heard %q", got)
	}
	answer := runNATS(t, p, "request", "--raw", "telemetry.cli.temp", "21.5")
	var ack struct {
		Stream string
		Seq    uint64
	}
	if err := json.Unmarshal([]byte(answer), &ack); err != nil || ack.Stream != "telemetry-0" || ack.Seq != 2 {
		t.Errorf("the answer is %q, %v", answer, err)
	}
	if out := runNATS(t, p, "pub", "-J", "telemetry.cli.temp", "22.5"); !strings.Contains(out, "Sequence: 3") {
		t.Errorf("pub -J says %q", out)
	}
}

// subscribe has the nats command listen to a subject that begins with a *, so that
// no rule need take what tells whether it listens: the command does not say so itself.
// It returns what waits for the next message and returns its payload.
func subscribe(t *testing.T, p *process.Process, subject string) (next func() string) {
	t.Helper()
	args := natsArgs(p, []string{"sub", "--raw", subject})
	cmd := exec.CommandContext(within(t, patience), args[0], args[1:]...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range lines {
		}
		cmd.Wait() // it was killed, which is an error
	})
	const probe = "is anybody there"
	nc := connect(t, p)
	for heard := false; !heard; {
		if err := nc.Publish(strings.NewReplacer("*", "probe", ">", "x").Replace(subject), []byte(probe)); err != nil {
			t.Fatal(err)
		}
		select {
		case _, heard = <-lines:
			if !heard {
				t.Fatal("the subscriber has ended")
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	return func() string {
		for line := range lines {
			if line != probe {
				return line
			}
		}
		t.Fatal("the subscriber has ended")
		return ""
	}
}

// The nats command shows streams, and gets messages.
func TestNatsCommandStreams(t *testing.T) {
	p := start(t)
	first := publish(t, jetStream(t, p), "cli", 5)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"account", "info"}, `(?i)jetstream`},
		{[]string{"stream", "ls"}, `telemetry-0.* 5 `},
		{[]string{"stream", "ls", "--names"}, `^telemetry-0\n$`},
		{[]string{"stream", "info", "telemetry-0"}, `(?s)telemetry\.>.*Messages: 5\b.*Last Sequence: ` + fmt.Sprint(first+4)},
		{[]string{"stream", "get", "telemetry-0", fmt.Sprint(first + 2)}, `(?s)telemetry\.cli\.temp.*\n2\n`},
		{[]string{"stream", "get", "telemetry-0", "--last-for", "telemetry.cli.temp"}, `(?s)telemetry\.cli\.temp.*\n4\n`},
		{[]string{"stream", "report"}, `telemetry-0`},
		{[]string{"stream", "subjects", "telemetry-0"}, `telemetry\.cli\.temp`},
		{[]string{"--js-domain", "hw", "stream", "ls", "--names"}, `telemetry-0`},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			if out := runNATS(t, p, tc.args...); !regexp.MustCompile(tc.want).MatchString(out) {
				t.Errorf("it says\n%s\nwant %s", out, tc.want)
			}
		})
	}
}

// The nats command makes, uses and removes a consumer.
func TestNatsCommandConsumers(t *testing.T) {
	p := start(t)
	publish(t, jetStream(t, p), "cli", 5)
	runNATS(t, p, "consumer", "add", "telemetry-0", "clerk", "--pull", "--defaults", "--ack", "explicit", "--deliver", "all")
	for i := range 3 {
		if out := runNATS(t, p, "consumer", "next", "telemetry-0", "clerk", "--raw", "--ack"); strings.TrimSpace(out) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, out)
		}
	}
	if out := runNATS(t, p, "consumer", "info", "telemetry-0", "clerk"); !regexp.MustCompile(`Unprocessed Messages: 2\b`).MatchString(out) {
		t.Errorf("info says\n%s", out)
	}
	if out := runNATS(t, p, "consumer", "ls", "telemetry-0", "--names"); strings.TrimSpace(out) != "clerk" {
		t.Errorf("ls says %q", out)
	}
	runNATS(t, p, "consumer", "rm", "telemetry-0", "clerk", "--force")
	if out, err := try(t, "", natsArgs(p, []string{"consumer", "info", "telemetry-0", "clerk"})...); err == nil {
		t.Errorf("after it was removed info says\n%s", out)
	}
}

// What a partition cannot do is refused, and the command shows why.
func TestNatsCommandRefusals(t *testing.T) {
	p := start(t)
	publish(t, jetStream(t, p), "cli", 1)
	for _, args := range [][]string{
		{"stream", "add", "mine", "--subjects", "mine.>", "--defaults"},
		{"stream", "purge", "telemetry-0", "--force"},
		{"stream", "rm", "telemetry-0", "--force"},
		{"stream", "rmm", "telemetry-0", "1", "--force"},
		{"kv", "add", "bucket"},
	} {
		t.Run(strings.Join(args[:2], " "), func(t *testing.T) {
			out, err := try(t, "", natsArgs(p, args)...)
			if err == nil || !strings.Contains(out, "topic") && !strings.Contains(out, "Kafka") {
				t.Errorf("%v:\n%s\nwant an error that says what to do", err, out)
			}
		})
	}
}

// The benchmarks of the nats command run to their end.
func TestNatsCommandBench(t *testing.T) {
	p := start(t)
	publish(t, jetStream(t, p), "bench", 1)
	for _, args := range [][]string{
		{"bench", "js", "pub", "sync", "telemetry.bench.a", "--stream", "telemetry-0", "--msgs", "500", "--no-progress"},
		{"bench", "js", "pub", "async", "telemetry.bench.a", "--stream", "telemetry-0", "--msgs", "20000", "--batch", "500", "--no-progress"},
		{"bench", "js", "ordered", "--stream", "telemetry-0", "--msgs", "20000", "--no-progress"},
		{"bench", "js", "get", "sync", "--stream", "telemetry-0", "--msgs", "500", "--no-progress"},
		{"bench", "js", "get", "batch", "--stream", "telemetry-0", "--msgs", "20000", "--no-progress"},
	} {
		t.Run(strings.Join(args[2:4], " "), func(t *testing.T) {
			if out := runNATS(t, p, args...); !strings.Contains(out, "msgs/sec") {
				t.Errorf("it says\n%s", out)
			}
		})
	}
}
