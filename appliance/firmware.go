package appliance

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/headwater/headwater/appliance/admin"
	"github.com/headwater/headwater/bridge/access"
	"github.com/headwater/headwater/firmware/update"
)

// slots is the firmware of this box, as the admin port shows and changes it.
type slots struct {
	box  *update.Box
	list *access.List // of one who may change it; nil: nobody
}

// slotsUser stands for whoever has the password.
const slotsUser = "admin"

// firmware returns nil where this box was not started from an image with two slots.
// passwordHash is checked already, and may be empty. caughtUp is the broker's.
func firmware(passwordHash string, caughtUp func() error, log *slog.Logger) admin.Firmware {
	box, err := update.Here("", log)
	if err != nil {
		if !errors.Is(err, update.ErrNoFirmware) {
			log.Warn("firmware not known", "err", err)
		}
		return nil
	}
	box.CaughtUp = caughtUp
	return newSlots(box, passwordHash)
}

func newSlots(box *update.Box, passwordHash string) slots {
	s := slots{box: box}
	if passwordHash != "" {
		list, err := access.Compile([]access.User{{Name: slotsUser, Password: passwordHash, Publish: []string{">"}}})
		if err != nil {
			panic(err) // config allows hashes only
		}
		s.list = list
	}
	return s
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

func (s slots) Allowed(password string) error {
	if s.list == nil {
		return admin.ErrNoPassword
	}
	_, err := s.list.Password(slotsUser, password)
	if errors.Is(err, access.ErrRefused) {
		return admin.ErrPassword
	}
	return err
}
