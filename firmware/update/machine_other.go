//go:build !linux

package update

import (
	"fmt"
	"log/slog"
)

func forget(place) {}

// Here is the machine that this runs on.
func Here(string, *slog.Logger) (*Box, error) {
	return nil, fmt.Errorf("%w: it does not run Linux", ErrNoFirmware)
}

// Reboot restarts this machine.
func Reboot() error { return fmt.Errorf("%w: it does not run Linux", ErrNoFirmware) }
