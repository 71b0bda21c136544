//go:build interop

// Package container tests the image as people run it: built by `make container`, run by
// podman with runc, and used from outside by kcat and the nats command; and the images of
// other processors, whose binaries run under qemu. It holds tests only, for `make
// interop`, and needs root.
//
// Every test has a container, ports and a volume of its own, and removes them.
package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/install"
	"github.com/headwater/headwater/appliance/process"
)

// patience is how long anything here may take before it counts as not happening.
const patience = 60 * time.Second

// natsCommand is the package and version of the nats command.
const natsCommand, natsVersion = "github.com/nats-io/natscli/nats", "v0.5.1"

// What prepareAndRun made ready.
var (
	image    string // its name, with a tag; all platforms in one manifest
	built    string // what make container printed
	natsTool string // the nats command
)

const imageVersion = "v0.0.0-interop"

func TestMain(m *testing.M) { os.Exit(prepareAndRun(m)) }

func prepareAndRun(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "containers with a memory ceiling need root here; run this as root")
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	root, err := process.ModuleRoot()
	if err == nil {
		natsTool, err = install.Go(ctx, natsCommand, natsVersion)
	}
	name := fmt.Sprintf("headwater-interop-%d", os.Getpid())
	image = "localhost/" + name + ":" + imageVersion
	if err == nil {
		defer removeImages(name)
		cmd := exec.CommandContext(ctx, "make", "container", "TAG="+name, "VERSION="+imageVersion)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "ENGINE=podman")
		var text []byte
		text, err = cmd.CombinedOutput()
		if built = string(text); err != nil {
			err = fmt.Errorf("make container: %w\n%s", err, text)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// removeImages removes the manifest, and the images in it that nothing else uses.
func removeImages(name string) {
	for _, tag := range []string{imageVersion, "latest"} {
		exec.Command("podman", "manifest", "rm", "localhost/"+name+":"+tag).Run() // one of the two names is the last
	}
	exec.Command("podman", "image", "prune", "--force", "--filter", "label=org.opencontainers.image.version="+imageVersion).Run()
}

// within returns a context of the test's that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// command runs a program that must succeed, and returns what it wrote on standard output.
func command(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := try(t, stdin, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

// try runs a program, and returns what it wrote.
func try(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(within(t, patience), args[0], args[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// publish sends a value with the nats command, and wants it acked.
func publish(t *testing.T, natsAddress, device, value string) {
	t.Helper()
	answer := command(t, "", natsTool, "--server", "nats://"+natsAddress, "--no-context", "--timeout", "20s",
		"request", "--raw", "telemetry."+device+".temp", value)
	if !strings.Contains(answer, `"stream":"telemetry-0"`) {
		t.Fatalf("the answer is %q", answer)
	}
}

// read reads the topic to its end with kcat: a value a record.
func read(t *testing.T, kafkaAddress string) []string {
	t.Helper()
	out := command(t, "", "kcat", "-C", "-b", kafkaAddress, "-t", "telemetry", "-o", "beginning", "-e", "-q", "-f", `%s\n`)
	return strings.Fields(out)
}

// exitCode is that of a program that has ended.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
