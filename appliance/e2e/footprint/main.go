// Command footprint measures what headwater costs: the size of its binaries, how
// long it takes to be ready, what it holds in memory when idle and under load, and how
// many syncs its acknowledgements take. It prints a table in Markdown.
//
// With -limits it holds the figures against those of a page, docs/FOOTPRINT.md, and exits
// with 1 if one is above. Without, as in `make bench`, it judges nothing. With -parts it
// tells what the binary is made of. Sizes are in MB (1,000,000 bytes).
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/headwater/headwater/appliance/process"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	page := flag.String("limits", "", "Markdown `page` whose table has the limits")
	parts := flag.Bool("parts", false, "tell what the binary for arm64 is made of, and measure nothing else")
	flag.Parse()
	do := func() error { return run(ctx, *page) }
	if *parts {
		do = func() error { return printParts(ctx) }
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, page string) error {
	var limits map[string]limit
	if page != "" {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		if limits, err = parseLimits(string(text)); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	rows, err := measure(ctx)
	if err != nil {
		return err
	}
	fmt.Print(table(rows, limits))
	if page == "" {
		return nil
	}
	return judge(rows, limits)
}

func measure(ctx context.Context) ([]row, error) {
	dir, err := os.MkdirTemp("", "headwater-footprint-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)

	rows, binary, err := measureSizes(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, next := range []func(ctx context.Context, binary, dir string) ([]row, error){measureStarts, measureAcks, measureLoads} {
		more, err := next(ctx, binary, dir)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// targets are what the binary is built for. The first is the machine's own.
var targets = []struct {
	name string
	env  []string
}{
	{"this machine", nil},
	{"amd64", []string{"GOOS=linux", "GOARCH=amd64"}},
	{"arm64", []string{"GOOS=linux", "GOARCH=arm64"}},
	{"armv7", []string{"GOOS=linux", "GOARCH=arm", "GOARM=7"}},
	{"armv6", []string{"GOOS=linux", "GOARCH=arm", "GOARM=6"}},
}

// measureSizes builds stripped binaries and returns the path of the machine's own.
func measureSizes(ctx context.Context, dir string) (rows []row, own string, err error) {
	for i, target := range targets {
		out := filepath.Join(dir, fmt.Sprintf("headwater-%d", i))
		env := append([]string{"CGO_ENABLED=0"}, target.env...)
		if err := process.Build(ctx, out, env, []string{"-trimpath", "-buildvcs=false", "-ldflags", "-s -w"}); err != nil {
			return nil, "", err
		}
		if i == 0 {
			own = out
			continue
		}
		info, err := os.Stat(out)
		if err != nil {
			return nil, "", err
		}
		rows = append(rows, row{"stripped binary, " + target.name, megabytes(info.Size()), "MB"})
	}
	return rows, own, nil
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

const (
	starts = 9               // runs that the median is taken of
	settle = 3 * time.Second // until an idle process has done what it does after a start
)

// measureStarts starts the binary with an empty directory, again and again, and
// lets each be idle before it is weighed.
func measureStarts(ctx context.Context, binary, dir string) ([]row, error) {
	var took []time.Duration
	var idle []int64
	for i := range starts {
		p, err := process.New(binary, filepath.Join(dir, fmt.Sprintf("start-%d", i)))
		if err != nil {
			return nil, err
		}
		d, resident, err := startOnce(ctx, p, i >= starts-3)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		if resident > 0 {
			idle = append(idle, resident)
		}
	}
	slices.Sort(took)
	slices.Sort(idle)
	return []row{
		{"start to ready, empty directory", milliseconds(took[len(took)/2]), "ms"},
		{"idle RSS", megabytes(idle[len(idle)/2]), "MB"},
	}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// startOnce returns how long the process took to be ready and, if it is to be
// weighed, its idle memory.
func startOnce(ctx context.Context, p *process.Process, weigh bool) (took time.Duration, resident int64, err error) {
	begin := time.Now()
	err = p.Start(ctx)
	took = time.Since(begin)
	defer p.Kill()
	if err != nil || !weigh {
		return took, 0, err
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	resident, _, err = p.Memory()
	return took, resident, err
}
