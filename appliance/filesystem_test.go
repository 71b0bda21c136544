package appliance

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/broker/disk"
)

// Where nothing stays the settings must say so; where it is in doubt the log does; and
// what cannot be known keeps nobody from starting.
func TestCheckFilesystem(t *testing.T) {
	for name, tc := range map[string]struct {
		found   disk.Filesystem
		err     error
		allowed bool
		want    string // in the problem
		logged  string
	}{
		"volatile": {
			found: disk.Filesystem{Name: "tmpfs", Volatile: "is in memory"},
			want:  "data.dir: /d lies on tmpfs, which is in memory; allowed is a directory on a disk or a volume, or this one with data.allowVolatile",
		},
		"allowed": {found: disk.Filesystem{Name: "overlay", Volatile: "goes"}, allowed: true, logged: "fileSystem=overlay"},
		"doubt":   {found: disk.Filesystem{Name: "nfs", Doubt: "is kept by another"}, logged: "fileSystem=nfs"},
		"disk":    {found: disk.Filesystem{Name: "ext4"}},
		"unknown": {err: errors.New("not told")},
	} {
		var logged bytes.Buffer
		err := checkFilesystem(config.Data{Dir: "/d", AllowVolatile: tc.allowed},
			func(string) (disk.Filesystem, error) { return tc.found, tc.err }, slog.New(slog.NewTextHandler(&logged, nil)))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if (tc.logged == "") != (logged.Len() == 0) || !strings.Contains(logged.String(), tc.logged) {
			t.Errorf("%s: logged %q, want %q", name, logged.String(), tc.logged)
		}
	}
}
