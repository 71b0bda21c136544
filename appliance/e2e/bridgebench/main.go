// Command bridgebench measures what devices and their readers get out of headwater,
// beside nats-server's JetStream and mosquitto on the same disk: acknowledged
// publishes by NATS and by MQTT, and ordered reads. It prints tables in Markdown.
//
// Each side is a process of its own, and all of them are driven by the same client
// code: nats.go and paho. The sides take turns, pass by pass; the first pass of each
// warms up, and each figure is the median of the others. The clients share the
// machine with the side that is measured, so that CPU seconds say more than rates.
// It is for `make bench`, and holds no figure against its aim. nats-server is built
// from the module that headwater embeds; mosquitto must be on the PATH.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

// options are the command's flags.
type options struct {
	rounds   int
	duration time.Duration // of a pass
	only     *regexp.Regexp
	json     bool
	dir      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "passes of each side, after one that warms up")
	flag.DurationVar(&o.duration, "duration", time.Second, "of a pass")
	flag.StringVar(&o.dir, "dir", ".", "where temporary data is written; it should be on the disk that is meant")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	only := flag.String("only", "", "regular expression: the workloads to run")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		err = measure(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bridgebench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "headwater-bridgebench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, nats := filepath.Join(dir, "headwater"), filepath.Join(dir, "nats-server")
	if err := process.Build(ctx, binary, []string{"CGO_ENABLED=0"}, []string{"-trimpath", "-ldflags", "-s -w"}); err != nil {
		return err
	}
	if err := process.BuildPackage(ctx, natsServer, nats, []string{"CGO_ENABLED=0"}, []string{"-trimpath", "-ldflags", "-s -w"}); err != nil {
		return err
	}
	var results []result
	for i, w := range workloads() {
		if !o.only.MatchString(w.name) {
			continue
		}
		r, err := run(ctx, o, w, filepath.Join(dir, fmt.Sprint("w", i)), binary, nats)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		results = append(results, r)
		if !o.json {
			r.print(os.Stdout)
		}
	}
	if !o.json {
		return nil
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(results)
}

// natsServer is nats-server's own command, of the version in go.mod.
const natsServer = "github.com/nats-io/nats-server/v2"
