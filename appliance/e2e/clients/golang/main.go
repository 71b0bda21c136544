// Command clients drives Kafka clients that are written in Go, as the interop suite
// asks: the client's name and one JSON text are its arguments, and JSON lines its
// answers. See the Go package above this directory for what each command means.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// command is what is to be done, and with what.
type command struct {
	Do          string
	Brokers     string
	Topic       string
	Partition   *int32
	Codec       string
	Idempotent  bool
	Acks        *int16
	Count       int
	Prefix      string
	Time        int64
	At          string
	Offset      int64
	Group       string
	Instance    string
	Session     int
	Partitions  int32
	What        string
	Config      map[string]string
	Transaction string
}

// driver is one client.
type driver interface {
	produce(context.Context, command) error
	read(context.Context, command) error
	group(context.Context, command) error
	committed(context.Context, command) error
	admin(context.Context, command) error
}

// clients are the drivers, and the module of each, for its version.
var clients = map[string]struct {
	driver
	module string
}{
	"franz":   {franz{}, "github.com/twmb/franz-go"},
	"sarama":  {saramaDriver{}, "github.com/IBM/sarama"},
	"kafkago": {kafkaGo{}, "github.com/segmentio/kafka-go"},
}

func main() {
	var c command
	err := json.Unmarshal([]byte(os.Args[2]), &c)
	if err == nil {
		err = do(os.Args[1], c)
	}
	if err != nil {
		say(map[string]any{"error": err.Error()})
	}
}

func do(name string, c command) error {
	client, ok := clients[name]
	if !ok {
		return fmt.Errorf("no client %q", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	switch c.Do {
	case "version":
		say(map[string]any{"version": client.module + " " + versionOf(client.module)})
		return nil
	case "produce":
		return client.produce(ctx, c)
	case "read":
		return client.read(ctx, c)
	case "group":
		ctx, leave := context.WithCancel(ctx)
		go func() { // the test ends standard input when the member shall leave
			io.Copy(io.Discard, os.Stdin)
			leave()
		}()
		return client.group(ctx, c)
	case "committed":
		return client.committed(ctx, c)
	case "admin":
		return client.admin(ctx, c)
	}
	return fmt.Errorf("no command %q", c.Do)
}

func versionOf(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == module {
			return m.Version
		}
	}
	return "unknown"
}

var saying sync.Mutex

func say(event any) {
	saying.Lock()
	defer saying.Unlock()
	json.NewEncoder(os.Stdout).Encode(event)
}

type produced struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

type recordRead struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       string `json:"key"`
	Value     string `json:"value"`
	Time      int64  `json:"time"`
}

type progress struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
	End       int64 `json:"end"`
}

func (c command) key(i int) string   { return fmt.Sprintf("k%d", i%3) }
func (c command) value(i int) string { return fmt.Sprintf("%s-%d", c.Prefix, i) }
func (c command) at(i int) time.Time { return time.UnixMilli(c.Time + 1000*int64(i)) }

// acks is what to ask for: all when nothing is said.
func (c command) acks() int16 {
	if c.Acks == nil {
		return -1
	}
	return *c.Acks
}
