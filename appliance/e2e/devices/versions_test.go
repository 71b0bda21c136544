//go:build interop

package devices

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// TestVersions prints what the other tests are run with.
func TestVersions(t *testing.T) {
	t.Logf("nats.go %s", nats.Version)
	t.Logf("nats %s", strings.TrimSpace(command(t, "", natsTool, "--version")))
	out, _ := try(t, "", "mosquitto_pub", "--help") // which it says beside the exit code of an error
	version := regexp.MustCompile(`mosquitto_pub version \S+`).FindString(out)
	if version == "" {
		t.Errorf("mosquitto_pub tells no version:\n%s", out)
	}
	t.Log(version)
	for _, file := range []string{"python/requirements.txt", "node/package.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", file, strings.TrimSpace(string(text)))
	}
}
