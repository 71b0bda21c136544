// Package fleet is a crowd that uses a headwater as hard as it can: devices that publish
// and ask to be told, by NATS and MQTT, and Kafka readers that read all of it from the
// beginning. It counts what was acked and what was read.
//
// It knows the program by its addresses alone, and serves tests and measurements. Run
// blocks, and owns what it starts; a Crowd may be used by one goroutine at a time.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Crowd is who comes, and where to.
type Crowd struct {
	NATS, MQTT, Kafka string // host:port

	Devices int // of which each third speaks MQTT
	Readers int
	Payload int           // bytes of a message
	Window  int           // messages of a device that have no answer yet
	For     time.Duration // until the devices stop; the readers read on to the end
}

// Result is what came of it.
type Result struct {
	Acked   int64         // messages that devices were told are stored
	Refused int64         // that they were told are not
	Read    int64         // records, of all readers together
	Took    time.Duration // of the devices
	Slowest int64         // records that the reader has who has fewest
}

// String has the figures by the second.
func (r Result) String() string {
	second := r.Took.Seconds()
	return fmt.Sprintf("%.0f messages acked a second, %.0f records read a second, %d refused, in %v",
		float64(r.Acked)/second, float64(r.Read)/second, r.Refused, r.Took.Round(time.Second))
}

// Topic is where the default rule puts what devices publish.
const Topic = "telemetry"

// catchUp is how long readers may need for what is left when the devices have stopped.
const catchUp = 2 * time.Minute

// counts are added to by all.
type counts struct {
	acked, refused atomic.Int64
	read           []atomic.Int64 // by reader
}

// Run has the crowd come. It is an error if a device loses its connection or gets no
// answer, and if a reader has not got as many records as were acked, some time after the
// devices have stopped. No retention may take records meanwhile.
func (c Crowd) Run(ctx context.Context) (Result, error) {
	n := &counts{read: make([]atomic.Int64, c.Readers)}
	ctx, cancel := context.WithTimeout(ctx, c.For+catchUp)
	defer cancel()
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	readers, reading := errgroup.WithContext(reading)
	for i := range c.Readers {
		readers.Go(func() error { return c.reader(reading, &n.read[i]) })
	}
	devices, publishing := errgroup.WithContext(reading) // a reader that fails ends them
	end := time.Now().Add(c.For)
	begin := time.Now()
	for i := range c.Devices {
		if i%3 == 2 {
			devices.Go(func() error { return c.mqttDevice(publishing, i, end, n) })
		} else {
			devices.Go(func() error { return c.natsDevice(publishing, i, end, n) })
		}
	}
	err := devices.Wait()
	r := Result{Took: time.Since(begin), Acked: n.acked.Load(), Refused: n.refused.Load()}
	if err == nil {
		err = n.awaitReaders(reading, r.Acked)
	}
	stopReading()
	err = errors.Join(err, readers.Wait())
	r.Read, r.Slowest = n.all()
	return r, err
}

func (n *counts) all() (sum, least int64) {
	for i := range n.read {
		got := n.read[i].Load()
		sum += got
		if i == 0 || got < least {
			least = got
		}
	}
	return sum, least
}

// awaitReaders waits until each has at least as many records as want.
func (n *counts) awaitReaders(ctx context.Context, want int64) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, least := n.all(); least >= want || len(n.read) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_, least := n.all()
			return fmt.Errorf("a reader has %d records, and %d messages were acked", least, want)
		}
	}
}
