package natsd

import (
	"context"
	"errors"
	"time"
)

const (
	firstRetry = time.Millisecond
	lastRetry  = time.Second
)

// errNoServer is wrapped by errors about a server that has ended.
var errNoServer = errors.New("embedded nats-server is gone")

// reconnecting calls once, which runs one connection to its end, until ctx is done,
// and then returns nil, or until the server is gone. once tells whether it got so far
// as to be ready; failed is called with what it returned, and with how long there
// will be no other try.
func reconnecting(ctx context.Context, once func(context.Context) (ready bool, err error), failed func(ready bool, err error, retry time.Duration)) error {
	retry := firstRetry
	for {
		ready, err := once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errNoServer) {
			return err
		}
		if ready {
			retry = firstRetry
		}
		failed(ready, err, retry)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil
		}
		retry = min(2*retry, lastRetry)
	}
}
