package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// errNoController is returned while nobody is known to be the controller.
var errNoController = errors.New("no controller is known")

// Controller is how the controller is reached. Whoever asks it has a connection of
// its own, so that nothing waits behind anything else.
type Controller struct {
	Self int32
	// Find names the controller, and the epoch in which this broker has registered; ok
	// is false while either is unknown.
	Find func() (address string, brokerEpoch int64, ok bool)
	// Dial makes a connection to an address; it must not wait for it.
	Dial func(address string) Caller
}

// link is a connection to whichever broker is the controller.
type link struct {
	Controller
	conn    Caller // nil before the first call
	address string // that conn is to
}

// open returns a connection to the controller of the moment.
func (l *link) open() (conn Caller, brokerEpoch int64, err error) {
	address, brokerEpoch, ok := l.Find()
	if !ok {
		return nil, -1, errNoController
	}
	if l.conn != nil && l.address != address {
		l.close()
	}
	if l.conn == nil {
		l.conn, l.address = l.Dial(address), address
	}
	return l.conn, brokerEpoch, nil
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// version is the latest of an API that the controller and this broker know.
func version(ctx context.Context, conn Caller, key int16) (int16, error) {
	v, err := conn.MaxVersion(ctx, key)
	if err == nil && v < 0 {
		err = fmt.Errorf("the controller does not know %s", kmsg.NameForKey(key))
	}
	return v, err
}
