package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/headwater/headwater/appliance/admin"
	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/firmware/boot/ring"
	"github.com/headwater/headwater/firmware/layout"
	"github.com/headwater/headwater/firmware/update"
)

// slots is the firmware of this box, as the admin port shows and changes it.
type slots struct{ box *update.Box }

// flashed is what the admin port has of this machine: nothing where it was not started
// from an image. passwordHash is checked already, and may be empty. caughtUp is the
// broker's.
func flashed(passwordHash string, caughtUp func() error, log *slog.Logger) admin.Box {
	box := admin.Box{Allowed: whoHas(passwordHash)}
	if s, err := update.Here("", log); err == nil {
		s.CaughtUp = caughtUp
		box.Firmware = slots{s}
	} else if !errors.Is(err, update.ErrNoFirmware) {
		log.Warn("firmware not known", "err", err)
	}
	if _, err := os.Stat(layout.LogDir); err == nil { // of the process that has started this one
		box.Log = func() (io.ReadCloser, error) { return ring.Open(layout.LogDir) }
	}
	return box
}

// boxUser stands for whoever has the password.
const boxUser = "admin"

// whoHas lets in who has the password.
func whoHas(passwordHash string) func(password string) error {
	if passwordHash == "" {
		return func(string) error { return admin.ErrNoPassword }
	}
	list, err := access.Compile([]access.User{{Name: boxUser, Password: passwordHash, Publish: []string{">"}}})
	if err != nil {
		panic(err) // config allows hashes only
	}
	return func(password string) error {
		_, err := list.Password(boxUser, password)
		if errors.Is(err, access.ErrRefused) {
			return admin.ErrPassword
		}
		return err
	}
}

func (s slots) Status() (any, error) { return s.box.Status() }

func (s slots) Install(ctx context.Context, bundle io.Reader, size int64, allowDowngrade bool) (version string, err error) {
	m, err := s.box.Install(ctx, bundle, size, update.Options{AllowDowngrade: allowDowngrade})
	return m.Version, err
}

func (s slots) RollBack() (next string, restart bool, err error) {
	slot, err := s.box.RollBack()
	return "slot " + string(slot), slot != s.box.Running, err
}

func (s slots) Refused(err error) bool { return update.Refused(err) }
func (s slots) Restart() error         { return update.Reboot() }
