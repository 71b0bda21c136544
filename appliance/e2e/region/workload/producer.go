package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/headwater/headwater/appliance/e2e/region/checker"
)

// producer sends to all partitions, as fast as it is told, until it ends. A producer with
// short lives ends now and then in the middle of it: what it had in flight may be stored
// or not, and its successor is another client to the checker.
type producer struct {
	cfg     Config
	of      *Recorder
	rng     *rand.Rand
	clients func() int // gives numbers to clients
	short   bool
}

// lives of a producer that ends now and then last from one to six seconds.
func (p *producer) life() time.Duration {
	return time.Second + time.Duration(p.rng.Int64N(int64(5*time.Second)))
}

// run produces until ctx is done. Then what is in flight is waited for, until patience is
// done.
func (p *producer) run(ctx, patience context.Context) error {
	for ctx.Err() == nil {
		if !p.short {
			return p.live(ctx, patience)
		}
		life, end := context.WithTimeout(ctx, p.life())
		soon, cancel := context.WithCancel(patience)
		stop := context.AfterFunc(life, func() {
			if ctx.Err() == nil {
				cancel() // in the middle of it, that is without a flush
			}
		})
		err := p.live(life, soon)
		stop()
		end()
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *producer) live(ctx, patience context.Context) error {
	client := p.clients()
	opts := []kgo.Opt{
		kgo.SeedBrokers(p.cfg.Addresses...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MaxBufferedRecords(maxInFlight), kgo.RetryBackoffFn(shortly), kgo.ProducerLinger(2 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second), kgo.ClientID(fmt.Sprint("producer", client)),
		kgo.DialTimeout(2 * time.Second), kgo.ProduceRequestTimeout(5 * time.Second), kgo.RequestTimeoutOverhead(2 * time.Second),
	}
	if p.cfg.LeaderAck {
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	} else {
		opts = append(opts, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.StopProducerOnDataLossDetected())
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close() // ends what is in flight: done says so of each
	tick := time.NewTicker(time.Second / time.Duration(p.cfg.Rate))
	defer tick.Stop()
	for ctx.Err() == nil {
		partition := p.rng.Int32N(p.cfg.Partitions)
		v := p.of.send(client, partition)
		r := &kgo.Record{Topic: p.cfg.Topic, Partition: partition, Value: payload(v)}
		cl.Produce(patience, r, func(r *kgo.Record, err error) { p.done(client, v, r, err) }) // waits while too many are in flight
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	_ = cl.Flush(patience) // what it does not flush ends as unsure
	return nil
}

// maxInFlight are the records of one producer that have no ack yet.
const maxInFlight = 500

func (p *producer) done(client int, v checker.Value, r *kgo.Record, err error) {
	e := checker.Event{Kind: checker.Ack, Client: client, Partition: r.Partition, Offset: r.Offset, Value: v}
	if err != nil {
		e.Kind, e.Offset = checker.Unsure, -1
		if !p.short {
			p.of.problem(fmt.Sprintf("producer %d: %v", client, err))
		}
	}
	p.of.Take(e)
}

// shortly is how long clients wait before they try again.
func shortly(int) time.Duration { return 50 * time.Millisecond }
