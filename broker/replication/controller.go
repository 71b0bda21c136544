package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	// errNoController is returned while nobody is known to be the controller.
	errNoController = errors.New("no controller is known")
	errMoved        = errors.New("another broker is the controller")
)

// Controller is how the controller is reached. Whoever asks it has a connection of
// its own, so that nothing waits behind anything else.
type Controller struct {
	Self int32
	// Find names the controller, and the epoch in which this broker has registered; ok
	// is false while either is unknown.
	Find func() (address string, brokerEpoch int64, ok bool)
	// Dial makes a connection to an address; it must not wait for it.
	Dial func(address string) Caller
	// TakeIDs takes the next block of producer ids from ZooKeeper, where all controllers
	// take them. It is for those that give none: Kafka's before 3.0.
	TakeIDs func(ctx context.Context) (first, count int64, err error)
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
	return atController{l.conn, l.Controller, l.address}, brokerEpoch, nil
}

// atController is a connection to a broker for as long as that is the controller. One
// that is frozen or cut off answers nobody, and another has been elected long before
// its answers are given up.
type atController struct {
	Caller
	of      Controller
	address string
}

// lookEvery is how often a call that is under way looks who is the controller.
const lookEvery = 250 * time.Millisecond

func (c atController) Call(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	ctx, done := c.term(ctx)
	defer done()
	return c.Caller.Call(ctx, req)
}

func (c atController) MaxVersion(ctx context.Context, key int16) (int16, error) {
	ctx, done := c.term(ctx)
	defer done()
	return c.Caller.MaxVersion(ctx, key)
}

// term returns a context that ends when another broker is the controller.
func (c atController) term(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if address, _, ok := c.of.Find(); ok && address != c.address {
				cancel(errMoved)
			}
		}
	})
	return ctx, func() { cancel(nil); looking.Wait() }
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
