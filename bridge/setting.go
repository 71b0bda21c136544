package bridge

import (
	"errors"

	"github.com/headwater/headwater/bridge/certs"
	"github.com/headwater/headwater/bridge/natsd"
)

// SettingError is something that the settings of NATS caused: a port that cannot be
// had, or a file that is not right.
type SettingError struct {
	Setting string // listen, websocket.listen, leafnodes.listen, tls.cert, tls.key or tls.clientCa
	Address string // of a port; empty for a file, which Err names
	Err     error
}

func (e *SettingError) Error() string { return "nats." + e.Setting + ": " + e.Err.Error() }
func (e *SettingError) Unwrap() error { return e.Err }

// SettingErrors are those that an error of Listen holds.
func SettingErrors(err error) (out []*SettingError) {
	switch err := err.(type) {
	case *SettingError:
		return []*SettingError{err}
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			out = append(out, SettingErrors(err)...)
		}
	case interface{ Unwrap() error }:
		out = SettingErrors(err.Unwrap())
	}
	return out
}

// ofSettings makes SettingErrors of what natsd and certs say of theirs.
func ofSettings(err error) error {
	switch e := err.(type) {
	case *natsd.PortError:
		return &SettingError{e.Listener, e.Address, e.Err}
	case *certs.FileError:
		return &SettingError{"tls." + e.Field, "", e.Err}
	case interface{ Unwrap() []error }:
		var errs []error
		for _, err := range e.Unwrap() {
			errs = append(errs, ofSettings(err))
		}
		return errors.Join(errs...)
	}
	return err
}
