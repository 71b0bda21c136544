package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// side is one of those that take turns: a broker or a limit.
type side struct {
	name    string
	address string
	broker  bool
	usage   func(context.Context) (usage, error) // nil when the process is not ours to see
	stop    func() error

	topic string // that a fetch workload reads; "" until it is written
}

// pass puts w on s once.
func (s *side) pass(ctx context.Context, w Workload, round int) (Figures, error) {
	l := &load{Workload: w, address: s.address, topic: s.topic, limit: !s.broker}
	if s.broker && w.Kind == Fetch && s.topic == "" {
		if err := s.fill(ctx, w); err != nil {
			return Figures{}, err
		}
		l.topic = s.topic
	}
	if s.broker && w.Kind != Fetch {
		l.topic = topicName(round)
		if err := createTopic(ctx, s.address, l.topic, w); err != nil {
			return Figures{}, err
		}
	}
	f, err := s.timed(ctx, l)
	if s.broker && w.Kind != Fetch { // also after an error: the next run may be against the same broker
		if deleteErr := deleteTopic(context.WithoutCancel(ctx), s.address, l.topic); err == nil {
			err = deleteErr
		}
	}
	return f, err
}

// topicName is different for each process that runs a load.
func topicName(round int) string { return fmt.Sprintf("headwater-bench-%d-%d", os.Getpid(), round) }

// fill writes what a fetch workload reads.
func (s *side) fill(ctx context.Context, w Workload) error {
	s.topic = topicName(0)
	if err := createTopic(ctx, s.address, s.topic, w); err != nil {
		return err
	}
	written := w
	written.Kind, written.InFlight, written.Acks = Produce, 4, -1
	written.Bytes, written.Duration = stored, 0
	if w.Bytes > 0 {
		written.Bytes = min(w.Bytes, stored)
	}
	written.Bytes = max(written.Bytes, int64(w.Partitions*max(w.BatchBytes, w.RecordBytes)))
	_, err := (&load{Workload: written, address: s.address, topic: s.topic}).run(ctx)
	return err
}

// timed runs l and says what s used for it.
func (s *side) timed(ctx context.Context, l *load) (Figures, error) {
	var before, after usage
	var err error
	if s.usage != nil {
		if before, err = s.usage(ctx); err != nil {
			return Figures{}, err
		}
	}
	d, err := l.run(ctx)
	if err == nil && s.usage != nil {
		after, err = s.usage(ctx)
	}
	if err != nil {
		return Figures{}, err
	}
	f := figuresOf(d)
	if s.usage != nil {
		f.addUsage(before, after, d)
	}
	return f, nil
}

// elsewhere is a broker that runs already.
func elsewhere(address string) *side {
	s := &side{name: address, address: address, broker: true}
	s.stop = func() error {
		if s.topic == "" {
			return nil
		}
		return deleteTopic(context.Background(), address, s.topic)
	}
	return s
}

// startBroker runs headwater on free ports, with its data in dir.
func startBroker(ctx context.Context, binary, dir string, w Workload) (*side, error) {
	p, err := process.New(binary, dir)
	if err != nil {
		return nil, err
	}
	p.Env = []string{
		"HEADWATER_DATA_DURABILITY=" + w.Durability,
		"HEADWATER_LOG_LEVEL=error",
		"HEADWATER_KAFKA_AUTO_CREATE_TOPICS=false",
	}
	ready, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := p.Start(ready); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	read := func(ctx context.Context) (usage, error) {
		u := usage{knowsSyncs: true}
		var err error
		if u.Usage, err = process.UsageOf(p.PID()); err == nil {
			u.syncs, err = p.Metric(ctx, "headwater_commit_syncs_total")
		}
		return u, err
	}
	return &side{name: "headwater", address: p.Kafka, broker: true, usage: read, stop: p.Kill}, nil
}

// startLimit runs a limit as a process of the same binary.
func startLimit(ctx context.Context, binary, dir string, limit Limit, w Workload) (*side, error) {
	cmd := exec.Command(binary, "bench", "limit", string(limit), dir, strconv.Itoa(w.SegmentBytes), strconv.Itoa(w.FetchBytes))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // it ends when this is closed: also when we are killed
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &side{name: string(limit)}
	s.usage = func(context.Context) (u usage, err error) {
		u.Usage, err = process.UsageOf(cmd.Process.Pid)
		return u, err
	}
	s.stop = func() error {
		stdin.Close()
		return endOf(cmd)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start limit %q: %w", limit, err), s.stop())
	}
	s.address = strings.TrimSpace(line)
	return s, ctx.Err()
}

// endOf waits for a process that was told to end. A signal that was meant for us
// may have ended it first.
func endOf(cmd *exec.Cmd) error {
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		return nil
	}
	return err
}

// ServeLimit is what the process of a limit runs: it writes its address to out,
// and serves until in ends.
func ServeLimit(limit Limit, dir string, segmentBytes, fetchBytes int, in io.Reader, out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s, err := newLimitServer(limit, dir, segmentBytes, fetchBytes)
	if err != nil {
		ln.Close()
		return err
	}
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		ln.Close()
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, in)
		ln.Close()
	}()
	err = s.serve(ln)
	<-ended
	return err
}

// perSecond is n in a time, 0 in none.
func perSecond(n float64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return n / d.Seconds()
}
