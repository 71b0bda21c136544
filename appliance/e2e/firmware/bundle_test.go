//go:build interop

package firmware

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headwater/headwater/appliance/e2e/firmware/machine"
	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/firmware/update"
)

// password is the box's, for who changes its firmware.
const password = "of the plant"

// updatePatience is for an upload, a restart and two tries.
const updatePatience = 6 * time.Minute

// withPassword is the setting that lets updates in.
func withPassword(t *testing.T) string {
	t.Helper()
	hash, err := access.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("admin.password: %q", hash)
}

// bundle packs a kernel and a root.
func bundle(t *testing.T, version string, kernel, root []byte) []byte {
	t.Helper()
	defer took(t, "packed %s", version)()
	scratch, err := os.Create(filepath.Join(t.TempDir(), "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	defer scratch.Close()
	var out bytes.Buffer
	if _, err := update.Pack(t.Context(), &out, scratch, key, update.Contents{
		Version: version, Compatible: "headwater-arm64-efi", Created: time.Now(),
		Kernel: bytes.NewReader(kernel), Root: bytes.NewReader(root),
	}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// upload gives the box a bundle, and fails the test if it is refused.
func upload(t *testing.T, m *machine.Machine, data []byte) {
	t.Helper()
	start := time.Now()
	status, text, err := post(t.Context(), m, bytes.NewReader(data), len(data))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f s: uploaded %d bytes: %d %s", time.Since(start).Seconds(), len(data), status, text)
	if status != http.StatusOK {
		t.Fatal("refused")
	}
}

// post sends a bundle, and returns what the box answers.
func post(ctx context.Context, m *machine.Machine, body io.Reader, size int) (status int, text []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, updatePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.Admin+"/firmware", body)
	if err != nil {
		return 0, nil, err
	}
	req.ContentLength = int64(size)
	req.SetBasicAuth("admin", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, text, err
}

// awaitStatus asks the box, through its restarts, until its status is what is wanted.
func awaitStatus(t *testing.T, m *machine.Machine, wanted func(update.Status) bool) (s update.Status) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), updatePatience)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	start := time.Now()
	for {
		if now, err := status(ctx, m); err == nil {
			s = now
			if wanted(s) {
				t.Logf("%.1f s: %+v, last %+v", time.Since(start).Seconds(), s.Slots, s.Last)
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

func status(ctx context.Context, m *machine.Machine) (s update.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Admin+"/firmware", nil)
	if err != nil {
		return s, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s)
}

// boxLog is what the box tells of its log over the admin port.
func boxLog(t *testing.T, m *machine.Machine) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Admin+"/log", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %.200s (%v)", resp.StatusCode, text, err)
	}
	return string(text)
}
