package main

import (
	"context"
	"encoding/json"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/headwater/headwater/appliance/bench"
)

// printer is a report of bench.
type printer interface{ Print(out io.Writer) error }

func newBenchStart() *cobra.Command {
	return fleetCommand("start", "Measure how long a start after SIGKILL takes, beside reading everything",
		"Fill many partitions, kill the broker under a light load, and time how long the next\n"+
			"start takes to be ready; beside it, read and checksum all that it holds. Both with the\n"+
			"files in the page cache and, where root allows it, with the caches dropped.",
		bench.Fleet{Partitions: 1000, Bytes: 10 << 30},
		func(ctx context.Context, o bench.Options, f bench.Fleet) (printer, error) {
			return bench.Start(ctx, o, f)
		})
}

func newBenchIdle() *cobra.Command {
	return fleetCommand("idle", "Measure what partitions cost that nobody uses",
		"Compare what a broker holds after a start on an empty directory with what it holds\n"+
			"after one with many partitions, before and after each of them is written to.",
		bench.Fleet{Partitions: 1000},
		func(ctx context.Context, o bench.Options, f bench.Fleet) (printer, error) {
			return bench.Idle(ctx, o, f)
		})
}

// fleetCommand is a command of bench that fills many partitions first.
func fleetCommand(use, short, long string, fleet bench.Fleet, run func(context.Context, bench.Options, bench.Fleet) (printer, error)) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.NoArgs}
	var options bench.Options
	var asJSON bool
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.IntVar(&fleet.Partitions, "partitions", fleet.Partitions, "of the topic")
	flags.Int64Var(&fleet.Bytes, "bytes", fleet.Bytes, "of all partitions together; idle: 0 is a batch in each")
	flags.StringVar(&options.Dir, "dir", ".", "where temporary data is written; it should be on the disk that is meant")
	flags.IntVar(&options.Rounds, "rounds", 3, "that the median is taken of")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if err := fleet.Validate(); err != nil {
			return err
		}
		options.Log, options.Rounds = cmd.ErrOrStderr(), max(options.Rounds, 1)
		if options.Binary, err = os.Executable(); err != nil {
			return failure{err}
		}
		report, err := run(cmd.Context(), options, fleet)
		if err != nil {
			return failure{err}
		}
		if !asJSON {
			return report.Print(cmd.OutOrStdout())
		}
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetIndent("", "  ")
		return out.Encode(report)
	}
	return cmd
}
