package main

import (
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/headwater/headwater/appliance/config"
	"github.com/headwater/headwater/firmware/boot"
	"github.com/headwater/headwater/firmware/update"
)

// built is set by the linker (-X main.built=…, in Unix seconds) in builds that know when
// they were made of what.
var built string

// bringUpMachine is what this process does if the kernel has started it as a machine's
// first. It does not return then.
func bringUpMachine() {
	if !boot.Called(os.Args) {
		return
	}
	debug.SetGCPercent(50) // memory is for the broker
	err := boot.Run(boot.Options{
		Machine: boot.NewKernel(), Console: os.Stderr, Version: versionHere(), Built: builtAt(), Settings: settingsOnBox, Update: updatesOnBox,
	})
	panic(err) // the kernel restarts the machine
}

// builtAt is when this program was made, as far as that is known.
func builtAt() time.Time {
	seconds, err := strconv.ParseInt(built, 10, 64)
	if err != nil {
		return oldest
	}
	return time.Unix(seconds, 0)
}

// oldest is before any box's first start.
var oldest = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// settingsOnBox reads the settings as serve does with the same file and environment.
func settingsOnBox(file string, environ []string) (boot.Serve, error) {
	cfg, err := config.Load(file, nil, environ)
	if err != nil {
		return boot.Serve{}, err
	}
	return boot.Serve{Admin: cfg.Admin.Listen, Kafka: cfg.Kafka.Listen, Advertise: cfg.Kafka.Advertise}, nil
}

// updates is what PID 1 has to do with a box's updates.
type updates struct{ *update.Box }

// Settle leaves the status to those who ask for it.
func (u updates) Settle() error {
	_, err := u.Box.Settle()
	return err
}

func updatesOnBox(log *slog.Logger) (boot.Update, error) {
	box, err := update.Here(versionHere(), log)
	if err != nil {
		return nil, err
	}
	return updates{box}, nil
}
