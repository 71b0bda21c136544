// Command footprint measures what headwater costs: the size of its binaries, how
// long it takes to be ready, what it holds in memory when idle, and how many
// syncs its acknowledgements take. It prints a table in Markdown, beside what is
// aimed at.
//
// It is for `make bench`, and holds no figure against its aim: a shared machine
// is no judge. Sizes are in MB (1,000,000 bytes).
package main

import (
	"context"
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
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

// row is a line of the table.
type row struct{ what, measured, aim string }

func measure(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "headwater-footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var rows []row
	sizes, binary, err := measureSizes(ctx, dir)
	if err != nil {
		return err
	}
	rows = append(rows, sizes...)
	starts, err := measureStarts(ctx, binary, dir)
	if err != nil {
		return err
	}
	rows = append(rows, starts...)
	acks, err := measureAcks(ctx, binary, filepath.Join(dir, "acks"))
	if err != nil {
		return err
	}
	rows = append(rows, acks...)

	fmt.Println("| what | measured | aim |")
	fmt.Println("|---|---|---|")
	for _, r := range rows {
		fmt.Printf("| %s | %s | %s |\n", r.what, r.measured, r.aim)
	}
	return nil
}

// targets are what the binary is built for. The first is the machine's own.
var targets = []struct {
	name string
	env  []string
	aim  string
}{
	{"this machine", nil, "–"},
	{"amd64", []string{"GOOS=linux", "GOARCH=amd64"}, "–"},
	{"arm64", []string{"GOOS=linux", "GOARCH=arm64"}, "26 MB or less"},
	{"armv7", []string{"GOOS=linux", "GOARCH=arm", "GOARM=7"}, "26 MB or less"},
}

// measureSizes builds stripped binaries and returns the path of the machine's own.
func measureSizes(ctx context.Context, dir string) (rows []row, own string, err error) {
	for i, target := range targets {
		out := filepath.Join(dir, fmt.Sprintf("headwater-%d", i))
		env := append([]string{"CGO_ENABLED=0"}, target.env...)
		if err := process.Build(ctx, out, env, []string{"-trimpath", "-ldflags", "-s -w"}); err != nil {
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
		rows = append(rows, row{"stripped binary, " + target.name, megabytes(info.Size()), target.aim})
	}
	return rows, own, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

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
		{
			fmt.Sprintf("start to ready, empty directory, median of %d (%s to %s)", len(took), milliseconds(took[0]), milliseconds(took[len(took)-1])),
			milliseconds(took[len(took)/2]), "100 ms or less",
		},
		{fmt.Sprintf("idle RSS after %v, median of %d", settle, len(idle)), megabytes(idle[len(idle)/2]), "30 MB or less"},
	}, nil
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

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
