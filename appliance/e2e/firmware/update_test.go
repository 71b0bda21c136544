//go:build interop

package firmware

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/firmware/update"
)

// password is the box's, for who changes its firmware.
const password = "of the plant"

// updatePatience is for an upload, a restart and a trial.
const updatePatience = 5 * time.Minute

// An update over the admin port is tried and marked good, and keeps every record; one
// whose root is no root goes back by itself, says so, and keeps them too.
func TestUpdate(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := os.WriteFile(keys, []byte(update.PublicText(public)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := imageWith(t, dir, "1.0.0", keys)
	next := imageWith(t, dir, "1.1.0", keys)
	hash, err := access.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	before := image
	image = first
	defer func() { image = before }()
	m := newMachine(t, dir, 1<<30, fmt.Sprintf("admin.password: %q", hash))
	powerOn(t, m)
	publisher := dial(t, m)
	for _, value := range []string{"1", "2", "3"} {
		if _, err := publisher.Request("telemetry.press3.temp", []byte(value), 30*time.Second); err != nil {
			t.Fatal(err)
		}
	}

	upload(t, m, bundle(t, key, "1.1.0", next.Kernel, next.Root))
	s := awaitStatus(t, m, func(s update.Status) bool { return s.Running == "b" && s.Last != nil && s.Last.Outcome == update.Good })
	t.Logf("after the good update: %+v", s.Slots)
	if got := values(t, m, "telemetry"); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("after the update kcat read %q", got)
	}

	upload(t, m, bundle(t, key, "1.2.0", next.Kernel, keys)) // no squashfs
	s = awaitStatus(t, m, func(s update.Status) bool { return s.Last != nil && s.Last.Outcome == update.RolledBack })
	t.Logf("after the bad update: %+v: %s", s.Slots, s.Last.Why)
	if s.Running != "b" || s.Slots[1].Version != "1.1.0" || s.Slots[0].State != update.SlotBad {
		t.Errorf("after a root that is none the box has %+v", s)
	}
	if got := values(t, m, "telemetry"); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("back on the old slot kcat read %q", got)
	}
}

// imageWith builds an image of a version whose boxes know keys.
func imageWith(t *testing.T, dir, version, keys string) machine.Image {
	t.Helper()
	img, err := machine.Build(t.Context(), dir, version, "-keys", keys)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// bundle packs two files.
func bundle(t *testing.T, key ed25519.PrivateKey, version, kernel, root string) []byte {
	t.Helper()
	c := update.Contents{Version: version, Compatible: "headwater-arm64-efi", Created: time.Now()}
	for name, to := range map[string]*io.Reader{kernel: &c.Kernel, root: &c.Root} {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		*to = f
	}
	scratch, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	var out bytes.Buffer
	if _, err := update.Pack(t.Context(), &out, scratch, key, c); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// upload gives the box a bundle, and fails the test if it is refused.
func upload(t *testing.T, m *machine.Machine, data []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), updatePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.Admin+"/firmware", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", password)
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	t.Logf("%d bytes, %.1f s: %d %s", len(data), time.Since(start).Seconds(), resp.StatusCode, text)
	if resp.StatusCode != http.StatusOK {
		t.Fatal("refused")
	}
}

// awaitStatus asks the box, through its restarts, until its status is what is wanted.
func awaitStatus(t *testing.T, m *machine.Machine, wanted func(update.Status) bool) (s update.Status) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), updatePatience)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	client := http.Client{Timeout: 5 * time.Second}
	start := time.Now()
	for {
		if resp, err := client.Get("http://" + m.Admin + "/firmware"); err == nil {
			s = update.Status{}
			err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s)
			resp.Body.Close()
			if err == nil && wanted(s) {
				t.Logf("%.1f s", time.Since(start).Seconds())
				return s
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the status is %+v (last %+v)", s, s.Last)
		case <-tick.C:
		}
	}
}
