package appliance

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/headwater/headwater/appliance/admin"
	"github.com/headwater/headwater/bridge/access"
)

// A machine that was not flashed has nothing of a box.
func TestNotFlashed(t *testing.T) {
	if box := flashed("", nil, slog.New(slog.DiscardHandler)); box.Firmware != nil || box.Log != nil {
		t.Errorf("%+v", box)
	}
}

func TestWhoHas(t *testing.T) {
	hash, err := access.Hash("of the plant")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		hash, password string
		want           error
	}{
		{"", "", admin.ErrNoPassword},
		{"", "of the plant", admin.ErrNoPassword},
		{hash, "", admin.ErrPassword},
		{hash, "guess", admin.ErrPassword},
		{hash, "of the plant", nil},
	} {
		if err := whoHas(tc.hash)(tc.password); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
			t.Errorf("%.10q, given %q: %v, want %v", tc.hash, tc.password, err, tc.want)
		}
	}
}
