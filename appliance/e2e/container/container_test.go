//go:build interop

package container

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func quiet(args ...string) { exec.Command(args[0], args[1:]...).Run() } // best effort, at the end of a test

// soon is what "well under a second" is, on a machine that does other things as well.
const soon = 3 * time.Second

// One manifest has the image for four processors, which says what it is, who it runs as
// and how its health is asked; and make container says what it did.
func TestImage(t *testing.T) {
	for _, platform := range []string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6"} {
		if !strings.Contains(built, platform+": in ") {
			t.Errorf("make container does not tell of %s:\n%s", platform, built)
		}
	}
	if got, want := slices.Sorted(maps.Keys(digests(t))), []string{"linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64"}; !slices.Equal(got, want) {
		t.Errorf("the manifest has %v, want %v", got, want)
	}
	for format, want := range map[string]string{
		"{{.Config.User}}":       "65532:0",
		"{{.Config.Entrypoint}}": "[/headwater]",
		"{{.Config.Cmd}}":        "[serve]",
		"{{.Config.Volumes}}":    "map[/data:{}]",
		"{{.HealthCheck.Test}}":  "[CMD /headwater health]",
		`{{index .Labels "org.opencontainers.image.version"}}`: imageVersion,
	} {
		if got := strings.TrimSpace(command(t, "", "podman", "image", "inspect", "--format", format, image)); got != want {
			t.Errorf("%s is %q, want %q", format, got, want)
		}
	}
}

// digests are those of the images in the manifest, by platform.
func digests(t *testing.T) map[string]string {
	t.Helper()
	var list struct {
		Manifests []struct {
			Digest   string
			Platform struct{ OS, Architecture, Variant string }
		}
	}
	if err := json.Unmarshal([]byte(command(t, "", "podman", "manifest", "inspect", image)), &list); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range list.Manifests {
		found[strings.TrimRight(m.Platform.OS+"/"+m.Platform.Architecture+"/"+m.Platform.Variant, "/")] = m.Digest
	}
	return found
}

// Used from outside by kcat and nats, stopped, started, killed: what was acked is read
// again, and each start with data there is quick. SIGTERM ends it with 0, long before
// anyone would kill it.
func TestContainer(t *testing.T) {
	b := run(t)
	publish(t, b.nats, "press1", "first")
	if out := command(t, "a:produced\n", "kcat", "-P", "-b", b.kafka, "-t", "telemetry", "-K", ":"); out != "" {
		t.Errorf("kcat says %q", out)
	}
	if out := command(t, "", "podman", "exec", b.name, "/headwater", "health"); out != "ready\n" {
		t.Errorf("health says %q", out)
	}
	command(t, "", "podman", "healthcheck", "run", b.name)

	begin := time.Now()
	command(t, "", "podman", "stop", "--time", "30", b.name)
	stopped := time.Since(begin)
	if code := b.inspect(t, "{{.State.ExitCode}}"); code != "0" || stopped > 10*time.Second {
		t.Errorf("SIGTERM ended it with %s after %v", code, stopped)
	}
	warm := b.start(t)
	publish(t, b.nats, "press1", "second")
	b.kill(t)
	killed := b.start(t)
	if got, want := read(t, b.kafka), []string{"first", "produced", "second"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	if warm > soon || killed > soon {
		t.Errorf("ready %v after a start, %v after a kill; want %v or less", warm, killed, soon)
	}
	t.Logf("stopped in %v; ready %v after a start with data, %v after a kill", stopped.Round(time.Millisecond), warm.Round(time.Millisecond), killed.Round(time.Millisecond))
}

// It runs for any user: for one of group 0 on a volume of its own, and for any other on
// a directory that may be written. Where not, it says so.
func TestAnyUser(t *testing.T) {
	b := run(t, "--user", "1000660000:0")
	publish(t, b.nats, "press1", "kept")
	if got := read(t, b.kafka); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("read %q", got)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // on the way to dir
		t.Fatal(err)
	}
	if err := os.Chown(dir, 4242, 4242); err != nil {
		t.Fatal(err)
	}
	own := prepare(t)
	t.Cleanup(func() { remove(own.name) })
	command(t, "", own.words("--detach", "--user", "4242:4242", "--volume", dir+":/data", image)...)
	own.awaitReady(t)
	publish(t, own.nats, "press1", "kept")
	remove(own.name)
	refused(t, "data.dir: /data may not be written by this user, 65532; allowed is one that may", "--volume", dir+":/data")
}

// A data directory in memory or in the container's own layer is refused in a sentence
// that names the setting; with the setting it is as good as any other.
func TestVolatile(t *testing.T) {
	refused(t, "data.dir: /data lies on tmpfs, which is in memory alone", "--tmpfs", "/data:mode=0777")
	refused(t, "or this one with data.allowVolatile", "--tmpfs", "/data:mode=0777")
	if driver := strings.TrimSpace(command(t, "", "podman", "info", "--format", "{{.Store.GraphDriverName}}")); driver == "overlay" {
		refused(t, "data.dir: /own lies on overlay, which goes with the container", "--env", "HEADWATER_DATA_DIR=/own", "--read-only=false", "--user", "0")
	} else {
		t.Logf("containers lie on %s here, which is no overlay", driver)
	}
	b := prepare(t)
	t.Cleanup(func() { remove(b.name) })
	command(t, "", b.words("--detach", "--tmpfs", "/data:mode=0777", "--env", "HEADWATER_DATA_ALLOW_VOLATILE=true", image)...)
	b.awaitReady(t)
	publish(t, b.nats, "press1", "gone tomorrow")
	if log := b.log(t); !strings.Contains(log, "records do not stay here") {
		t.Errorf("nothing says that records do not stay:\n%s", log)
	}
}

// Killed again and again while it starts, and shortly after, it keeps what was acked, and
// is ready as soon as it is let.
func TestCrashLoop(t *testing.T) {
	const rounds = 12
	b := run(t)
	var want []string
	for round := range rounds {
		value := fmt.Sprint("round-", round)
		publish(t, b.nats, "press1", value)
		want = append(want, value)
		b.kill(t)
		for range 2 {
			command(t, "", "podman", "--runtime", "runc", "start", b.name)
			time.Sleep(time.Duration(round*5) * time.Millisecond) // the moment of the kill is what is varied
			b.kill(t)
		}
		if took := b.start(t); took > soon {
			t.Errorf("round %d: ready after %v", round, took)
		}
	}
	if got := read(t, b.kafka); !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
}
