//go:build interop

package container

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/process"
	"github.com/headwater/headwater/appliance/process/processtest"
)

// box is a container, and where it is reached from outside.
type box struct {
	name                     string
	kafka, nats, mqtt, admin string
}

// podman has runc run containers: crun wants limits raised, which a container that the
// tests run in may not. The limits are what every container gets.
var podman = []string{"podman", "--runtime", "runc", "run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"}

// boxes counts those of this process.
var boxes int

// prepare names a container and its ports, and removes it when the test ends.
func prepare(t *testing.T) *box {
	t.Helper()
	boxes++
	b := &box{name: fmt.Sprintf("headwater-interop-%d-%d", os.Getpid(), boxes)}
	for _, address := range []*string{&b.kafka, &b.nats, &b.mqtt, &b.admin} {
		var err error
		if *address, err = process.FreeAddress(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the container wrote:\n%s", processtest.LastLines(b.log(t), 40))
		}
	})
	return b
}

// log is what the container wrote on both outputs.
func (b *box) log(t *testing.T) string {
	stdout, stderr, _ := try(t, "", "podman", "logs", b.name)
	return stdout + stderr
}

// words are the command that runs the image as the README does: nothing but /data can be
// written, no capabilities, and each port is forwarded from loopback.
func (b *box) words(more ...string) []string {
	words := append([]string{}, podman...)
	words = append(words, "--name", b.name, "--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges",
		"--env", "HEADWATER_KAFKA_ADVERTISE="+b.kafka)
	for address, port := range map[string]int{b.kafka: 9092, b.nats: 4222, b.mqtt: 1883, b.admin: 8080} {
		words = append(words, "--publish", fmt.Sprintf("%s:%d", address, port))
	}
	return append(words, more...)
}

// run starts a container on a new volume, and waits until it is ready.
func run(t *testing.T, more ...string) *box {
	t.Helper()
	b := prepare(t)
	t.Cleanup(func() {
		remove(b.name)
		remove("volume", b.name)
	})
	command(t, "", b.words(append([]string{"--detach", "--volume", b.name + ":/data"}, append(more, image)...)...)...)
	b.awaitReady(t)
	return b
}

// refused runs a container that is to end with 2 and a sentence.
func refused(t *testing.T, want string, more ...string) {
	t.Helper()
	b := prepare(t)
	t.Cleanup(func() { remove(b.name) })
	stdout, stderr, err := try(t, "", b.words(append(more, image)...)...)
	if code := exitCode(err); code != 2 || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d, %s%s\nwant 2 and %q", code, stdout, stderr, want)
	}
}

// remove ends what a test that failed may have left, too.
func remove(words ...string) {
	args := []string{"podman", "rm", "--force", "--volumes", "--time", "0"}
	if words[0] == "volume" {
		args, words = []string{"podman", "volume", "rm", "--force"}, words[1:]
	}
	quiet(append(args, words...)...)
}

// awaitReady returns how long it took.
func (b *box) awaitReady(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	ctx := within(t, patience)
	client := http.Client{Timeout: time.Second}
	for {
		if answer, err := client.Get("http://" + b.admin + "/readyz"); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return time.Since(begin)
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not ready after %v:\n%s", patience, b.log(t))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// inspect is a word of what podman knows of the container.
func (b *box) inspect(t *testing.T, format string) string {
	t.Helper()
	return strings.TrimSpace(command(t, "", "podman", "inspect", "--format", format, b.name))
}

func (b *box) start(t *testing.T) time.Duration {
	t.Helper()
	command(t, "", "podman", "--runtime", "runc", "start", b.name)
	return b.awaitReady(t)
}

func (b *box) kill(t *testing.T) {
	t.Helper()
	command(t, "", "podman", "kill", "--signal", "KILL", b.name)
	command(t, "", "podman", "wait", b.name)
}

// memory reads a number from the container's memory cgroup, under the name that the
// version of cgroups here has for it.
func (b *box) memory(t *testing.T, v1, v2 string) int64 {
	t.Helper()
	pid := b.inspect(t, "{{.State.Pid}}")
	table, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for line := range strings.Lines(string(table)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case fields[1] == "memory":
			name = filepath.Join("/sys/fs/cgroup/memory", fields[2], v1)
		case fields[1] == "" && name == "":
			name = filepath.Join("/sys/fs/cgroup", fields[2], v2)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) { // a number alone, or that of oom_kill
		value, keyed := strings.CutPrefix(strings.TrimSpace(line), "oom_kill ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && (keyed || !strings.Contains(string(text), " ")) {
			return n
		}
	}
	t.Fatalf("%s tells no number: %q", name, text)
	return 0
}
