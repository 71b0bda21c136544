package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headwater/headwater/bridge/ingest"
	"github.com/headwater/headwater/bridge/natsd"
	"github.com/headwater/headwater/bridge/subject"
	"github.com/headwater/headwater/broker/record"
	"github.com/headwater/headwater/broker/topic"
)

// nullLog forgets what it is given, and tells the benchmark how much that was.
type nullLog struct {
	stored atomic.Int64
	grown  chan struct{}
}

func (l *nullLog) Partitions(context.Context, string) (topic.Partitions, error) {
	return topic.Partitions{Count: 1}, nil
}

func (l *nullLog) Append(_ string, _ int32, b record.Batch, done func(int64, error)) {
	done(l.stored.Add(int64(b.Count()))-int64(b.Count()), nil)
	select {
	case l.grown <- struct{}{}:
	default:
	}
}

func (l *nullLog) Offsets(string, int32) (int64, int64, int64, error) {
	return 0, l.stored.Load(), 0, nil
}

func (l *nullLog) ReadRecords(_ string, _ int32, _ int64, _ int, _ func(int64, int64, record.Record) bool) (int64, error) {
	return l.stored.Load(), nil
}

func (l *nullLog) AppendAt(topic string, partition int32, b record.Batch, _ int64, done func(int64, error)) {
	l.Append(topic, partition, b, done)
}

// BenchmarkConnToLog is what the bridge itself costs: from the bytes that the
// embedded server sends it, over a pipe as in the appliance, to batches for the
// log and, for acked messages, answers.
func BenchmarkConnToLog(b *testing.B) {
	for _, size := range []int{128, 1024} {
		for _, reply := range []string{"", " _INBOX.abcdefghijklmnopqrstuv.12345678"} {
			kind := "core"
			if reply != "" {
				kind = "acked"
			}
			message := fmt.Sprintf("MSG telemetry.device17.temperature 0%s %d\r\n%s\r\n", reply, size, strings.Repeat("v", size))
			b.Run(fmt.Sprintf("%s/%d", kind, size), func(b *testing.B) { benchmarkConn(b, message, size, 0) })
		}
	}
	headers := "NATS/1.0\r\nUnit: C\r\nNats-Msg-Id: " + benchID + "\r\n\r\n"
	message := fmt.Sprintf("HMSG telemetry.device17.temperature 0 %d %d\r\n%s%s\r\n", len(headers), len(headers)+128, headers, strings.Repeat("v", 128))
	b.Run("headers/128", func(b *testing.B) { benchmarkConn(b, message, 128, 0) })
	b.Run("ids/128", func(b *testing.B) { benchmarkConn(b, message, 128, time.Minute) })
}

// benchID is replaced by an id of each message's own.
const benchID = "12345678"

// renumber gives each of the messages that chunk consists of the next id.
func renumber(chunk []byte, messageLen, idAt, next int) {
	for at := idAt; at < len(chunk); at += messageLen {
		next++
		for digit, n := at+len(benchID)-1, next; digit >= at; digit, n = digit-1, n/10 {
			chunk[digit] = byte('0' + n%10)
		}
	}
}

func benchmarkConn(b *testing.B, message string, size int, dedupWindow time.Duration) {
	table, err := subject.Compile(subject.DefaultRules())
	if err != nil {
		b.Fatal(err)
	}
	log := &nullLog{grown: make(chan struct{}, 1)}
	ours, theirs := net.Pipe()
	link := &link{rules: 1}
	conn := natsd.NewConn(natsd.ConnConfig{
		Dial:     func() (net.Conn, error) { return ours, nil },
		Subjects: []string{"telemetry.>"}, MaxPayload: 1 << 20, Handler: heard{link}, Log: slog.New(slog.DiscardHandler),
	})
	link.Ingest = ingest.New(ingest.Config{BufferBytes: 1 << 30, DedupWindow: dedupWindow, DedupBytes: 4 << 20, Store: log}, table, []string{"telemetry.>"}, log, conn, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 2)
	go func() { ended <- link.Run(ctx) }()
	go func() { ended <- conn.Run(ctx) }()
	defer func() {
		cancel()
		<-ended
		<-ended
	}()
	go func() { // the server hears what it is told
		buf := make([]byte, 64<<10)
		for {
			if _, err := theirs.Read(buf); err != nil {
				return
			}
		}
	}()
	write := func(text []byte) {
		if _, err := theirs.Write(text); err != nil {
			b.Error(err)
		}
	}
	write([]byte("INFO {}\r\nPONG\r\nPONG\r\n" + message))
	<-conn.Up()
	for log.stored.Load() < 1 {
		<-log.grown
	}

	perChunk := max(1, (32<<10)/len(message))
	chunk := []byte(strings.Repeat(message, perChunk))
	idAt := strings.Index(message, benchID)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += perChunk {
		if dedupWindow > 0 {
			renumber(chunk, len(message), idAt, sent)
		}
		write(chunk[:min(perChunk, b.N-sent)*len(message)])
	}
	for log.stored.Load() < int64(b.N)+1 {
		<-log.grown
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
