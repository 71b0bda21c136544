package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// answerTimeout is how long one answer may take.
	answerTimeout = 30 * time.Second
	// bufferBytes gathers small requests, and small answers, into one call of the
	// system.
	bufferBytes = 64 << 10
	// maxAnswer bounds the length that an answer may claim.
	maxAnswer = 16 << 20
)

// load is one pass of a workload against one address.
type load struct {
	Workload
	address string
	topic   string
	limit   bool // the other side answers in a limit's short form

	left     atomic.Int64 // bytes that may still be asked for
	deadline time.Time    // zero for none
}

// done is what a pass did.
type done struct {
	requests, records, bytes int64
	took                     time.Duration
	latency                  histogram
}

func (d *done) add(other *done) {
	d.requests += other.requests
	d.records += other.records
	d.bytes += other.bytes
	d.latency.merge(&other.latency)
}

// run opens all connections, then puts the load on them, and returns when every
// request is answered.
func (l *load) run(ctx context.Context) (*done, error) {
	conns := make([]*conn, l.Connections)
	for i := range conns {
		nc, err := net.Dial("tcp", l.address)
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		conns[i] = &conn{load: l, nc: nc, r: bufio.NewReaderSize(nc, bufferBytes), w: bufio.NewWriterSize(nc, bufferBytes)}
		for p := range l.Partitions {
			if p%l.Connections == i || l.Partitions <= i && p == i%l.Partitions {
				conns[i].partitions = append(conns[i].partitions, int32(p))
			}
		}
		conns[i].prepare()
	}
	start := time.Now()
	l.left.Store(l.Bytes)
	if l.Bytes == 0 {
		l.left.Store(1 << 62)
	}
	if l.Duration > 0 {
		l.deadline = start.Add(l.Duration)
	}
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.nc.Close()
		}
	})()
	for _, c := range conns {
		g.Go(func() error { return c.run(ctx) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var sum done
	sum.took = time.Since(start)
	for _, c := range conns {
		sum.add(&c.done)
	}
	return &sum, nil
}

// more reports whether n more bytes are wanted, and takes them.
func (l *load) more(n int64) bool {
	return l.left.Add(-n) > -n && (l.deadline.IsZero() || time.Now().Before(l.deadline))
}

// conn is one connection of a load.
type conn struct {
	*load
	nc         net.Conn
	r          *bufio.Reader
	w          *bufio.Writer
	partitions []int32
	frames     [][]byte // a request for each of the partitions
	atOffset   []int    // in each fetch request
	batchBytes int64
	perBatch   int64 // records
	answer     []byte
	correlated uint32 // answers so far
	done
}

// prepare builds the requests.
func (c *conn) prepare() {
	if c.Kind == Fetch {
		for _, p := range c.partitions {
			frame, at := fetchFrame(c.topic, p, c.FetchBytes)
			c.frames, c.atOffset = append(c.frames, frame), append(c.atOffset, at)
		}
		return
	}
	batch, records := buildBatch(c.RecordBytes, c.BatchBytes, time.Now().UnixMilli())
	c.batchBytes, c.perBatch = int64(len(batch)), int64(records)
	for _, p := range c.partitions {
		c.frames = append(c.frames, produceFrame(c.topic, p, c.Acks, batch))
	}
}

func (c *conn) run(ctx context.Context) error {
	if c.Kind == Fetch {
		return c.fetch()
	}
	// A request takes a token, its answer gives it back; sent has room for all.
	tokens, sent := make(chan struct{}, c.InFlight), make(chan time.Time, c.InFlight)
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, func() { c.nc.Close() })()
	g.Go(func() error {
		defer close(sent)
		return c.send(ctx, tokens, sent)
	})
	g.Go(func() error {
		for at := range sent {
			body, err := c.readAnswer()
			if err == nil && !c.limit {
				err = produceAnswer(body)
			}
			if err != nil {
				return err
			}
			c.latency.add(time.Since(at))
			<-tokens
		}
		return nil
	})
	return g.Wait()
}

// send writes requests while more are wanted. Without acks it ends with one that
// asks for an answer: when that is there, all before it was taken.
func (c *conn) send(ctx context.Context, tokens chan<- struct{}, sent chan<- time.Time) error {
	for i := 0; c.more(c.batchBytes); i++ {
		frame := c.frames[i%len(c.frames)]
		if c.Acks != 0 {
			if err := c.token(ctx, tokens); err != nil {
				return err
			}
			sent <- time.Now()
		}
		if err := c.write(frame); err != nil {
			return err
		}
	}
	if c.Acks == 0 {
		frame := c.frames[0]
		binary.BigEndian.PutUint16(frame[atAcks:], 1)
		c.correlated = uint32(c.requests)
		tokens <- struct{}{}
		sent <- time.Now()
		if err := c.write(frame); err != nil {
			return err
		}
	}
	return c.w.Flush()
}

// token waits until one more request may be in flight. What is buffered goes out
// before the wait.
func (c *conn) token(ctx context.Context, tokens chan<- struct{}) error {
	select {
	case tokens <- struct{}{}:
		return nil
	default:
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	select {
	case tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write sends a produce request.
func (c *conn) write(frame []byte) error {
	binary.BigEndian.PutUint32(frame[atCorrelationID:], uint32(c.requests))
	c.requests++
	c.records += c.perBatch
	c.bytes += c.batchBytes
	_, err := c.w.Write(frame)
	return err
}

// readAnswer reads the next answer, whose correlation id must be the next, and
// returns what follows it until the next call.
func (c *conn) readAnswer() ([]byte, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	size, id := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if size < 4 || size > maxAnswer || id != c.correlated {
		return nil, fmt.Errorf("%w: %d bytes with correlation id %d, which should be %d", errAnswer, size, id, c.correlated)
	}
	c.correlated++
	if need := int(size) - 4; need > cap(c.answer) {
		c.answer = make([]byte, need)
	}
	c.answer = c.answer[:size-4]
	_, err := io.ReadFull(c.r, c.answer)
	return c.answer, err
}

// fetch reads each partition in turn, and from its beginning again when it has
// come to the end: so it never waits for what nobody writes.
func (c *conn) fetch() error {
	next := make([]int64, len(c.frames))
	for i := 0; c.more(int64(c.FetchBytes)); i++ {
		p := i % len(c.frames)
		frame := c.frames[p]
		binary.BigEndian.PutUint32(frame[atCorrelationID:], c.correlated)
		binary.BigEndian.PutUint64(frame[c.atOffset[p]:], uint64(next[p]))
		start := time.Now()
		if _, err := c.nc.Write(frame); err != nil {
			return err
		}
		body, err := c.readAnswer()
		if err != nil {
			return err
		}
		c.latency.add(time.Since(start))
		c.requests++
		if c.limit {
			c.bytes += int64(len(body))
			continue
		}
		if next[p], err = c.fetched(body, next[p]); err != nil {
			return err
		}
	}
	return nil
}

// fetched counts an answer from the offset from, and returns where to go on.
func (c *conn) fetched(body []byte, from int64) (next int64, err error) {
	b, highWatermark, err := fetchAnswer(body)
	if err != nil {
		return 0, err
	}
	next, records, size := walk(b, from)
	if size == 0 {
		return 0, fmt.Errorf("%w: no batch at offset %d of %d", errAnswer, from, highWatermark)
	}
	c.records += records
	c.bytes += size
	if next >= highWatermark {
		next = 0
	}
	return next, nil
}
