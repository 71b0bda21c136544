package server

import (
	"sync/atomic"
	"time"
)

// mute is until when a connection is not heard.
type mute struct {
	since time.Time    // when the connection began
	until atomic.Int64 // nanoseconds after it; a handler may set it on either goroutine
}

// left is for how long it lasts.
func (m *mute) left() time.Duration {
	until := m.until.Load()
	if until == 0 {
		return 0
	}
	return time.Duration(until) - time.Since(m.since)
}

// Mute implements Conn.
func (c *conn) Mute(d time.Duration) {
	until := int64(time.Since(c.mute.since) + d)
	for have := c.mute.until.Load(); have < until && !c.mute.until.CompareAndSwap(have, until); {
		have = c.mute.until.Load()
	}
}

// rest waits until the connection is heard again. The reader does so when it has the
// next frame's first bytes: the others stay in the network.
func (c *conn) rest() error {
	for left := c.mute.left(); left > 0; left = c.mute.left() {
		if err := c.direct.flush(); err != nil { // the answer that tells of it is out first
			return err
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-c.Leaving():
			t.Stop()
			return errGone
		}
	}
	return nil
}
